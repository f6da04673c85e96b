"""A cavity that the beat and the stack make plausible: it does not vanish, and it does not jump between frames.

A step of ``postprocess``. Where the labels leave no cavity, or too small a one, the pixels of the heart with the
highest odds of cavity against wall become cavity, as few as the bound asks for. The bounds are far below the values of
living hearts, so that they change only labels that cannot be right.
"""

from __future__ import annotations

import numpy as np

LV, WALL = 1, 2
LEAST = 0.1  # of the stack's largest volume of the cavity: an EF above 90 % is not possible; ours
LEAST_AREA = 0.04  # of a slice's largest area, in slices that are larger than LARGE_SLICE; ours
LARGE_SLICE = 0.6  # of the largest slice's area; smaller ones, near the apex, may close completely
LEAST_NEXT = 0.6  # of the mean volume of the frame before and the frame after; ours
FRAMES = 50  # of a beat with full smoothing
LEAST_BETWEEN = 0.2  # of the smaller area of the slice before and the slice after, at the same frame; ours


def grow_cavity(labels: np.ndarray, probability: np.ndarray, cyclic: bool) -> np.ndarray:
    """Labels whose cavities satisfy the bounds of this module. labels: (S, F, H, W); probability: (S, F, 4, H, W).

    cyclic: the frames are a whole beat. A single frame is compared with its neighbouring slices only.
    """
    area = (labels == LV).sum((2, 3)).astype(float)
    least = np.zeros_like(area)
    largest = area.max(1, keepdims=True)
    if area.shape[1] > 1:
        large = largest > LARGE_SLICE * largest.max()
        least = np.maximum(least, np.where(large, LEAST_AREA * largest, 0))
    if len(area) > 2:
        between = np.minimum(area[:-2], area[2:])
        least[1:-1] = np.maximum(least[1:-1], LEAST_BETWEEN * between)
    out = labels.copy()
    for s, f in zip(*np.nonzero(area < least), strict=True):
        _raise(out[s : s + 1, f], probability[s : s + 1, f], int(np.ceil(least[s, f])))
    volume = (out == LV).sum((0, 2, 3)).astype(float)
    bound = np.full_like(volume, LEAST * volume.max() if len(volume) > 1 else 0.0)
    if cyclic:
        bound = np.maximum(bound, LEAST_NEXT * (np.roll(volume, 1) + np.roll(volume, -1)) / 2)
    for f in np.flatnonzero(volume < bound):
        _raise(out[:, f], probability[:, f], int(np.ceil(bound[f])))
    return out


def _raise(labels: np.ndarray, probability: np.ndarray, pixels: int) -> None:
    """Change wall to cavity in place until it has a number of pixels. labels: (S, H, W); probability: (S, 4, H, W)."""
    wall = labels == WALL
    missing = min(pixels - int((labels == LV).sum()), int(wall.sum()))
    if missing <= 0:
        return
    odds = np.log(probability[:, LV] + 1e-6) - np.log(probability[:, WALL] + 1e-6)
    chosen = np.argsort(np.where(wall, -odds, np.inf), axis=None, kind="stable")[:missing]
    labels.flat[chosen] = LV


def smoothed(probability: np.ndarray) -> np.ndarray:
    """Probabilities of a beat, (S, F, ...), averaged over neighbouring frames; time is cyclic.

    The weights are 1, 2, 1 for fifty frames. With fewer frames the neighbours have less weight, since they are further
    away: a beat of ten frames would lose some of its end systole.
    """
    side = 0.25 * min(probability.shape[1] / FRAMES, 1.0)
    neighbours = np.roll(probability, 1, 1) + np.roll(probability, -1, 1)
    return (1 - 2 * side) * probability + side * neighbours
