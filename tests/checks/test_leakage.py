"""Each of the eight kinds of leakage is planted and found; a clean cohort shows none."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from eccl_lib.checks import leakage
from eccl_lib.commands import ingest
from eccl_lib.config.load import essentials, load
from eccl_lib.data import leaks, open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.splits import split_of
from eccl_lib.io import paths
from eccl_lib.io.files import write_json
from tests.conftest import eccl

CONFIG = load("demo")


@pytest.fixture
def data(tmp_path) -> Cohort:
    """A clean cohort of 2,000 participants with independent variables."""
    rng = np.random.default_rng(0)
    n = 2000
    eids = [str(9_000_001 + k) for k in range(n)]
    table = pd.DataFrame({"eid": eids, "split": [split_of(eid, "eccl", CONFIG.synthetic.split) for eid in eids]})
    table["sex"], table["age"] = rng.choice(["female", "male"], n), rng.normal(64, 8, n)
    table["heart_rate"], table["notes"] = rng.normal(60, 10, n), ""
    ecg = rng.integers(-500, 500, (n, 12, 50)).astype(np.int16)
    clips = rng.integers(0, 255, (n, 8, 8, 2)).astype(np.uint8)
    traits, labels = rng.normal(size=(n, 82)).astype(np.float32), rng.random((n, 4)) < 0.1
    return Cohort(tmp_path, "f", table, ecg, clips, traits, labels, pd.DataFrame(), print)


def kinds(found: list[leaks.Leak]) -> set[tuple[str, str]]:
    return {(leak.kind, leak.level) for leak in found}


EVER = ("3.1", "warning")  # of the default labels, always


def test_a_clean_cohort_has_only_the_warning_about_its_default_labels(data):
    assert kinds(leaks.check(CONFIG, data)) == {EVER}
    assert leaks.check(load("demo", overrides={"store.labels": "prevalent"}), data) == []


def test_the_table_has_the_eight_kinds_and_their_levels():
    assert [kind.number for kind in leaks.KINDS] == ["1.1", "1.2", "1.3", "1.4", "2", "3.1", "3.2", "3.3"]
    assert [kind.number for kind in leaks.KINDS if kind.level == "warning"] == ["2", "3.3"]
    assert "`ever`: warning" in next(kind.level for kind in leaks.KINDS if kind.number == "3.1")


def test_1_1_no_test_set(data):
    data.table["split"] = data.table["split"].replace("test", "train")
    assert ("1.1", "error") in kinds(leaks.check(CONFIG, data))


def test_1_1_predictions_of_training_participants(data):
    test = data.table.loc[data.table["split"] == "test", "eid"]
    assert leaks.predictions_outside_test(test, data.table) == []
    (found,) = leaks.predictions_outside_test(data.table["eid"].iloc[:100], data.table)
    assert found.level == "error"
    assert "9000" not in str(found)  # counts, never people


def test_1_2_a_scaler_fitted_with_the_test_set(data):
    train = data.index("train")

    def fair(values):
        return values[train].mean(axis=0), values[train].std(axis=0)

    def greedy(values):
        return values.mean(axis=0), values.std(axis=0)

    assert leaks.scaler_fitted_beyond_train(fair, data.traits, train) == []
    assert kinds(leaks.scaler_fitted_beyond_train(greedy, data.traits, train)) == {("1.2", "error")}


def test_1_2_the_scaler_of_the_library_is_fitted_on_train(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    assert leakage.check_runs(CONFIG, data) == []


def test_1_3_an_epoch_not_selected_by_validation():
    assert leaks.epoch_not_best_on_validation(2, np.array([0.1, 0.7, 0.7, 0.3])) == []
    assert kinds(leaks.epoch_not_best_on_validation(3, np.array([0.1, 0.7, 0.7, 0.3]))) == {("1.3", "error")}
    assert leaks.epoch_not_best_on_validation(2, np.array([np.nan, np.nan])) == []


@pytest.mark.parametrize("name", ["ecg", "clips", "traits"])
def test_1_4_the_same_recording_in_train_and_test(data, name):
    array = getattr(data, name)
    array[data.index("test")[0]] = array[data.index("train")[0]]
    assert ("1.4", "error") in kinds(leaks.check(CONFIG, data))


def test_1_4_participants_without_traits_are_no_duplicates(data):
    data.traits[:300] = np.nan
    assert kinds(leaks.check(CONFIG, data)) == {EVER}


def test_2_a_feature_that_contains_the_label(data):
    data.table["notes"] = np.where(data.labels[:, 2], "atrial fibrillation", "")
    found = [leak for leak in leaks.check(CONFIG, data) if leak.kind == "2"]
    assert [leak.level for leak in found] == ["warning"]
    assert "notes alone predicts I48 with an AUC of 1.00" in found[0].message


def test_3_1_diagnoses_before_and_after_the_visit(data):
    before, after = data.labels, np.zeros_like(data.labels)
    assert leaks.temporal_leakage("incident", before, after) == []
    after[np.flatnonzero(before[:, 0])[:3], 0] = True
    assert kinds(leaks.temporal_leakage("incident", before, after)) == {("3.1", "error")}


def test_3_2_one_participant_in_two_splits(data):
    data.table.loc[data.index("test")[0], "eid"] = data.table["eid"].iloc[data.index("train")[0]]
    assert ("3.2", "error") in kinds(leaks.check(CONFIG, data))


def test_3_2_a_stage_with_another_split(data):
    data.table["split"] = [split_of(eid, "another salt", CONFIG.synthetic.split) for eid in data.table["eid"]]
    assert kinds(leaks.check(CONFIG, data)) == {EVER, ("3.2", "error")}


def test_3_3_a_test_set_with_another_age_distribution(data):
    order = np.argsort(-data.table["age"].to_numpy())
    data.table["split"] = "train"
    data.table.loc[order[:400], "split"] = "test"
    data.table.loc[order[400:800], "split"] = "val"
    assert ("3.3", "warning") in kinds(leaks.check(CONFIG, data))


def test_finished_runs_are_checked_against_the_cohort(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    run = tmp_path / "demo-synthetic" / "align" / "eccl" / "I48" / "seed0-0123abcd"
    run.mkdir(parents=True)
    write_json(run / "manifest.json", {})
    write_json(run / "metrics.json", {"best_epoch": 2})
    pd.DataFrame({"score": [0.5, 0.6]}).to_csv(run / "history.csv", index=False)
    frame = data.table.loc[data.table["split"] == "test", ["eid"]]
    frame.to_parquet(run / "predictions.parquet", index=False)
    assert leakage.check_runs(CONFIG, data) == []
    write_json(run / "metrics.json", {"best_epoch": 1})
    data.table.head(5)[["eid"]].to_parquet(run / "predictions.parquet", index=False)
    found = leakage.check_runs(CONFIG, data)
    assert kinds(found) == {("1.1", "error"), ("1.3", "error")}
    assert all("align/eccl/I48/seed0-0123abcd" in str(leak) for leak in found)


def test_unfinished_runs_and_those_of_other_splits_and_cohorts_are_no_leak(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    salted = load("demo", overrides={"store.split_salt": "another salt"})
    larger = load("demo", overrides={"synthetic.participants": 9_000})
    of_salt = [eid for eid in data.table["eid"] if split_of(eid, "another salt", CONFIG.synthetic.split) == "test"]
    for k, (config, status, eids) in enumerate(
        ((CONFIG, "training", []), (salted, "done", of_salt), (larger, "done", ["9008999"]), (CONFIG, "done", of_salt))
    ):
        run = tmp_path / "demo-synthetic" / "align" / "eccl" / "I48" / f"seed{k}-0123abcd"
        run.mkdir(parents=True)
        write_json(run / "manifest.json", {"status": status})
        if status == "done":
            write_json(run / "config.json", essentials(config))
            write_json(run / "metrics.json", {})
            pd.DataFrame({"eid": eids}).to_parquet(run / "predictions.parquet", index=False)
    (found,) = leakage.check_runs(CONFIG, data)
    assert (found.kind, found.level) == ("1.1", "error") and "seed3-0123abcd" in str(found)


def test_the_command_counts_errors_and_warnings_and_its_status_says_whether_there_are_errors(data, monkeypatch, capsys):
    monkeypatch.setattr(open_cohort, "load", lambda config, needs: data)
    assert eccl("leakage") == 0
    assert "leakage: 0 errors, 1 warnings" in capsys.readouterr().out
    data.ecg[data.index("test")[0]] = data.ecg[data.index("train")[0]]
    assert eccl("leakage") == 1
    said = capsys.readouterr()
    assert "leakage: 1 errors, 1 warnings" in said.out and "1.4" in said.err


def test_the_documentation_has_the_same_table():
    text = (paths.ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for kind in leaks.KINDS:
        assert f"| {kind.number} | {kind.name} | {kind.check} | {kind.level} |" in text


def test_the_documentation_contains_the_command():
    text = (paths.ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    known = set(
        re.findall(r"--[a-z-]+", ingest.ukb.get_help(ingest.ukb.make_context("ukb", [], resilient_parsing=True)))
    )
    assert {"--withdrawals", "--no-withdrawals", "--retry-quarantined", "--segmentations", "--scheduler"} <= known
    assert all(word in text for word in known - {"--help", "--scale", "--set"})
