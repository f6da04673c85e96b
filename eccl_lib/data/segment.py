"""Where the heart is: labels 0 background, 1 LV cavity, 2 LV wall, 3 RV. Provider: masks that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eccl_lib.data import cmr, masks
from eccl_lib.data.records import CineFile, CineRecord


@dataclass(frozen=True)
class Segmenter:
    """Who says where the heart is. mask_labels: the order of given masks' labels, one of ``masks.ORDERS``."""

    mask_labels: str = "ukb_cardiac"


def read(
    opened: CineFile,
    mask: Path | None = None,
    segmenter: Segmenter = Segmenter(),
    choice: str | None = None,
    frames: Sequence[int] | None = None,
) -> CineRecord:
    """A cine with the heart found in it. Raises UnreadableError.

    mask: a given segmentation. frames: which of the cine's frames its volumes are; None where it has all.
    choice: ``StoreConfig.slice_choice`` to decode that one slice alone; None decodes all.
    """
    slices, count = opened.shape[:2]
    labels = None
    if mask is not None or choice is not None:
        labels = masks.given(mask, opened.pixel_axes, opened.shape, frames, segmenter.mask_labels)
    kept = list(range(slices)) if choice is None else [cmr.choose_slice(labels, slices, choice)]
    images = opened.pixels(kept, range(count))
    facts = opened.spacing_mm, opened.slice_step_mm, opened.frame_ms
    return CineRecord(images, *facts, None if labels is None else labels[kept], tuple(opened.notes))
