"""Figures of the shared embedding space: cosine similarity, Fig. 2a and Fig. 2d."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eccl_lib.figures.colours import BLUE, ORANGE, PALE, VERMILION
from eccl_lib.figures.style import SMALL, footer, hide_ticks, new_figure, of_participants, signed, styled, task_title

MOST_GROUPS = 40  # rows and columns of a matrix
MOST_LINES = 100  # between matching points; more would hide each other
MOST_SHAPES = 2_500  # points of a group that are drawn as shapes in an SVG; more are drawn as one image in it


@styled
def similarity_matrix(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Cosine similarity of ECGs with CMRs by groups of participants, both in the order of the CMR embeddings.

    pairs: "before" and "after" to (z_ecg, z_cmr), both (n, D); row i of both is the same participant. The order is
    that of the first principal component of z_cmr of the last pair, and the same in all panels. A cell is the mean over
    all pairs of two groups, minus the means of its row and of its column: without them, stripes of participants that
    are similar to all others hide the diagonal.
    """
    fig = new_figure(height=3.5)
    axes = np.atleast_1d(fig.subplots(1, len(pairs)))
    groups = np.array_split(_along_first_component(list(pairs.values())[-1][1]), MOST_GROUPS)
    groups = [group for group in groups if len(group)]
    matrices = {title: _unit(z_ecg) @ _unit(z_cmr).T for title, (z_ecg, z_cmr) in pairs.items()}
    beyond = {title: _without_means(_by_group(cosine, groups)) for title, cosine in matrices.items()}
    reach = max(0.05, *(float(np.abs(cells).max()) for cells in beyond.values()))
    for ax, (title, cosine) in zip(axes, matrices.items(), strict=True):
        others = cosine[~np.eye(len(cosine), dtype=bool)]
        image = ax.imshow(beyond[title], cmap="PuOr_r", vmin=-reach, vmax=reach, interpolation="nearest")
        ax.set_title(
            f"{title} alignment\nmean: matching {signed(np.diag(cosine).mean())}, other {signed(others.mean())}"
        )
        ax.set(xlabel="CMR of group", ylabel="ECG of group")
        ends = (0, len(groups) - 1)
        ax.set_xticks(ends, [f"{k + 1}" for k in ends], fontsize=SMALL)
        ax.set_yticks(ends, [f"{k + 1}" for k in ends], fontsize=SMALL)
        ax.tick_params(length=0)
    fig.colorbar(image, ax=axes, label="cosine similarity, without\nthe means of row and column", shrink=0.8)
    note = f"n = {len(cosine):,} test participants in {len(groups)} groups, in order of CMR embedding"
    footer(fig, f"{note}; diagonal: the same group")
    return fig


def _by_group(cosine: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Means over the pairs of two groups, (groups, groups). cosine: (n, n). groups: row numbers of each."""
    rows = np.stack([cosine[group].mean(axis=0) for group in groups])
    return np.stack([rows[:, group].mean(axis=1) for group in groups], axis=1)


def _without_means(cells: np.ndarray) -> np.ndarray:
    """Cells minus the means of their row and column, plus the mean of all."""
    return cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()


def _along_first_component(z: np.ndarray) -> np.ndarray:
    """Row numbers of z (n, D) in the order of its first principal component."""
    centred = z - z.mean(axis=0)
    return np.argsort(centred @ np.linalg.svd(centred, full_matrices=False)[2][0], kind="stable")


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)


@of_participants
@styled
def fig2a_latent(
    before_ecg: np.ndarray,
    before_cmr: np.ndarray,
    after_ecg: np.ndarray,
    after_cmr: np.ndarray,
    scores: Mapping[str, str] | None = None,
) -> Figure:
    """t-SNE of ECG and CMR embeddings before and after alignment (Fig. 2a).

    All arrays (n, 2); row i of each is the same participant. scores: optional text below the titles "before", "after".
    """
    scores = scores or {}
    fig = new_figure(height=3.5)
    panels = {"before alignment": (before_ecg, before_cmr), "after alignment": (after_ecg, after_cmr)}
    for ax, (title, (ecg, cmr)) in zip(fig.subplots(1, 2), panels.items(), strict=True):
        some = np.unique(np.linspace(0, len(ecg) - 1, min(len(ecg), MOST_LINES)).astype(int))
        ax.plot([ecg[some, 0], cmr[some, 0]], [ecg[some, 1], cmr[some, 1]], color=PALE, linewidth=0.5, zorder=1)
        for xy, colour, marker, name in ((ecg, BLUE, "o", "ECG"), (cmr, ORANGE, "^", "CMR")):
            style = {
                "color": colour,
                "marker": marker,
                "s": _area(20, len(xy)),
                "alpha": 0.75,
                "linewidth": 0,
                "zorder": 2,
            }
            _scatter(ax, xy, name, style)
        ax.set_title(_with_score(title, scores.get(title.split()[0])))
        ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
        hide_ticks(ax)
    scale = (20 / _area(20, len(ecg))) ** 0.5  # markers of the legend have their full size
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2, markerscale=scale)
    lines = f"grey line: ECG and CMR of the same participant ({len(some)} shown)"
    footer(fig, f"n = {len(ecg):,} test participants; {lines}")
    return fig


def _scatter(ax: Axes, xy: np.ndarray, name: str, style: Mapping[str, Any]) -> None:
    many = len(xy) > MOST_SHAPES
    sns.scatterplot(x=xy[:, 0], y=xy[:, 1], label=name, legend=False, ax=ax, rasterized=many, **style)


def _area(largest: float, points: int) -> float:
    """Area of a marker in points squared: smaller for many points, so that they do not cover each other."""
    return largest * float(np.clip(400 / max(points, 1), 0.15, 1))


def _with_score(title: str, score: str | None) -> str:
    return f"{title}\n{score}" if score else title


@of_participants
@styled
def fig2d_umap(
    before: np.ndarray, after: np.ndarray, positive: np.ndarray, disease: str, scores: Mapping[str, str] | None = None
) -> Figure:
    """UMAP of ECG features before and after alignment (Fig. 2d); blue: with the diagnosis, red: without.

    before, after: (n, 2). positive: (n,) bool. scores: optional text below the titles "before", "after".
    """
    fig = new_figure(height=3.5)
    _before_after(fig.subplots(1, 2), before, after, positive, scores or {})
    fig.suptitle(task_title(disease), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    scale = (14 / _area(14, len(positive))) ** 0.5
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, markerscale=scale)
    footer(fig, f"n = {len(positive):,} test participants, {int(np.sum(positive))} with the diagnosis")
    return fig


@of_participants
@styled
def umap_diseases(
    diseases: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    scores: Mapping[str, Mapping[str, str]] | None = None,
) -> Figure:
    """``fig2d_umap`` of all diseases in one figure (the paper's supplement), one row per disease.

    diseases: code to before (n, 2), after (n, 2), positive (n,). scores: code to the texts of "before" and "after".
    """
    fig = new_figure(height=2.05 * len(diseases) + 0.7)
    rows = fig.subfigures(len(diseases), 1, squeeze=False)[:, 0]
    for row, (code, (before, after, positive)) in zip(rows, diseases.items(), strict=True):
        title = f"{task_title(code)}, {int(np.sum(positive))} cases"
        row.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        _before_after(row.subplots(1, 2), before, after, positive, (scores or {}).get(code, {}), named=row is rows[0])
    scale = (14 / _area(14, len(positive))) ** 0.5
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, markerscale=scale)
    footer(fig, f"n = {len(positive):,} test participants; each row uses the encoders trained for its disease")
    return fig


def _before_after(axes, before, after, positive, scores: Mapping[str, str], *, named: bool = True) -> None:
    """Scatter plots before and after alignment. before, after: (n, 2); positive: (n,). named: show panel titles."""
    positive = np.asarray(positive, bool)
    for ax, when, xy in zip(axes, ("before", "after"), (before, after), strict=True):
        controls = {"color": VERMILION, "marker": "o", "s": _area(14, len(xy)), "alpha": 0.55, "linewidth": 0}
        cases = {"color": BLUE, "marker": "D", "s": _area(30, len(xy)), "edgecolor": "white", "linewidth": 0.5}
        for chosen, name, style in (
            (~positive, "without the diagnosis", controls),
            (positive, "with the diagnosis", cases),
        ):
            _scatter(ax, xy[chosen], name, style)
        lines = [f"{when} alignment" if named else "", scores.get(when, "")]
        ax.set_title("\n".join(line for line in lines if line))
        ax.set(xlabel="UMAP 1", ylabel="UMAP 2")
        hide_ticks(ax)
