"""Masks that are given, laid over the images by geometry, as labels 0 background, 1 LV cavity, 2 LV wall, 3 RV."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError

LARGEST_VOXELS = 2**28  # 256 MB of uint8: a stack of 13 slices, 50 frames and 208 x 208 pixels has 28 million
LARGEST_BYTES = 2**30  # of voxels as they are read
MOST_FRAMES_OFF = 0.1  # of the cine's; ours: ukbb_cardiac fills up to fifty what the scanner left out
END_DIASTOLE_NAME = re.compile(r"(?i)_ED(\.nii(?:\.gz)?)$")
ACDC_NAME = re.compile(r"(?P<who>.+)_frame(?P<number>\d+)_gt\.nii(\.gz)?")
END_SYSTOLE = 0.35  # of the beat; ours: seg_sa_ES does not say which frame it is, and only its place in space counts
FLIP = np.diag([-1.0, -1.0, 1.0])  # DICOM's axes (left, back, head) to NIfTI's (right to left, back to front, head)
# What a file's labels 0, 1, 2, 3 are in ours. ACDC: 1 RV, 2 myocardium, 3 LV; M&Ms and M&Ms-2 are as ukbb_cardiac.
ORDERS = {"ukb_cardiac": (0, 1, 2, 3), "acdc": (0, 3, 2, 1), "mms": (0, 1, 2, 3)}
MORE_ENCLOSED = 0.25  # of the border, by which the wrong cavity must lie more inside the wall to be noticed; ours
JUDGED = 20  # pictures, at most twice as many; ours
GIVE_MASKS = "Give a 4-D NIfTI of labels 1 LV cavity, 2 myocardium, 3 RV, as ukbb_cardiac writes it (seg_sa.nii.gz)."
MAKE_AGAIN = "Make or download the file again."
USE_ITS_MASK = "Use the mask made from this stack."


def open_nifti(path: Path) -> tuple[object, np.ndarray, tuple[int, ...]]:
    """nibabel image, affine and four-dimensional shape, nothing of the voxels read yet. Raises UnreadableError."""
    import nibabel

    try:
        image = nibabel.load(path)
        shape = tuple(int(n) for n in image.shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        kind = image.get_data_dtype()
    except Exception as error:
        raise UnreadableError(f"not a readable NIfTI file ({type(error).__name__})", MAKE_AGAIN) from error
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise UnreadableError("the NIfTI's geometry is no affine", MAKE_AGAIN)
    if kind.kind not in "iuf":
        raise UnreadableError(f"the NIfTI's voxels are {kind}, not grey values", MAKE_AGAIN)
    shape = (*shape, 1) if len(shape) == 3 else shape
    if len(shape) != 4 or min(shape) < 1:
        raise UnreadableError(f"the NIfTI has shape {shape}", "A cine is x, y, slice, frame.")
    voxel_count = math.prod(shape)
    scaled = image.header.get_slope_inter() != (None, None) if hasattr(image.header, "get_slope_inter") else False
    if voxel_count > LARGEST_VOXELS or voxel_count * (8 if scaled else kind.itemsize) > LARGEST_BYTES:
        raise UnreadableError(f"a NIfTI of {shape} voxels is larger than any cine", MAKE_AGAIN)
    return image, affine, shape


def voxels(image: object, shape: tuple[int, ...]) -> np.ndarray:
    """The voxels as stored (scaled where the header says so): (X, Y, S, F). Raises UnreadableError on damage."""
    try:
        return np.asanyarray(image.dataobj).reshape(shape)
    except Exception as error:
        raise UnreadableError(
            f"the NIfTI's voxels are damaged or cut short ({type(error).__name__})", MAKE_AGAIN
        ) from error


def given(
    path: Path | None,
    pixel_axes: np.ndarray,
    shape: tuple[int, int, int, int],
    frames: Sequence[int] | None = None,
    order: str = "ukb_cardiac",
) -> np.ndarray:
    """Labels from a NIfTI laid over a stack by geometry: (S, F, H, W) uint8.

    path: a mask of the whole beat; or one of ACDC's ``_frame01_gt``, or ``seg_sa_ED`` with ``seg_sa_ES`` beside it, and
    the drawn frames alone have labels.
    pixel_axes: (S, 3, 3), per slice from (column, row, 1) to mm in DICOM axes. shape: the stack's (S, F, H, W).
    frames: which frames of the stack the mask's volumes belong to, the others stay background; None: all, in order.
    order: what the file's labels mean, one of ``ORDERS``; returned are 1 LV cavity, 2 LV wall, 3 RV in any case.
    Raises UnreadableError where no mask is given or where it belongs to another stack.
    """
    if path is None:
        raise UnreadableError("no segmentation is given, so the heart's place is unknown", GIVE_MASKS)
    path = Path(path)
    if frames is None and (drawn := _drawn_frames(path)):
        parts = [given(file, pixel_axes, shape, (frame,), order) for frame, file in drawn.items()]
        return np.maximum.reduce(parts)
    if frames is None and END_DIASTOLE_NAME.search(path.name):
        end_systole = path.with_name(END_DIASTOLE_NAME.sub(r"_ES\1", path.name))
        drawn = {0: path} | ({round(END_SYSTOLE * shape[1]): end_systole} if end_systole.is_file() else {})
        parts = [given(file, pixel_axes, shape, (frame,), order) for frame, file in drawn.items()]
        return np.maximum.reduce(parts)
    laid = _laid(path, pixel_axes, shape, order)
    volumes = laid.shape[1]
    if frames is None and abs(volumes - shape[1]) <= MOST_FRAMES_OFF * shape[1]:
        # A frame more or less than the cine: each frame takes the mask of its part of the beat.
        nearest = np.rint(np.arange(shape[1]) * volumes / shape[1]).astype(int) % volumes
        return laid if volumes == shape[1] else laid[:, nearest]
    if frames is None or volumes != len(frames) or not set(frames) <= set(range(shape[1])):
        reason = f"the segmentation has {volumes} frames, the cine {shape[1]}"
        raise UnreadableError(reason, GIVE_MASKS if frames is None else "Name as many frames of the cine.")
    out = np.zeros(shape, dtype=np.uint8)
    out[:, list(frames)] = laid
    return out


def _drawn_frames(path: Path) -> dict[int, Path]:
    """ACDC's masks of single frames beside each other, by frame from 0; empty where the file is no such mask."""
    name = ACDC_NAME.fullmatch(path.name)
    beside = sorted(path.parent.glob("*_gt.nii*")) if name else []
    found = {file: ACDC_NAME.fullmatch(file.name) for file in beside}
    return {int(m["number"]) - 1: file for file, m in found.items() if m and m["who"] == name["who"]}


def _laid(path: Path, pixel_axes: np.ndarray, shape: tuple[int, int, int, int], order: str) -> np.ndarray:
    """The mask's own frames on the stack's pixels: (S, its frames, H, W)."""
    if not path.is_file():
        raise UnreadableError(f"there is no segmentation {path.name}", GIVE_MASKS)
    image, affine, volume = open_nifti(path)
    labels = voxels(image, volume)
    if labels.dtype.kind == "f" and not (labels == np.rint(labels)).all():
        raise UnreadableError("the segmentation has labels between whole numbers: it was interpolated", GIVE_MASKS)
    if labels.min() < 0 or labels.max() > 3:
        raise UnreadableError("the segmentation has labels outside 0 to 3", GIVE_MASKS)
    labels = relabelled(labels.astype(np.uint8, copy=False), order)
    return overlay(labels, affine, pixel_axes, (shape[0], volume[3], *shape[2:]))


def relabelled(labels: np.ndarray, order: str, option: str = "--mask-labels") -> np.ndarray:
    """Labels 0 to 3 of any known convention as 0 background, 1 LV cavity, 2 LV wall, 3 RV. labels: (X, Y, ...) uint8.

    Raises UnreadableError where the labels mean something else than ``order`` says: the LV cavity is the one that lies
    inside the wall. Where that cannot be judged (no wall drawn, no second cavity) the order is believed.
    """
    if order not in ORDERS:
        raise UnreadableError(f"there is no label order {order!r}", f"Known are {', '.join(ORDERS)}.")
    same = ORDERS[order] == (0, 1, 2, 3)
    ours = labels if same else np.array(ORDERS[order], dtype=np.uint8)[labels]
    left, right = enclosed(ours)
    if right - left > MORE_ENCLOSED:
        meant = next(name for name, meaning in ORDERS.items() if meaning != ORDERS[order])
        reason = f"the label that {order} calls RV lies inside the wall, as the LV cavity should"
        raise UnreadableError(reason, f"Say what the labels mean: {option} {meant}.")
    return ours


def enclosed(labels: np.ndarray) -> tuple[float, float]:
    """Share of the border of cavities 1 and 3 that is wall, 2: near 1 for the LV, less for the RV. labels: (X, Y, ...).

    Of the pictures in which wall is drawn some count; 0 for a cavity that is drawn in none of these.
    """
    pictures = labels.T.reshape(-1, *labels.shape[1::-1])  # NIfTI's memory order: no copy
    thin = next((step for step in (4, 1) if (pictures[:, ::step, ::step] == 2).any()), 1)
    walls = np.flatnonzero((pictures[:, ::thin, ::thin] == 2).any(axis=(1, 2)))
    pictures = pictures[walls[:: max(1, len(walls) // JUDGED)]]
    wall, border = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
    for axis in (1, 2):
        for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            at = (slice(None),) * axis
            from_, to = pictures[(*at, here)], pictures[(*at, there)]
            for k, cavity in enumerate((1, 3)):
                leaving = (from_ == cavity) & (to != cavity)
                border[k] += np.count_nonzero(leaving)
                wall[k] += np.count_nonzero(leaving & (to == 2))
    left, right = wall / np.maximum(border, 1)
    return float(left), float(right)


def overlay(labels: np.ndarray, affine: np.ndarray, pixel_axes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(X, Y, Z, F) labels with a NIfTI affine onto a DICOM stack's pixels: (S, F, H, W), any flip or transposition.

    Each slice's corner pixels are sent through both geometries; they must fall on voxels, to half a voxel.
    """
    slices, frames, height, width = shape
    try:
        to_voxel = np.linalg.inv(affine)
    except np.linalg.LinAlgError as error:
        raise UnreadableError("the segmentation's geometry is empty", GIVE_MASKS) from error
    out = np.zeros((slices, frames, height, width), dtype=np.uint8)
    covered = 0
    for s in range(slices):
        plane = to_voxel[:3, :3] @ FLIP @ pixel_axes[s]  # (column, row, 1) to voxel, but for the offset
        plane[:, 2] += to_voxel[:3, 3]
        covered += _overlay_slice(labels, plane, out[s])
    if not covered:
        raise UnreadableError("the segmentation lies elsewhere than the images", USE_ITS_MASK)
    return out


def _overlay_slice(labels: np.ndarray, plane: np.ndarray, out: np.ndarray) -> bool:
    """Fill one slice (F, H, W); False where it lies outside of the labels' volume."""
    _, height, width = out.shape
    steps = np.rint(plane[:, :2])
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]).T
    exact = plane @ corners
    start = np.rint(plane[:, 2])
    rounded = np.column_stack([steps, start]) @ corners
    in_plane = np.abs(steps).sum(axis=0)
    if (in_plane != 1).any() or np.abs(exact - rounded)[:2].max() > 0.5 or steps[2].any():
        raise UnreadableError("the segmentation has another geometry than the images", USE_ITS_MASK)
    z = int(start[2])
    if abs(plane[2, 2] - z) > 0.25 or not 0 <= z < labels.shape[2]:
        return False
    axis_of_column = int(np.flatnonzero(steps[:2, 0])[0])
    sheet = labels[:, :, z, :]  # (X, Y, F)
    sheet = sheet if axis_of_column == 0 else sheet.swapaxes(0, 1)  # (along a row, along a column, F)
    firsts = [int(start[axis_of_column]), int(start[1 - axis_of_column])]
    signs = [int(steps[axis_of_column, 0]), int(steps[1 - axis_of_column, 1])]
    to_columns, from_columns = _shared(firsts[0], signs[0], width, sheet.shape[0])
    to_rows, from_rows = _shared(firsts[1], signs[1], height, sheet.shape[1])
    target = out[:, to_rows, to_columns]
    target[...] = sheet[from_columns, from_rows].transpose(2, 1, 0)
    return target.size > 0


def _shared(first: int, sign: int, count: int, size: int) -> tuple[slice, slice]:
    """Of ``count`` pixels those that lie on an axis of ``size`` voxels, and these: pixel k on voxel first + sign k."""
    low, high = (-first, size - first) if sign > 0 else (first - size + 1, first + 1)
    low, high = max(low, 0), min(high, count)
    if low >= high:
        return slice(0), slice(0)
    end = first + sign * high
    return slice(low, high), slice(first + sign * low, end if end >= 0 else None, sign)
