"""How sure a segmentation is: the expected Dice of its labels, and the stability of the heart's box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eccl_lib.data import cmr

LOW = 0.85  # expected Dice below which a slice is flagged; ours, see docs/segmentation.md
LARGE_CHANGE = 0.3  # of the box's area, if one frame is left out; more is flagged; ours


@dataclass(frozen=True)
class Segmentation:
    """labels: (S, F, H, W) uint8. confidence: (S,), expected Dice of each slice's labels; NaN if it is not known."""

    labels: np.ndarray
    confidence: np.ndarray


def expected_dice(probability: np.ndarray, labels: np.ndarray) -> float:
    """Dice of a slice's labels (F, H, W) with the labels that the probabilities (F, 4, H, W) expect, mean over frames.

    It is near 1 if every pixel is certain, and lower if the pixels at the border or whole parts are uncertain. One
    pixel is added to both sides, so that a slice without heart is certain.
    """
    chosen = np.stack([labels == k for k in (1, 2, 3)], 1)  # (F, 3, H, W)
    both = (probability[:, 1:] * chosen).sum((1, 2, 3), dtype=np.float64)
    size = probability[:, 1:].sum((1, 2, 3), dtype=np.float64) + chosen.sum((1, 2, 3))
    return float(((2 * both + 1) / (size + 1)).mean())


def box_change(labels: np.ndarray) -> float:
    """Largest relative change of the area of the heart's box if one frame is left out. labels: (F, H, W), F > 1.

    0 if the other frames have the same box; near 1 if only one frame has a heart.
    """
    if len(labels) < 2 or not labels.any():
        return 0.0
    whole = _area(cmr.heart_box(labels))
    count = (labels > 0).sum(0)
    changes = []
    for frame in labels:
        rest = count - (frame > 0) > 0
        changes.append(1 - _area(cmr.heart_box(rest[None])) / whole if rest.any() else 1.0)
    return float(max(changes))


def at_border(box: tuple[int, int, int, int], shape: tuple[int, int]) -> bool:
    """True if a box (top, left, bottom, right) touches the border of an image of (H, W) pixels, or leaves the image."""
    return box[0] <= 0 or box[1] <= 0 or box[2] >= shape[0] or box[3] >= shape[1]


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
