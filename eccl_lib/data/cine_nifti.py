"""A short-axis cine from a 4-D NIfTI (x, y, slice, frame), as ukbb_cardiac writes it (sa.nii.gz) and others do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eccl_lib.data import cmr, segment, stack
from eccl_lib.data.records import CineRecord, UnreadableError


def read(
    path: Path, segmentation: Path | None = None, frames: Sequence[int] | None = None, choice: str | None = None
) -> CineRecord:
    """Slices base to apex, labels laid over them by geometry. Raises UnreadableError.

    frames: which of the cine's frames the segmentation's volumes are (ED and ES, say); None where it has all.
    choice: ``StoreConfig.slice_choice`` to keep that one slice alone (needs the labels); None keeps all.
    """
    if not Path(path).is_file():
        raise UnreadableError(f"there is no file {path}", "Accepted are: 4-D NIfTI; UK Biobank's short-axis zip.")
    image, affine, shape = segment.open_nifti(path)
    if shape[3] < 2:
        raise UnreadableError("the NIfTI has one frame", "A cine is x, y, slice, frame.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not (spacing > 0).all():
        raise UnreadableError("the NIfTI's geometry is empty", "Write its affine: the place of each slice is needed.")
    images = segment.voxels(image, shape).transpose(2, 3, 1, 0)  # (S, F, H, W)
    plane = segment.FLIP @ affine[:3]  # to DICOM's axes
    axes = np.stack(
        [np.column_stack([plane[:, 0], plane[:, 1], plane[:, 2] * s + plane[:, 3]]) for s in range(shape[2])]
    )
    if plane[:, 2] @ stack.TOWARDS_APEX < 0:
        images, axes = images[::-1], axes[::-1]
    labels = segment.given(segmentation, axes, images.shape, frames) if segmentation or choice else None
    if choice is not None:
        chosen = cmr.choose_slice(labels, len(images), choice)
        images, labels = images[chosen : chosen + 1], labels[chosen : chosen + 1]
    return CineRecord(images, (float(spacing[1]), float(spacing[0])), float(spacing[2]), _frame_ms(image), labels)


def _frame_ms(image) -> float:
    """Time between frames; headers write it in seconds, in milliseconds or not at all (1)."""
    step = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    if not step > 0 or step == 1:
        return float("nan")
    return step if unit == "msec" or (unit == "unknown" and step > 1) else 1000 * step
