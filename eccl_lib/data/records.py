"""What every reader returns: one ECG or one cine, whatever file it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class EcgRecord:
    """One resting ECG. signal: (12, T) float64 in mV, leads in the order of ``LEADS``; NaN where a lead is absent."""

    signal: np.ndarray
    rate: float  # samples per second
    heart_rate: float | None = None  # beats per minute as the device states it, if it does
    measurements: dict[str, float] = field(default_factory=dict)  # device intervals in ms, axes in degrees
    notes: tuple[str, ...] = ()  # what the reader had to repair, in words


@dataclass(frozen=True)
class CineRecord:
    """One short-axis cine stack, base to apex, frame 0 at the R wave.

    images: (S, F, H, W) of any real dtype, in the scanner's units.
    labels: (S, F, H, W) uint8, 0 background, 1 LV cavity, 2 LV myocardium, 3 RV; None where the heart was not drawn.
    box: where the heart lies if there are no labels: top, left, bottom, right in pixels, the last two exclusive.
    segmenter: who said so (``segment.CHOICES``), "" where nobody was asked. flagged: whether two of them disagree.
    """

    images: np.ndarray
    spacing_mm: tuple[float, float]  # between rows, between columns
    slice_step_mm: float
    frame_ms: float  # time between frames
    labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    box: tuple[int, int, int, int] | None = None
    segmenter: str = ""
    flagged: bool = False


@dataclass(frozen=True)
class CineFile:
    """A short-axis cine that is open: what its headers say, and pixels that are decoded when they are asked for.

    shape: slices (base to apex), frames (the first at the R wave), rows, columns.
    pixel_axes: (S, 3, 3), per slice from (column, row, 1) to mm in DICOM axes.
    pixels: (slices, frames) to (s, f, H, W) of any real dtype; may raise UnreadableError, and add to ``notes``.
    """

    shape: tuple[int, int, int, int]
    pixel_axes: np.ndarray
    spacing_mm: tuple[float, float]  # between rows, between columns
    slice_step_mm: float
    frame_ms: float  # time between frames
    pixels: Callable[[Sequence[int], Sequence[int]], np.ndarray]
    notes: Sequence[str] = ()


def some_of(images: np.ndarray) -> Callable[[Sequence[int], Sequence[int]], np.ndarray]:
    """``CineFile.pixels`` of a stack that is in memory. images: (S, F, H, W)."""
    every = [list(range(count)) for count in images.shape[:2]]

    def pixels(slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
        chosen = images if list(slices) == every[0] else images[list(slices)]
        return chosen if list(frames) == every[1] else chosen[:, list(frames)]

    return pixels
