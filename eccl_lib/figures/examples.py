"""Pictures of what a model does with single ECGs: reconstruction, attention, retrieval. Arrays in, Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eccl_lib.config.schema import LEADS
from eccl_lib.figures.style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    SMALL,
    VERMILION,
    bare,
    footer,
    new_figure,
    signed,
    styled,
)

FEW_LEADS = ("II", "V2", "V5")
Reconstruction = tuple[np.ndarray, np.ndarray, np.ndarray]  # original, reconstructed, mask (1 is removed): (12, T)


@styled
def mae_reconstructions(
    pictures: Sequence[Reconstruction],
    rate: float,
    leads: Sequence[str] = ("I", "II", "V2", "V5"),
    *,
    seconds: float = 4.0,
    synthetic: bool = False,
) -> Figure:
    """What the masked autoencoder makes of ECGs that it sees a fifth of: a column an ECG, a row a lead.

    pictures: an ECG as the model sees it, its guess and the mask (1 is removed, 0 is kept), each (12, T). rate: Hz.
    The first seconds are drawn; the error in a title counts all leads and all of the ECG's masked samples, beside that
    of a line at each lead's own mean.
    """
    fig = new_figure(height=0.85 * len(leads) + 1.1)
    axes = fig.subplots(len(leads), len(pictures), sharex=True, sharey=True, squeeze=False)
    for column, (original, guess, mask) in zip(axes.T, pictures, strict=True):
        removed = np.asarray(mask, dtype=bool)
        level = np.broadcast_to(original.mean(axis=1, keepdims=True), original.shape)
        error, flat = (float(np.square(drawn - original)[removed].mean()) for drawn in (guess, level))
        column[0].set_title(f"masked MSE {error:.3f}\n(a flat line: {flat:.3f})", fontsize=8.5)
        for ax, lead in zip(column, leads, strict=True):
            row = LEADS.index(lead)
            _reconstructed_lead(ax, original[row], guess[row], removed[row], rate)
            ax.set_xlim(0, min(seconds, original.shape[1] / rate))
        column[-1].set_xlabel("time (s)")
    for ax, lead in zip(axes[:, 0], leads, strict=True):
        ax.set_ylabel(lead)
    fig.supylabel("amplitude (each lead scaled to \N{MINUS SIGN}1 ... 1)", fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    handles.append(Rectangle((0, 0), 1, 1, color=PALE))
    fig.legend(handles, [*names, "what the encoder saw"], loc="outside upper left", ncols=3)
    shares = np.mean([np.mean(mask) for _, _, mask in pictures])
    footer(fig, f"n = {len(pictures)} test ECGs, a column each; {shares:.0%} of the patches masked", synthetic)
    return fig


def _reconstructed_lead(ax, original: np.ndarray, guess: np.ndarray, removed: np.ndarray, rate: float) -> None:
    t = np.arange(len(original)) / rate
    for start, stop in _stretches(~removed):
        ax.axvspan(start / rate, stop / rate, color=PALE, linewidth=0)
    ax.plot(t, original, color=BLACK, linewidth=0.8, label="recorded")
    ax.plot(t, np.where(removed, guess, np.nan), color=VERMILION, linewidth=1.2, label="reconstructed where masked")


def _stretches(kept: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends (excluded) of the runs of True. kept: (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


@styled
def attention_maps(
    ecg: np.ndarray,
    attention: Mapping[str, np.ndarray],
    occlusion: np.ndarray,
    rate: float,
    *,
    output: str = "change of the output",
    synthetic: bool = False,
) -> Figure:
    """Where the class token looks in one ECG, and below it what each lead and stretch of time is worth.

    ecg: (12, T) as the model sees it; rate: Hz. attention: panel title to the share of each token, (rows, columns) of
    the token grid; one row means that a token spans all leads, so attention has no lead axis. occlusion: (12, columns),
    how much the output falls (signed) or changes (not negative) where that piece is zeroed; output: what that is.
    Colours go with the square root, so that small shares are seen beside a large one.
    """
    one = next(iter(attention.values())).shape[0] == 1
    heights = [1.0 if one else 2.2] * len(attention) + [3.0]
    fig = new_figure(height=sum(heights) + 0.42 * len(heights) + 0.6)
    axes = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for ax, (title, share) in zip(axes, attention.items(), strict=False):
        _over_traces(ax, ecg, FEW_LEADS if one else LEADS, share, rate).set_label("share of attention", fontsize=8)
        spans = "all leads" if one else "one lead"
        facts = f"a token spans {spans}; largest share {share.max():.2g}, if all were equal {1 / share.size:.2g}"
        ax.set_title(f"{title}: {facts}", fontsize=8.5)
    _over_traces(axes[-1], ecg, LEADS, occlusion, rate).set_label(output, fontsize=8)
    axes[-1].set_title("occlusion, not attention: one lead x one stretch of time set to zero", fontsize=8.5)
    axes[-1].set_xlabel("time (s)")
    pieces = f"{occlusion.shape[0]} x {occlusion.shape[1]} pieces"
    footer(fig, f"n = 1 test ECG, occluded in {pieces}; colours on a square-root scale", synthetic)
    return fig


def _over_traces(ax, ecg: np.ndarray, leads: Sequence[str], values: np.ndarray, rate: float):
    """Leads one below the other over coloured pieces. values: (rows, columns); one row spans all leads."""
    across, seconds = len(leads), ecg.shape[1] / rate
    rows = values if values.shape[0] == 1 else values[[LEADS.index(lead) for lead in leads]]
    reach = float(np.abs(values).max()) or 1.0
    diverges = bool((values < 0).any())
    norm = FuncNorm((_signed_root, _signed_square), vmin=-reach if diverges else 0.0, vmax=reach)
    x, y = np.linspace(0, seconds, values.shape[1] + 1), np.linspace(0, across, len(rows) + 1)
    image = ax.pcolormesh(x, y, rows, cmap="PuOr_r" if diverges else "Blues", norm=norm, alpha=0.8, edgecolor="none")
    t = np.arange(ecg.shape[1]) / rate
    for place, lead in enumerate(leads):
        ax.plot(t, place + 0.92 - 0.84 * _between_0_and_1(ecg[LEADS.index(lead)]), color=BLACK, linewidth=0.7)
    ax.set_yticks(np.arange(across) + 0.5, leads, fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, seconds), ylim=(across, 0))
    bar = ax.figure.colorbar(image, ax=ax, aspect=14, pad=0.01)
    bar.set_ticks(np.linspace(-reach, reach, 5) if diverges else np.linspace(0, reach, 3), minor=False)
    bar.ax.yaxis.set_major_formatter("{x:.2g}")
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def _signed_root(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def _signed_square(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.square(x)


def _between_0_and_1(trace: np.ndarray) -> np.ndarray:
    return (trace - trace.min()) / max(float(np.ptp(trace)), 1e-9)


@styled
def retrieval_examples(
    ecgs: np.ndarray, hearts: Sequence[np.ndarray], found: pd.DataFrame, rate: float, *, n: int, synthetic: bool = False
) -> Figure:
    """ECGs and the hearts that the shared space calls most alike: a row an ECG, its own heart, then the nearest.

    ecgs: (m, 12, T) as the model sees them; rate: Hz. found: a row a picture: example (0 ... m - 1), rank (1 is
    nearest), similarity, own, and perhaps note; of each example the own heart comes first, then the nearest from
    rank 1. hearts: one picture (H, W) for each row of found. n: how many hearts were searched.
    """
    most = int(found.groupby("example").size().max())
    lines = 3 if "note" in found else 2
    fig = new_figure(height=(1.12 + 0.15 * lines) * len(ecgs) + 0.5)
    axes = fig.subplots(len(ecgs), most + 1, squeeze=False, width_ratios=[2.1, *[1] * most])
    for example, row in enumerate(axes):
        _short_ecg(row[0], ecgs[example], rate)
        places = np.flatnonzero(found["example"] == example)
        for place, (ax, position) in enumerate(zip(row[1:], places, strict=True)):
            heart = found.iloc[position]
            _heart(ax, hearts[position], own=bool(heart["own"]))
            rank = f"own: rank {heart['rank']:,}" if place == 0 else f"rank {heart['rank']:,}"
            facts = [rank, f"cos {signed(heart['similarity'])}", *([heart["note"]] if "note" in found else [])]
            ax.set_title("\n".join(facts), fontsize=7)
    footer(fig, f"{len(ecgs)} test ECGs, each searched among n = {n:,} hearts; blue frame: its own heart", synthetic)
    return fig


def _short_ecg(ax, ecg: np.ndarray, rate: float, seconds: float = 3.0) -> None:
    """A few leads, each stretched to its own height, the first seconds."""
    stop, across = min(round(seconds * rate), ecg.shape[1]), len(FEW_LEADS)
    for place, lead in enumerate(FEW_LEADS):
        trace = _between_0_and_1(ecg[LEADS.index(lead), :stop])
        ax.plot(np.arange(stop) / rate, across - place - 1 + 0.9 * trace, color=BLACK, linewidth=0.8)
    ax.set_yticks(across - 0.55 - np.arange(across), FEW_LEADS, fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlim(0, stop / rate)
    ax.set_xlabel("time (s)", fontsize=8)


def _heart(ax, picture: np.ndarray, own: bool) -> None:
    low, high = np.percentile(picture, (0.5, 99.5))
    ax.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    ax.set_anchor("S")  # room for the caption above
    bare(ax)
    for spine in ax.spines.values():
        spine.set(color=BLUE if own else GREY, linewidth=2.5 if own else 0.5)
