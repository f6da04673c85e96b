"""Pictures of scores: ROC, calibration, differences between rows. Arrays and frames in, Figure out, no disk touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eccl_lib.config.schema import TASKS
from eccl_lib.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    SMALL,
    VERMILION,
    footer,
    new_figure,
    score_name,
    styled,
    task_title,
)
from eccl_lib.metrics import roc

LINES = ("-", "--", ":")  # a second mark beside colour, once the colours are used up
ALPHA = 0.05
BEHIND_P = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.2}
Curve = tuple[np.ndarray, np.ndarray, str]  # labels (n,) bool, scores (n,) or (seeds, n), text of AUC and interval


@styled
def roc_curves(
    curves: Mapping[str, Curve], *, title: str = "", banded: str | None = None, synthetic: bool = False
) -> Figure:
    """ROC curves of several scores of one disease.

    curves: name to labels (n,), scores (n,) or (seeds, n), text of AUC and interval. banded: the name that gets its
    pointwise band. Of several seeds the mean curve is drawn.
    """
    fig = new_figure(height=3.5 + 0.17 * len(curves), width=4.2)  # for one column of a paper, 3.5 inches
    ax = fig.add_subplot()
    _roc(ax, curves, banded)
    ax.set_title(title)
    fig.legend(loc="outside upper left")
    if banded:
        ax.text(1.0, 0.02, f"band of {banded}:\n95 %, pointwise", ha="right", fontsize=8.5, color=GREY)
    footer(fig, _counted([curves]), synthetic, size=8.5)
    return fig


@styled
def roc_panels(
    panels: Mapping[str, Mapping[str, Curve]], *, banded: str | None = None, synthetic: bool = False
) -> Figure:
    """ROC curves of several rows of Table 1, a panel a disease, each legend with AUC and interval.

    panels: disease's code to what ``roc_curves`` takes. banded: the row whose 95 % pointwise band is drawn.
    """
    most = max(len(curves) for curves in panels.values())
    rows = -(-len(panels) // 2)
    heights = (2.9, 0.2 + 0.145 * most)
    fig = new_figure(height=rows * (sum(heights) + 0.1) + 0.3)
    grid = fig.subplots(2 * rows, 2, squeeze=False, height_ratios=heights * rows)
    for ax in (*grid[1::2].ravel(), *grid[::2].ravel()[len(panels) :]):
        ax.set_axis_off()
    for k, (code, curves) in enumerate(panels.items()):
        ax, legend = grid[2 * (k // 2) : 2 * (k // 2) + 2, k % 2]
        _roc(ax, curves, banded)
        positives = int(np.sum(next(iter(curves.values()))[0]))
        ax.set_title(f"{task_title(code)}\n{positives} with the diagnosis")
        legend.legend(*ax.get_legend_handles_labels(), loc="upper left", fontsize=SMALL, labelspacing=0.25, borderpad=0)
    note = _counted(panels.values())
    footer(fig, f"{note}; band of {banded}: 95 %, pointwise" if banded else note, synthetic)
    return fig


def _roc(ax, curves: Mapping[str, Curve], banded: str | None) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="chance")
    marks = ((colour, line) for line in LINES for colour in CYCLE)
    for (colour, line), (name, (labels, scores, text)) in zip(marks, curves.items(), strict=False):
        if name == banded and 0 < np.sum(labels) < len(labels):
            rates, low, high = roc.band(labels, scores)
            ax.fill_between(rates, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(*roc.curve(labels, scores), color=colour, linestyle=line, label=f"{name}: {text}")
    ax.set(
        xlabel="1 \N{MINUS SIGN} specificity",
        ylabel="sensitivity",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )


def _counted(panels: Iterable[Mapping[str, Curve]]) -> str:
    labels = [curve[0] for curves in panels for curve in curves.values()]
    fewest, most = min(map(np.sum, labels)), max(map(np.sum, labels))
    spread = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"n = {len(labels[0]):,} tested, {spread} with the diagnosis"


@styled
def reliability_curves(panels: Mapping[str, Mapping[str, pd.DataFrame]], *, n: int, synthetic: bool = False) -> Figure:
    """How many have the diagnosis among those given a probability, a panel a disease (raw and after the prior shift).

    panels: disease's code to {legend: frame}; a frame has a row a bin: predicted (mean probability), observed (share
    with the diagnosis), low, high (its 95 % interval), n. n: test participants.
    """
    rows = -(-len(panels) // 2)
    fig = new_figure(height=rows * 2.9 + 0.3)
    axes = fig.subplots(rows, 2, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, (code, curves) in zip(axes, panels.items(), strict=False):
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="as predicted")
        for colour, marker, (name, bins) in zip((VERMILION, BLUE, *CYCLE), "oDs^vP", curves.items(), strict=False):
            bins = bins.sort_values("predicted")
            observed = bins["observed"].to_numpy(float)
            reach = np.abs(bins[["low", "high"]].to_numpy(float).T - observed)
            style = {"fmt": f"{marker}-", "color": colour, "elinewidth": 0.8, "linewidth": 1, "markersize": 4}
            ax.errorbar(bins["predicted"], observed, yerr=reach, **style, label=name)
        most = min(1.0, max(float(bins[["predicted", "high"]].to_numpy().max()) for bins in curves.values()))
        low, high, above_legend = -0.02 * most, 1.04 * most, 1.38 * most
        ax.set(xlabel="predicted probability", ylabel="share with the diagnosis", xlim=(low, high))
        ax.set_ylim(low, above_legend)
        ax.set_title(task_title(code))
        ax.legend(loc="upper left", fontsize=SMALL, labelspacing=0.3)
    footer(fig, f"n = {n:,} test participants; a point: one bin of predictions; bars: 95 % interval", synthetic)
    return fig


@styled
def differences_forest(differences: pd.DataFrame, *, n: int, seeds: int, synthetic: bool = False) -> Figure:
    """ECCL's score minus each other row's, with 95 % interval, and whether that stands after Holm's correction.

    differences: a row a comparison: task, other (the row's name in the paper), difference, low, high, p_holm.
    n: test participants. Right of 0, ECCL is better; a filled mark has p_holm below 0.05.
    """
    tasks = [task for task in TASKS if task in set(differences["task"])]
    others = list(dict.fromkeys(differences["other"]))
    fig = new_figure(height=0.36 * len(others) + 1.9)
    axes = fig.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for ax, task in zip(axes, tasks, strict=True):
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        for found in differences[differences["task"] == task].itertuples():
            _comparison(ax, found, others.index(found.other))
        ax.set_title(task_title(task).replace(" ", "\n"), fontsize=8)
        ax.set_xlabel(f"difference\nin {score_name(task).replace('Pearson ', '')}", fontsize=8)
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=3))
        ax.margins(x=0.12)
    axes[0].set_yticks(range(len(others)), others, fontsize=8)
    axes[0].set_ylim(len(others) - 0.5, -0.7)
    marks = {f"p < {ALPHA:g}": (BLUE, BLUE), f"p \N{GREATER-THAN OR EQUAL TO} {ALPHA:g}": (BLACK, "white")}
    handles = [Line2D([], [], marker="o", color=c, markerfacecolor=face, label=p) for p, (c, face) in marks.items()]
    fig.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8)
    fig.suptitle("ECCL minus the row at the left; right of 0, ECCL is better", x=0.01, ha="left", fontsize=8.5)
    note = f"n = {n:,} test participants, {seeds} seed{'s' * (seeds > 1)}; 95 % intervals"
    footer(fig, f"{note}; number: p after Holm, {len(differences)} tests", synthetic)
    return fig


def _comparison(ax, found, y: int) -> None:
    """One difference with its interval, its corrected p above it. found: a row of ``differences``."""
    colour, face = (BLUE, BLUE) if found.p_holm < ALPHA else (BLACK, "white")
    ax.plot([found.low, found.high], [y, y], color=colour, linewidth=1.1)
    ax.plot(found.difference, y, "o", markersize=4.5, color=colour, markerfacecolor=face)
    above = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "bbox": BEHIND_P, "zorder": 1.5}
    ax.annotate(_p(found.p_holm), (found.difference, y), fontsize=7, **above)


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
