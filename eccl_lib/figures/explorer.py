"""Figures of the interactive notebooks: one slice over time, traits beside a cohort, places in the shared space."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from eccl_lib.config.schema import LEADS
from eccl_lib.data.heart_slice import HeartSlice
from eccl_lib.data.traits import value_text
from eccl_lib.figures.colours import BLACK, BLUE, CHAMBER_COLOURS, ORANGE, PALE, VERMILION
from eccl_lib.figures.person import LABELS
from eccl_lib.figures.style import footer, hide_ticks, new_figure, of_participants, pretty_unit, styled

BAR_MM = 20.0  # length of the scale bar
GALLERY_LEADS = ("I", "V2")
GALLERY_SECONDS = 10.0


@of_participants
@styled
def cine_ends(heart: HeartSlice, width: float = 6.9) -> Figure:
    """End diastole and end systole of one slice with contours and a scale bar, and the area of the LV cavity over time.

    Without contours: frame 0 and the frame in the middle of the beat. width: inches.
    """
    end = heart.end_systole
    fig = new_figure(height=0.25 * width + 1.0, width=width)
    axes = fig.subplots(1, 3, width_ratios=[1, 1, 1.1])
    middle = len(heart.frames) // 2
    shown = {_named(heart, 0, "ED"): 0}
    shown |= {_named(heart, middle, "frame"): middle} if end is None else {_named(heart, end, "ES"): end}
    for ax, (title, frame) in zip(axes, shown.items(), strict=False):
        _slice(ax, heart, frame)
        ax.set_title(title)
    _area(axes[2], heart, end)
    for label, colour in LABELS.values() if heart.labels is not None else ():
        axes[0].plot([], [], color=colour, label=label)
    if heart.labels is not None:
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    bar = f"white bar: {BAR_MM:.0f} mm" if heart.spacing_mm else "scale unknown"
    footer(fig, f"one slice, {len(heart.frames)} frames; {bar}{f'; {heart.note}' if heart.note else ''}", size=7.5)
    return fig


def _named(heart: HeartSlice, frame: int, name: str) -> str:
    when = f"frame {frame}" if heart.frame_ms is None else f"{frame * heart.frame_ms:.0f} ms"
    return f"{name}, {when}" if name != "frame" else when


def _slice(ax, heart: HeartSlice, frame: int) -> None:
    down, across = heart.spacing_mm or (1.0, 1.0)
    ax.imshow(heart.frames[frame], cmap="gray", vmin=0, vmax=255, aspect=down / across, interpolation="bicubic")
    for label, (_, colour) in LABELS.items():
        if heart.labels is not None and (heart.labels[frame] == label).any():
            ax.contour(heart.labels[frame] == label, levels=[0.5], colors=colour, linewidths=1.2)
    if heart.spacing_mm:
        height, length = heart.frames.shape[1], BAR_MM / across
        ax.plot([2, 2 + length], [height - 4, height - 4], color="white", linewidth=3, solid_capstyle="butt")
    hide_ticks(ax)


def _area(ax, heart: HeartSlice, end: int | None) -> None:
    area = heart.area_cm2
    if area is None or end is None:
        ax.set_axis_off()
        return
    step = heart.frame_ms or 1.0
    time = np.arange(len(area)) * step
    ax.plot(time, area, color=BLACK)
    for frame, name in ((0, "ED"), (end, "ES")):
        ax.plot([frame * step], [area[frame]], "o", color=VERMILION)
        place = {"xytext": (6, 4), "ha": "left"} if frame == 0 else {"xytext": (0, -14), "ha": "center"}
        ax.annotate(f"{name} {area[frame]:.1f}", (frame * step, area[frame]), textcoords="offset points", **place)
    ax.set_ylim(0, 1.15 * area.max())
    ax.set_xlabel("time (ms)" if heart.frame_ms else "frame")
    ax.set_ylabel("area (cm²)")
    ax.set_title("LV cavity in this slice")


@of_participants
@styled
def trait_positions(traits: pd.DataFrame, cohort: np.ndarray, chosen: np.ndarray, *, width: float = 6.9) -> Figure:
    """Traits of one participant, or of a group, beside the cohort's distribution.

    traits: one row per trait, columns short_name, unit, group. cohort: (N, K); chosen: (m, K), both in the traits'
    units, NaN if missing. m = 1: one mark; more: median and middle half of the group. width: inches.
    """
    rows = np.arange(len(traits))
    with np.errstate(invalid="ignore"):
        centre, spread = np.nanmean(cohort, axis=0), np.nanstd(cohort, axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        band = pd.DataFrame((cohort - centre) / spread).quantile([0.05, 0.25, 0.5, 0.75, 0.95]).to_numpy()
    fig = new_figure(height=0.2 * len(traits) + 1.0, width=width)
    ax = fig.add_subplot()
    ax.hlines(rows, band[0], band[4], color=PALE, linewidth=3, label="cohort: 5 to 95 %")
    ax.hlines(rows, band[1], band[3], color="#9A9A9A", linewidth=7, label="middle half")
    ax.scatter(band[2], rows, marker="|", s=60, color=BLACK, linewidth=1, zorder=3, label="median")
    middle, texts = _marks(ax, traits, (chosen - centre) / spread, chosen)
    reach = max(3.2, float(np.nanmax(np.abs(middle), initial=0)) + 0.4)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(len(traits) - 0.4, -0.6)
    ax.set_yticks(rows, [name.replace("_", " ") for name in traits["short_name"]])
    right = ax.secondary_yaxis("right")
    right.set_yticks(rows, texts)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    ax.set_xlabel("SD from the cohort's mean")
    fig.legend(loc="outside upper left", ncols=3 if width > 6 else 2, handletextpad=0.4, columnspacing=1.0)
    whose = "one participant" if len(chosen) == 1 else f"group: n = {len(chosen):,}"
    n = int(np.isfinite(cohort).any(axis=1).sum())
    footer(fig, f"{whose}; cohort: n = {n:,}; colour: chamber", size=7.5)
    return fig


def _marks(ax, traits: pd.DataFrame, z: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Draw the chosen participants. z, values: (m, K). Returns the marks' places (K,) and the texts at the right."""
    colours = [CHAMBER_COLOURS.get(group, BLACK) for group in traits["group"]]
    rows = np.arange(len(traits))
    measured = np.isfinite(values).any(axis=0)
    middle, shown = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    middle[measured], shown[measured] = (np.nanmedian(part[:, measured], axis=0) for part in (z, values))
    if len(values) > 1:
        low, high = (np.nanpercentile(z[:, measured], q, axis=0) for q in (25, 75))
        ax.hlines(rows[measured], low, high, color=BLACK, linewidth=1.6, zorder=4)
    label = "this participant" if len(values) == 1 else "group: median, middle half"
    style = {"s": 36, "zorder": 5, "edgecolors": BLACK, "linewidths": 0.7, "label": label}
    ax.scatter(middle[measured], rows[measured], c=np.array(colours)[measured], **style)
    units = [pretty_unit(unit) for unit in traits["unit"]]
    texts = [
        f"{value_text(v)} {unit}" if has else "not measured"
        for v, unit, has in zip(shown, units, measured, strict=True)
    ]
    return middle, texts


@of_participants
@styled
def place_in_space(
    ecg: np.ndarray, cmr: np.ndarray, place: np.ndarray, cases: np.ndarray, disease: str, *, width: float = 6.9
) -> Figure:
    """One participant's ECG and CMR among the test participants, in two dimensions of the shared space.

    ecg, cmr: (n, 2). place: (2, 2), ECG and CMR of the participant. cases: (n,) bool, drawn darker; disease: their
    name, "" if none is chosen. width: inches.
    """
    fig = new_figure(height=3.6, width=width)
    ax = fig.add_subplot()
    for xy, colour, marker in ((ecg, BLUE, "o"), (cmr, ORANGE, "^")):
        size = 12 * float(np.clip(400 / max(len(xy), 1), 0.25, 1))
        ax.scatter(*xy.T, s=size, color=colour, marker=marker, alpha=0.25, linewidth=0)
        ax.scatter(*xy[cases].T, s=2.5 * size, color=colour, marker=marker, alpha=0.9, linewidth=0)
    ax.plot(*place.T, color=BLACK, linewidth=1)
    for xy, colour, marker, name in zip(place, (BLUE, ORANGE), "o^", ("ECG", "CMR"), strict=True):
        ax.plot(*xy, marker, color=colour, markeredgecolor=BLACK, markersize=10, label=f"{name} of this participant")
    ax.set(xlabel="component 1", ylabel="component 2")
    hide_ticks(ax)
    fig.legend(loc="outside upper left", ncols=2 if width > 5 else 1, handletextpad=0.2, columnspacing=0.8)
    dark = f"; dark: {int(cases.sum())} with {disease}, pale: all others" if disease else ""
    footer(fig, f"n = {len(ecg):,} test participants{dark}", size=7.5)
    return fig


@of_participants
@styled
def augmentation_gallery(
    ecgs: Mapping[str, np.ndarray], rate: float, clips: Mapping[str, np.ndarray], leads: Sequence[str] = GALLERY_LEADS
) -> Figure:
    """What each augmentation does to one ECG and to one clip.

    ecgs: title to the model's input (12, T) at ``rate`` Hz. clips: title to (H, W), frame 0. leads: those drawn.
    """
    fig = new_figure(height=0.95 * len(ecgs) + 2.3)
    top, bottom = fig.subfigures(2, 1, height_ratios=[0.95 * len(ecgs) + 0.3, 1.75])
    axes = top.subplots(len(ecgs), len(leads), sharex=True, sharey=True, squeeze=False)
    original = next(iter(ecgs.values()))
    for row, (title, signal) in zip(axes, ecgs.items(), strict=True):
        for ax, lead in zip(row, leads, strict=True):
            t = np.arange(signal.shape[1]) / rate
            ax.plot(t, original[LEADS.index(lead)], color=PALE, linewidth=1.2)
            ax.plot(t, signal[LEADS.index(lead)], color=BLACK, linewidth=0.7)
            ax.set_title(f"{title}: lead {lead}" if ax is row[0] else f"lead {lead}", fontsize=8.5)
            ax.set_xlim(0, GALLERY_SECONDS)
    for ax in axes[-1]:
        ax.set_xlabel("time (s)")
    top.supylabel("scaled amplitude", fontsize=9)
    for ax, (title, image) in zip(np.atleast_1d(bottom.subplots(1, len(clips))), clips.items(), strict=True):
        ax.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="bicubic")
        ax.set_title(title, fontsize=8.5)
        hide_ticks(ax)
    footer(fig, "one ECG (grey: original) and frame 0 of one clip, as the models read them", size=7.5)
    return fig


@of_participants
@styled
def linked_maps(
    before: np.ndarray, after: np.ndarray, values: np.ndarray, label: str, chosen: np.ndarray, ecgs: int
) -> Figure:
    """ECG and CMR embeddings before and after alignment, coloured by one quantity; the chosen ones are ringed.

    before, after: (m, 2), first the ECGs, then the CMRs. values: (m,), NaN is grey; label: with its unit. chosen: (m,)
    bool. ecgs: number of ECGs.
    """
    fig = new_figure(height=3.7)
    axes = fig.subplots(1, 2)
    reach = np.nanpercentile(values, (2, 98)) if np.isfinite(values).any() else (0.0, 1.0)
    is_ecg = np.arange(len(values)) < ecgs
    for ax, (title, xy) in zip(axes, {"before": before, "after": after}.items(), strict=True):
        for part, marker in ((is_ecg, "o"), (~is_ecg, "^")):
            known = part & np.isfinite(values)
            ax.scatter(*xy[part & ~known].T, s=7, color=PALE, marker=marker, linewidth=0)
            style = {"s": 9, "cmap": "viridis", "vmin": reach[0], "vmax": reach[1], "marker": marker, "linewidth": 0}
            image = ax.scatter(*xy[known].T, c=values[known], **style)
        ax.scatter(*xy[chosen].T, s=26, facecolors="none", edgecolors=VERMILION, linewidths=0.9)
        ax.set(title=f"{title} alignment", xlabel="t-SNE 1", ylabel="t-SNE 2")
        hide_ticks(ax)
    fig.colorbar(image, ax=axes, label=label, shrink=0.85)
    ringed = f"; ringed: {int(chosen[is_ecg].sum()):,} chosen participants"
    footer(fig, f"n = {ecgs:,} test participants; circle: ECG, triangle: CMR{ringed}")
    return fig
