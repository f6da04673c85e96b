"""Reader of short-axis cines in 4-D NIfTI (x, y, slice, frame), such as ukbb_cardiac's sa.nii.gz."""

from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import stack
from eccl_lib.data.records import CineFile, pixels_in_memory
from eccl_lib.data.segmentation import masks


def open_file(path: Path) -> CineFile:
    """Open a 4-D NIfTI as a cine: slices base to apex, frames in the order of the file. Raises UnreadableError."""
    if not Path(path).is_file():
        raise UnreadableError(f"there is no file {path}", "Accepted formats: 4-D NIfTI; DICOM in a folder or zip.")
    image, affine, shape = masks.open_nifti(path)
    if shape[3] < 2:
        raise UnreadableError("the NIfTI has one frame", "Give a cine with the axes x, y, slice, frame.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not (spacing > 0).all():
        raise UnreadableError("the NIfTI's geometry is empty", "Write the affine into its header.")
    images = masks.voxels(image, shape).transpose(2, 3, 1, 0)  # (S, F, H, W)
    plane = masks.FLIP @ affine[:3]  # to DICOM's axes
    axes = np.tile(plane[:, [0, 1, 3]], (shape[2], 1, 1))
    axes[:, :, 2] += plane[:, 2] * np.arange(shape[2])[:, None]
    if plane[:, 2] @ stack.TOWARDS_APEX < 0:
        images, axes = images[::-1], axes[::-1]
    pixel_mm = float(spacing[1]), float(spacing[0])
    return CineFile(images.shape, axes, pixel_mm, float(spacing[2]), _frame_ms(image), pixels_in_memory(images))


def _frame_ms(image) -> float:
    """Time between frames in ms, NaN if unknown; headers have it in seconds, in milliseconds, or as 1 (unknown)."""
    step = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    if not step > 0 or step == 1:
        return float("nan")
    return step if unit == "msec" or (unit == "unknown" and step > 1) else 1000 * step
