"""Numbers of Table 1 from finished runs: cells with intervals, differences, traits, reliability, retrieval.

``write`` writes all files; one function computes each frame. No file contains data of single participants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort, small_counts
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import (
    claims,
    controls,
    latent_scores,
    own_questions,
    prior,
    provenance,
    table1_text,
    table_cell,
)
from eccl_lib.evaluation.claims import Resampled
from eccl_lib.evaluation.latent_scores import WHEN, ByTaskAndSeed, seeds_of
from eccl_lib.evaluation.predictions import Scores, gather
from eccl_lib.io.files import write_json, write_text
from eccl_lib.io.progress import Log
from eccl_lib.metrics import bootstrap, calibration, comparison
from eccl_lib.metrics import retrieval as retrieval_metrics
from eccl_lib.metrics import scores as evaluate
from eccl_lib.metrics.calibration import Prior
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import TASKS, Task, tasks_of

BASE = "eccl"  # the row that is compared with all others
KINDS = ("raw", "shifted")
# Written only with the traits, or only with ECCL.
OPTIONAL = {"table1_traits.csv", "retrieval.csv", "separation.csv", "against_controls.csv"}


@dataclass(frozen=True)
class Column:
    """One task: scores, bootstrap draws, and the prior of each row.

    drawn: (R, S, B) score of each row, seed and draw, NaN if undefined. drawn_traits: (R, B, traits) r averaged over
    seeds, empty for a disease. priors: one per row, empty for traits.
    """

    scores: Scores
    drawn: np.ndarray
    drawn_traits: np.ndarray
    priors: tuple[Prior, ...]

    def resampled(self) -> dict[str, Resampled]:
        """The score of each row, by key: of each seed, and of each seed and draw."""
        by_seed = [np.array([run.metrics["test"] for run in row]) for row in self.scores.runs]
        rows = zip(self.scores.rows, by_seed, self.drawn, strict=True)
        return {key: Resampled(seeds, draws) for key, seeds, draws in rows}


def column(config: Config, data: cohort.Cohort, scores: Scores, draws: int = bootstrap.DRAWS) -> Column:
    """Bootstrap a task; all rows and seeds use the same draws of participants."""
    parts, traits = [], []
    for weights in bootstrap.draws(len(scores.measured), draws):
        if scores.task.is_disease:
            drawn = [[bootstrap.resampled_auc(seed, scores.positive, weights) for seed in row] for row in scores.logits]
        else:
            r = np.array(
                [
                    [bootstrap.resampled_r(seed[None], scores.measured, weights) for seed in row]
                    for row in scores.predicted
                ]
            )
            drawn = bootstrap.mean_over_traits(r)
            traits.append(r.mean(axis=1))
        parts.append(drawn)
    of_traits = np.concatenate(traits, axis=1) if traits else np.empty((len(scores.rows), 0, 0))
    return Column(scores, np.concatenate(parts, axis=2), of_traits, _priors(config, data, scores))


def _priors(config: Config, data: cohort.Cohort, scores: Scores) -> tuple[Prior, ...]:
    """Prevalence in the training set, and the share of cases in one epoch of each row."""
    if not scores.task.is_disease:
        return ()
    return tuple(prior.of_row(config, data, scores.task.key, key) for key in scores.rows)


def cells(columns: Mapping[str, Column]) -> pd.DataFrame:
    """One row per cell: row, task, column, metric, then ``table_cell.of_disease`` or ``table_cell.of_traits``."""
    records = []
    for column in columns.values():
        scores, task = column.scores, column.scores.task
        for k, name in enumerate(scores.names):
            if task.is_disease:
                cell = table_cell.of_disease(scores.logits[k], scores.positive, column.priors[k])
            else:
                cell = table_cell.of_traits(scores.predicted[k], scores.measured, column.drawn[k])
            records.append({"row": name, "task": task.key, "column": task.column, "metric": task.metric} | cell)
    return _in_order(pd.DataFrame(records))


def _in_order(records: pd.DataFrame) -> pd.DataFrame:
    """Sort by row of Table 1, then by task; positives as integers."""
    place = {method.row: k for k, method in enumerate(METHODS.values())}
    ordered = records.sort_values("row", key=lambda row: row.map(place), kind="stable", ignore_index=True)
    return ordered.astype({"positives": "Int64"}) if "positives" in ordered else ordered


def wide(long: pd.DataFrame, tasks: Mapping[str, Task] = TASKS) -> pd.DataFrame:
    """Cells in the format of figures/paper/table1.csv with limits: row, mi_auc_mean, mi_auc_std, mi_auc_low ...

    tasks: all that the cells can have, in the order of the columns.
    """
    found = [task for task in tasks if task in set(long["task"])]
    columns = [(part, task) for task in found for part in ("mean", "std", "low", "high")]
    table = long.set_index(["row", "task"]).unstack().loc[long["row"].unique(), columns]
    names = [f"{table1_text.stem_of(task, tasks)}_{part}" for part, task in columns]
    return table.set_axis(names, axis=1).reset_index()


def single_scores(columns: Mapping[str, Column]) -> pd.DataFrame:
    """Score of every single run: row, task, seed, metric, test, validation, best_epoch, epochs, run."""
    records = []
    for scores in (column.scores for column in columns.values()):
        for name, runs in zip(scores.names, scores.runs, strict=True):
            for seed, run in zip(scores.seeds, runs, strict=True):
                metrics = run.metrics
                facts = {"row": name, "task": scores.task.key, "seed": seed, "metric": metrics["metric"]}
                facts |= {"test": metrics["test"], "validation": metrics["val"], "best_epoch": metrics["best_epoch"]}
                records.append(facts | {"epochs": metrics["epochs"], "run": run.name})
    return _in_order(pd.DataFrame(records))


def shown_scores(frame: pd.DataFrame, config: Config, data: cohort.Cohort) -> pd.DataFrame:
    """``single_scores`` without validation scores of few cases or controls."""
    few = small_counts.hidden_diseases(config, data, "val")
    return frame.assign(validation=frame["validation"].mask(frame["task"].isin(few)))


def differences(columns: Mapping[str, Column]) -> pd.DataFrame:
    """ECCL minus each other row on each task: difference, std, low, high (95 %), p, p_holm (over all rows), draws.

    Both rows share the draws of participants. Interval and p describe the variation over participants and seeds; std is
    over seeds.
    """
    records = []
    for column in columns.values():
        rows = column.resampled()
        if BASE not in rows:
            continue
        for (key, other), name in zip(rows.items(), column.scores.names, strict=True):
            if key != BASE:
                by_seed = rows[BASE].by_seed - other.by_seed
                found = comparison.over_participants_and_seeds(by_seed, rows[BASE].drawn - other.drawn)
                facts = (METHODS[BASE].row, name, column.scores.task.key, column.scores.task.metric, found.value)
                records.append(
                    (*facts, evaluate.deviation(by_seed), found.low, found.high, found.p, column.drawn.shape[2])
                )
    names = ["row", "other", "task", "metric", "difference", "std", "low", "high", "p", "draws"]
    frame = pd.DataFrame(records, columns=names)
    frame.insert(names.index("p") + 1, "p_holm", comparison.holm(frame["p"]))
    return frame


def traits(column: Column) -> pd.DataFrame:
    """Seed-averaged r of each row and trait: row, field_id, short_name, group, unit, r, std, low, high, n."""
    scores, parts = column.scores, []
    no_resampling = np.ones((len(scores.measured), 1))
    for k, name in enumerate(scores.names):
        single = [bootstrap.resampled_r(seed[None], scores.measured, no_resampling)[0] for seed in scores.predicted[k]]
        low, high = bootstrap.percentile(column.drawn_traits[k])
        facts = dict(pd.DataFrame(TRAITS)[["field_id", "short_name", "group", "unit"]])
        values = {"r": np.mean(single, axis=0), "std": evaluate.deviation(single), "low": low, "high": high}
        parts.append(pd.DataFrame({"row": name, **facts, **values, "n": (~np.isnan(scores.measured)).sum(axis=0)}))
    return pd.concat(parts, ignore_index=True)


def reliability(columns: Mapping[str, Column], bins: int = calibration.BINS) -> pd.DataFrame:
    """Reliability of each disease and row before and after the prior shift: row, task, kind, then the curve."""
    parts = [pd.DataFrame(columns=["row", "task", "kind", "bin", "predicted", "observed", "low", "high", "n"])]
    for column in columns.values():
        scores = column.scores
        for name, logits, own in zip(scores.names, scores.logits, column.priors, strict=False):
            for kind, shift in zip(KINDS, (0.0, own.shift), strict=True):
                curve = calibration.reliability(calibration.risk(logits + shift), scores.positive, bins)
                parts.append(curve.assign(row=name, task=scores.task.key, kind=kind)[list(parts[0])])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def retrieval(latents: ByTaskAndSeed) -> pd.DataFrame:
    """Retrieval of ECCL before and after alignment among the test participants: task, when, ``retrieval.table``."""
    tables = {
        (task, when): retrieval_metrics.table([seed.ranked[when] for seed in seeds_of(latents, task)])
        for task in dict.fromkeys(task for task, _ in latents)
        for when in WHEN
    }
    return pd.concat(tables, names=["task", "when"]).reset_index(["task", "when"]).reset_index(drop=True)


def _of_tasks(frame: pd.DataFrame, tasks: Sequence[str]) -> np.ndarray | None:
    """Which rows are about one of the tasks; None for a table that has no column of tasks."""
    return frame["task"].isin(tasks).to_numpy() if "task" in frame else None


def _withheld(frame: pd.DataFrame, config: Config, tasks: Sequence[str]) -> pd.DataFrame:
    """Cells without those of some tasks and without small counts."""
    shown = small_counts.withhold(frame, config, _of_tasks(frame, tasks))
    return shown.drop(columns=small_counts.NOTE, errors="ignore")


def write(
    config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int], folder: Path, log: Log = print
) -> pd.DataFrame:
    """Write all files of Table 1 from finished runs into ``folder``. rows: keys of METHODS. Returns ``cells``.

    Raises MissingError with the command if a run is missing.
    """
    scores = gather(config, [key for key in METHODS if key in rows], tasks, seeds)
    data = open_cohort.load(config, log)
    latents = latent_scores.measure(config, data, tasks, seeds) if BASE in rows else {}
    long = write_tables(config, data, scores, latents, folder)
    write_json(folder / "table1.json", provenance.facts(config, data, scores))
    write_text(folder / "table1.md", table1_text.page(folder))
    log(f"{len(long)} cells of Table 1 with intervals, differences and provenance: {folder}")
    return long


def write_tables(
    config: Config, data: cohort.Cohort, scores_by_task: Mapping[str, Scores], latents: ByTaskAndSeed, folder: Path
) -> pd.DataFrame:
    """Write the .csv files of Table 1. latents: of ECCL, perhaps of some seeds. Returns ``cells``."""
    tasks = list(scores_by_task)
    columns = {task: column(config, data, scores) for task, scores in scores_by_task.items()}
    beside = controls.evaluate(config, data, tasks)
    few = small_counts.hidden_diseases(config, data)
    long, reference = (_withheld(frame, config, few) for frame in (cells(columns), controls.table(beside)))
    resampled = {(k, t): r for t, each in columns.items() if t not in few for k, r in each.resampled().items()}
    frames = {
        "table1.csv": wide(long, tasks_of(config)),
        "reference.csv": wide(reference, tasks_of(config)),
        "table1_cells.csv": pd.concat([long, reference], ignore_index=True),
        "table1_seeds.csv": shown_scores(single_scores(columns), config, data),
        "table1_differences.csv": differences(columns),
        "claims.csv": claims.table(resampled),
        "reliability.csv": reliability(columns),
    }
    frames |= {"table1_traits.csv": traits(columns["traits"])} if "traits" in columns else {}
    if BASE in next(iter(scores_by_task.values())).rows:
        eccl = {task: each.resampled()[BASE] for task, each in columns.items()}
        of_controls = {(control.name, control.task): control.resampled for control in beside}
        frames["against_controls.csv"] = own_questions.against_controls(eccl, of_controls)
    if latents:
        shown = [task for task in scores_by_task if task in config.codes and task not in few]
        positives = {task: scores_by_task[task].positive for task in shown}
        frames["retrieval.csv"] = retrieval(latents)
        frames["separation.csv"] = own_questions.separation(positives, latents)
    folder.mkdir(parents=True, exist_ok=True)
    for name in OPTIONAL - set(frames):  # left from an earlier call with more rows or tasks
        (folder / name).unlink(missing_ok=True)
    for name, frame in frames.items():
        hidden = None if name == "retrieval.csv" else _of_tasks(frame, few)  # retrieval is of all test participants
        if name == "reliability.csv":
            hidden = hidden | small_counts.hidden_bins(frame, config)
        small_counts.write_table(folder / name, frame, config, hidden)
    return long
