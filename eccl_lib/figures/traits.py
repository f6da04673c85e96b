"""Figures of the 82 cardiac traits: Fig. 2b, Fig. 2c, and all traits in one figure."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from eccl_lib.figures.colours import BLACK, BLUE, CHAMBER_COLOURS, CHAMBER_NAMES, GREY, ORANGE, PALE
from eccl_lib.figures.style import PARTICIPANTS, SMALL, footer, new_figure, pretty_unit, styled

INTERVAL = "lines: 95 % interval over participants"
CHAMBER_GAP = 1.1  # space above the bars of a chamber, in bars, for its name


# Panels of Fig. 2b: the column that varies, its name, and the title.
FACTORS = {
    "patches": ("tokens", "patches", "number of patches"),
    "width": ("width", "channels", "width of the ViT"),
    "depth": ("depth", "blocks", "depth of the ViT"),
}


@styled
def fig2b_patches_and_size(points: pd.DataFrame, *, n: int) -> Figure:
    """Mean Pearson r against the number of ECG patches and against width and depth of the ViT (Fig. 2b).

    points: one row per encoder and seed, columns panel, tokens, width, depth, parameters, seconds, r, mean, low, high.
    n: test participants. A panel whose factor has a single value is left out.
    """
    varied = [name for name, rows in points.groupby("panel") if rows[FACTORS[name][0]].nunique() > 1]
    panels = {name: factor for name, factor in FACTORS.items() if name in varied or not varied}
    fig = new_figure(height=2.9)
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (panel, (column, name, title)) in zip(axes, panels.items(), strict=True):
        rows = points[points["panel"] == panel].sort_values(column)
        for x, (_value, seeds) in enumerate(rows.groupby(column)):
            first = seeds.iloc[0]
            if len(seeds) > 1:
                ax.scatter(np.full(len(seeds), x) + 0.16, seeds["r"], s=9, color=GREY, zorder=2)
            reach = [[first["mean"] - first["low"]], [first["high"] - first["mean"]]]
            ax.errorbar(x, first["mean"], yerr=reach, fmt="o", color=BLUE, ecolor=GREY, capsize=3, markersize=5)
        ticks = [_run_label(value, seeds.iloc[0]) for value, seeds in rows.groupby(column)]
        ax.set_xticks(range(len(ticks)), ticks, fontsize=8)
        ax.set_xlim(-0.5, len(ticks) - 0.5)
        ax.set_title(title)
        ax.set_xlabel(name)
    axes[0].set_ylabel("mean Pearson r, 82 traits")
    seeds = points["seed"].nunique()
    repeats = f"{seeds} seeds (small dots)" if seeds > 1 else "1 seed"
    footer(fig, f"n = {n:,}; {repeats}; 95 % intervals; below: parameters, CPU time of both ECG stages")
    return fig


def _run_label(value: int, row: pd.Series) -> str:
    """Tick label: the quantity that varies, the parameters and the training time."""
    millions = row["parameters"] / 1e6
    weights = f"{millions:,.0f} M" if millions >= 9.95 else f"{millions:#.2g} M"
    return f"{value:,}\n{weights}\n{_duration(row['seconds'])}"


def _duration(seconds: float) -> str:
    """Duration as text: 38 s, 2.5 min, 7.1 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@styled
def fig2c_traits(
    traits: pd.DataFrame,
    scatter: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    n: int,
    references: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Pearson r per trait, grouped by chamber, and predicted against measured values of some traits (Fig. 2c).

    traits: columns short_name, group, unit, r, low, high. scatter: short_name to (measured (n,), predicted (n,)).
    references: at most three names to the r of each row of traits, drawn as marks, such as that of a CMR model.
    """
    rows = by_chamber(traits.assign(**(references or {})))
    gaps = CHAMBER_GAP * rows["group"].nunique()
    fig = new_figure(height=max(0.15 * (len(rows) + gaps) + 1.0, 1.75 * len(scatter or ()) + 0.3))
    left, right = fig.subfigures(1, 2, width_ratios=(1.45, 1)) if scatter else (fig, None)
    _bars(left.add_subplot(), rows)
    _marks(left, rows, list(references or ()))
    if scatter:
        by_name, axes = rows.set_index("short_name"), np.atleast_1d(right.subplots(len(scatter), 1))
        for ax, (name, (measured, predicted)) in zip(axes, scatter.items(), strict=True):
            _agreement(ax, name, by_name.loc[name, "unit"], by_name.loc[name, "r"], measured, predicted)
    note = f"n = {n:,} test participants; {INTERVAL}"
    footer(fig, f"{note}; dashes: predicted = measured" if scatter else note)
    if scatter:
        fig.set_label(PARTICIPANTS)
    return fig


def by_chamber(traits: pd.DataFrame) -> pd.DataFrame:
    """Traits in drawing order: by chamber, then by decreasing r."""
    order = {group: k for k, group in enumerate(CHAMBER_NAMES)}
    return traits.assign(order=traits["group"].map(order)).sort_values(["order", "r"], ascending=[True, False])


def _marks(fig: Figure, rows: pd.DataFrame, names: list[str]) -> None:
    """Mark the reference values of each trait in the panel of bars, and name them above it."""
    ax = fig.axes[0]
    styles = zip(names, (("D", ORANGE), ("|", BLACK), ("x", BLACK)), strict=False)
    for name, (marker, colour) in styles:
        ax.plot(rows[name], ax.get_yticks(), marker, color=colour, markersize=4.5, linewidth=0, label=name, zorder=3)
    if names:
        values = rows[[*names, "high"]].to_numpy(float)
        ax.set_xlim(right=1.02 * float(np.nanmax(values)))
        ax.legend(loc="lower left", bbox_to_anchor=(-0.3, 1.0), ncols=len(names), fontsize=SMALL, handletextpad=0.2)


def _bars(ax, rows: pd.DataFrame) -> None:
    """Draw one horizontal bar per trait, below the name of its chamber."""
    groups = rows["group"].to_numpy()
    y = np.arange(len(rows)) + CHAMBER_GAP * np.concatenate([[0], np.cumsum(groups[1:] != groups[:-1])])
    r = rows["r"].to_numpy(float)
    reach = np.abs(rows[["low", "high"]].to_numpy(float).T - r)
    ax.barh(y, r, color=[CHAMBER_COLOURS[group] for group in groups], height=0.8)
    ax.errorbar(r, y, xerr=reach, fmt="none", ecolor=BLACK, elinewidth=0.8)
    ax.set_yticks(y, [readable(name) for name in rows["short_name"]], fontsize=SMALL)
    ax.set_ylim(y[-1] + 0.8, -1.5)
    ax.set_xlim(min(0.0, 1.05 * float(np.nanmin(rows["low"]))), 1.02 * max(float(np.nanmax(rows["high"])), 0.05))
    for group in dict.fromkeys(groups):
        style = {"va": "center", "fontsize": SMALL, "fontweight": "bold"}
        ax.text(0.01 * ax.get_xlim()[1], y[groups == group].min() - 0.9, CHAMBER_NAMES[group], **style)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set_xlabel("Pearson r")


def readable(short_name: str) -> str:
    """Label of a trait: ``LAV_max`` becomes ``LAV max``."""
    return short_name.replace("_", " ")


def _agreement(ax, name: str, unit: str, r: float, measured: np.ndarray, predicted: np.ndarray) -> None:
    both = np.isfinite(measured) & np.isfinite(predicted)
    style = {"s": 8, "color": BLUE, "alpha": 0.6, "linewidth": 0, "legend": False}
    sns.scatterplot(x=measured[both], y=predicted[both], ax=ax, **style)
    values = np.concatenate([measured[both], predicted[both]])
    ax.plot([values.min(), values.max()], [values.min(), values.max()], color=GREY, linewidth=0.8, linestyle="--")
    ax.set_title(f"{readable(name)}: r = {r:.2f}, n = {both.sum():,}", fontsize=8.5)
    ax.set_xlabel(f"measured ({pretty_unit(unit)})", fontsize=8)
    ax.set_ylabel(f"predicted ({pretty_unit(unit)})", fontsize=8)
    ax.tick_params(labelsize=SMALL)


@styled
def traits_by_chamber(traits: pd.DataFrame, *, n: int) -> Figure:
    """Pearson r of all traits with intervals, grouped by chamber, best first (supplement).

    traits: columns short_name, group, r, low, high.
    """
    rows = by_chamber(traits)
    halves = _halves(rows["group"].tolist())
    columns = [rows[rows["group"].isin(half)] for half in halves if half]
    longest = max(len(column) + 1.4 * column["group"].nunique() for column in columns)
    fig = new_figure(height=0.148 * longest + 0.9)
    edges = np.nanmin(rows["low"]), np.nanmax(rows["high"])
    for ax, column in zip(fig.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        _dots(ax, column, longest)
        ax.set_xlim(min(0.0, edges[0]) - 0.03, max(0.05, edges[1]) + 0.03)
    note = f"n = {n:,} test participants; {INTERVAL}"
    footer(fig, f"{note}; mean r over {len(rows)} traits: {rows['r'].mean():.3f}")
    return fig


def _halves(groups: list[str]) -> tuple[list[str], list[str]]:
    """Split the groups into two columns of nearly equal length, keeping their order."""
    names = list(dict.fromkeys(groups))
    above = [sum(groups.count(name) for name in names[:k]) for k in range(len(names) + 1)]
    cut = int(np.argmin([abs(2 * count - len(groups)) for count in above]))
    return names[:cut], names[cut:]


def _dots(ax, rows: pd.DataFrame, longest: float) -> None:
    """Draw one point with its interval per trait, below the name of the chamber."""
    y, places, labels = 0.0, [], []
    for group in dict.fromkeys(rows["group"]):
        chamber = rows[rows["group"] == group]
        place = y + 1 + np.arange(len(chamber))
        ax.hlines(place, chamber["low"], chamber["high"], color=CHAMBER_COLOURS[group], linewidth=2.2)
        style = {"orient": "h", "jitter": False, "native_scale": True, "color": BLACK, "size": 3}
        sns.stripplot(x=chamber["r"], y=place, ax=ax, **style)
        places += [y, *place]
        labels += [CHAMBER_NAMES[group], *(readable(name) for name in chamber["short_name"])]
        y = place[-1] + 1.4
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.grid(axis="x", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_yticks(places, labels, fontsize=7)
    for label in ax.get_yticklabels():
        if label.get_text() in CHAMBER_NAMES.values():
            label.set(fontweight="bold", fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(longest + 0.3, -0.7)
    ax.set_xlabel("Pearson r")
