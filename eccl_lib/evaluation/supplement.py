"""Supplementary figures from finished runs and the tables of Table 1: ROC, calibration, differences, training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.schema import DISEASES, TASKS, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.evaluation.run_summary import shown_history
from eccl_lib.figures import StageCurves
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec, waves

ROC_ROWS = ("CMR_Sup", "ECCL", "CMAE", "W/O SSL; W/O CL")  # reference, ECCL, baseline, ablation
KINDS = {"raw": ("before the prior shift", "brier_raw"), "shifted": ("after the prior shift", "brier_shifted")}
SCORE, ERROR = "AUC, mean r", "\N{MINUS SIGN}error"
# Labels in the figure of all trainings: title, loss and score of each stage; names of the variants.
STAGE_TITLES = {
    "pretrain_ecg": ("ECG encoder: masked autoencoder", "masked MSE", ERROR),
    "pretrain_cmr": ("CMR encoder: {}", "task loss", SCORE),
    "autoencode": ("CMAE: {} autoencoder", "error", ERROR),
    "pretrain_pair": ("CMAE: joint autoencoders", "loss", ERROR),
    "align": ("alignment: {}", "loss", SCORE),
    "finetune": ("fine-tuning: {}", "loss", SCORE),
    "third_stage": ("third stage: {}", "loss", SCORE),
}
VARIANTS = {"swin": "Swin", "ecg": "ECG", "cmr": "CMR"}  # beside the rows of Table 1


def roc(
    scores_by_task: Mapping[str, Scores], cells: pd.DataFrame, config: Config, rows: Sequence[str] = ROC_ROWS
) -> Figure:
    """ROC curves of some rows for each disease, mean over seeds, with AUC and interval; ECCL with its band.

    scores_by_task: predictions of the test participants. cells: row, task, mean, low, high. rows: names in Table 1;
    missing rows are left out.
    """
    numbers = cells.set_index(["row", "task"])
    panels = {task: {} for task, scores in scores_by_task.items() if scores.task.is_disease}
    for task, curves in panels.items():
        scores = scores_by_task[task]
        for name in (name for name in rows if name in scores.names):
            cell = numbers.loc[(name, task)]
            text = f"AUC {cell['mean']:.2f} ({cell['low']:.2f} to {cell['high']:.2f})"
            curves[name] = (scores.positive, scores.logits[scores.names.index(name)], text)
    return figures.roc_panels(panels, banded="ECCL" if "ECCL" in rows else None, least=limit_of(config).least)


def reliability(curves: pd.DataFrame, cells: pd.DataFrame, row: str = "ECCL") -> Figure:
    """Reliability curves of one row before and after the prior shift, with Brier scores.

    curves: row, task, kind ("raw", "shifted"), predicted, observed, low, high, n. cells: row, task, brier_raw,
    brier_shifted, n. row: name in Table 1.
    """
    of_row = curves[(curves["row"] == row) & curves["observed"].notna()]  # without withheld bins
    numbers, panels = cells[cells["row"] == row].set_index("task"), {}
    for task in (task for task in DISEASES if task in set(of_row["task"])):
        of_task = of_row[of_row["task"] == task]
        panels[task] = {
            f"{name}: Brier {numbers.loc[task, brier]:.3f}": of_task[of_task["kind"] == kind]
            for kind, (name, brier) in KINDS.items()
        }
    return figures.reliability_curves(panels, n=int(numbers["n"].max()))


def forest(differences: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """Forest plot of ECCL minus each row. differences: other, task, difference, low, high, p_holm; cells: n, seeds."""
    shown = differences[differences["difference"].notna()]  # without withheld tasks
    return figures.differences_forest(shown, n=int(cells["n"].max()), seeds=int(cells["seeds"].max()))


def training(config: Config, data: Cohort, seeds: Sequence[int]) -> Figure:
    """Training curves of all finished runs of these seeds, one panel pair per stage."""
    cells = [replace(config, disease=task, seed=seed) for task in TASKS for seed in seeds]
    panels: dict[tuple[str, str], dict[str, list[pd.DataFrame]]] = {}
    for own in (own for wave in waves([spec(cell, key) for key in METHODS for cell in cells]) for own in wave):
        if not own.is_features and (run := own.run(data)).done:
            task = own.task if own.task in TASKS else ""
            panels.setdefault((own.stage, own.variant), {}).setdefault(task, []).append(shown_history(run, config))
    names, curves = VARIANTS | {key: method.row for key, method in METHODS.items()}, []
    names |= {variant: variant for _, variant in panels if variant not in names}  # CMR encoders of other packages
    stages, variants = list(STAGE_TITLES), list(names)
    for stage, variant in sorted(panels, key=lambda panel: (stages.index(panel[0]), variants.index(panel[1]))):
        title, loss, score = STAGE_TITLES[stage]
        curves.append(StageCurves(title.format(names[variant]), loss, score, panels[stage, variant]))
    return figures.training_stages(curves)
