"""Read given masks and align them with the images by geometry; labels 0 background, 1 LV cavity, 2 LV wall, 3 RV."""

import contextlib
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import reading
from eccl_lib.io import regular

LARGEST_VOXELS = 2**28  # 256 MB as uint8; a stack of 13 slices, 50 frames and 208 x 208 pixels has 28 million
LARGEST_BYTES = 2**30  # of the voxels in memory
MOST_FRAMES_OFF = 0.1  # largest relative difference in the number of frames; ukbb_cardiac pads to fifty; ours
END_DIASTOLE_NAME = re.compile(r"(?i)_ED(\.nii(?:\.gz)?)$")
ACDC_NAME = re.compile(r"(?P<patient>.+)_frame(?P<number>\d+)_gt\.nii(\.gz)?")
END_SYSTOLE = 0.35  # of the beat; frame given to seg_sa_ES, whose own frame number is unknown; ours
FLIP = np.diag([-1.0, -1.0, 1.0])  # DICOM's axes (left, back, head) to NIfTI's (right, front, head)
# Standard label of a file's labels 0, 1, 2, 3. ACDC: 1 RV, 2 myocardium, 3 LV; M&Ms and M&Ms-2 are as ukbb_cardiac.
ORDERS = {"ukb_cardiac": (0, 1, 2, 3), "acdc": (0, 3, 2, 1), "mms": (0, 1, 2, 3)}
MORE_ENCLOSED = 0.25  # difference in wall share above which the label order counts as wrong; ours
CHECKED_IMAGES = 20  # images in which the label order is checked; up to twice as many are used; ours
GIVE_MASKS = "Give a 4-D NIfTI with labels 1 LV cavity, 2 myocardium, 3 RV, as ukbb_cardiac's seg_sa.nii.gz."
MAKE_AGAIN = "Make or download the file again."
USE_ITS_MASK = "Use the mask made from this stack."


def open_nifti(path: Path, is_nifti1: bool = False) -> tuple[object, np.ndarray, tuple[int, ...]]:
    """Open a NIfTI without reading its voxels: nibabel image, affine and 4-D shape. Raises UnreadableError.

    is_nifti1: the header is known to be NIfTI-1, so that nibabel does not search for the format. Axes of length 1 after
    the third are left out of the shape (ITK writes x, y, z, 1, frame).
    """
    with reading("the file is not a readable NIfTI: damaged, truncated or of another format", MAKE_AGAIN):
        image = _load(path, is_nifti1)
        shape = tuple(int(n) for n in image.shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        kind = image.get_data_dtype()
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise UnreadableError("the NIfTI's geometry is not an affine", MAKE_AGAIN)
    if kind.kind not in "iuf":
        raise UnreadableError(f"the NIfTI's voxels are {kind}, not grey values", MAKE_AGAIN)
    if len(shape) != 4:
        shape = (*shape[:3], *([n for n in shape[3:] if n != 1] or [1]))
    if len(shape) != 4 or min(shape) < 1:
        raise UnreadableError(f"the NIfTI has the shape {shape}", "Give a cine with the axes x, y, slice, frame.")
    voxel_count = math.prod(shape)
    scaled = image.header.get_slope_inter() != (None, None) if hasattr(image.header, "get_slope_inter") else False
    if voxel_count > LARGEST_VOXELS or voxel_count * (8 if scaled else kind.itemsize) > LARGEST_BYTES:
        raise UnreadableError(f"a NIfTI of {shape} voxels is larger than a cine can be", MAKE_AGAIN)
    return image, affine, shape


def _load(path: Path, is_nifti1: bool) -> object:
    import nibabel

    regular.check(path)
    if is_nifti1:
        with contextlib.suppress(nibabel.filebasedimages.ImageFileError):  # a pair of .hdr and .img
            return nibabel.Nifti1Image.from_filename(path)
    return nibabel.load(path)


def voxels(image: object, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels of a NIfTI, scaled by its header: (X, Y, S, F). Raises UnreadableError if they are damaged."""
    with reading("the NIfTI's voxels are damaged or truncated", MAKE_AGAIN):
        return np.asanyarray(image.dataobj).reshape(shape)


def read_mask(
    path: Path | None,
    pixel_axes: np.ndarray,
    shape: tuple[int, int, int, int],
    frames: Sequence[int] | None = None,
    order: str = "ukb_cardiac",
) -> np.ndarray:
    """Read a mask from a NIfTI and align it with a stack by geometry: (S, F, H, W) uint8.

    path: a mask of the whole beat, or of one frame (ACDC's ``_frame01_gt``, or ``seg_sa_ED``). A mask of one frame is
    read together with the masks of other frames beside it; frames without a mask are background. pixel_axes: see
    ``CineFile``. shape: the stack's (S, F, H, W). frames: frame numbers of the mask's volumes; None: all frames in
    order. order: the file's label order, one of ``ORDERS``. The returned labels are always 1 LV cavity, 2 LV wall, 3
    RV. Raises UnreadableError if no mask is given or if it does not match the stack.
    """
    if path is None:
        raise UnreadableError("no segmentation is given, so the location of the heart is unknown", GIVE_MASKS)
    path = Path(path)
    if frames is None and (files := _single_frames(path, shape[1])):
        parts = [read_mask(file, pixel_axes, shape, (frame,), order) for frame, file in files.items()]
        return np.maximum.reduce(parts)
    aligned = _align(path, pixel_axes, shape, order)
    volumes = aligned.shape[1]
    if frames is None and abs(volumes - shape[1]) <= MOST_FRAMES_OFF * shape[1]:
        # The number of frames differs slightly: each frame takes the mask at its time in the beat.
        nearest = np.rint(np.arange(shape[1]) * volumes / shape[1]).astype(int) % volumes
        return aligned if volumes == shape[1] else aligned[:, nearest]
    if frames is None or volumes != len(frames) or not set(frames) <= set(range(shape[1])):
        reason = f"the segmentation has {volumes} frames, the cine {shape[1]}"
        raise UnreadableError(reason, GIVE_MASKS if frames is None else "Give one frame number for each volume.")
    out = np.zeros(shape, dtype=np.uint8)
    out[:, list(frames)] = aligned
    return out


def _single_frames(path: Path, count: int) -> dict[int, Path]:
    """Masks of single frames by frame number (from 0): all of ACDC's patient, or those of ED and ES; else empty."""
    if END_DIASTOLE_NAME.search(path.name):
        end_systole = path.with_name(END_DIASTOLE_NAME.sub(r"_ES\1", path.name))
        return {0: path} | ({round(END_SYSTOLE * count): end_systole} if end_systole.is_file() else {})
    name = ACDC_NAME.fullmatch(path.name)
    candidates = sorted(path.parent.glob("*_gt.nii*")) if name else []
    matches = {file: ACDC_NAME.fullmatch(file.name) for file in candidates}
    return {int(m["number"]) - 1: file for file, m in matches.items() if m and m["patient"] == name["patient"]}


def _align(path: Path, pixel_axes: np.ndarray, shape: tuple[int, int, int, int], order: str) -> np.ndarray:
    """The mask's frames on the stack's pixels, in the standard label order: (S, frames, H, W)."""
    if not path.is_file():
        raise UnreadableError(f"there is no segmentation {path.name}", GIVE_MASKS)
    image, affine, volume = open_nifti(path)
    labels = voxels(image, volume)
    if labels.dtype.kind == "f" and not (labels == np.rint(labels)).all():
        raise UnreadableError("the segmentation has labels that are not integers: it was interpolated", GIVE_MASKS)
    if labels.min() < 0 or labels.max() > 3:
        raise UnreadableError("the segmentation has labels outside 0 to 3", GIVE_MASKS)
    labels = to_standard_order(labels.astype(np.uint8, copy=False), order)
    return overlay(labels, affine, pixel_axes, (shape[0], volume[3], *shape[2:]))


def to_standard_order(labels: np.ndarray, order: str, option: str = "--mask-labels") -> np.ndarray:
    """Labels in the given order converted to 0 background, 1 LV cavity, 2 LV wall, 3 RV. labels: (X, Y, ...) uint8.

    Raises UnreadableError if the wall surrounds the RV instead of the LV cavity, since the order is then wrong. The
    order is not checked without wall, or with only one cavity. option: command-line option named in the error.
    """
    if order not in ORDERS:
        raise UnreadableError(f"there is no label order {order!r}", f"Known orders: {', '.join(ORDERS)}.")
    standard = labels if ORDERS[order] == (0, 1, 2, 3) else np.array(ORDERS[order], dtype=np.uint8)[labels]
    left, right = wall_share(standard)
    if right - left > MORE_ENCLOSED:
        other = next(name for name, meaning in ORDERS.items() if meaning != ORDERS[order])
        reason = f"the label order {order} is wrong: its RV lies inside the wall, where the LV cavity must be"
        raise UnreadableError(reason, f"Give the correct label order: {option} {other}.")
    return standard


def wall_share(labels: np.ndarray) -> tuple[float, float]:
    """Share of the border of label 1, and of label 3, that touches label 2 (wall): near 1 for the LV, less for the RV.

    labels: (X, Y, ...). Only a sample of the images that contain wall is used; 0 for a label that is not in them.
    """
    images = labels.T.reshape(-1, *labels.shape[1::-1])  # NIfTI's memory order: no copy
    step = next((step for step in (4, 1) if (images[:, ::step, ::step] == 2).any()), 1)
    with_wall = np.flatnonzero((images[:, ::step, ::step] == 2).any(axis=(1, 2)))
    images = images[with_wall[:: max(1, len(with_wall) // CHECKED_IMAGES)]]
    wall, border = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
    for axis in (1, 2):
        for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            at = (slice(None),) * axis
            from_, to = images[(*at, here)], images[(*at, there)]
            for k, cavity in enumerate((1, 3)):
                leaving = (from_ == cavity) & (to != cavity)
                border[k] += np.count_nonzero(leaving)
                wall[k] += np.count_nonzero(leaving & (to == 2))
    left, right = wall / np.maximum(border, 1)
    return float(left), float(right)


def overlay(labels: np.ndarray, affine: np.ndarray, pixel_axes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels (X, Y, Z, F) with a NIfTI affine transferred to a DICOM stack's pixels: (S, F, H, W).

    Any flip or transposition is allowed. Raises UnreadableError if a corner pixel of a slice is more than half a
    voxel away from the nearest voxel centre, or if the volumes do not overlap.
    """
    slices, frames, height, width = shape
    try:
        to_voxel = np.linalg.inv(affine)
    except np.linalg.LinAlgError as error:
        raise UnreadableError("the segmentation's geometry is empty", GIVE_MASKS) from error
    out = np.zeros((slices, frames, height, width), dtype=np.uint8)
    covered = 0
    for s in range(slices):
        plane = to_voxel[:3, :3] @ FLIP @ pixel_axes[s]  # (column, row, 1) to voxel; the offset is added below
        plane[:, 2] += to_voxel[:3, 3]
        covered += _overlay_slice(labels, plane, out[s])
    if not covered:
        raise UnreadableError("the segmentation does not overlap with the images", USE_ITS_MASK)
    return out


def _overlay_slice(labels: np.ndarray, plane: np.ndarray, out: np.ndarray) -> bool:
    """Fill one slice (F, H, W) in place; False if it lies outside of the labels' volume."""
    _, height, width = out.shape
    steps = np.rint(plane[:, :2])
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]).T
    exact = plane @ corners
    start = np.rint(plane[:, 2])
    rounded = np.column_stack([steps, start]) @ corners
    in_plane = np.abs(steps).sum(axis=0)
    if (in_plane != 1).any() or np.abs(exact - rounded)[:2].max() > 0.5 or steps[2].any():
        raise UnreadableError("the geometry of the segmentation differs from that of the images", USE_ITS_MASK)
    z = int(start[2])
    if abs(plane[2, 2] - z) > 0.25 or not 0 <= z < labels.shape[2]:
        return False
    order = [int(np.flatnonzero(steps[:2, k])[0]) for k in (0, 1)]  # voxel axes along a row and along a column
    sheet = labels[:, :, z].transpose(*order, 2)  # (along a row, along a column, F)
    in_pixels, in_voxels = [], []
    for axis, (voxel_axis, count) in enumerate(zip(order, (width, height), strict=True)):
        first, size = int(start[voxel_axis]), sheet.shape[axis]
        if steps[voxel_axis, axis] < 0:
            sheet, first = np.flip(sheet, axis), size - 1 - first
        low = max(-first, 0)  # now pixel k is at voxel first + k
        high = max(min(size - first, count), low)
        in_pixels.append(slice(low, high))
        in_voxels.append(slice(first + low, first + high))
    target = out.T[tuple(in_pixels)]  # (W, H, F)
    target[...] = sheet[tuple(in_voxels)]
    return target.size > 0
