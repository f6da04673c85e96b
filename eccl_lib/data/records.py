"""The data types that all readers return: one ECG or one cine, independent of the file format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

ECG_FIELD, CINE_FIELD, EXERCISE_FIELD = 20205, 20209, 6025  # of UK Biobank: resting ECG, short-axis cine, exercise ECG


@dataclass(frozen=True)
class EcgRecord:
    """One resting ECG. signal: (12, T) float64 in mV, leads in the order of ``LEADS``; NaN for an absent lead."""

    signal: np.ndarray
    rate: float  # samples per second
    heart_rate: float | None = None  # beats per minute, measured by the device; None if the file has none
    measurements: dict[str, float] = field(default_factory=dict)  # of the device: intervals in ms, axes in degrees
    notes: tuple[str, ...] = ()  # repairs that the reader made


@dataclass(frozen=True)
class CineRecord:
    """One short-axis cine stack, base to apex, frame 0 at the R wave.

    images: (S, F, H, W) of any real dtype, in the scanner's units.
    labels: (S, F, H, W) uint8, 0 background, 1 LV cavity, 2 LV myocardium, 3 RV; None without a segmentation.
    box: bounding box of the heart if there are no labels, as in ``cmr.heart_box``.
    segmenter: the method that located the heart (``providers.CHOICES``), "" if none ran. flagged: True if two methods
    disagree or the network is unsure. confidence: expected Dice of the labels of a network; None if it is not known.
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
    confidence: float | None = None


@dataclass(frozen=True)
class CineFile:
    """An open short-axis cine: geometry from the headers, and a function that decodes pixels on demand.

    shape: slices (base to apex), frames (the first at the R wave), rows, columns.
    pixel_axes: (S, 3, 3), one matrix per slice that maps (column, row, 1) to mm in DICOM axes.
    pixels: function of slice and frame numbers; returns (s, f, H, W) of any real dtype. It may raise UnreadableError
    and add to ``notes``.
    """

    shape: tuple[int, int, int, int]
    pixel_axes: np.ndarray
    spacing_mm: tuple[float, float]  # between rows, between columns
    slice_step_mm: float
    frame_ms: float  # time between frames
    pixels: Callable[[Sequence[int], Sequence[int]], np.ndarray]
    notes: Sequence[str] = ()


def pixels_in_memory(images: np.ndarray) -> Callable[[Sequence[int], Sequence[int]], np.ndarray]:
    """``CineFile.pixels`` for a stack in memory. images: (S, F, H, W)."""
    all_slices, all_frames = (list(range(count)) for count in images.shape[:2])

    def pixels(slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
        chosen = images if list(slices) == all_slices else images[list(slices)]
        return chosen if list(frames) == all_frames else chosen[:, list(frames)]

    return pixels
