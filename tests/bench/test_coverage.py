"""The simulated studies have the truth they claim, and the intervals hold it about as often as they say."""

import re

import numpy as np
import pandas as pd
import pytest

from bench import coverage
from bench.coverage import Design
from eccl_lib.io.paths import DEMO_FIGURES, ROOT
from eccl_lib.metrics import scores


def test_simulated_scores_have_the_true_auc_in_every_seed():
    score, positive = coverage.binormal(Design("AUC", 60_000, 20_000, 0.8, seeds=2), np.random.default_rng(0))
    assert [scores.auc(one, positive) for one in score] == pytest.approx([0.8, 0.8], abs=0.006)
    assert positive.sum() == 20_000


def test_simulated_traits_have_the_true_r_and_go_together():
    predicted, measured = coverage.hearts(Design("mean r", 20_000, 0, 0.35), np.random.default_rng(0))
    np.testing.assert_allclose(scores.pearson(predicted[0], measured), 0.35, atol=0.04)
    assert np.corrcoef(measured[:, 0], measured[:, 1])[0, 1] == pytest.approx(coverage.TRAITS_SHARED, abs=0.03)


@pytest.mark.parametrize(("positives", "low", "high"), [(33, 0.92, 0.97), (300, 0.93, 0.97)])
def test_the_logit_interval_holds_the_true_auc(positives, low, high):
    # 2,000 studies: a standard error of 0.5 %; participants fewer than in figures/demo/coverage.csv, positives alike.
    result = coverage.simulate(Design("AUC", 1200, positives, 0.8), 2000).set_index("interval")
    assert low <= result.loc["logit", "coverage"] <= high
    assert result.loc["plain", "coverage"] < result.loc["logit", "coverage"] + 0.005


def test_the_bootstrap_holds_the_true_mean_r(monkeypatch):
    monkeypatch.setattr(coverage, "DRAWS", 200)
    result = coverage.simulate(Design("mean r", 120, 0, 0.35), 200)
    assert result["coverage"].item() == pytest.approx(0.94, abs=0.05)


def test_the_interval_of_a_difference_holds_zero_where_two_rows_do_not_differ():
    coverage._weights.cache_clear()
    result = coverage.simulate(Design("AUC difference", 120, 20, 0.0, seeds=2), 300)
    assert result["coverage"].item() == pytest.approx(0.945, abs=0.04)


def test_misses_on_either_side_are_what_coverage_leaves():
    result = coverage.simulate(Design("AUC", 120, 11, 0.8), 300)
    assert result[["coverage", "truth_below", "truth_above"]].sum(axis=1).tolist() == pytest.approx([1, 1])


def test_the_command_writes_a_row_for_each_design_and_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "DRAWS", 20)
    coverage._weights.cache_clear()
    coverage.main(["--repeats", "3", "--out", str(tmp_path / "coverage.csv")])
    written = pd.read_csv(tmp_path / "coverage.csv")
    assert len(written) == sum(2 if design.metric == "AUC" else 1 for design in coverage.DESIGNS)
    assert written["coverage"].between(0, 1).all()
    coverage._weights.cache_clear()


COMMITTED = pd.read_csv(DEMO_FIGURES / "coverage.csv")


def test_the_committed_table_has_every_design_and_holds_what_is_asked_of_the_logit_interval():
    designs = [tuple(vars(design).values()) for design in coverage.DESIGNS]
    assert set(COMMITTED[list(vars(coverage.DESIGNS[0]))].itertuples(index=False, name=None)) == set(designs)
    logit = COMMITTED[(COMMITTED["interval"] == "logit") & (COMMITTED["participants"] == 8308)]
    assert (logit.loc[logit["positives"] == 33, "coverage"] >= 0.92).all()
    assert logit.loc[logit["positives"] == 300, "coverage"].between(0.94, 0.96).all()


def test_the_page_on_statistics_quotes_the_committed_table():
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    quoted = re.findall(r"(?<=\| )\.\d{3}(?= \|)", text)
    assert [float(number) for number in quoted] == pytest.approx(COMMITTED["coverage"].tolist(), abs=6e-4)


def test_every_file_the_page_on_statistics_names_exists():
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / "eccl_lib" / name).is_file(), name
    for target in re.findall(r"\]\(\.\./([^)]+)\)", text):
        assert (ROOT / target).is_file(), target
