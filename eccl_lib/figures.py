"""Pictures of a cohort: Fig. 2a to 2d, training curves, ROC, similarity. Arrays in, Figure out, no disk touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eccl_lib.figures_person import (
    baseline,
    cine_frames,
    crop_overlay,
    ecg_paper,
    mae_reconstruction,
    risk_panel,
    trait_panel,
)
from eccl_lib.figures_style import (
    BLACK,
    BLUE,
    CYCLE,
    DISEASE_NAMES,
    GREY,
    ORANGE,
    ORGAN_COLOURS,
    ORGAN_NAMES,
    PALE,
    VERMILION,
    bare,
    footer,
    new_figure,
    pretty_unit,
    styled,
)

__all__ = [
    "baseline",
    "cine_frames",
    "crop_overlay",
    "ecg_paper",
    "fig2a_latent",
    "fig2b_patches_and_size",
    "fig2c_traits",
    "fig2d_umap",
    "mae_reconstruction",
    "risk_panel",
    "roc_curves",
    "similarity_matrix",
    "training_curves",
    "trait_panel",
]


@styled
def training_curves(
    history: pd.DataFrame,
    panels: Mapping[str, Sequence[str]],
    *,
    best_epoch: int | None = None,
    synthetic: bool = False,
) -> Figure:
    """How a training went. history: one row an epoch, column epoch; panels: y label to the columns drawn in it."""
    fig = new_figure(height=2.6)
    epochs = history["epoch"]
    for ax, (label, columns) in zip(np.atleast_1d(fig.subplots(1, len(panels))), panels.items(), strict=True):
        for column in columns:
            ax.plot(epochs, history[column], marker="o", markersize=2.5, label=column.replace("_", " "))
        if history[list(columns)].isna().all(axis=None):
            ax.text(0.5, 0.5, "not defined: one class in validation", ha="center", transform=ax.transAxes)
        ax.set_xlim(0.5, len(epochs) + 0.5)
        if best_epoch is not None:
            ax.axvline(best_epoch, color=GREY, linewidth=1, linestyle="--", label=f"best epoch, {best_epoch}")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        ax.legend()
    footer(fig, f"n = {len(history)} epochs", synthetic)
    return fig


@styled
def similarity_matrix(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], *, synthetic: bool = False) -> Figure:
    """Cosine similarity of every ECG with every CMR.

    pairs: panel title to (z_ecg, z_cmr), both (n, D); row i and column i are one heart.
    """
    fig = new_figure(height=3.5)
    axes = np.atleast_1d(fig.subplots(1, len(pairs)))
    matrices = {title: _unit(z_ecg) @ _unit(z_cmr).T for title, (z_ecg, z_cmr) in pairs.items()}  # (n, n)
    reach = max(0.2, *(float(np.percentile(np.abs(cosine), 99.5)) for cosine in matrices.values()))
    for ax, (title, cosine) in zip(axes, matrices.items(), strict=True):
        others = cosine[~np.eye(len(cosine), dtype=bool)]
        image = ax.imshow(cosine, cmap="PuOr_r", vmin=-reach, vmax=reach, interpolation="nearest")
        ax.set_title(f"{title}\nown heart {np.diag(cosine).mean():+.2f}, others {others.mean() + 0.0:+.2f}")
        ax.set(xlabel="CMR of participant", ylabel="ECG of participant")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    fig.colorbar(image, ax=axes, label="cosine similarity", shrink=0.8)
    footer(fig, f"n = {len(cosine)} test participants; the diagonal is one heart's own pair", synthetic)
    return fig


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)


@styled
def fig2a_latent(
    before_ecg: np.ndarray,
    before_cmr: np.ndarray,
    after_ecg: np.ndarray,
    after_cmr: np.ndarray,
    scores: Mapping[str, str] | None = None,
    *,
    synthetic: bool = False,
) -> Figure:
    """t-SNE of ECG and CMR features before and after alignment (Fig. 2a). All (n, 2); row i of each is one heart.

    scores: a line under the title of "before" and of "after", such as a separation with its interval.
    """
    scores = scores or {}
    fig = new_figure(height=3.5)
    panels = {"before alignment": (before_ecg, before_cmr), "after alignment": (after_ecg, after_cmr)}
    for ax, (title, (ecg, cmr)) in zip(fig.subplots(1, 2), panels.items(), strict=True):
        ax.plot([ecg[:, 0], cmr[:, 0]], [ecg[:, 1], cmr[:, 1]], color=PALE, linewidth=0.5, zorder=1)
        ax.scatter(*ecg.T, s=14, color=BLUE, marker="o", linewidths=0, label="ECG", zorder=2)
        ax.scatter(
            *cmr.T, s=26, facecolors="none", edgecolors=ORANGE, marker="^", linewidths=1.0, label="CMR", zorder=2
        )
        ax.set_title(_with_score(title, scores.get(title.split()[0])))
        ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
        bare(ax)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    footer(fig, f"n = {len(ecg)} test participants; a line joins one heart's ECG and CMR", synthetic)
    return fig


def _with_score(title: str, score: str | None) -> str:
    return f"{title}\n{score}" if score else title


@styled
def fig2b_patches_and_size(points: pd.DataFrame, *, n: int, synthetic: bool = False) -> Figure:
    """Mean Pearson r against the number of ECG patches and against the ViT's size (Fig. 2b).

    points: one row a run, columns panel ("patches" or "size"), tokens, parameters, seconds, r, low, high.
    n: test participants.
    """
    fig = new_figure(height=2.9)
    axes = fig.subplots(1, 2, sharey=True)
    for ax, (panel, title) in zip(axes, (("patches", "number of patches"), ("size", "size of the ViT")), strict=True):
        rows = points[points["panel"] == panel].sort_values("tokens" if panel == "patches" else "parameters")
        x = np.arange(len(rows))
        reach = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["r"].to_numpy(float))
        ax.errorbar(x, rows["r"], yerr=reach, fmt="o-", color=BLUE, ecolor=GREY, capsize=3, markersize=5)
        ax.set_xticks(x, [_run_label(row, panel) for row in rows.itertuples()])
        ax.set_xlim(-0.5, len(rows) - 0.5)
        ax.set_xlabel("patches of one ECG" if panel == "patches" else "weights of the encoder")
        ax.set_title(title)
    axes[0].set_ylabel("mean Pearson r, 82 traits")
    footer(fig, f"n = {n:,} test participants; bars: 95 % interval over participants", synthetic)
    return fig


def _run_label(row, panel: str) -> str:
    """What a run varies first, then what it costs."""
    patches, weights = f"{row.tokens:,}", f"{row.parameters / 1e6:.2g} M"
    first, second = (patches, f"{weights} weights") if panel == "patches" else (weights, f"{patches} patches")
    return f"{first}\n{second}\ntrained {row.seconds:,.0f} s"


@styled
def fig2c_traits(
    traits: pd.DataFrame,
    scatter: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    n: int,
    synthetic: bool = False,
) -> Figure:
    """Pearson r per trait, grouped by organ, and predicted against measured for chosen traits (Fig. 2c).

    traits: columns short_name, group, unit, r, low, high. scatter: short_name to (measured (n,), predicted (n,)).
    """
    order = {group: k for k, group in enumerate(ORGAN_NAMES)}
    rows = traits.assign(organ=traits["group"].map(order)).sort_values(["organ", "r"], ascending=[True, False])
    fig = new_figure(height=max(0.155 * len(rows) + 1.0, 1.75 * len(scatter or ()) + 0.3))
    left, right = fig.subfigures(1, 2, width_ratios=(1.45, 1)) if scatter else (fig, None)
    _bars(left.add_subplot(), rows)
    if scatter:
        units = rows.set_index("short_name")["unit"]
        scores = rows.set_index("short_name")["r"]
        axes = np.atleast_1d(right.subplots(len(scatter), 1))
        for ax, (name, (measured, predicted)) in zip(axes, scatter.items(), strict=True):
            _agreement(ax, name, units[name], scores[name], measured, predicted)
    footer(fig, f"n = {n:,} test participants; bars: 95 % interval over participants", synthetic)
    return fig


def _bars(ax, rows: pd.DataFrame) -> None:
    """One horizontal bar a trait, a gap between organs."""
    groups = rows["group"].to_numpy()
    y = np.arange(len(rows)) + 0.7 * np.concatenate([[0], np.cumsum(groups[1:] != groups[:-1])])
    r = rows["r"].to_numpy(float)
    reach = np.abs(rows[["low", "high"]].to_numpy(float).T - r)
    ax.barh(y, r, color=[ORGAN_COLOURS[group] for group in groups], height=0.8)
    ax.errorbar(r, y, xerr=reach, fmt="none", ecolor=BLACK, elinewidth=0.8)
    ax.set_yticks(y, [name.replace("_", " ") for name in rows["short_name"]], fontsize=7.5)
    ax.set_ylim(y[-1] + 0.8, -0.8)
    edge = max(float(np.nanmax(rows["high"])), 0.05)
    for group in dict.fromkeys(groups):
        middle = y[groups == group].mean()
        ax.text(1.02, middle, ORGAN_NAMES[group], transform=ax.get_yaxis_transform(), va="center", fontsize=7.5)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set_xlim(min(0.0, 1.05 * float(np.nanmin(rows["low"]))), edge * 1.02)
    ax.set_xlabel("Pearson r")


def _agreement(ax, name: str, unit: str, r: float, measured: np.ndarray, predicted: np.ndarray) -> None:
    both = np.isfinite(measured) & np.isfinite(predicted)
    ax.scatter(measured[both], predicted[both], s=6, color=BLUE, alpha=0.6, linewidths=0)
    low = min(measured[both].min(), predicted[both].min())
    high = max(measured[both].max(), predicted[both].max())
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle="--")
    ax.set_title(f"{name.replace('_', ' ')}: r = {r:.2f}, n = {both.sum():,}", fontsize=8.5)
    ax.set_xlabel(f"measured ({pretty_unit(unit)})", fontsize=8)
    ax.set_ylabel(f"predicted ({pretty_unit(unit)})", fontsize=8)
    ax.tick_params(labelsize=7.5)


@styled
def fig2d_umap(
    before: np.ndarray,
    after: np.ndarray,
    positive: np.ndarray,
    disease: str,
    scores: Mapping[str, str] | None = None,
    *,
    synthetic: bool = False,
) -> Figure:
    """UMAP of ECG features of one disease before and after alignment (Fig. 2d); blue with it, red without.

    before, after: (n, 2). positive: (n,) bool. scores: a line under the title of "before" and of "after".
    """
    scores, positive = scores or {}, np.asarray(positive, bool)
    fig = new_figure(height=3.5)
    for ax, (title, xy) in zip(
        fig.subplots(1, 2), {"before alignment": before, "after alignment": after}.items(), strict=True
    ):
        ax.scatter(*xy[~positive].T, s=12, color=VERMILION, marker="o", alpha=0.55, linewidths=0, label="without")
        ax.scatter(*xy[positive].T, s=30, color=BLUE, marker="D", edgecolors="white", linewidths=0.5, label="with")
        ax.set_title(_with_score(title, scores.get(title.split()[0])))
        ax.set(xlabel="UMAP 1", ylabel="UMAP 2")
        bare(ax)
    fig.suptitle(DISEASE_NAMES.get(disease, disease), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    footer(fig, f"n = {len(positive):,} test participants, {int(positive.sum())} with the diagnosis", synthetic)
    return fig


@styled
def roc_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray, str]], *, synthetic: bool = False) -> Figure:
    """ROC curves of several scores. curves: name to (labels (n,) bool, scores (n,), text of AUC and interval)."""
    fig = new_figure(height=3.6 + 0.17 * len(curves), width=4.2)
    ax = fig.add_subplot()
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="chance")
    for colour, (name, (labels, scores, text)) in zip(CYCLE * 3, curves.items(), strict=False):
        order = np.argsort(-np.asarray(scores, float), kind="stable")
        ranked, values = np.asarray(labels, bool)[order], np.asarray(scores, float)[order]
        last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # ties move the curve in one step
        true = np.concatenate([[0], np.cumsum(ranked)[last] / max(ranked.sum(), 1)])
        false = np.concatenate([[0], np.cumsum(~ranked)[last] / max((~ranked).sum(), 1)])
        ax.plot(false, true, color=colour, label=f"{name}: {text}")
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    fig.legend(loc="outside upper left")
    positives = [int(np.sum(labels)) for labels, _, _ in curves.values()]
    spread = f"{positives[0]}" if len(set(positives)) == 1 else f"{min(positives)} to {max(positives)}"
    footer(fig, f"n = {len(ranked):,} test participants, {spread} with the diagnosis", synthetic)
    return fig
