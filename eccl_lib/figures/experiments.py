"""Figures of the experiments around Table 1: scores and gains along a curve, and options of stage two."""

from collections.abc import Collection, Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from eccl_lib.figures.colours import (
    BLACK,
    BLUE,
    CYCLE,
    ENCODER_COLOURS,
    GREY,
    METHOD_COLOURS,
    PURPLE,
    SKY,
    TASK_COLOURS,
)
from eccl_lib.figures.style import footer, new_figure, score_name, styled, task_title

OUTCOMES = {"traits": ("82 traits", "r"), "diseases": ("four diseases", "AUC")}
LINES = ("o-", "s--", "^:")  # of the differences of one series, which share its colour
OTHER_COLOURS = (SKY, PURPLE)  # of series that are no row of Table 1


@styled
def learning_curves(means: pd.DataFrame, differences: pd.DataFrame, *, x: str, n: int, seeds: int) -> Figure:
    """Scores along x, and below them the differences of pairs along x; one column of panels per task.

    A difference has the colour of its first series. means: series, x, task, mean, low, high. differences: series,
    other, x, task, difference, low, high. x: what it counts; its axis is logarithmic. n: test participants.
    """
    tasks = list(dict.fromkeys(means["task"]))
    fig = new_figure(height=5.6)
    axes = fig.subplots(2, len(tasks), squeeze=False)
    for (top, bottom), task in zip(axes.T, tasks, strict=True):
        colours: dict[str, str] = {}
        for k, (series, rows) in enumerate(means[means["task"] == task].groupby("series", sort=False)):
            colours[series] = METHOD_COLOURS.get(series) or OTHER_COLOURS[k % len(OTHER_COLOURS)]
            _curve(top, rows, "mean", colours[series], series, k)
        drawn: list[str] = []
        for k, ((series, other), rows) in enumerate(
            differences[differences["task"] == task].groupby(["series", "other"], sort=False)
        ):
            line = LINES[drawn.count(series) % len(LINES)]
            drawn.append(series)
            _curve(bottom, rows, "difference", colours.get(series, BLACK), f"{series} minus {other}", k, line)
        bottom.axhline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        top.set_title(task_title(task))
        top.set_ylabel(score_name(task))
        bottom.set_ylabel(f"difference in {score_name(task).replace('Pearson ', '')}")
        for ax in (top, bottom):
            _logarithmic(ax, sorted(set(means["x"])), fill(x, 25 if len(tasks) > 1 else 60))
    for ax in axes[:, -1]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7.5)
    footer(fig, f"n = {n:,} test participants; {_covered([seeds])}")
    return fig


def _covered(seeds: Collection[int]) -> str:
    """The numbers of training seeds of a figure, and what its intervals cover."""
    fewest, most = min(seeds), max(seeds)
    count = f"{fewest} to {most}" if fewest < most else str(most)
    seeds_too = " and seeds" if fewest > 1 else ", and seeds if several" if most > 1 else ""
    return f"{count} seed{'s' * (most > 1)}; bars: 95 % interval over participants{seeds_too}"


def _curve(ax: Axes, rows: pd.DataFrame, value: str, colour: str, label: str, place: int, line: str = LINES[0]) -> None:
    """Draw one curve; ``place`` moves it to the right by a few percent, so that bars do not hide each other."""
    rows = rows.sort_values("x")
    reach = np.abs(rows[["low", "high"]].to_numpy(float).T - rows[value].to_numpy(float))
    style = {"fmt": line, "markersize": 3.5, "elinewidth": 0.8, "capsize": 2, "linewidth": 1.2}
    ax.errorbar(rows["x"] * 1.04**place, rows[value], yerr=reach, color=colour, label=label, **style)


def _logarithmic(ax: Axes, places: Sequence[int], name: str) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.tick_params(axis="x", labelsize=8)
    ax.set_xlabel(name)


@styled
def alignment_gains(
    differences: Mapping[str, pd.DataFrame], *, one: str, other: str, n: int, seeds: Collection[int]
) -> Figure:
    """The gain of one row over another, such as of alignment, in each experiment and task; up to four panels in a row.

    differences: label of x to rows of an experiment: series, other, x, task, difference, low, high. one, other: series
    whose difference is drawn. n: test participants. seeds: number of training seeds of each experiment. Panels of one
    task share their scale.
    """
    pairs = {
        label: rows[(rows["series"] == one) & (rows["other"] == other)].sort_values("x")
        for label, rows in differences.items()
    }
    tasks = list(dict.fromkeys(task for rows in pairs.values() for task in rows["task"]))
    panels = [
        (task, label, own) for task in tasks for label, rows in pairs.items() if len(own := rows[rows["task"] == task])
    ]
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    fig = new_figure(height=2.4 * lines + 0.4)
    axes, first = fig.subplots(lines, columns, squeeze=False).ravel(), dict[str, Axes]()
    for ax, (task, label, own) in zip(axes, panels, strict=False):
        ax.sharey(first.setdefault(task, ax))
        ax.axhline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        _curve(ax, own, "difference", TASK_COLOURS.get(task, BLACK), task, 0)
        places = sorted(set(own["x"]))
        _logarithmic(ax, places[::2] if columns * len(places) > 12 and len(places) > 3 else places, fill(label, 22))
        ax.set_title(task_title(task), fontsize=8.5)
        if ax is first[task] or ax in axes[::columns]:
            ax.set_ylabel(f"gain in {score_name(task).replace('Pearson ', '')}")
        else:
            ax.tick_params(labelleft=False)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    fig.suptitle(f"{one} minus {other}", x=0.01, ha="left", fontsize=9.5)
    footer(fig, f"n = {n:,} test participants; {_covered(seeds)}")
    return fig


@styled
def option_differences(differences: pd.DataFrame, *, split: str, n: int, seeds: int) -> Figure:
    """Each option minus the row that it changes: mean r of the traits, and mean AUC of the diseases.

    differences: series, other, task ("traits" or "diseases"; others are left out), difference, low, high.
    split: validation or test. n: its participants.
    """
    panels = {task: title for task, title in OUTCOMES.items() if task in set(differences["task"])}
    order = differences[differences["task"] == "traits"].sort_values("difference", ascending=False)["series"].tolist()
    fig = new_figure(height=0.34 * len(order) + 1.6)
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (task, (title, score)) in zip(axes, panels.items(), strict=True):
        rows = differences[differences["task"] == task].set_index("series").loc[order]
        reach = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["difference"].to_numpy(float))
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        ax.errorbar(rows["difference"], np.arange(len(order)), xerr=reach, fmt="o", color=BLUE, capsize=2, markersize=4)
        ax.set_title(title)
        ax.set_xlabel(f"difference in mean {score}")
    axes[0].set_yticks(range(len(order)), order, fontsize=8)
    axes[0].set_ylim(len(order) - 0.5, -0.5)
    base = differences["other"].iloc[0]
    fig.suptitle(f"option minus {base}", x=0.01, ha="left", fontsize=9.5)
    footer(fig, f"n = {n:,} {split} participants; {_covered([seeds])}")
    return fig


@styled
def probe_curves(scores: pd.DataFrame, *, outcome: str, n: int, patients: int, folds: int) -> Figure:
    """Downstream scores of ECG encoders: against updates, against the share of labels, and of the linear probes.

    scores: rows of ``evaluation.probe.table`` of one outcome: encoder, evaluation, share, updates, score, low, high.
    outcome: name of the score. n: test recordings of all folds.
    """
    tuned, probed = (scores[scores["evaluation"] == name] for name in ("fine-tuned", "linear probe"))
    encoders = list(dict.fromkeys(scores["encoder"]))
    others = iter(colour for colour in CYCLE if colour not in ENCODER_COLOURS.values())
    colours = {name: ENCODER_COLOURS.get(name) or next(others, GREY) for name in encoders}
    middle = tuned["updates"].mode().iloc[0] if len(tuned) else 0
    panels = {
        ("updates, all labels", "updates"): tuned[tuned["share"] == 1],
        (f"share of labels, {middle:,} updates", "share"): tuned[tuned["updates"] == middle],
    }
    panels = dict([part for part in panels.items() if part[1][part[0][1]].nunique() > 1] or list(panels.items())[:1])
    fig = new_figure(height=3.4)
    axes = fig.subplots(1, len(panels) + 1, sharey=True, width_ratios=[1] * len(panels) + [0.9])
    for ax, ((label, column), rows) in zip(axes, panels.items(), strict=False):
        if rows[column].nunique() == 1:
            _by_encoder(ax, rows, colours)
            ax.set_title(f"fine-tuned, {rows['updates'].iloc[0]:,} updates")
            continue
        for k, (encoder, curve) in enumerate(rows.groupby("encoder", sort=False)):
            _curve(ax, curve.assign(x=curve[column]), "score", colours[encoder], encoder, k)
        _logarithmic(ax, sorted(set(rows[column])), label)
        if column == "share":
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        ax.set_title("fine-tuned")
    _by_encoder(axes[-1], probed[probed["share"] == 1], colours)
    axes[-1].set_title("linear probe, all labels")
    axes[0].set_ylabel(outcome)
    handles = [Line2D([], [], marker="o", color=colours[name], label=name) for name in encoders]
    fig.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=7.5)
    tested = f"{folds} fold{'s' * (folds > 1)}"
    footer(fig, f"PTB-XL, n = {n:,} recordings of {patients:,} patients, {tested}; bars: 95 % interval over patients")
    return fig


def _by_encoder(ax: Axes, rows: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """One point per encoder, in the order of the legend."""
    rows = rows.set_index("encoder")
    rows = rows.loc[[name for name in colours if name in rows.index]]
    reach = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["score"].to_numpy(float))
    for k, name in enumerate(rows.index):
        ax.errorbar(k, rows["score"].iloc[k], yerr=reach[:, [k]], fmt="o", color=colours[name], capsize=2)
    ax.set_xticks([])
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.set_xlabel("encoders as in the legend")
