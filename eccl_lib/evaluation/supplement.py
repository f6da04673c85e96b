"""The supplement's pages from finished runs and the frames of Table 1: ROC, calibration, differences, training."""

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

ROC_ROWS = ("CMR_Sup", "ECCL", "CMAE", "W/O SSL; W/O CL")  # the ceiling, the method, the published rival, the floor
KINDS = {"raw": ("as trained, 1 : 2", "brier_raw"), "shifted": ("after the prior shift", "brier_shifted")}
ALIGNED = {key: m for key, m in METHODS.items() if m.arm and m.arm.teacher}
TUNED = {key: m for key, m in METHODS.items() if m.arm and not m.arm.teacher}
SCORE, ERROR = "AUC, mean r", "\N{MINUS SIGN}error"


def roc(
    found: Mapping[str, Scores], cells: pd.DataFrame, rows: Sequence[str] = ROC_ROWS, *, synthetic: bool = False
) -> Figure:
    """ROC curves of some rows for each disease, mean over seeds, with the AUC's interval; ECCL with its band.

    found: task to the test participants' scores. cells: row, task, mean, low, high. rows: names of Table 1, those left
    out that are not there.
    """
    numbers, panels = cells.set_index(["row", "task"]), {}
    for task in (task for task in found if found[task].task.is_disease):
        scores, panels[task] = found[task], {}
        for name in (name for name in rows if name in scores.names):
            cell = numbers.loc[(name, task)]
            text = f"AUC {cell['mean']:.2f} ({cell['low']:.2f} to {cell['high']:.2f})"
            panels[task][name] = (scores.positive, scores.logits[scores.names.index(name)], text)
    return figures.roc_panels(panels, banded="ECCL" if "ECCL" in rows else None, synthetic=synthetic)


def reliability(curves: pd.DataFrame, cells: pd.DataFrame, row: str = "ECCL", *, synthetic: bool = False) -> Figure:
    """Reliability curves of one row, raw and after the prior shift, with the Brier scores.

    curves: row, task, kind ("raw", "shifted"), predicted, observed, low, high, n. cells: row, task, brier_raw,
    brier_shifted, n. row: its name in Table 1.
    """
    mine, numbers, panels = curves[curves["row"] == row], cells[cells["row"] == row].set_index("task"), {}
    for task in (task for task in DISEASES if task in set(mine["task"])):
        of_task = mine[mine["task"] == task]
        panels[task] = {
            f"{name}: Brier {numbers.loc[task, brier]:.3f}": of_task[of_task["kind"] == kind]
            for kind, (name, brier) in KINDS.items()
        }
    return figures.reliability_curves(panels, n=int(numbers["n"].iloc[0]), synthetic=synthetic)


def forest(differences: pd.DataFrame, cells: pd.DataFrame, *, synthetic: bool = False) -> Figure:
    """ECCL minus each row. differences: other, task, difference, low, high, p_holm; cells: n, seeds."""
    n, seeds = int(cells["n"].iloc[0]), int(cells["seeds"].iloc[0])
    return figures.differences_forest(differences, n=n, seeds=seeds, synthetic=synthetic)


def training(config: Config, data: Cohort, seeds: Sequence[int], *, synthetic: bool = False) -> Figure:
    """Training curves of every stage that has finished runs, all tasks and these seeds on one page."""
    whole = {seed: replace(config, seed=seed) for seed in seeds}

    def alone(of) -> dict[str, list[Run]]:
        return {"": [of(one) for one in whole.values()]}

    def by_task(of) -> dict[str, list[Run]]:
        return {task: [of(replace(one, disease=task)) for one in whole.values()] for task in TASKS}

    pages = [
        ("ECG encoder: masked autoencoder", "masked MSE", ERROR, alone(lambda one: dependencies.ecg_run(one, data)))
    ]
    for name, key in {"Swin": "swin", "ResNet50": "resnet50", "ViT": "vit"}.items():
        runs = by_task(lambda one, key=key: dependencies.cmr_run(with_cmr(one, key), data))
        pages.append((f"CMR encoder: {name}", "task loss", SCORE, runs))
    for name, key in {"ECG": "ecg", "CMR": "cmr"}.items():
        runs = alone(lambda one, key=key: dependencies.autoencoder_run(one, key, data))
        pages.append((f"CMAE: autoencoder of the {name}", "error", ERROR, runs))
    pages.append(("CMAE: both, one latent", "loss", ERROR, alone(lambda one: dependencies.pair_run(one, data))))
    for verb, methods in {"alignment": ALIGNED, "fine-tuning": TUNED}.items():
        for method in methods.values():
            runs = by_task(lambda one, arm=method.arm: dependencies.arm_run(one, arm, data))
            pages.append((f"{verb}: {method.row}", "loss", SCORE, runs))
    drawn = [StageCurves(title, loss, score, _histories(runs)) for title, loss, score, runs in pages]
    return figures.training_stages([page for page in drawn if page.histories], synthetic=synthetic)


def _histories(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[pd.DataFrame]]:
    """Those that are there."""
    done = {task: [run.history for run in group if run.done] for task, group in runs.items()}
    return {task: histories for task, histories in done.items() if histories}
