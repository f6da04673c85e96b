"""From saved predictions to what notebooks show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eccl_lib.config.load import load
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import fig2b, run_summary
from eccl_lib.figures.style import STAMP
from eccl_lib.models.ecg_vit import grid

N = 80


@dataclass
class Finished:
    """The part of a run that a report reads."""

    task: str
    predictions: pd.DataFrame
    metrics: dict


@pytest.fixture
def disease() -> Finished:
    generator = np.random.default_rng(0)
    sick = np.arange(N) < 20
    score = sick + generator.standard_normal(N)
    metrics = {"metric": "AUC", "test": roc_auc_score(sick, score), "n": {"test": N}, "positives": {"test": 20}}
    found = pd.DataFrame({"eid": np.arange(N), "target_I42": sick.astype(float), "score_I42": score})
    return Finished("I42", found, metrics | {"best_epoch": 3})


@pytest.fixture
def traits() -> Finished:
    generator = np.random.default_rng(0)
    names = [str(trait.field_id) for trait in TRAITS]
    truth = generator.standard_normal((N, len(names)))
    guess = truth + generator.standard_normal((N, len(names)))
    truth[:10, 0] = np.nan
    columns = {f"target_{name}": truth[:, k] for k, name in enumerate(names)}
    columns |= {f"score_{name}": guess[:, k] for k, name in enumerate(names)}
    test = np.nanmean([pd.Series(truth[:, k]).corr(pd.Series(guess[:, k])) for k in range(len(names))])
    return Finished("traits", pd.DataFrame(columns), {"metric": "mean r", "test": test, "n": {"test": N}})


def test_interval_of_an_auc_holds_it_and_is_about_as_wide_as_hanley_and_mcneil_say(disease: Finished):
    auc, low, high = run_summary.interval(disease)
    assert low < auc < high
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + 19 * (q1 - auc**2) + 59 * (q2 - auc**2)) / (20 * 60)
    assert (high - low) / (2 * 1.96 * np.sqrt(variance)) == pytest.approx(1, abs=0.25)


def test_r_per_trait_is_pandas_correlation_over_those_measured(traits: Finished):
    table = run_summary.traits(traits, draws=50)
    first = traits.predictions[[f"target_{TRAITS[0].field_id}", f"score_{TRAITS[0].field_id}"]]
    assert table["r"][0] == pytest.approx(first.corr().iloc[0, 1])
    assert table["n"].tolist() == [N - 10] + [N] * 81
    assert table["r"].mean() == pytest.approx(traits.metrics["test"])
    assert (table["low"] < table["r"]).all() and (table["r"] < table["high"]).all()


def test_summary_names_what_was_counted(disease: Finished):
    row = run_summary.summary({"ECCL": disease}).loc["ECCL"]
    assert (row["n"], row["positives"], row["metric"]) == (N, 20, "AUC")


@pytest.mark.parametrize("synthetic", [True, False])
def test_score_figure_fits_the_task(disease: Finished, traits: Finished, synthetic: bool):
    roc = run_summary.score_figure({"ECCL": disease}, synthetic)
    bars = run_summary.score_figure({"ECCL": traits}, synthetic)
    assert roc.axes[0].get_ylabel() == "sensitivity"
    assert len(bars.axes[0].get_yticks()) == len(run_summary.OVERVIEW)
    for figure in (roc, bars):
        assert any(text.get_text() == STAMP for text in figure.texts) == synthetic


def test_overview_has_whole_organs_and_no_segments():
    assert {"LVEDV", "RVEF", "LAV_max", "WT_global", "Ell_global"} <= set(run_summary.OVERVIEW)
    assert not {"WT_AHA_3", "Ell_4"} & set(run_summary.OVERVIEW)


def test_scatter_picks_traits_by_name(traits: Finished):
    name = TRAITS[5].short_name
    measured, predicted = run_summary.scatter(traits, (name,))[name]
    np.testing.assert_array_equal(measured, traits.predictions[f"target_{TRAITS[5].field_id}"])
    np.testing.assert_array_equal(predicted, traits.predictions[f"score_{TRAITS[5].field_id}"])


def test_separation_says_what_mixed_means():
    points = np.random.default_rng(0).standard_normal((60, 4))
    assert run_summary.separation(points + 90 * (np.arange(60) < 10)[:, None], np.arange(60) < 10).startswith(
        "5-NN purity 1.00 (1.00 to 1.00); 0.50"
    )


def test_modality_gap_is_one_for_two_far_clouds():
    points, kind = np.random.default_rng(0).standard_normal((60, 4)), np.repeat(["ECG", "CMR"], 30)
    far = points + 1e4 * (kind == "ECG")[:, None]
    assert run_summary.modality_gap(far, kind, np.tile(np.arange(30), 2)).startswith("silhouette 1.00 (1.00 to 1.00)")


def test_papers_variants_have_600_240_and_120_patches():
    config = load("paper")
    counts = [np.prod(grid(point.ecg, 5000)) for panel, point in fig2b.plan(config) if panel == "patches"]
    assert counts == [600, 240, 120]


@pytest.mark.parametrize("scale", ["demo", "study", "paper"])
@pytest.mark.parametrize("overrides", [{}, {"ecg.width": 384, "ecg.heads": 6}])
def test_chosen_encoder_is_a_point_of_both_panels(scale: str, overrides: dict):
    config = load(scale, overrides=overrides)
    plan = fig2b.plan(config)
    for panel in ("patches", "size"):
        assert config.ecg in [point.ecg for name, point in plan if name == panel]
    assert all(point.ecg.width % point.ecg.heads == 0 and point.disease == "traits" for _, point in plan)
