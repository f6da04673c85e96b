"""Small counts of UK Biobank's participants are in no table and no figure, unless a reason is given."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from eccl_lib import figures
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import NOTE, Limit, hidden_bins, hidden_diseases, limit_of, withhold, write_table
from eccl_lib.evaluation import cohort_summary, probe, run_summary, table1
from eccl_lib.figures.style import PARTICIPANTS
from eccl_lib.metrics import roc
from eccl_lib.notebooks import notebook

UKB, SYNTHETIC = load("demo", cohort="ukb"), load("demo")
REASON = "seen by the data owner on 2026-11-02"
SHOWN = load("demo", cohort="ukb", overrides={"runtime.show_small_counts": REASON})


def cohort(tmp_path, cases=(40, 4, 30, 0)) -> Cohort:
    """60 participants: 30 in train, 8 in val, 22 in test. cases: of each disease, in the order of the rows."""
    table = pd.DataFrame({"eid": [str(9_000_000 + k) for k in range(60)], "age": 60.0})
    table["split"] = ["test"] * 22 + ["val"] * 8 + ["train"] * 30
    labels = np.arange(60)[:, None] < np.array(cases)
    return Cohort(tmp_path, "f", table, None, None, np.zeros((60, 82)), labels, pd.DataFrame())


def test_only_uk_biobanks_counts_are_withheld_and_a_reason_shows_them():
    assert [limit_of(config).least for config in (UKB, SYNTHETIC, SHOWN, load("demo", cohort="ecg-ptbxl"))] == [
        10,
        0,
        0,
        0,
    ]
    assert limit_of(UKB).note == "counts below 10 withheld"
    assert limit_of(SHOWN).note == f"small counts shown: {REASON}"
    with pytest.raises(ConfigError, match="a reason in words"):
        load("demo", overrides={"runtime.show_small_counts": "yes"})


@pytest.mark.parametrize(("n", "hidden"), [(0, False), (1, True), (9, True), (10, False)])
def test_a_count_is_small_from_one_to_nine(n, hidden):
    assert Limit().hides(n) is hidden
    assert Limit().count(n) == ("under 10" if hidden else n)
    assert Limit(0).count(n) == n


def test_one_small_part_of_a_total_withholds_a_second_one_and_keeps_the_order():
    assert Limit().parts({"a": 30, "b": 3, "c": 50}) == {"a": "withheld", "b": "under 10", "c": 50}
    assert Limit().parts({"a": 30, "b": 3, "c": 5}) == {"a": "withheld", "b": "under 10", "c": "under 10"}
    assert Limit(0).parts({"a": 30, "b": 3}) == {"a": 30, "b": 3}


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ((1000, 1000, 995), ("withheld", "withheld", 995)),  # the first step, too, is five above the last
        ((1000, 990, 985), (1000, "withheld", 985)),
        ((1000, 980, 960), (1000, 980, 960)),
        ((30, 12, 5), (30, "withheld", "under 10")),
    ],
)
def test_no_small_difference_of_two_steps_can_be_computed(counts, shown):
    named = dict(zip("abc", counts, strict=True))
    assert tuple(Limit().steps(named).values()) == shown
    assert Limit(0).steps(named) == named


def test_rows_of_few_participants_cases_or_controls_are_empty(tmp_path):
    frame = pd.DataFrame({"row": list("abcdef"), "task": "I21", "mean": 0.7, "n": [40, 9, 40, 40, 40, 40]})
    frame["positives"] = pd.array([20, 5, 3, 36, 0, 10], dtype="Int64")
    shown = withhold(frame, UKB, np.array([False] * 5 + [True]))
    assert shown["mean"].isna().tolist() == [False, True, True, True, False, True]
    assert shown["positives"].isna().tolist() == shown["n"].isna().tolist() == shown["mean"].isna().tolist()
    assert shown["row"].tolist() == list("abcdef")
    assert shown[NOTE].tolist() == [limit_of(UKB).note if kept else "under 10" for kept in shown["mean"].notna()]
    pd.testing.assert_frame_equal(withhold(frame, SYNTHETIC), frame)
    pd.testing.assert_frame_equal(withhold(frame, SHOWN).drop(columns=NOTE), frame.astype({"n": "Int64"}))
    write_table(tmp_path / "new" / "t.csv", frame, UKB)
    assert pd.read_csv(tmp_path / "new" / "t.csv")["n"].tolist()[0] == 40
    write_table(tmp_path / "t.csv", frame, SHOWN)
    assert set(pd.read_csv(tmp_path / "t.csv")[NOTE]) == {f"small counts shown: {REASON}"}


def test_a_bin_is_withheld_by_the_cases_that_its_share_implies():
    bins = pd.DataFrame({"bin": [1, 2, 3], "observed": [0.05, 0.5, 0.0], "predicted": 0.3, "n": 100.0})
    shown = withhold(bins, UKB)
    assert shown["observed"].isna().tolist() == [True, False, False]
    assert shown["bin"].tolist() == [1, 2, 3]


def test_a_bin_whose_mean_over_seeds_is_below_one_case_is_withheld():
    of_one_case_in_two_seeds = {"bin": [1, 2], "observed": [1 / 200, 0.5], "predicted": 0.3, "n": 100.0}
    assert withhold(pd.DataFrame(of_one_case_in_two_seeds), UKB)["observed"].isna().tolist() == [True, False]


def test_no_withheld_bin_can_be_computed_from_the_other_bins_and_all_cases():
    cases = {"one": [3, 12, 40, 70], "two": [3, 5, 40, 70], "none": [10, 12, 40, 70], "controls": [0, 30, 60, 95]}
    cases["enough"] = [5, 6, 40, 70]
    parts = [pd.DataFrame({"row": row, "bin": [1, 2, 3, 4], "observed": np.divide(n, 100)}) for row, n in cases.items()]
    curves = pd.concat(parts).assign(task="I21", kind="raw", n=100.0)
    hidden = dict(zip(cases, hidden_bins(curves, UKB).reshape(5, 4).tolist(), strict=True))
    assert hidden["one"] == hidden["enough"] == [True, True, False, False]
    assert hidden["two"] == [True, True, False, True]  # 3 and 5 are 8 cases together, which all cases would reveal
    assert hidden["none"] == [False] * 4
    assert hidden["controls"] == [False, True, False, True]
    assert not hidden_bins(curves, SYNTHETIC).any()


def test_the_cohorts_table_and_the_hidden_diseases(tmp_path):
    data = cohort(tmp_path)
    assert hidden_diseases(UKB, data) == ["I42"]
    assert hidden_diseases(SHOWN, data) == hidden_diseases(SYNTHETIC, data) == []
    shown = cohort_summary.cohort_table(data, UKB)
    assert shown["participants"].tolist() == [30, "under 10", "withheld"]  # train, val, test
    assert np.isnan(shown["age"]["val"]) and shown["age"]["test"] == 60
    assert shown["I42"].tolist() == [0, 0, "under 10"]
    assert cohort_summary.cohort_table(data, SYNTHETIC)["I42"].tolist() == [0, 0, 4]


def test_a_score_of_few_validation_cases_is_withheld(tmp_path):
    data = cohort(tmp_path, cases=(30, 33, 45, 60))
    data.table["split"] = ["test"] * 30 + ["val"] * 30  # with 30 and 3 cases of I42, and 30 and 15 cases of I48
    assert hidden_diseases(UKB, data) == []
    frame = pd.DataFrame({"task": ["I42", "I48", "traits"], "test": 0.7, "validation": 0.8})
    shown = table1.shown_scores(frame, UKB, data)
    assert shown["validation"].isna().tolist() == [True, False, False] and shown["test"].notna().all()
    pd.testing.assert_frame_equal(table1.shown_scores(frame, SYNTHETIC, data), frame)


def steps(labels, scores, least):
    """Cases and controls of each step of the drawn curve."""
    false, true = roc.curve(labels, scores, least)
    cases, controls = np.diff(true) * labels.sum(), np.diff(false) * (~labels).sum()
    return np.rint(cases).astype(int), np.rint(controls).astype(int)


@pytest.mark.parametrize("cases", [30, 60, 100])
@pytest.mark.parametrize("seed", range(5))
def test_no_step_of_a_roc_curve_has_few_cases_or_controls(cases, seed):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(200) < cases)
    scores = np.round(labels + generator.normal(size=200), 1)  # with ties
    for counts in steps(labels, scores, 10):
        assert not ((counts > 0) & (counts < 10)).any(), counts
    plain = roc.curve(labels, scores)
    area = [np.trapezoid(true, false) for false, true in (plain, roc.curve(labels, scores, 10))]
    assert area[1] == pytest.approx(area[0], abs=0.2)
    assert len(steps(labels, scores, 10)[0]) < len(plain[0]) - 1
    for drawn in (plain, roc.curve(labels, scores, 10)):
        assert (drawn[0][0], drawn[1][0], drawn[0][-1], drawn[1][-1]) == (0, 0, 1, 1)


def test_a_curve_of_nine_cases_is_withheld_by_the_figure():
    labels, scores = np.arange(100) < 9, np.arange(100.0)
    for few in (9, 91):
        with pytest.raises(ValueError, match=f"{few} cases and {100 - few} controls"):
            roc.curve(np.arange(100) < few, scores, 10)
    spread = {"ECCL": (np.arange(100) % 10 == 3, scores, "AUC 0.00")}
    figure = figures.roc_curves(spread, least=10, banded="ECCL")
    assert figure.axes[0].lines[-1].get_label() == "ECCL: AUC 0.00\n(curve withheld)"
    curves = {"ECCL": (labels, scores, "AUC 0.00 (0.00 to 0.03)")}
    for figure in (
        figures.roc_curves(curves, least=10, banded="ECCL"),
        figures.roc_panels({"I42": curves}, least=10, banded="ECCL"),
    ):
        texts = [text.get_text() for text in figure.texts] + [ax.get_title(loc="left") for ax in figure.axes]
        assert any("under 10 cases or controls" in text for text in texts)
        assert not any("9 cases" in text for text in texts)
        lines = [line for ax in figure.axes for line in ax.lines if line.get_label().startswith("ECCL")]
        assert [(len(line.get_xdata()), line.get_label()) for line in lines] == [(0, "ECCL: withheld")]


def test_no_bar_of_the_risk_panel_has_few_participants():
    generator = np.random.default_rng(0)
    cases, scores = np.arange(300) < 40, generator.random(300)
    figure = figures.risk_panel({"I21": 0.4, "I42": 0.5}, {"I21": (scores, cases)}, least=10)
    assert "withheld" in figure.axes[1].get_title(loc="left")
    bars = np.array([patch.get_height() for patch in figure.axes[0].patches if hasattr(patch, "get_height")])
    counts = bars / 100 * (~cases).sum()
    assert len(counts) and not ((counts > 0.5) & (counts < 9.5)).any()


def test_a_run_of_few_test_cases_has_no_score_and_one_of_few_validation_cases_no_curve():
    class Run:
        task, variant = "I42", "eccl"
        metrics: ClassVar = {
            **{"metric": "AUC", "best_epoch": 1, "n": {"val": 60, "test": 60}},
            "positives": {"val": 3, "test": 5},
        }
        history = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "score": [0.6, 0.7], "lr": 0.1})
        predictions = pd.DataFrame({"eid": np.arange(60), "target_I42": np.arange(60) < 5.0, "score_I42": 0.5})

    row = run_summary.summary({"ECCL": Run()}, UKB).loc["ECCL"]
    assert np.isnan([row["test"], row["low"], row["high"]]).all() and row["positives"] == "under 10"
    assert run_summary.history_table(Run(), UKB)["validation AUC"].isna().all()
    assert run_summary.history_table(Run(), SHOWN)["validation AUC"].tolist() == [0.6, 0.7]
    assert run_summary.summary({"ECCL": Run()}, SHOWN).loc["ECCL", "positives"] == 5


def test_a_probe_of_few_cases_has_no_score():
    from eccl_lib.data.own_labels import OwnTask

    task = OwnTask("I25", "binary", ("I25",))
    generator, n = np.random.default_rng(0), 80
    for cases, hidden in ((5, True), (75, True), (40, False)):
        measured = (np.arange(n) < cases).astype(float)[:, None]
        folds = [probe.Fold(np.arange(n).astype(str), measured, generator.normal(size=(n, 1)))]
        gathered = {probe.Setting("mae", "linear probe"): folds}
        table = probe.table(gathered, [task], ["I25"], limit_of(UKB))
        assert table[["score", "low", "high"]].isna().all().tolist() == [hidden] * 3
        assert probe.table(gathered, [task], ["I25"], limit_of(SHOWN))["score"].notna().all()


@pytest.mark.parametrize(("config", "note"), [(UKB, "counts below 10 withheld"), (SHOWN, REASON), (SYNTHETIC, None)])
def test_a_figure_says_what_was_done_and_that_it_shows_single_participants(config, note, tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    labels = np.arange(60) < 30
    people = figures.fig2d_umap(np.zeros((60, 2)), np.ones((60, 2)), labels, "I21")
    counts = figures.roc_curves({"ECCL": (labels, np.arange(60.0), "AUC")}, least=limit_of(config).least)
    for figure, single in ((people, True), (counts, False)):
        notebook.save_figure(figure, "figure", config)
        texts = " ".join(text.get_text() for text in figure.texts)
        assert (note is None) or note in texts
        assert (PARTICIPANTS in texts) == (single and note is not None)
