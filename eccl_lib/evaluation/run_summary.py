"""From a finished run to what a notebook shows: score with interval, ROC curve, r per trait."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation.predictions import measured_and_predicted
from eccl_lib.metrics import bootstrap, delong, scores
from eccl_lib.training.runs import Run

DRAWS = 2000  # of participants, for one run's intervals; ours
# One whole-heart trait beside its segments: what fits on a page and is read first.
OVERVIEW = tuple(t.short_name for t in TRAITS if "_AHA_" not in t.short_name and not t.short_name[-1].isdigit())


def interval(run: Run, draws: int = DRAWS) -> tuple[float, float, float]:
    """The run's test score with its 95 % interval over participants.

    An AUC's is DeLong's on the logit scale; that of mean r is a bootstrap of ``draws`` draws.
    """
    measured, predicted = measured_and_predicted(run)
    if run.task != "traits":
        return delong.interval(predicted[:, 0], measured[:, 0] > 0.5)
    low, high = bootstrap.percentile(bootstrap.mean_r_draws(predicted[None], measured, draws))
    return float(run.metrics["test"]), float(low), float(high)


def summary(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row a run: what was scored, on how many, with its 95 % interval. runs: name to finished run."""
    rows = []
    for name, run in runs.items():
        score, low, high = interval(run)
        facts = {
            "run": name,
            "task": run.task,
            "metric": run.metrics["metric"],
            "test": score,
            "low": low,
            "high": high,
        }
        facts |= {"n": run.metrics["n"]["test"], "positives": run.metrics.get("positives", {}).get("test", "")}
        rows.append(facts | {"best epoch": run.metrics["best_epoch"]})
    return pd.DataFrame(rows).set_index("run").round(3)


def traits(run: Run, draws: int = DRAWS) -> pd.DataFrame:
    """A row a trait: short_name, group, unit, r, low, high (95 % interval over test participants), n."""
    measured, predicted = measured_and_predicted(run)
    low, high = bootstrap.percentile(bootstrap.r_draws(predicted[None], measured, draws))
    columns = {key: [getattr(t, key) for t in TRAITS] for key in ("short_name", "group", "unit")}
    r = np.nan_to_num(scores.pearson(predicted, measured))  # a constant prediction counts as 0
    return pd.DataFrame({**columns, "r": r, "low": low, "high": high, "n": (~np.isnan(measured)).sum(axis=0)})


def score_figure(runs: Mapping[str, Run], synthetic: bool) -> Figure:
    """ROC curves of a disease, or r per trait of the first run. runs: name to finished run of one task."""
    first = next(iter(runs.values()))
    if first.task == "traits":
        chosen = traits(first)
        chosen = chosen[chosen["short_name"].isin(OVERVIEW)]
        return figures.fig2c_traits(chosen, n=first.metrics["n"]["test"], synthetic=synthetic)
    curves = {}
    for name, run in runs.items():
        measured, predicted = measured_and_predicted(run)
        auc, low, high = interval(run)
        curves[name] = (measured[:, 0] > 0.5, predicted[:, 0], f"AUC {auc:.2f} (95 % interval {low:.2f} to {high:.2f})")
    return figures.roc_curves(curves, synthetic=synthetic)


def scatter(run: Run, names: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measured and predicted values of some traits, in their units. names: short names."""
    measured, predicted = measured_and_predicted(run)
    position = {trait.short_name: k for k, trait in enumerate(TRAITS)}
    return {name: (measured[:, position[name]], predicted[:, position[name]]) for name in names}


def modality_gap(features: np.ndarray, group: np.ndarray, person: np.ndarray) -> str:
    """How far two modalities lie apart, in words for a picture's title: silhouette, 0 where mixed, 1 where apart."""
    from eccl_lib.metrics import embedding

    mean, low, high = embedding.balanced_interval(embedding.silhouette(features, group), group, person)
    return f"silhouette {mean:.2f} ({low:.2f} to {high:.2f}); 0 is mixed"


def separation(features: np.ndarray, group: np.ndarray) -> str:
    """How far the sick and the others lie apart, in words: 5-NN purity, each alike, 0.5 where mixed, 1 where apart."""
    from eccl_lib.metrics import embedding

    mean, low, high = embedding.balanced_interval(embedding.purity(features, group), group)
    return f"5-NN purity {mean:.2f} ({low:.2f} to {high:.2f}); 0.50 is mixed"
