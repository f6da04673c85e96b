"""Figures of one participant: ECG, baseline, cine, crop, predicted traits and disease scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eccl_lib.config.schema import LEADS
from eccl_lib.data.traits import value_text
from eccl_lib.figures.colours import BLACK, BLUE, CHAMBER_COLOURS, GREEN, GREY, ORANGE, PALE, SKY, VERMILION
from eccl_lib.figures.style import (
    footer,
    hide_ticks,
    new_figure,
    of_participants,
    pretty_unit,
    show_grey,
    styled,
    task_title,
)

MM_PER_SECOND, MM_PER_MV = 25.0, 10.0  # clinical standard
COLUMN_SECONDS = 2.5
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM = "II"
PULSE_MM = 9.0  # space for the calibration pulse left of the traces
LARGE = 10.5  # points; a figure this wide is often printed at two thirds of its size
LABEL_MM = 9.0  # width of a lead label
LABEL_SHIFTS_MM = (0.0, 3.0, 6.0, 9.0, 12.0)  # to the right, where a QRS complex is under the label
LEAD_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
PAPER_THIN, PAPER_THICK = "#F6D5D5", "#E8A9A9"
LABELS = {2: ("LV wall", GREEN), 3: ("RV cavity", SKY), 1: ("LV cavity", VERMILION)}  # in drawing order


@of_participants
@styled
def ecg_paper(signal_mv: np.ndarray, rate: float, title: str = "", flags: Sequence[str] = ()) -> Figure:
    """A 12-lead ECG on millimetre paper at 25 mm/s and 10 mm/mV: 3 x 4 leads of 2.5 s above a 10 s rhythm strip.

    signal_mv: (12, T) in mV, leads in the order of LEADS, NaN if absent; the first 10 s are drawn. rate: Hz.
    flags: quality warnings.
    """
    signal = np.asarray(signal_mv, dtype=float)[:, : round(10 * rate)]
    rows = [list(row) for row in LAYOUT] + [[RHYTHM]]
    baselines, height = _baselines(signal, rate, rows)
    width = PULSE_MM + 10 * MM_PER_SECOND
    # Fixed positions keep the scale in mm; a layout engine would shrink the axes.
    page = (width + 6, height + 16 + 5 * bool(flags))  # mm
    fig = Figure(figsize=(page[0] / 25.4, page[1] / 25.4))
    ax = fig.add_axes((3 / page[0], 7 / page[1], width / page[0], height / page[1]))
    _millimetres(ax, width, height)
    for row, base in zip(rows, baselines, strict=True):
        # Calibration pulse: 1 mV for 0.2 s.
        ax.plot([1, 2, 2, 7, 7, 8], base + np.array([0, 0, 1, 1, 0, 0]) * MM_PER_MV, color=BLACK, linewidth=0.9)
        seconds = 10.0 if len(row) == 1 else COLUMN_SECONDS
        for column, lead in enumerate(row):
            _trace(ax, signal[LEADS.index(lead)], rate, lead, column * seconds, seconds, base)
    if flags:
        ax.set_title(f"quality: {', '.join(flags)}", color=VERMILION, fontsize=LARGE)
    fig.text(0.01, 1 - 1.5 / page[1], title, ha="left", va="top", fontsize=LARGE)
    note = f"25 mm/s, 10 mm/mV; large square 0.2 s x 0.5 mV; {signal.shape[1] / rate:.3g} s at {rate:g} Hz"
    footer(fig, note, size=LARGE)
    return fig


def _baselines(signal: np.ndarray, rate: float, rows: list[list[str]]) -> tuple[list[float], float]:
    """Position of 0 mV of each row (mm from the bottom) so that rows do not overlap, and the total height in mm."""
    above, below = [], []
    for row in rows:
        shown = signal[[LEADS.index(lead) for lead in row]] * MM_PER_MV
        shown = shown[np.isfinite(shown)] if np.isfinite(shown).any() else np.zeros(1)
        above.append(float(np.clip(shown.max(), 10, 50)))
        below.append(float(np.clip(-shown.min(), 3, 40)))
    gap = 5.0
    height = float(np.ceil((sum(above) + sum(below) + gap * len(rows)) / 5) * 5)
    baselines, top = [], height
    for up, down in zip(above, below, strict=True):
        baselines.append(top - gap - up)
        top -= gap + up + down
    return baselines, height


def _millimetres(ax, width: float, height: float) -> None:
    for step, colour, line in ((1, PAPER_THIN, 0.35), (5, PAPER_THICK, 0.6)):
        vertical = [((x, 0), (x, height)) for x in np.arange(0, width + 0.1, step)]
        horizontal = [((0, y), (width, y)) for y in np.arange(0, height + 0.1, step)]
        ax.add_collection(LineCollection(vertical + horizontal, colors=colour, linewidths=line, zorder=0))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    hide_ticks(ax)


def _trace(ax, lead_mv: np.ndarray, rate: float, name: str, start: float, seconds: float, base: float) -> None:
    piece = lead_mv[round(start * rate) : round((start + seconds) * rate)]
    x0 = PULSE_MM + start * MM_PER_SECOND
    label = name if np.isfinite(piece).any() else f"{name} absent"
    ax.plot(x0 + np.arange(len(piece)) / rate * MM_PER_SECOND, base + piece * MM_PER_MV, color=BLACK, linewidth=0.75)
    if start > 0:
        ax.plot([x0, x0], [base - 2, base + 2], color=BLACK, linewidth=0.9)
    height, beside = min((_above(piece, rate, shift), shift) for shift in LABEL_SHIFTS_MM)
    ax.text(x0 + 1 + beside, base + height, label, fontsize=LARGE, fontweight="bold", va="bottom", bbox=LEAD_BOX)


def _above(piece: np.ndarray, rate: float, shift: float) -> float:
    """Height in mm at which a label ``shift`` mm to the right lies above the trace. piece: (T,) mV."""
    start = round(shift / MM_PER_SECOND * rate)
    under = piece[start : start + round(LABEL_MM / MM_PER_SECOND * rate)]
    return max(6.2, float(np.nanmax(under)) * MM_PER_MV + 0.8 if np.isfinite(under).any() else 0.0)


@of_participants
@styled
def baseline(recorded_mv: np.ndarray, cleaned_mv: np.ndarray, rate: float, lead: str = "II") -> Figure:
    """One lead before and after baseline removal. recorded_mv, cleaned_mv: (12, T) in mV; rate: Hz."""
    row = LEADS.index(lead)
    t = np.arange(recorded_mv.shape[1]) / rate
    fig = new_figure(height=3.4)
    top, bottom = fig.subplots(2, 1, sharex=True)
    top.plot(t, recorded_mv[row], color=BLACK, linewidth=0.7, label="recorded")
    top.plot(t, recorded_mv[row] - cleaned_mv[row], color=VERMILION, label="trend (mean over one beat)")
    bottom.plot(t, cleaned_mv[row], color=BLACK, linewidth=0.7)
    bottom.axhline(0, color=VERMILION, linewidth=0.8)
    for ax, title in ((top, f"lead {lead} as recorded"), (bottom, "after removal of the trend, as stored")):
        ax.set(ylabel="amplitude (mV)", title=title, xlim=(0, len(t) / rate))
    bottom.set_xlabel("time (s)")
    fig.legend(*top.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    footer(fig, f"one participant, {len(t) / rate:g} s at {rate:g} Hz")
    return fig


@of_participants
@styled
def cine_frames(clip: np.ndarray, n: int = 6, title: str = "", *, frame_ms: float | None = None) -> Figure:
    """n evenly spaced frames of a cine. clip: (H, W, F); frame_ms: time between frames in ms, if known."""
    frames = np.linspace(0, clip.shape[2], n, endpoint=False).astype(int)
    fig = new_figure(height=1.9)
    for position, (frame, ax) in enumerate(zip(frames, np.atleast_1d(fig.subplots(1, n)), strict=True)):
        show_grey(ax, clip[:, :, frame], range_of=clip)
        ax.set_title(f"frame {frame}" if frame_ms is None else f"{frame * frame_ms:.0f} ms", loc="center")
        if position == 0:
            ax.set(xlabel=f"{clip.shape[1]} px", ylabel=f"{clip.shape[0]} px")
    fig.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    footer(fig, f"{n} of {clip.shape[2]} frames of one heartbeat; frame 0 is at the R wave")
    return fig


@of_participants
@styled
def crop_overlay(
    image: np.ndarray, labels: np.ndarray | None, box: tuple[int, int, int, int], cropped: np.ndarray | None = None
) -> Figure:
    """Segmentation and crop box of one slice, and the crop beside it.

    image, labels: (H, W), one frame; labels is None without a segmentation. box: (top, left, bottom, right) in pixels,
    ends exclusive. cropped: (h, w), the same frame.
    """
    fig = new_figure(height=3.9)
    panels = {"middle slice,": image} | ({} if cropped is None else {"crop:": cropped})
    axes = np.atleast_1d(fig.subplots(1, len(panels)))
    for ax, (title, pixels) in zip(axes, panels.items(), strict=True):
        ax.imshow(pixels, cmap="gray", interpolation="nearest")
        ax.set(title=f"{title} {pixels.shape[0]} x {pixels.shape[1]} px", xlabel="column (px)", ylabel="row (px)")
    for name, colour in outline_heart(axes[0], labels, box, width=1.3):
        axes[0].plot([], [], color=colour, label=name)
    box_name = "smallest rectangle over all frames" if labels is not None else "rectangle of fixed size"
    axes[0].plot([], [], color=ORANGE, label=box_name)
    fig.legend(loc="outside upper left", ncols=4)
    footer(fig, "frame 0 of one participant")
    return fig


def outline_heart(ax, labels: np.ndarray | None, box: Sequence[int], width: float) -> list[tuple[str, str]]:
    """Draw the contours and the crop box of one frame. Returns name and colour of each label that it contains."""
    present = [label for label in LABELS if labels is not None and (labels == label).any()]
    for label in present:
        ax.contour(labels == label, levels=[0.5], colors=LABELS[label][1], linewidths=width)
    top, left, bottom, right = box
    # A box may end at the edge of the image; without clipping this side is visible as well.
    style = {"fill": False, "edgecolor": ORANGE, "linewidth": width + 0.3, "clip_on": False, "zorder": 3}
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **style))
    return [LABELS[label] for label in present]


@styled
def trait_panel(predicted: pd.DataFrame, cohort: np.ndarray) -> Figure:
    """Predicted traits of one ECG with intervals, and the distribution of the measured traits in the cohort.

    predicted: one row per trait, columns name, unit, group, value, and optionally low, high (95 % prediction interval)
    and measured (of this participant), NaN if unknown. cohort: (N, traits) measured, NaN if missing.
    """
    mean, spread = np.nanmean(cohort, axis=0), np.nanstd(cohort, axis=0)
    rows = np.arange(len(predicted))
    standardized = pd.DataFrame((cohort - mean) / spread, columns=rows)
    fig = new_figure(height=0.21 * len(predicted) + 0.95)
    ax = fig.add_subplot()
    style = {"inner": "quart", "density_norm": "width", "cut": 0, "width": 0.85, "linewidth": 0.7}
    sns.violinplot(standardized, orient="h", ax=ax, color=PALE, linecolor=GREY, **style)
    z = (predicted["value"].to_numpy(float) - mean) / spread
    colours = [CHAMBER_COLOURS.get(group, BLACK) for group in predicted["group"]]
    if {"low", "high"} <= set(predicted):
        low, high = ((predicted[name].to_numpy(float) - mean) / spread for name in ("low", "high"))
        ax.hlines(rows, low, high, color=BLACK, linewidth=1.1, zorder=2.5, label="95 % prediction interval")
    if "measured" in predicted and predicted["measured"].notna().any():
        measured = (predicted["measured"].to_numpy(float) - mean) / spread
        style = {"marker": "D", "s": 26, "facecolors": "white", "edgecolors": VERMILION, "linewidths": 1.3}
        ax.scatter(measured, rows, zorder=4, label="measured in this participant", **style)
    ax.scatter(
        z,
        rows,
        c=colours,
        s=30,
        zorder=3,
        edgecolors=BLACK,
        linewidths=0.6,
        label="predicted from this ECG (colour: chamber)",
    )
    ax.plot([], [], "s", color=PALE, markersize=8, label="measured in the cohort (lines: quartiles)")
    reach = max(4.0, float(np.nanmax(np.abs(z))) + 0.3)  # outliers of the cohort beyond are cut off
    ax.set_xlim(-reach, reach)
    ax.set_yticks(rows, [name[:1].upper() + name[1:] for name in predicted["name"]])
    right = ax.secondary_yaxis("right")
    right.set_yticks(rows, [f"{value_text(row.value)} {pretty_unit(row.unit)}" for row in predicted.itertuples()])
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    ax.set_ylim(len(predicted) - 0.4, -0.6)
    ax.set_xlabel("deviation from the cohort mean (standard deviations)")
    fig.legend(loc="outside upper left", ncols=2)
    n = int(np.isfinite(cohort).any(axis=1).sum())
    footer(fig, f"one ECG; cohort: n = {n:,} training participants, drawn to \N{PLUS-MINUS SIGN}{reach:.1f} SD")
    return fig


@styled
def risk_panel(
    scores: Mapping[str, float],
    cohort: Mapping[str, tuple[np.ndarray, np.ndarray]],
    probabilities: Mapping[str, float] | None = None,
    titles: Mapping[str, str] | None = None,
    *,
    least: int = 0,
) -> Figure:
    """Disease scores of one ECG, and the score distributions of the test participants.

    scores: code to score in 0 ... 1. cohort: code to (scores (N,), labels (N,) bool); a disease may be absent.
    probabilities: code to calibrated probability in the training cohort. titles: code to title, for a disease that is
    not the paper's. least: a bar has no or at least so many participants.
    """
    fig = new_figure(height=1.05 * len(scores) + 0.8)
    axes = np.atleast_1d(fig.subplots(len(scores), 1, sharex=True))
    n = 0
    for ax, (code, score) in zip(axes, scores.items(), strict=True):
        ax.axvline(score, color=BLACK, linewidth=2, label="this ECG")
        ax.set(ylabel="share (%)", xlim=(0, 1))
        title = (titles or {}).get(code) or task_title(code)
        if code not in cohort:
            ax.set_title(f"{title}: {score:.2f}; the cohort's scores are withheld")
            continue
        others, cases = np.asarray(cohort[code][0], float), np.asarray(cohort[code][1], bool)
        n, style = len(cases), {"stat": "percent", "ax": ax}
        bins = [_bins(values, least) for values in (others[~cases], others[cases])]
        sns.histplot(
            x=others[~cases],
            bins=bins[0],
            color=ORANGE,
            alpha=0.55,
            linewidth=0,
            label="controls",
            **style,
        )
        sns.histplot(
            x=others[cases],
            bins=bins[1],
            element="step",
            fill=False,
            color=BLUE,
            label="cases",
            **style,
        )
        above = f"above {np.mean(others < score):.0%} of the test participants"
        chance = (probabilities or {}).get(code, np.nan)
        meaning = f"; probability {chance:.1%}" if np.isfinite(chance) else ""
        ax.set_title(f"{title}: score {score:.2f}, {above}{meaning}")
    axes[-1].set_xlabel("score (not a probability)")
    handles: dict[str, object] = {}
    for ax in axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    names = [name for name in ("controls", "cases", "this ECG") if name in handles]
    fig.legend([handles[name] for name in names], names, loc="outside upper left", ncols=3)
    footer(fig, f"one ECG; n = {n:,} test participants; shares within cases and within controls")
    return fig


def _bins(values: np.ndarray, least: int) -> np.ndarray:
    """Edges of at most 25 equal bins from 0 to 1, so few that no bin has some but fewer than ``least`` values."""
    for count in range(25, 1, -1):
        edges = np.linspace(0, 1, count + 1)
        bars = np.histogram(values, edges)[0]
        if not ((bars > 0) & (bars < least)).any():
            return edges
    return np.array([0.0, 1.0])
