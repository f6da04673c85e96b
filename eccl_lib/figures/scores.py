"""Figures of scores: ROC curves, calibration, differences between rows of Table 1."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eccl_lib.figures.colours import BLACK, BLUE, CYCLE, GREY, METHOD_COLOURS, VERMILION
from eccl_lib.figures.style import SMALL, footer, new_figure, score_name, styled, task_title
from eccl_lib.metrics import roc
from eccl_lib.tasks import TASKS

LINE_STYLES = ("-", "--", ":")  # used after the colours are exhausted
ALPHA = 0.05
P_VALUE_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.2}
Curve = tuple[np.ndarray, np.ndarray, str]  # labels (n,) bool, scores (n,) or (seeds, n), legend text


@styled
def roc_curves(curves: Mapping[str, Curve], *, title: str = "", banded: str | None = None, least: int = 0) -> Figure:
    """ROC curves of one disease.

    curves: name to labels (n,), scores (n,) or (seeds, n) and legend text (AUC with interval); for several seeds
    the mean curve is drawn. banded: name of the curve with a pointwise 95 % band. least: a step of a curve
    has no or at least so many cases and controls; where there are too few for two steps, the curve is withheld.
    """
    fig = new_figure(height=3.5 + 0.17 * len(curves), width=4.2)  # fits one column of a paper (3.5 inches)
    ax = fig.add_subplot()
    _roc(ax, curves, banded, least)
    ax.set_title(title)
    fig.legend(loc="outside upper left")
    if banded:
        ax.text(1.0, 0.02, f"band of {banded}:\n95 % pointwise", ha="right", fontsize=8.5, color=GREY)
    footer(fig, _sample_size([curves], least), size=8.5)
    return fig


@styled
def roc_panels(panels: Mapping[str, Mapping[str, Curve]], *, banded: str | None = None, least: int = 0) -> Figure:
    """ROC curves of several rows of Table 1, one panel per disease; the legends give AUC and interval.

    panels: disease (its code, or the title of one that is not the paper's) to the curves of ``roc_curves``. banded: the
    row with a pointwise band. least: as there.
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
        _roc(ax, curves, banded, least)
        positive = next(iter(curves.values()))[0]
        cases = f"under {least} cases or controls" if _few(positive, least) else f"{int(np.sum(positive))} cases"
        ax.set_title(f"{task_title(code)}\n{cases}")
        legend.legend(*ax.get_legend_handles_labels(), loc="upper left", fontsize=SMALL, labelspacing=0.25, borderpad=0)
    note = _sample_size(panels.values(), least)
    footer(fig, f"{note}; 95 %: brackets, band of {banded}" if banded else note)
    return fig


def _few(positive: np.ndarray, least: int) -> bool:
    """Whether a class has some, but fewer than ``least`` participants."""
    cases = int(np.sum(positive))
    return any(0 < count < least for count in (cases, len(positive) - cases))


def _roc(ax, curves: Mapping[str, Curve], banded: str | None, least: int) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="chance")
    marks = ((colour, line) for line in LINE_STYLES for colour in CYCLE)
    for (colour, line), (name, (labels, scores, text)) in zip(marks, curves.items(), strict=False):
        colour = METHOD_COLOURS.get(name, colour)
        if _few(labels, least):
            ax.plot([], [], color=colour, linestyle=line, label=f"{name}: withheld")
            continue
        try:
            drawn = roc.curve(labels, scores, least)
        except ValueError:  # too few cases or controls for two steps
            ax.plot([], [], color=colour, linestyle=line, label=f"{name}: {text}\n(curve withheld)")
            continue
        if name == banded and 0 < np.sum(labels) < len(labels):
            rates, low, high = roc.band(labels, scores, least=least)
            ax.fill_between(rates, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(*drawn, color=colour, linestyle=line, label=f"{name}: {text}")
    ax.set(xlabel="1 \N{MINUS SIGN} specificity", ylabel="sensitivity")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")


def _sample_size(panels: Iterable[Mapping[str, Curve]], least: int) -> str:
    """Footer text: number of test participants and of cases."""
    everyone = [curve[0] for curves in panels for curve in curves.values()]
    labels = [positive for positive in everyone if not _few(positive, least)]
    if not labels:
        return f"n = {len(everyone[0]):,} test participants, under {least} cases or controls"
    fewest, most = min(map(np.sum, labels)), max(map(np.sum, labels))
    spread = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"n = {len(labels[0]):,} test participants, {spread} cases"


@styled
def reliability_curves(panels: Mapping[str, Mapping[str, pd.DataFrame]], *, n: int) -> Figure:
    """Reliability curves (observed share of cases against predicted probability), one panel per disease, one scale.

    panels: disease, as in ``roc_panels``, to {legend: frame}; one row per bin: predicted (mean probability), observed
    (share of cases), low, high (95 % interval of observed), n. n: number of test participants. Without a panel, the
    figure says that all bins are withheld.
    """
    if not panels:
        fig = new_figure(height=1.0)
        fig.text(0.5, 0.5, "all bins are withheld: they have few cases or controls", ha="center", va="center")
        return fig
    rows = -(-len(panels) // 2)
    fig = new_figure(height=rows * 2.9 + 0.6)
    axes = fig.subplots(rows, 2, squeeze=False, sharex=True, sharey=True).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    every = [bins[["predicted", "high"]].to_numpy(float) for curves in panels.values() for bins in curves.values()]
    most = min(1.0, max(float(values.max()) for values in every if len(values)))
    for ax, (code, curves) in zip(axes, panels.items(), strict=False):
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="perfect calibration")
        for colour, marker, (name, bins) in zip((VERMILION, BLUE, *CYCLE), "oDs^vP", curves.items(), strict=False):
            bins = bins.sort_values("predicted")
            observed = bins["observed"].to_numpy(float)
            reach = np.abs(bins[["low", "high"]].to_numpy(float).T - observed)
            style = {"fmt": f"{marker}-", "color": colour, "elinewidth": 0.8, "linewidth": 1, "markersize": 4}
            ax.errorbar(bins["predicted"], observed, yerr=reach, **style, label=name)
        ax.set(xlim=(-0.02 * most, 1.04 * most), ylim=(-0.02 * most, 1.04 * most))
        ax.set_xlabel("predicted probability")
        ax.set_ylabel("observed share of cases")
        ax.label_outer()
        ax.set_title(task_title(code))
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    footer(fig, f"n = {n:,} test participants; point: one bin of predictions; bars: 95 % interval")
    return fig


@styled
def differences_forest(differences: pd.DataFrame, *, n: int, seeds: int) -> Figure:
    """Score of ECCL minus the score of each other row, with 95 % interval and Holm-corrected p-value.

    differences: one row per comparison: task (its key, or the title of a disease that is not the paper's), other (row
    name in the paper), difference, low, high, p_holm. n: number of test participants. Right of 0 ECCL is better; filled
    marks have p_holm below 0.05. Withheld comparisons (NaN) are not drawn, but Holm's correction has counted them.
    """
    tests, differences = len(differences), differences[differences["difference"].notna()]
    found = dict.fromkeys(differences["task"])
    tasks = [*(task for task in TASKS if task in found), *(task for task in found if task not in TASKS)]
    others = list(dict.fromkeys(differences["other"]))
    fig = new_figure(height=0.36 * len(others) + 1.9)
    axes = fig.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for ax, task in zip(axes, tasks, strict=True):
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        for comparison in differences[differences["task"] == task].itertuples():
            _draw_comparison(ax, comparison, others.index(comparison.other))
        ax.set_title(task_title(task).replace(" ", "\n"), fontsize=8)
        ax.set_xlabel(f"difference\nin {score_name(task).replace('Pearson ', '')}", fontsize=8)
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=3))
        ax.margins(x=0.3)  # room for the p-values
    of_diseases = [ax for ax, task in zip(axes, tasks, strict=True) if task != "traits"]
    if of_diseases:
        left, right = zip(*(ax.get_xlim() for ax in of_diseases), strict=True)
        for ax in of_diseases:
            ax.set_xlim(min(left), max(right))  # one scale for all AUCs
    axes[0].set_yticks(range(len(others)), others, fontsize=8)
    axes[0].set_ylim(len(others) - 0.5, -0.7)
    marks = {
        f"p < {ALPHA:g} (Holm)": (BLUE, BLUE),
        f"p \N{GREATER-THAN OR EQUAL TO} {ALPHA:g} (Holm)": (BLACK, "white"),
    }
    handles = [Line2D([], [], marker="o", color=c, markerfacecolor=face, label=p) for p, (c, face) in marks.items()]
    fig.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8)
    fig.suptitle("ECCL minus the row named at the left; right of 0: ECCL is better", x=0.01, ha="left", fontsize=8.5)
    note = f"n = {n:,} test participants, {seeds} seed{'s' * (seeds > 1)}; 95 % intervals"
    footer(fig, f"{note}; numbers: p, Holm-corrected for {tests} tests")
    return fig


def _draw_comparison(ax, row, y: int) -> None:
    """Draw one difference with its interval and its corrected p-value. row: a row of ``differences``."""
    colour, face = (BLUE, BLUE) if row.p_holm < ALPHA else (BLACK, "white")
    ax.plot([row.low, row.high], [y, y], color=colour, linewidth=1.1)
    ax.plot(row.difference, y, "o", markersize=4.5, color=colour, markerfacecolor=face)
    above = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "bbox": P_VALUE_BOX, "zorder": 1.5}
    text = "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}" if row.p_holm < 0.1 else f"{row.p_holm:.2f}"
    ax.annotate(text, (row.difference, y), fontsize=7, **above)
