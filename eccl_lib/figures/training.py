"""Figures of training curves: one run, or all stages in one figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eccl_lib.figures.colours import BLACK, GREY, TASK_COLOURS
from eccl_lib.figures.style import SMALL, footer, new_figure, styled, task_title

COLUMNS = 2  # stages side by side, each with loss and score


@styled
def training_curves(
    history: pd.DataFrame, panels: Mapping[str, Sequence[str]], *, best_epoch: int | None = None
) -> Figure:
    """Training curves of one run.

    history: one row per epoch, with a column epoch. panels: y label to the columns drawn in that panel.
    """
    fig = new_figure(height=2.9)
    epochs = history["epoch"]
    for ax, (label, columns) in zip(np.atleast_1d(fig.subplots(1, len(panels))), panels.items(), strict=True):
        for column in columns:
            ax.plot(epochs, history[column], marker="o", markersize=2.5, label=column.replace("_", " "))
        if history[list(columns)].isna().all(axis=None):
            ax.text(0.5, 0.5, "undefined: validation set has one class", ha="center", transform=ax.transAxes)
        ax.set_xlim(0.5, len(epochs) + 0.5)
        if best_epoch is not None:
            ax.axvline(best_epoch, color=GREY, linewidth=1, linestyle="--", label=f"best epoch ({best_epoch})")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1, handlelength=1.5, fontsize=8)
    footer(fig, f"n = {len(history)} epochs")
    return fig


@dataclass(frozen=True)
class StageCurves:
    """Training histories of one stage.

    loss, score: y labels of the history columns loss and score. histories: task ("I21" ... "traits", or "" for a stage
    without a task) to one history per seed.
    """

    title: str
    loss: str
    score: str
    histories: Mapping[str, Sequence[pd.DataFrame]]


@styled
def training_stages(stages: Sequence[StageCurves]) -> Figure:
    """Training loss and validation score of all stages: one thin line per run, a dot at the best epoch."""
    rows = -(-len(stages) // COLUMNS)
    fig = new_figure(height=1.36 * rows + 0.7)
    pages = np.atleast_1d(fig.subfigures(rows, COLUMNS, wspace=0.04)).ravel()
    for page, stage in zip(pages, stages, strict=False):
        page.suptitle(stage.title, x=0.02, ha="left", fontsize=8.5, fontweight="bold")
        left, right = page.subplots(1, 2)
        for task, histories in stage.histories.items():
            for history in histories:
                _run_curves(left, right, history, TASK_COLOURS.get(task, BLACK))
        for ax, label in ((left, stage.loss), (right, stage.score)):
            ax.set_ylabel(label, fontsize=SMALL)
            ax.tick_params(labelsize=SMALL)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    tasks = dict.fromkeys(task for stage in stages for task in stage.histories)
    names = {task: task_title(task).replace("82 cardiac ", "") if task else "no label" for task in tasks}
    lines = [Line2D([], [], color=TASK_COLOURS.get(task, BLACK)) for task in tasks]
    fig.legend(lines, names.values(), loc="outside upper left", ncols=3, fontsize=8)
    for page in pages[max(0, len(stages) - COLUMNS) : len(stages)]:  # the bottom row
        for ax in page.axes:
            ax.set_xlabel("epoch", fontsize=SMALL)
    runs = sum(len(histories) for stage in stages for histories in stage.histories.values())
    footer(fig, f"n = {runs} trainings, one line each; left: training; right: validation; dot: best epoch")
    return fig


def _run_curves(left, right, history: pd.DataFrame, colour: str) -> None:
    """Draw loss and score of one run and mark the epoch with the best score (the last epoch if there is none)."""
    epochs, score = history["epoch"].to_numpy(), history["score"].to_numpy(float)
    best = len(score) - 1 if np.isnan(score).all() else int(np.nanargmax(score))
    for ax, values in ((left, history["loss"].to_numpy()), (right, score)):
        ax.plot(epochs, values, color=colour, linewidth=0.8, alpha=0.8)
        ax.plot(epochs[best], values[best], "o", color=colour, markersize=3)
