"""Supplementary figures from finished runs and the tables of Table 1: ROC, calibration, differences, training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.config.schema import TASKS as PAPER_TASKS
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.evaluation.run_summary import shown_history
from eccl_lib.figures import StageCurves
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec, waves
from eccl_lib.tasks import TASKS, default_tasks, tasks_named, tasks_of
from eccl_lib.training.runs import Run

ROC_ROWS = ("CMR_Sup", "ECCL", "CMAE", "W/O SSL; W/O CL")  # reference, ECCL, baseline, ablation
KINDS = {"raw": "before the prior shift", "shifted": "after the prior shift"}
SCORE = "AUC, mean r"
# Figures of the trainings: in each, blocks of stages; of each stage its title, and the labels of loss and score.
TRAININGS = {
    "training_autoencoders": [
        {
            "pretrain_ecg": ("ECG encoder", "masked MSE", ""),
            "autoencode": ("CMAE, {} alone", "reconstruction error", ""),
            "pretrain_pair": ("CMAE, both", "loss", ""),
        }
    ],
    "training_cmr_encoders": [{"pretrain_cmr": ("{}", "training loss", SCORE)}],
    "training_rows": [
        {"align": ("{}", "training loss", SCORE)},
        {"finetune": ("{}", "training loss", SCORE), "third_stage": ("{}", "training loss", SCORE)},
    ],
}
MOST_COLUMNS = 5  # stages side by side
VARIANTS = {"swin": "Swin", "ecg": "ECG", "cmr": "CMR"}  # beside the rows of Table 1


def roc(
    scores_by_task: Mapping[str, Scores], cells: pd.DataFrame, config: Config, rows: Sequence[str] = ROC_ROWS
) -> Figure:
    """ROC curves of some rows for each disease, mean over seeds, with AUC and interval; ECCL with its band.

    scores_by_task: predictions of the test participants. cells: row, task, mean, low, high. rows: names in Table 1;
    missing rows are left out.
    """
    numbers = cells.set_index(["row", "task"])
    panels: dict[str, dict[str, tuple]] = {}
    for task, scores in scores_by_task.items():
        if not scores.task.is_disease:
            continue
        curves = panels.setdefault(scores.task.title, {})
        for name in (name for name in rows if name in scores.names):
            cell = numbers.loc[(name, task)]
            text = f"AUC {cell['mean']:.2f} ({cell['low']:.2f} to {cell['high']:.2f})"
            curves[name] = (scores.positive, scores.logits[scores.names.index(name)], text)
    return figures.roc_panels(panels, banded="ECCL" if "ECCL" in rows else None, least=limit_of(config).least)


def reliability(curves: pd.DataFrame, cells: pd.DataFrame, row: str = "ECCL") -> Figure:
    """Reliability curves of one row before and after the prior shift, with Brier scores.

    curves: row, task, kind ("raw", "shifted"), predicted, observed, low, high, n. cells: row, task, column, brier_raw,
    brier_shifted, n. row: name in Table 1.
    """
    of_row = curves[(curves["row"] == row) & curves["observed"].notna()]  # without withheld bins
    numbers, panels, titles = cells[cells["row"] == row].set_index("task"), {}, _titles(cells)
    tasks = [*DISEASES, *(task for task in dict.fromkeys(of_row["task"]) if task not in DISEASES)]
    for task in (task for task in tasks if task in set(of_row["task"])):
        of_task = of_row[of_row["task"] == task]
        before, after = (numbers.loc[task, f"brier_{kind}"] for kind in KINDS)
        title = f"{titles[task]}\nBrier score {before:.3f}, after the shift {after:.3f}"
        panels[title] = {name: of_task[of_task["kind"] == kind] for kind, name in KINDS.items()}
    return figures.reliability_curves(panels, n=int(numbers["n"].max()))


def forest(differences: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """Forest plot of ECCL minus each row.

    differences: other, task, difference, low, high, p_holm. cells: task, column, n, seeds.
    """
    titles = _titles(cells)
    shown = differences.assign(task=[task if task in TASKS else titles[task] for task in differences["task"]])
    return figures.differences_forest(shown, n=int(cells["n"].max()), seeds=int(cells["seeds"].max()))


def _titles(cells: pd.DataFrame) -> dict[str, str]:
    """Title of each task, by key. cells: task, and column: the name of a disease that is not the paper's."""
    others = cells[~cells["task"].isin(list(TASKS))]
    further = dict(zip(others["task"], others["column"], strict=True)) if len(others) else {}
    return {key: task.title for key, task in tasks_named(further).items()}


def trainings(config: Config, data: Cohort, seeds: Sequence[int]) -> dict[str, Figure]:
    """Training curves of all finished runs of these seeds, by name of the figure (TRAININGS)."""
    tasks = {key: tasks_of(config)[key].title for key in default_tasks(config)}
    cells = [replace(config, disease=task, seed=seed) for task in tasks for seed in seeds]
    panels: dict[tuple[str, str], dict[str, list[pd.DataFrame]]] = {}
    for own in (own for wave in waves([spec(cell, key) for key in METHODS for cell in cells]) for own in wave):
        if not own.is_features and (run := own.run(data)).done:
            task = own.task if own.task in PAPER_TASKS else tasks.get(own.task, "")
            panels.setdefault((own.stage, own.variant), {}).setdefault(task, []).append(_history(run, config))
    drawn = {}
    for name, parts in TRAININGS.items():
        blocks = [block for part in parts for block in _blocks(part, panels)]
        if blocks:
            drawn[name] = figures.training_stages(blocks)
    return drawn


def _history(run: Run, config: Config) -> pd.DataFrame:
    """The history that is shown, with ``kept``: whether the weights are those of this epoch."""
    return shown_history(run, config).assign(kept=run.history["epoch"] == run.metrics["best_epoch"])


def _blocks(
    labels: Mapping[str, tuple[str, str, str]], panels: Mapping[tuple[str, str], Mapping[str, list[pd.DataFrame]]]
) -> list[list[StageCurves]]:
    """The found stages of one part of a figure, in the order of Table 1, at most MOST_COLUMNS in a block."""
    names = VARIANTS | {key: method.row for key, method in METHODS.items()}
    names |= {variant: variant for _, variant in panels if variant not in names}  # CMR encoders of other packages
    stages, variants = list(labels), list(names)
    found = [panel for panel in panels if panel[0] in labels]
    found.sort(key=lambda panel: (stages.index(panel[0]), variants.index(panel[1])))
    curves = []
    for stage, variant in found:
        title, loss, score = labels[stage]
        curves.append(StageCurves(title.format(names[variant]), loss, score, panels[stage, variant]))
    return [curves[k : k + MOST_COLUMNS] for k in range(0, len(curves), MOST_COLUMNS)]
