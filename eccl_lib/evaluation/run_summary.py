"""Summaries of finished runs: scores with intervals, training curves, r per trait."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.schema import Config
from eccl_lib.data import small_counts
from eccl_lib.data.traits import TRAITS
from eccl_lib.metrics import bootstrap, embedding, scores
from eccl_lib.tasks import FIELD_IDS, task_of
from eccl_lib.training import data_warnings
from eccl_lib.training.run_scores import SCORES, few_cases, interval, measured_and_predicted
from eccl_lib.training.runs import Run

# Global traits, without the values of single segments.
OVERVIEW = tuple(t.short_name for t in TRAITS if "_AHA_" not in t.short_name and not t.short_name[-1].isdigit())


def summary(runs: Mapping[str, Run], config: Config) -> pd.DataFrame:
    """One row per run: metric, test score, 95 % interval, counts, best epoch, without small counts. runs: by name."""
    rows, withheld = [], small_counts.limit_of(config).withheld
    for name, run in runs.items():
        hidden = few_cases(run, "test", small_counts.limit_of(config))
        score, low, high = (np.nan,) * 3 if hidden else interval(run)
        facts = {"run": name, "task": run.task, "metric": run.metrics["metric"]}
        facts |= {"test": score, "low": low, "high": high}
        cases = run.metrics.get("positives", {}).get("test", "")
        facts |= {"n": run.metrics["n"]["test"], "positives": withheld if hidden else cases}
        rows.append(facts | {"best epoch": run.metrics["best_epoch"]})
        if warnings := run.metrics.get("warnings"):
            rows[-1]["warnings"] = "; ".join(data_warnings.shown(warnings, small_counts.limit_of(config)))
    return pd.DataFrame(rows).set_index("run").round(3)


def traits(run: Run, config: Config, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """One row per trait: short_name, group, unit, r, low, high (95 % interval over test participants), n.

    The row of a trait that was measured in few participants is empty (``small_counts.withhold``).
    """
    measured, predicted = measured_and_predicted(run)
    low, high = bootstrap.percentile(bootstrap.r_draws(predicted[None], measured, draws))
    r = np.nan_to_num(scores.pearson(predicted, measured))  # a constant prediction counts as 0
    own = [TRAITS[FIELD_IDS.index(name)] for name in task_of(config, run.task).names]
    frame = pd.DataFrame(own)[["short_name", "group", "unit"]]
    frame = frame.assign(r=r, low=low, high=high, n=(~np.isnan(measured)).sum(axis=0))
    return small_counts.withhold(frame, config).drop(columns=small_counts.NOTE, errors="ignore")


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame of all 82 traits that are global traits, without single segments; of others, all rows."""
    return frame[frame["short_name"].isin(OVERVIEW)] if len(frame) == len(TRAITS) else frame


def shown_history(run: Run, config: Config) -> pd.DataFrame:
    """The history of a run, whose validation score is missing where it is of few cases or controls."""
    return run.history.assign(score=np.nan) if few_cases(run, "val", small_counts.limit_of(config)) else run.history


def history_table(run: Run, config: Config) -> pd.DataFrame:
    """The history with readable columns: training loss and its terms, validation score or error."""
    metric = run.metrics["metric"]
    history = shown_history(run, config).rename(columns={"lr": "learning rate", "loss": "training loss"})
    if run.variant == "triplet":
        history = history.rename(columns={"contrastive": "triplet"})
    if metric in SCORES:
        return history.rename(columns={"score": f"validation {metric}"})
    return history.assign(score=-history["score"]).rename(columns={"score": f"validation {metric}"})


def training_figure(run: Run, config: Config) -> Figure:
    """Training curves of a run: loss terms, and the validation score (or error and learning rate of an autoencoder)."""
    metric, history = run.metrics["metric"], history_table(run, config)
    validation = f"validation {metric}"
    if metric in SCORES:
        losses = [name for name in ("training loss", "contrastive", "triplet", "task") if name in history]
        panels = {"training loss": losses, metric: [validation]}
    else:
        panels = {metric: ["training loss", validation], "learning rate": ["learning rate"]}
    return figures.training_curves(history, panels, best_epoch=run.metrics["best_epoch"])


def loss_decreased(run: Run) -> bool:
    """Whether the training loss of the last epoch is below that of the first."""
    return bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])


def score_figure(runs: Mapping[str, Run], config: Config) -> Figure:
    """ROC curves of a disease, or r per trait of the first run. runs: name to finished run of one task."""
    first = next(iter(runs.values()))
    if not task_of(config, first.task).is_disease:
        return figures.fig2c_traits(overview(traits(first, config)), n=first.metrics["n"]["test"])
    curves = {}
    for name, run in runs.items():
        measured, predicted = measured_and_predicted(run)
        auc, low, high = interval(run)
        curves[name] = (measured[:, 0] > 0.5, predicted[:, 0], f"AUC {auc:.2f} (95 % interval {low:.2f} to {high:.2f})")
    return figures.roc_curves(curves, least=small_counts.limit_of(config).least)


def scatter(run: Run, names: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measured and predicted values of some traits, in their units. names: short names."""
    measured, predicted = measured_and_predicted(run)
    position = {trait.short_name: k for k, trait in enumerate(TRAITS)}
    return {name: (measured[:, position[name]], predicted[:, position[name]]) for name in names}


def separation(features: np.ndarray, group: np.ndarray) -> str:
    """5-NN purity of cases and controls with its interval, as text: 0.5 if they are mixed, 1 if they are separated."""
    mean, low, high = embedding.balanced_interval(embedding.purity(features, group), group)
    return f"5-NN purity {mean:.2f} ({low:.2f} to {high:.2f}); 0.50 = mixed"
