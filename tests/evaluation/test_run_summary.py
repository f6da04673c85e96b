"""Summaries of finished runs: intervals, tables, figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eccl_lib.config.load import load
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import attention, fig2b, run_summary
from eccl_lib.models.ecg_vit import grid
from eccl_lib.tasks import TASKS, Task
from eccl_lib.training import run_scores

N, CONFIG = 80, load("demo")


@dataclass
class Finished:
    """The part of a run that the summaries read."""

    task: str
    predictions: pd.DataFrame
    metrics: dict
    history: pd.DataFrame | None = None
    variant: str = "eccl"


@pytest.fixture
def disease() -> Finished:
    generator = np.random.default_rng(0)
    positive = np.arange(N) < 20
    score = positive + generator.standard_normal(N)
    metrics = {"metric": "AUC", "test": roc_auc_score(positive, score), "n": {"test": N}, "positives": {"test": 20}}
    predictions = pd.DataFrame({"eid": np.arange(N), "target_I42": positive.astype(float), "score_I42": score})
    return Finished("I42", predictions, metrics | {"best_epoch": 3})


@pytest.fixture
def traits() -> Finished:
    generator = np.random.default_rng(0)
    names = [str(trait.field_id) for trait in TRAITS]
    measured = generator.standard_normal((N, len(names)))
    predicted = measured + generator.standard_normal((N, len(names)))
    measured[:10, 0] = np.nan
    columns = {f"target_{name}": measured[:, k] for k, name in enumerate(names)}
    columns |= {f"score_{name}": predicted[:, k] for k, name in enumerate(names)}
    test = np.nanmean([pd.Series(measured[:, k]).corr(pd.Series(predicted[:, k])) for k in range(len(names))])
    return Finished("traits", pd.DataFrame(columns), {"metric": "mean r", "test": test, "n": {"test": N}})


def test_interval_of_an_auc_agrees_with_hanley_and_mcneil(disease: Finished):
    auc, low, high = run_scores.interval(disease)
    assert low < auc < high
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + 19 * (q1 - auc**2) + 59 * (q2 - auc**2)) / (20 * 60)
    assert (high - low) / (2 * 1.96 * np.sqrt(variance)) == pytest.approx(1, abs=0.25)


def test_r_per_trait_is_the_pandas_correlation_over_measured_values(traits: Finished):
    table = run_summary.traits(traits, CONFIG, draws=50)
    first = traits.predictions[[f"target_{TRAITS[0].field_id}", f"score_{TRAITS[0].field_id}"]]
    assert table["r"][0] == pytest.approx(first.corr().iloc[0, 1])
    assert table["n"].tolist() == [N - 10] + [N] * 81
    assert table["r"].mean() == pytest.approx(traits.metrics["test"])
    assert (table["low"] < table["r"]).all() and (table["r"] < table["high"]).all()


def test_summary_states_the_counts(disease: Finished):
    row = run_summary.summary({"ECCL": disease}, CONFIG).loc["ECCL"]
    assert (row["n"], row["positives"], row["metric"]) == (N, 20, "AUC")


def test_score_figure_fits_the_task(disease: Finished, traits: Finished):
    roc = run_summary.score_figure({"ECCL": disease}, CONFIG)
    bars = run_summary.score_figure({"ECCL": traits}, CONFIG)
    assert roc.axes[0].get_ylabel() == "sensitivity"
    assert len(bars.axes[0].get_yticks()) == len(run_summary.OVERVIEW)


def test_a_registered_task_of_one_trait_has_its_r_and_no_roc_curve(traits: Finished, monkeypatch):
    monkeypatch.setitem(TASKS, "ejection", Task("ejection", "LVEF", "mean r", ("24103",)))
    columns = ["target_24103", "score_24103"]
    run = Finished("ejection", traits.predictions[columns], traits.metrics)
    table = run_summary.traits(run, CONFIG, draws=50)
    assert table["short_name"].tolist() == ["LVEF"]
    assert table["r"].tolist() == pytest.approx([traits.predictions[columns].corr().iloc[0, 1]])
    assert len(run_summary.score_figure({"ECCL": run}, CONFIG).axes[0].get_yticks()) == 1
    assert attention.example_row(Finished("ejection", run.predictions.assign(row=np.arange(N) + 7), {})) == 7


def curves(figure) -> list[dict[str, list[float]]]:
    """Per panel: label to values of each curve, without the line at the best epoch."""
    lines = [[line for line in ax.lines if len(line.get_ydata()) == 3] for ax in figure.axes]
    return [{line.get_label(): line.get_ydata().tolist() for line in panel} for panel in lines]


@pytest.mark.parametrize(("last", "decreased"), [(1.0, True), (4.0, False)])
def test_training_figure_shows_scores_or_errors_and_a_rising_loss_is_detected(last: float, decreased: bool):
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, last], "score": [-0.5, -0.3, -0.2], "lr": 0.1})
    error = Finished("ecg", pd.DataFrame(), {"metric": "masked MSE", "best_epoch": 3}, history)
    score = Finished("I42", pd.DataFrame(), {"metric": "AUC", "best_epoch": 3}, history)
    training, rate = curves(run_summary.training_figure(error, CONFIG))
    assert training == {"training loss": [3.0, 2.0, last], "validation masked MSE": [0.5, 0.3, 0.2]}
    assert rate == {"learning rate": [0.1] * 3}
    loss, auc = curves(run_summary.training_figure(score, CONFIG))
    assert loss == {"training loss": [3, 2, last]} and auc == {"validation AUC": [-0.5, -0.3, -0.2]}
    assert run_summary.loss_decreased(score) == decreased


def test_the_history_of_the_triplet_row_does_not_call_its_loss_contrastive():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": 3.0, "contrastive": 2.0, "task": 1.0, "score": 0.7, "lr": 0.1})
    run = Finished("I42", pd.DataFrame(), {"metric": "AUC", "best_epoch": 1}, history, variant="triplet")
    table = run_summary.history_table(run, CONFIG)
    assert list(table) == ["epoch", "training loss", "triplet", "task", "validation AUC", "learning rate"]
    assert "triplet" in curves(run_summary.training_figure(run, CONFIG))[0]


def test_overview_has_global_traits_and_no_segments():
    assert {"LVEDV", "RVEF", "LAV_max", "WT_global", "Ell_global"} <= set(run_summary.OVERVIEW)
    assert not {"WT_AHA_3", "Ell_4"} & set(run_summary.OVERVIEW)


def test_scatter_selects_traits_by_name(traits: Finished):
    name = TRAITS[5].short_name
    measured, predicted = run_summary.scatter(traits, (name,))[name]
    np.testing.assert_array_equal(measured, traits.predictions[f"target_{TRAITS[5].field_id}"])
    np.testing.assert_array_equal(predicted, traits.predictions[f"score_{TRAITS[5].field_id}"])


def test_separation_states_the_value_of_mixed_groups():
    points = np.random.default_rng(0).standard_normal((60, 4))
    assert run_summary.separation(points + 90 * (np.arange(60) < 10)[:, None], np.arange(60) < 10).startswith(
        "5-NN purity 1.00 (1.00 to 1.00); 0.50 = mixed"
    )


def test_papers_variants_have_600_240_and_120_patches():
    config = load("paper")
    counts = [np.prod(grid(point.ecg, 5000)) for panel, point in fig2b.plan(config) if panel == "patches"]
    assert counts == [600, 240, 120]
    table = fig2b.plan_table(config).query("panel == 'patches'")
    assert table["patch"].tolist() == ["1 x 100", "1 x 250", "1 x 500"]


@pytest.mark.parametrize("scale", ["demo", "study", "paper"])
@pytest.mark.parametrize("overrides", [{}, {"ecg.width": 384, "ecg.heads": 6}])
def test_the_configured_encoder_is_a_point_of_every_panel(scale: str, overrides: dict):
    config = load(scale, overrides=overrides)
    plan = fig2b.plan(config)
    for panel in ("patches", "width", "depth"):
        assert config.ecg in [point.ecg for name, point in plan if name == panel]
    assert all(point.ecg.width % point.ecg.heads == 0 and point.disease == "traits" for _, point in plan)
