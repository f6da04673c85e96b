"""Figures of single ECGs: reconstruction, attention, retrieval."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eccl_lib.config.schema import LEADS
from eccl_lib.figures.colours import BLACK, BLUE, GREY, PALE, VERMILION
from eccl_lib.figures.style import SMALL, footer, new_figure, of_participants, show_grey, signed, styled

FEW_LEADS = ("II", "V2", "V5")
Reconstruction = tuple[np.ndarray, np.ndarray, np.ndarray]  # original, reconstructed, mask (1: masked); (12, T)


@of_participants
@styled
def mae_reconstructions(
    examples: Sequence[Reconstruction],
    rate: float,
    leads: Sequence[str] = ("I", "II", "V2", "V5"),
    *,
    seconds: float = 4.0,
) -> Figure:
    """Original and reconstructed ECGs of the masked autoencoder: one column per ECG, one row per lead.

    examples: model input, reconstruction and mask (1 masked, 0 visible), each (12, T). rate: Hz. seconds: duration
    shown. The titles give the MSE over all masked samples of all 12 leads, and that of each lead's mean value.
    """
    fig = new_figure(height=0.85 * len(leads) + 1.1)
    axes = fig.subplots(len(leads), len(examples), sharex=True, sharey=True, squeeze=False)
    for column, (original, reconstructed, mask) in zip(axes.T, examples, strict=True):
        masked = np.asarray(mask, dtype=bool)
        mean = np.broadcast_to(original.mean(axis=1, keepdims=True), original.shape)
        error, baseline = (float(np.square(signal - original)[masked].mean()) for signal in (reconstructed, mean))
        column[0].set_title(f"masked MSE {error:.3f}\n(lead's mean: {baseline:.3f})", fontsize=8.5)
        for ax, lead in zip(column, leads, strict=True):
            row = LEADS.index(lead)
            _reconstructed_lead(ax, original[row], reconstructed[row], masked[row], rate)
            ax.set_xlim(0, min(seconds, original.shape[1] / rate))
        column[-1].set_xlabel("time (s)")
    for ax, lead in zip(axes[:, 0], leads, strict=True):
        ax.set_ylabel(lead)
    fig.supylabel("amplitude (scaled as the input of the model)", fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    handles.append(Rectangle((0, 0), 1, 1, color=PALE))
    fig.legend(handles, [*names, "visible to the encoder"], loc="outside upper left", ncols=3)
    shares = np.mean([np.mean(mask) for _, _, mask in examples])
    footer(fig, f"n = {len(examples)} test ECGs, one per column; {shares:.0%} of the patches masked")
    return fig


def _reconstructed_lead(ax, original: np.ndarray, reconstructed: np.ndarray, masked: np.ndarray, rate: float) -> None:
    t = np.arange(len(original)) / rate
    for start, stop in _intervals(~masked):
        ax.axvspan(start / rate, stop / rate, color=PALE, linewidth=0)
    ax.plot(t, original, color=BLACK, linewidth=0.8, label="original")
    ax.plot(t, np.where(masked, reconstructed, np.nan), color=VERMILION, linewidth=1.2, label="reconstruction (masked)")


def _intervals(visible: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of True. visible: (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], visible.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


@of_participants
@styled
def attention_maps(
    ecg: np.ndarray,
    attention: Mapping[str, np.ndarray],
    occlusion: np.ndarray,
    rate: float,
    *,
    output: str = "change of the output",
) -> Figure:
    """Attention of the class token over one ECG, and an occlusion map of the same ECG.

    ecg: (12, T), model input. rate: Hz. attention: panel title to the attention of each token (rows, columns), sum 1;
    one row means that each token spans all leads. occlusion: (12, columns), change of the output when this segment is
    set to zero, signed or not negative. output: label of that change. Colours have a square-root scale.
    """
    all_leads = next(iter(attention.values())).shape[0] == 1
    heights = [1.0 if all_leads else 2.2] * len(attention) + [3.0]
    fig = new_figure(height=sum(heights) + 0.42 * len(heights) + 0.6)
    axes = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for ax, (title, share) in zip(axes, attention.items(), strict=False):
        _over_traces(ax, ecg, FEW_LEADS if all_leads else LEADS, share, rate).set_label("attention", fontsize=8)
        spans = "all leads" if all_leads else "one lead"
        facts = f"each token spans {spans}; maximum {share.max():.2g}, uniform {1 / share.size:.2g}"
        ax.set_title(f"{title}: {facts}", fontsize=8.5)
    _over_traces(axes[-1], ecg, LEADS, occlusion, rate).set_label(output, fontsize=8)
    axes[-1].set_title("occlusion: effect of setting one segment of one lead to zero", fontsize=8.5)
    axes[-1].set_xlabel("time (s)")
    segments = f"{occlusion.shape[0]} leads x {occlusion.shape[1]} segments"
    footer(fig, f"n = 1 test ECG; occlusion of {segments}; square-root colour scale")
    return fig


@of_participants
@styled
def attribution_maps(ecg: np.ndarray, maps: Mapping[str, np.ndarray], rate: float, *, output: str) -> Figure:
    """Attribution of an output to leads and time, one panel per model. ecg: (12, T), model input; rate: Hz.

    maps: name of the model to (12, columns), signed, in the output's unit. output: name of the output and its unit.
    """
    fig = new_figure(height=2.9 * len(maps) + 0.3)
    for ax, (name, values) in zip(np.atleast_1d(fig.subplots(len(maps), 1, sharex=True)), maps.items(), strict=True):
        bar = _over_traces(ax, ecg, LEADS, values, rate)
        bar.set_label(output, fontsize=SMALL)
        ax.set_title(name)
    ax.set_xlabel("time (s)")
    seconds = ecg.shape[1] / rate
    bins = f"sums over {1000 * seconds / next(iter(maps.values())).shape[1]:.0f} ms"
    footer(fig, f"one ECG, {seconds:g} s; integrated gradients, {bins}; square-root colour scale of each panel")
    return fig


def _over_traces(ax, ecg: np.ndarray, leads: Sequence[str], values: np.ndarray, rate: float):
    """Draw leads below each other on a colour map of values (rows, columns); one row spans all leads."""
    across, seconds = len(leads), ecg.shape[1] / rate
    rows = values if values.shape[0] == 1 else values[[LEADS.index(lead) for lead in leads]]
    reach = float(np.abs(values).max()) or 1.0
    diverges = bool((values < 0).any())
    # Signed square root and its inverse.
    scale = (lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x))
    norm = FuncNorm(scale, vmin=-reach if diverges else 0.0, vmax=reach)
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


def _between_0_and_1(trace: np.ndarray) -> np.ndarray:
    return (trace - trace.min()) / max(float(np.ptp(trace)), 1e-9)


@of_participants
@styled
def retrieval_examples(
    ecgs: np.ndarray, images: Mapping[str, Sequence[np.ndarray]], candidates: pd.DataFrame, rate: float, *, n: int
) -> Figure:
    """Query ECGs with their matching CMR and the most similar CMRs in the shared space: one block per ECG.

    ecgs: (m, 12, T), model input. rate: Hz. images: name of a moment of the beat to one frame (H, W) per row of
    candidates; one row of images each. candidates: one row per CMR: query (0 ... m - 1), rank (1: most similar),
    similarity, matching, optional note; per query the matching CMR first, then ranks 1, 2 ... n: number of CMRs
    searched.
    """
    most = int(candidates.groupby("query").size().max())
    lines = 3 if "note" in candidates else 2
    fig = new_figure(height=(0.82 * len(images) + 0.2 + 0.15 * lines) * len(ecgs) + 0.4)
    grid = fig.add_gridspec(len(images) * len(ecgs), most + 1, width_ratios=[2.1, *[1] * most])
    for query, ecg in enumerate(ecgs):
        first = query * len(images)
        _short_ecg(fig.add_subplot(grid[first : first + len(images), 0]), ecg, rate)
        positions = np.flatnonzero(candidates["query"] == query)
        for row, (moment, frames) in enumerate(images.items()):
            for column, position in enumerate(positions, start=1):
                candidate = candidates.iloc[position]
                ax = fig.add_subplot(grid[first + row, column])
                _cmr_frame(ax, frames[position], matching=bool(candidate["matching"]))
                if column == 1:
                    ax.set_ylabel(moment, fontsize=SMALL)
                if row == 0:
                    ax.set_title(_of_candidate(candidate), fontsize=7, color=BLUE if candidate["matching"] else BLACK)
    footer(fig, f"{len(ecgs)} ECGs (each lead has its own scale), n = {n:,} CMRs searched; blue: same participant")
    return fig


def _of_candidate(candidate: pd.Series) -> str:
    """Title of one CMR: its rank, its cosine similarity with the ECG, and the note."""
    note = [candidate["note"]] if "note" in candidate else []
    return "\n".join([f"rank {candidate['rank']:,}", f"cosine {signed(candidate['similarity'])}", *note])


def _short_ecg(ax, ecg: np.ndarray, rate: float, seconds: float = 3.0) -> None:
    """Draw the first seconds of three leads, each scaled to the same height."""
    stop, across = min(round(seconds * rate), ecg.shape[1]), len(FEW_LEADS)
    for place, lead in enumerate(FEW_LEADS):
        trace = _between_0_and_1(ecg[LEADS.index(lead), :stop])
        ax.plot(np.arange(stop) / rate, across - place - 1 + 0.9 * trace, color=BLACK, linewidth=0.8)
    ax.set_yticks(across - 0.55 - np.arange(across), FEW_LEADS, fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlim(0, stop / rate)
    ax.set_xlabel("time (s)", fontsize=8)


def _cmr_frame(ax, image: np.ndarray, matching: bool) -> None:
    show_grey(ax, image)
    for spine in ax.spines.values():
        spine.set(color=BLUE if matching else GREY, linewidth=2.5 if matching else 0.5)
