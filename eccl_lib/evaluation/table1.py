"""From finished runs to the numbers of Table 1: cells with intervals, differences, traits, reliability, retrieval.

``write`` makes all files; every frame has a function of its own. No participant is in any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import demographic_baseline, provenance, table1_text
from eccl_lib.evaluation import features as latent
from eccl_lib.evaluation import table_cell as numbers
from eccl_lib.evaluation.predictions import Scores, gather
from eccl_lib.io.files import write_atomically, write_json, write_text
from eccl_lib.io.progress import Log
from eccl_lib.metrics import bootstrap, calibration, comparison
from eccl_lib.metrics import retrieval as finding
from eccl_lib.metrics import scores as evaluate
from eccl_lib.metrics.calibration import Prior
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import targets_of
from eccl_lib.training.sampling import task_batches

BASE = "eccl"  # the row that all others are compared with
STEMS = {"I21": "mi_auc", "I42": "cm_auc", "I48": "af_auc", "I50": "hf_auc", "traits": "mean_r"}  # figures/paper
KINDS = ("raw", "shifted")
PARTIAL = {"table1_traits.csv", "retrieval.csv"}  # not made where the traits or ECCL are left out


@dataclass(frozen=True)
class Column:
    """One task: its scores, their draws of participants, and the prior of each row.

    drawn: (R, B) AUCs or (R, B, traits) r, averaged over seeds, NaN without a value. priors: a row each, none for
    traits.
    """

    scores: Scores
    drawn: np.ndarray
    priors: tuple[Prior, ...]


def column(config: Config, data: cohort.Cohort, scores: Scores, draws: int = bootstrap.DRAWS) -> Column:
    """Draw the participants once for all rows and seeds of a task."""
    people, parts = bootstrap.draws(len(scores.measured), draws), []
    for weights in people:
        if scores.task.is_disease:
            drawn = [[bootstrap.resampled_auc(one, scores.positive, weights) for one in row] for row in scores.logits]
            parts.append(np.mean(drawn, axis=1))
        else:
            parts.append(np.stack([bootstrap.resampled_r(row, scores.measured, weights) for row in scores.predicted]))
    return Column(scores, np.concatenate(parts, axis=1), _priors(config, data, scores))


def _priors(config: Config, data: cohort.Cohort, scores: Scores) -> tuple[Prior, ...]:
    """Prevalence among the training participants, and the share of positives that an epoch shows each row."""
    if not scores.task.is_disease:
        return ()
    targets, train = targets_of(replace(config, disease=scores.task.key), data), data.index("train")
    priors = []
    for key in scores.rows:
        training = config.cmr_training if METHODS[key].arm is None else config.align
        seen = np.concatenate(task_batches(targets, train, training, config.seed)(0))
        priors.append(Prior(float(targets.values[train].mean()), float(targets.values[seen].mean())))
    return tuple(priors)


def cells(columns: Mapping[str, Column]) -> pd.DataFrame:
    """A row a cell: row, task, column, metric, then ``cells.of_disease`` or ``cells.of_traits``."""
    records = []
    for one in columns.values():
        scores, task = one.scores, one.scores.task
        for k, name in enumerate(scores.names):
            if task.is_disease:
                found = numbers.of_disease(scores.logits[k], scores.positive, one.priors[k])
            else:
                found = numbers.of_traits(scores.predicted[k], scores.measured, one.drawn[k])
            records.append({"row": name, "task": task.key, "column": task.column, "metric": task.metric} | found)
    return _in_order(pd.DataFrame(records))


def _in_order(records: pd.DataFrame) -> pd.DataFrame:
    """By row of Table 1, then by task; positives without a decimal point."""
    place = {method.row: k for k, method in enumerate(METHODS.values())}
    ordered = records.sort_values("row", key=lambda row: row.map(place), kind="stable", ignore_index=True)
    return ordered.astype({"positives": "Int64"}) if "positives" in ordered else ordered


def wide(long: pd.DataFrame) -> pd.DataFrame:
    """Cells as figures/paper/table1.csv has them, with limits: row, mi_auc_mean, mi_auc_std, mi_auc_low ..."""
    records = []
    for name in dict.fromkeys(long["row"]):
        mine = long[long["row"] == name].set_index("task")
        values = {
            f"{stem}_{part}": mine.loc[task, part]
            for task, stem in STEMS.items()
            if task in mine.index
            for part in ("mean", "std", "low", "high")
        }
        records.append({"row": name} | values)
    return pd.DataFrame(records)


def single_scores(columns: Mapping[str, Column]) -> pd.DataFrame:
    """Every run's own score: row, task, seed, metric, test, validation, best_epoch, epochs, run."""
    records = []
    for one in columns.values():
        for name, runs in zip(one.scores.names, one.scores.runs, strict=True):
            for seed, run in zip(one.scores.seeds, runs, strict=True):
                found = run.metrics
                facts = {"row": name, "task": one.scores.task.key, "seed": seed, "metric": found["metric"]}
                facts |= {"test": found["test"], "validation": found["val"], "best_epoch": found["best_epoch"]}
                records.append(facts | {"epochs": found["epochs"], "run": run.name})
    return _in_order(pd.DataFrame(records))


def differences(columns: Mapping[str, Column]) -> pd.DataFrame:
    """ECCL minus each other row on each task: difference, std, low, high (95 %), p, p_holm (over all of them), draws.

    Metrics are averaged over seeds; participants are drawn once for both rows and all seeds. So interval and p are
    about these trained models on other participants; std, of the differences seed by seed, is about other seeds.
    """
    records = []
    for one in columns.values():
        scores = one.scores
        if BASE not in scores.rows:
            continue
        single = np.array([[run.metrics["test"] for run in row] for row in scores.runs])  # (R, S)
        drawn = one.drawn if scores.task.is_disease else bootstrap.mean_over_traits(one.drawn)  # (R, B)
        base = scores.rows.index(BASE)
        for k, name in enumerate(scores.names):
            if k != base:
                by_seed, strayed = single[base] - single[k], drawn[base] - drawn[k]
                difference = float(by_seed.mean())
                low, high = comparison.symmetric_interval(difference, strayed)
                facts = {"row": scores.names[base], "other": name, "task": scores.task.key}
                facts |= {"metric": scores.task.metric, "difference": difference, "std": evaluate.deviation(by_seed)}
                facts |= {"low": low, "high": high}
                records.append(facts | {"p": comparison.p_value(difference, strayed), "draws": drawn.shape[1]})
    names = ["row", "other", "task", "metric", "difference", "std", "low", "high", "p", "draws"]
    found = pd.DataFrame(records, columns=names)
    found.insert(names.index("p") + 1, "p_holm", comparison.holm(found["p"]))
    return found


def traits(one: Column) -> pd.DataFrame:
    """r of each row and trait over seeds: row, field_id, short_name, group, unit, r, std, low, high, n."""
    scores, parts = one.scores, []
    everybody = np.ones((len(scores.measured), 1))
    for k, name in enumerate(scores.names):
        single = [bootstrap.resampled_r(seed[None], scores.measured, everybody)[0] for seed in scores.predicted[k]]
        low, high = bootstrap.percentile(one.drawn[k])
        facts = {key: [getattr(trait, key) for trait in TRAITS] for key in ("field_id", "short_name", "group", "unit")}
        found = {"r": np.mean(single, axis=0), "std": evaluate.deviation(single), "low": low, "high": high}
        parts.append(pd.DataFrame({"row": name, **facts, **found, "n": (~np.isnan(scores.measured)).sum(axis=0)}))
    return pd.concat(parts, ignore_index=True)


def reliability(columns: Mapping[str, Column], bins: int = calibration.BINS) -> pd.DataFrame:
    """Reliability of each disease and row, raw and after the prior shift: row, task, kind, then the curve's columns."""
    parts = [pd.DataFrame(columns=["row", "task", "kind", "bin", "predicted", "observed", "low", "high", "n"])]
    for one in columns.values():
        for name, logits, prior in zip(one.scores.names, one.scores.logits, one.priors, strict=False):
            for kind, shift in zip(KINDS, (0.0, prior.shift), strict=True):
                curve = calibration.reliability(calibration.risk(logits + shift), one.scores.positive, bins)
                parts.append(curve.assign(row=name, task=one.scores.task.key, kind=kind)[list(parts[0])])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def retrieval(config: Config, data: cohort.Cohort, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """ECCL's retrieval among the test participants before and after alignment: task, when, then ``retrieval.table``."""
    rows, parts = data.index("test"), []
    for task in tasks:
        for when, features in (("before", latent.before_alignment), ("after", latent.after_alignment)):
            found = [features(replace(config, disease=task, seed=seed), data, rows) for seed in seeds]
            table = finding.table([(z.z_ecg, z.z_cmr) for z in found])
            table.insert(0, "when", when)
            table.insert(0, "task", task)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


def write(
    config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int], folder: Path, log: Log = print
) -> pd.DataFrame:
    """All files of Table 1 from finished runs, into ``folder``. rows: keys of METHODS. Returns ``cells``.

    Raises MissingError with the command where a run is not there.
    """
    rows = [key for key in METHODS if key in rows]
    found = gather(config, rows, tasks, seeds)
    data = open_cohort.load(config, log)
    columns = {task: column(config, data, scores) for task, scores in found.items()}
    long, alone = cells(columns), demographic_baseline.table(data, tasks)
    frames = {
        "table1.csv": wide(long),
        "reference.csv": wide(alone),
        "table1_cells.csv": pd.concat([long, alone], ignore_index=True),
        "table1_seeds.csv": single_scores(columns),
        "table1_differences.csv": differences(columns),
        "reliability.csv": reliability(columns),
    }
    frames |= {"table1_traits.csv": traits(columns["traits"])} if "traits" in columns else {}
    frames |= {"retrieval.csv": retrieval(config, data, tasks, seeds)} if BASE in rows else {}
    facts = provenance.facts(config, data, found)
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTIAL - set(frames):  # of an earlier, fuller table
        (folder / name).unlink(missing_ok=True)
    for name, frame in frames.items():
        _save(frame, folder / name)
    write_json(folder / "table1.json", facts)
    write_text(folder / "table1.md", table1_text.page(folder))
    log(f"{len(long)} cells of Table 1 with intervals, differences and provenance: {folder}")
    return long


def _save(frame: pd.DataFrame, path: Path) -> None:
    write_atomically(path, lambda beside: frame.to_csv(beside, index=False, float_format="%.5f"))
