"""One slice of a cine for display: grey frames around the heart, contour labels, scale in mm, ED and ES."""

from dataclasses import dataclass

import numpy as np

from eccl_lib.data.cmr import LV, WINDOW, box_of, cut
from eccl_lib.data.records import CineRecord

MARGIN_MM = 12.0  # around the heart, so that its surroundings are visible


@dataclass(frozen=True)
class HeartSlice:
    """frames: (F, H, W) uint8, frame 0 at the R wave. labels: (F, H, W) uint8 as in CineRecord, None without contours.

    spacing_mm: between rows and between columns, None where the scale is lost. frame_ms: time between frames, None
    where it is unknown. note: what the picture lacks and why, "" if nothing.
    """

    frames: np.ndarray
    labels: np.ndarray | None = None
    spacing_mm: tuple[float, float] | None = None
    frame_ms: float | None = None
    note: str = ""

    @property
    def area_cm2(self) -> np.ndarray | None:
        """Area of the LV cavity in each frame, (F,); None without contours or scale."""
        if self.labels is None or self.spacing_mm is None:
            return None
        return (self.labels == LV).sum(axis=(1, 2)) * self.spacing_mm[0] * self.spacing_mm[1] / 100

    @property
    def end_systole(self) -> int | None:
        """Frame of the smallest LV cavity; None without contours. End diastole is frame 0, at the R wave."""
        return None if self.labels is None else smallest_cavity(self.labels)


def smallest_cavity(labels: np.ndarray) -> int:
    """Frame with the smallest LV cavity; frames without one do not count. labels: (F, H, W)."""
    area = (labels == LV).sum(axis=(1, 2))
    return int(np.argmin(np.where(area > 0, area, area.max() + 1)))


def from_record(record: CineRecord, chosen: int = 0) -> HeartSlice:
    """The heart of one slice of a cine in its own resolution, with a margin. Raises UnreadableError without a box."""
    top, left, bottom, right = box_of(record, chosen)
    down, across = (round(MARGIN_MM / mm) for mm in record.spacing_mm)
    height, width = record.images.shape[2:]
    box = (max(top - down, 0), max(left - across, 0), min(bottom + down, height), min(right + across, width))
    images = cut(record.images[chosen], box).astype(np.float32)
    low, high = np.quantile(images, WINDOW)
    grey = np.clip((images - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    labels = None if record.labels is None else np.ascontiguousarray(cut(record.labels[chosen], box), np.uint8)
    note = "" if labels is not None else "no contours: this cohort's heart location gives a box only"
    return HeartSlice(grey, labels, record.spacing_mm, record.frame_ms, note)


def from_clip(clip: np.ndarray, why: str) -> HeartSlice:
    """A stored clip, which has neither scale nor contours. clip: (H, W, F) uint8. why: why the file is not shown."""
    frames = np.ascontiguousarray(clip.transpose(2, 0, 1))
    return HeartSlice(frames, note=f"stored clip, without contours and scale: {why}")
