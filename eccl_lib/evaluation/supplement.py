"""Supplementary figures from finished runs and the tables of Table 1: ROC, calibration, differences, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.method_schema import with_cmr
from eccl_lib.config.schema import DISEASES, TASKS, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.figures import StageCurves
from eccl_lib.pipeline import dependencies
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.training.runs import Run

ROC_ROWS = ("CMR_Sup", "ECCL", "CMAE", "W/O SSL; W/O CL")  # reference, ECCL, baseline, ablation
KINDS = {"raw": ("before the prior shift", "brier_raw"), "shifted": ("after the prior shift", "brier_shifted")}
ALIGNED = {key: m for key, m in METHODS.items() if m.arm and m.arm.teacher}
TUNED = {key: m for key, m in METHODS.items() if m.arm and not m.arm.teacher}
SCORE, ERROR = "AUC, mean r", "\N{MINUS SIGN}error"


def roc(scores_by_task: Mapping[str, Scores], cells: pd.DataFrame, rows: Sequence[str] = ROC_ROWS) -> Figure:
    """ROC curves of some rows for each disease, mean over seeds, with AUC and interval; ECCL with its band.

    scores_by_task: predictions of the test participants. cells: row, task, mean, low, high. rows: names in Table 1;
    missing rows are left out.
    """
    numbers, panels = cells.set_index(["row", "task"]), {}
    for task, scores in scores_by_task.items():
        if not scores.task.is_disease:
            continue
        panels[task] = {}
        for name in (name for name in rows if name in scores.names):
            cell = numbers.loc[(name, task)]
            text = f"AUC {cell['mean']:.2f} ({cell['low']:.2f} to {cell['high']:.2f})"
            panels[task][name] = (scores.positive, scores.logits[scores.names.index(name)], text)
    return figures.roc_panels(panels, banded="ECCL" if "ECCL" in rows else None)


def reliability(curves: pd.DataFrame, cells: pd.DataFrame, row: str = "ECCL") -> Figure:
    """Reliability curves of one row before and after the prior shift, with Brier scores.

    curves: row, task, kind ("raw", "shifted"), predicted, observed, low, high, n. cells: row, task, brier_raw,
    brier_shifted, n. row: name in Table 1.
    """
    of_row, numbers, panels = curves[curves["row"] == row], cells[cells["row"] == row].set_index("task"), {}
    for task in (task for task in DISEASES if task in set(of_row["task"])):
        of_task = of_row[of_row["task"] == task]
        panels[task] = {
            f"{name}: Brier {numbers.loc[task, brier]:.3f}": of_task[of_task["kind"] == kind]
            for kind, (name, brier) in KINDS.items()
        }
    return figures.reliability_curves(panels, n=int(numbers["n"].iloc[0]))


def forest(differences: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """Forest plot of ECCL minus each row. differences: other, task, difference, low, high, p_holm; cells: n, seeds."""
    n, seeds = int(cells["n"].iloc[0]), int(cells["seeds"].iloc[0])
    return figures.differences_forest(differences, n=n, seeds=seeds)


def training(config: Config, data: Cohort, seeds: Sequence[int]) -> Figure:
    """Training curves of all finished runs of these seeds, one panel pair per stage."""
    configs = [replace(config, seed=seed) for seed in seeds]

    def without_task(find_run) -> dict[str, list[Run]]:
        return {"": [find_run(seeded) for seeded in configs]}

    def by_task(find_run) -> dict[str, list[Run]]:
        return {task: [find_run(replace(seeded, disease=task)) for seeded in configs] for task in TASKS}

    runs = without_task(lambda seeded: dependencies.ecg_run(seeded, data))
    pages = [("ECG encoder: masked autoencoder", "masked MSE", ERROR, runs)]
    for name, key in {"Swin": "swin", "ResNet50": "resnet50", "ViT": "vit"}.items():
        runs = by_task(lambda seeded, key=key: dependencies.cmr_run(with_cmr(seeded, key), data))
        pages.append((f"CMR encoder: {name}", "task loss", SCORE, runs))
    for name, key in {"ECG": "ecg", "CMR": "cmr"}.items():
        runs = without_task(lambda seeded, key=key: dependencies.autoencoder_run(seeded, key, data))
        pages.append((f"CMAE: {name} autoencoder", "error", ERROR, runs))
    runs = without_task(lambda seeded: dependencies.pair_run(seeded, data))
    pages.append(("CMAE: joint autoencoders", "loss", ERROR, runs))
    for verb, methods in {"alignment": ALIGNED, "fine-tuning": TUNED}.items():
        for method in methods.values():
            runs = by_task(lambda seeded, arm=method.arm: dependencies.arm_run(seeded, arm, data))
            pages.append((f"{verb}: {method.row}", "loss", SCORE, runs))
    curves = [StageCurves(title, loss, score, _histories(runs)) for title, loss, score, runs in pages]
    return figures.training_stages([stage for stage in curves if stage.histories])


def _histories(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[pd.DataFrame]]:
    """Histories of the finished runs."""
    done = {task: [run.history for run in group if run.done] for task, group in runs.items()}
    return {task: histories for task, histories in done.items() if histories}
