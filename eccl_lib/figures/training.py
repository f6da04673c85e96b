"""Figures of training curves: one run, or several stages side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eccl_lib.figures.colours import BLACK, GREY, TASK_COLOURS
from eccl_lib.figures.style import SMALL, footer, new_figure, styled, task_title


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
            ax.text(0.5, 0.5, "no score: one class only, or withheld", ha="center", transform=ax.transAxes)
        ax.set_xlim(0.5, len(epochs) + 0.5)
        if best_epoch is not None:
            ax.axvline(best_epoch, color=GREY, linewidth=1, linestyle="--", label=f"best epoch ({best_epoch})")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1, handlelength=1.5, fontsize=8)
    footer(fig, f"one training of {len(history)} epochs")
    return fig


@dataclass(frozen=True)
class StageCurves:
    """Training histories of one stage.

    loss, score: y labels of the history columns loss and score. score is "" for an autoencoder, whose score is minus
    its error on validation participants. histories: task ("I21" ... "traits", or "" for a stage without a task) to one
    history per seed.
    """

    title: str
    loss: str
    score: str
    histories: Mapping[str, Sequence[pd.DataFrame]]


@styled
def training_stages(blocks: Sequence[Sequence[StageCurves]]) -> Figure:
    """Training curves of several stages: one thin line per run, a dot at the epoch whose weights are kept.

    blocks: stages side by side. In a block of trained tasks, the upper panels show the training loss and the lower ones
    the validation score, each with one scale. An autoencoder has one panel with training and validation error.
    """
    stages = [stage for block in blocks for stage in block]
    columns, heights = max(map(len, blocks)), [_block_height(block) for block in blocks]
    fig = new_figure(height=sum(heights) + 0.6)
    pages = np.atleast_1d(fig.subfigures(len(blocks), 1, height_ratios=heights))
    for page, block in zip(pages, blocks, strict=True):
        _draw_block(page, block, columns)
    tasks = dict.fromkeys(task for stage in stages for task in stage.histories)
    ordered = [*(task for task in TASK_COLOURS if task in tasks), *(task for task in tasks if task not in TASK_COLOURS)]
    names = {task: task_title(task).replace("82 cardiac ", "") for task in ordered if task}
    lines = [Line2D([], [], color=TASK_COLOURS.get(task, BLACK)) for task in names]
    if any(not stage.score for stage in stages):
        lines += [Line2D([], [], color=BLACK, linestyle=style) for style in ("-", "--")]
        names |= {"training": "training", "validation": "validation"}
    fig.legend(lines, names.values(), loc="outside upper left", ncols=3, fontsize=8)
    runs = sum(len(histories) for stage in stages for histories in stage.histories.values())
    footer(fig, f"n = {runs} trainings, one line each; dot: epoch whose weights are kept")
    return fig


def _block_height(block: Sequence[StageCurves]) -> float:
    return 3.1 if any(stage.score for stage in block) else 1.9


def _draw_block(page, block: Sequence[StageCurves], columns: int) -> None:
    """Draw the stages of one block. page: its part of the figure. columns: of the widest block."""
    scored = any(stage.score for stage in block)
    axes = page.subplots(1 + scored, columns, squeeze=False, sharex="col", sharey="row" if scored else False)
    for ax in axes[:, len(block) :].ravel():
        ax.set_axis_off()
    for k, (column, stage) in enumerate(zip(axes.T, block, strict=False)):
        for task, histories in stage.histories.items():
            for history in histories:
                _run_curves(column, history, TASK_COLOURS.get(task, BLACK))
        column[0].set_title(stage.title, fontsize=8.5)
        column[-1].set_xlabel("epoch", fontsize=8)
        for ax, label in zip(column, (stage.loss, stage.score), strict=False):
            if k == 0 or not scored:
                ax.set_ylabel(label, fontsize=8)
            ax.tick_params(labelsize=SMALL)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            ax.yaxis.set_major_locator(MaxNLocator(nbins=4))


def _run_curves(axes, history: pd.DataFrame, colour: str) -> None:
    """Draw loss and score of one run and mark the epoch whose weights are kept: ``kept``, or that of the best score.

    axes: of loss and score; a single one, of an autoencoder, shows minus the score as a dashed line.
    """
    epochs, score = history["epoch"].to_numpy(), history["score"].to_numpy(float)
    if "kept" in history:
        best = int(history["kept"].to_numpy().argmax())
    else:
        best = len(score) - 1 if np.isnan(score).all() else int(np.nanargmax(score))
    curves = [(axes[0], history["loss"].to_numpy(), "-"), (axes[-1], score, "-")]
    if len(axes) == 1:
        curves[1] = (axes[0], -score, "--")
    for ax, values, line in curves:
        ax.plot(epochs, values, line, color=colour, linewidth=0.8, alpha=0.8)
    for ax, values, _ in curves if len(axes) > 1 else curves[1:]:
        ax.plot(epochs[best], values[best], "o", color=colour, markersize=3)
