"""Read given masks and align them with the images by geometry; labels 0 background, 1 LV cavity, 2 LV wall, 3 RV."""

import contextlib
import logging
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.reading import reading
from eccl_lib.io import regular

LARGEST_VOXELS = 2**28  # 13 slices of 50 frames with 208 x 208 pixels have 28 million; M&Ms has up to 100 million
LARGEST_BYTES = 2**30  # of the voxels as scaled numbers, which are read frame by frame; and of the file
BLOCK = 2**23  # voxels that are read at once
LARGEST_SIDE = 1024  # voxels along x, y and slices; a cine has about 200, an interpolated one 512
MOST_FRAMES_OFF = 0.1  # largest relative difference in the number of frames; ukbb_cardiac pads to fifty; ours
END_DIASTOLE_NAME = re.compile(r"(?i)_ED(\.nii(?:\.gz)?)$")
ACDC_NAME = re.compile(r"(?P<patient>.+)_frame(?P<number>\d+)_gt\.nii(\.gz)?")
END_SYSTOLE = 0.35  # of the beat, about end systole at rest; seg_sa_ES does not have its own frame number; ours
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
    regular.check(path, LARGEST_BYTES)
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
    if (
        max(shape) > LARGEST_SIDE
        or voxel_count > LARGEST_VOXELS
        or voxel_count * (8 if scaled else kind.itemsize) > LARGEST_BYTES
    ):
        raise UnreadableError(f"a NIfTI of {shape} voxels is larger than a cine can be", MAKE_AGAIN)
    return image, affine, shape


def _load(path: Path, is_nifti1: bool) -> object:
    import nibabel

    with _silenced(nibabel.imageglobals.logger):
        if is_nifti1:
            with contextlib.suppress(nibabel.filebasedimages.ImageFileError):  # a pair of .hdr and .img
                return nibabel.Nifti1Image.from_filename(path)
        return nibabel.load(path)


@contextlib.contextmanager
def _silenced(logger: logging.Logger) -> Iterator[None]:
    """Context manager that drops a library's messages, which quote the file and go to the terminal as they are."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def blocks(image: object, shape: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a NIfTI in blocks: the first frame's number, and voxels (X, Y, S, f) scaled by the header.

    shape: (X, Y, S, F). A packed file is unpacked only once, as far as blocks are asked for, and no more than one block
    of about BLOCK voxels is in memory. Raises UnreadableError if the voxels are damaged.
    """
    from nibabel.arrayproxy import ArrayProxy

    stored, step = image.dataobj, max(1, BLOCK // math.prod(shape[:3]))
    facts = stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter
    with contextlib.ExitStack() as opened:
        for first in range(0, shape[3], step):
            with reading("the NIfTI's voxels are damaged or truncated", MAKE_AGAIN):
                if not first:
                    file = opened.enter_context(image.file_map["image"].get_prepare_fileobj("rb"))
                    every = ArrayProxy(file, facts, mmap=False, order=stored.order).reshape(shape)
                block = np.asarray(every[..., first : first + step])
            yield first, block


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
    image, affine, volume = _open(path)
    count = volume[3]
    if frames is None and abs(count - shape[1]) <= MOST_FRAMES_OFF * shape[1]:
        # If the number of frames differs slightly, each frame takes the mask at its time in the beat.
        nearest = np.rint(np.arange(shape[1]) * count / shape[1]).astype(int) % count
    elif frames is not None and count == len(frames) and set(frames) <= set(range(shape[1])):
        nearest = np.full(shape[1], -1)  # a frame without a mask
        nearest[list(frames)] = np.arange(count)
    else:
        reason = f"the segmentation has {count} frames, the cine {shape[1]}"
        raise UnreadableError(reason, GIVE_MASKS if frames is None else "Give one frame number for each volume.")
    out, covered = np.zeros(shape, dtype=np.uint8), 0
    planes = _planes(affine, pixel_axes)
    for first, block in blocks(image, volume):
        labels, in_block = _labels(block), np.flatnonzero((first <= nearest) & (nearest < first + block.shape[3]))
        for placed, plane in zip(out, planes, strict=True):
            part = np.zeros((block.shape[3], *shape[2:]), dtype=np.uint8)
            covered += _overlay_slice(labels, plane, part)
            placed[in_block] = part[nearest[in_block] - first]
    if not covered:
        raise UnreadableError("the segmentation does not overlap with the images", USE_ITS_MASK)
    return to_standard_order(out.transpose(3, 2, 0, 1), order).transpose(2, 3, 1, 0)


def _single_frames(path: Path, count: int) -> dict[int, Path]:
    """Masks of single frames by frame number (from 0): all of ACDC's patient, or those of ED and ES; else empty."""
    if END_DIASTOLE_NAME.search(path.name):
        end_systole = path.with_name(END_DIASTOLE_NAME.sub(r"_ES\1", path.name))
        return {0: path} | ({round(END_SYSTOLE * count): end_systole} if end_systole.is_file() else {})
    name = ACDC_NAME.fullmatch(path.name)
    candidates = sorted(path.parent.glob("*_gt.nii*")) if name else []
    matches = {file: ACDC_NAME.fullmatch(file.name) for file in candidates}
    return {int(m["number"]) - 1: file for file, m in matches.items() if m and m["patient"] == name["patient"]}


def _open(path: Path) -> tuple[object, np.ndarray, tuple[int, ...]]:
    """``open_nifti`` of a mask."""
    if not path.exists():
        raise UnreadableError("there is no segmentation: its file is missing", GIVE_MASKS)
    return open_nifti(path)


def _labels(labels: np.ndarray) -> np.ndarray:
    """Voxels of a mask as uint8. Raises UnreadableError if they are other than 0 to 3."""
    if labels.dtype.kind == "f" and not (labels == np.rint(labels)).all():
        raise UnreadableError("the segmentation has labels that are not integers: it was interpolated", GIVE_MASKS)
    if labels.min() < 0 or labels.max() > 3:
        raise UnreadableError("the segmentation has labels outside 0 to 3", GIVE_MASKS)
    return labels.astype(np.uint8, copy=False)


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


def _planes(affine: np.ndarray, pixel_axes: np.ndarray) -> list[np.ndarray]:
    """For each slice a matrix from (column, row, 1) to voxels of a NIfTI with this affine. Raises UnreadableError."""
    try:
        to_voxel = np.linalg.inv(affine)
    except np.linalg.LinAlgError as error:
        raise UnreadableError("the segmentation's geometry is empty", GIVE_MASKS) from error
    planes = [to_voxel[:3, :3] @ FLIP @ axes for axes in pixel_axes]
    for plane in planes:
        plane[:, 2] += to_voxel[:3, 3]
    return planes


def _overlay_slice(labels: np.ndarray, plane: np.ndarray, out: np.ndarray) -> bool:
    """Fill one slice (F, H, W) in place from labels (X, Y, Z, F); False if it lies outside of their volume.

    Any flip or transposition is allowed. Raises UnreadableError if a corner pixel of a slice is more than half a voxel
    away from the nearest voxel centre.
    """
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
