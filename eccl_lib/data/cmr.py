"""CMR preprocessing and augmentation: middle slice, crop to the heart, 224 x 224 pixels x 50 frames (Sec. 3.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.records import CineRecord

if TYPE_CHECKING:
    import torch

    from eccl_lib.config.schema import AugmentConfig, StoreConfig, ViewConfig

LV, MYOCARDIUM, RV = 1, 2, 3
FIXED_BOX = 80  # pixels, authors' code
WINDOW = (0.005, 0.995)  # quantiles of the clip that map to 0 and 255; ours; robust to single extreme pixels
ROWS_AT_ONCE = 8  # rows of a clip resized together; they fit in a core's cache, which halves the time


def choose_slice(labels: np.ndarray | None, slices: int, choice: str) -> int:
    """Index of the slice that is stored. labels: (S, F, H, W), base to apex.

    ``middle``: half way between the first and the last slice that contain left ventricle (Sec. 3.1), or the middle of
    the stack if there are no labels. ``rv_max`` (authors' code): the slice with the largest RV area at end systole; if
    this is one of the first three of at least five slices, the next slice towards the apex. Raises UnreadableError if
    ``rv_max`` has no labels, if the labels are empty, or if ``middle`` finds no left ventricle in them.
    """
    if labels is None:
        if choice == "rv_max":
            raise UnreadableError("slice_choice rv_max needs a segmentation", "Set store.slice_choice=middle.")
        return (slices - 1) // 2
    if choice == "rv_max":
        volume = (labels == LV).sum(axis=(0, 2, 3))
        labelled = labels.any(axis=(0, 2, 3))  # a mask may cover only two of fifty frames
        if not labelled.any():
            raise UnreadableError("the segmentation is empty", "Check that the mask belongs to this cine.")
        end_systole = int(np.argmin(np.where(labelled, volume, volume.max() + 1)))
        chosen = int(np.argmax((labels[:, end_systole] == RV).sum(axis=(1, 2))))
        return chosen + 1 if chosen <= 2 and slices >= 5 else chosen
    ventricle = np.flatnonzero(((labels == LV) | (labels == MYOCARDIUM)).any(axis=(1, 2, 3)))
    if not len(ventricle):
        raise UnreadableError("the segmentation has no left ventricle", "Check its labels: 1 LV, 2 myocardium, 3 RV.")
    return int(ventricle[0] + ventricle[-1]) // 2


def heart_box(labels: np.ndarray) -> tuple[int, int, int, int]:
    """Bounding box of the heart over all frames: (top, left, bottom, right) in pixels; bottom and right are exclusive.

    labels: (F, H, W), heart > 0. Only the largest connected component of the union over frames counts. Raises
    UnreadableError if the labels are empty.
    """
    from scipy.ndimage import find_objects, label

    parts, count = label((labels > 0).any(axis=0), structure=np.ones((3, 3)))
    if not count:
        raise UnreadableError("the segmentation is empty in the chosen slice", "Check that the mask fits the cine.")
    largest = int(np.argmax(np.bincount(parts.ravel())[1:]))
    rows, columns = find_objects(parts)[largest]
    return rows.start, columns.start, rows.stop, columns.stop


def box_of(record: CineRecord, chosen: int = 0) -> tuple[int, int, int, int]:
    """Bounding box of the heart in a slice, from the labels or ``record.box``. Raises UnreadableError without both."""
    if record.labels is not None:
        return heart_box(record.labels[chosen])
    if record.box is None:
        raise UnreadableError("the cine has no segmentation and no bounding box", "Call providers.locate first.")
    return record.box


def intersection_over_union(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes (top, left, bottom, right): 1 if they are equal, 0 if they are disjoint."""
    overlap = [max(min(a[k + 2], b[k + 2]) - max(a[k], b[k]), 0) for k in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return overlap[0] * overlap[1] / (sum(areas) - overlap[0] * overlap[1])


def cut(images: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Crop of (F, H, W) images to a box, zero-padded outside the image."""
    top, left, bottom, right = box
    height, width = images.shape[1:]
    inner = images[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    pad = [(0, 0), (max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))]
    return np.pad(inner, pad) if np.any(pad) else inner


def fixed_box(box: tuple[int, int, int, int], side: int = FIXED_BOX) -> tuple[int, int, int, int]:
    """Square box of ``side`` pixels with the same centre as ``box`` (authors' code)."""
    top, left = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    return top, left, top + side, left + side


def with_margin(
    box: tuple[int, int, int, int], margin_mm: float, spacing_mm: tuple[float, float], shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A box (top, left, bottom, right) with a rim of ``margin_mm`` on each side, within an image of (H, W) pixels."""
    down, across = (round(margin_mm / step) for step in spacing_mm)
    top, left, bottom, right = box
    return (
        min(top, max(top - down, 0)),
        min(left, max(left - across, 0)),
        max(bottom, min(bottom + down, shape[0])),
        max(right, min(right + across, shape[1])),
    )


def window(centre: float, side_mm: float, pixels: int, pixel_mm: float) -> slice:
    """Slice of ``side_mm`` around a centre (in pixels) on an axis of ``pixels``, shifted so that it is in the image."""
    side = min(round(side_mm / pixel_mm), pixels)
    first = min(max(round(centre - side / 2), 0), pixels - side)
    return slice(first, first + side)


def resize(images: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Images resized along one axis by linear interpolation with antialiasing, as in torch and Pillow: float32.

    The order of summation is fixed, so the pixels are identical on every machine and for every number of threads.
    """
    length = images.shape[axis]
    ratio = length / size
    reach = max(ratio, 1.0)
    centre = (np.arange(size) + 0.5) * ratio
    first = np.floor(centre - reach + 0.5).astype(int)
    taps = int(np.ceil(2 * reach)) + 1
    index = first[:, None] + np.arange(taps)
    weight = np.maximum(0, 1 - np.abs(index + 0.5 - centre[:, None]) / reach)
    weight[(index < 0) | (index >= length)] = 0
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    index = np.clip(index, 0, length - 1)
    shape = [1] * images.ndim
    shape[axis] = size
    out = np.zeros((*images.shape[:axis], size, *images.shape[axis + 1 :]), dtype=np.float32)
    for k in range(taps):
        if weight[:, k].any():
            out += np.take(images, index[:, k], axis=axis) * weight[:, k].reshape(shape)
    return out


def resample_frames(images: np.ndarray, frames: int) -> np.ndarray:
    """Cyclic linear interpolation of one heart beat to another number of frames: (F, H, W) to (frames, H, W)."""
    count = len(images)
    if count == frames:
        return images
    time = np.arange(frames) * (count / frames)
    before = np.floor(time).astype(int)
    part = (time - before).astype(np.float32)[:, None, None]
    return images[before % count] * (1 - part) + images[(before + 1) % count] * part


def crop(record: CineRecord, store: StoreConfig) -> np.ndarray:
    """A cine as it is stored: (clip_size, clip_size, clip_frames) uint8.

    The crop is the heart's bounding box in the chosen slice, over all frames of one beat, with a rim of
    ``store.margin_mm``, resized to a square (Sec. 3.1). The 0.5 and 99.5 percentiles of the clip map to 0 and 255.
    Raises UnreadableError if the record has neither labels nor a box, or if the crop has constant brightness.
    """
    chosen = choose_slice(record.labels, len(record.images), store.slice_choice)
    box = box_of(record, chosen)
    if store.crop == "fixed_80px":
        box = fixed_box(box)
    elif store.margin_mm:
        box = with_margin(box, store.margin_mm, record.spacing_mm, record.images.shape[2:])
    images = cut(record.images[chosen], box)
    low, high = np.quantile(images, WINDOW)
    if not high > low:
        raise UnreadableError("the image has constant brightness inside the heart", "Check that the file is a cine.")
    clip = resample_frames(images.astype(np.float32), store.clip_frames)
    clip = np.ascontiguousarray(clip.transpose(1, 2, 0))  # (h, w, F)
    rows = resize(clip, store.clip_size, 0)
    out = np.empty((store.clip_size, store.clip_size, store.clip_frames), dtype=np.uint8)
    for k in range(0, store.clip_size, ROWS_AT_ONCE):
        part = resize(rows[k : k + ROWS_AT_ONCE], store.clip_size, 1)
        part -= np.float32(low)
        part *= np.float32(255 / (high - low))
        np.clip(part, 0, 255, out=part)
        out[k : k + ROWS_AT_ONCE] = np.rint(part, out=part)
    return out


def to_view(clip: np.ndarray, view: ViewConfig) -> np.ndarray:
    """A stored clip at the view's size, (H, W, F) uint8: the mean of each square block of pixels, every k-th frame.

    Returns the clip itself if the sizes are equal.
    """
    height, _, frames = clip.shape
    block, step = height // view.clip_size, frames // view.clip_frames
    if block == 1 and step == 1:
        return clip
    subsampled = clip[:, :, ::step]
    if block == 1:
        return np.ascontiguousarray(subsampled)
    size, count = view.clip_size, subsampled.shape[2]
    rows = subsampled.reshape(size, block, height, count).sum(axis=1, dtype=np.uint16)
    total = rows.reshape(size, size, block, count).sum(axis=2, dtype=np.uint32)
    return ((total + block * block // 2) // (block * block)).astype(np.uint8)


def scale(batch: torch.Tensor) -> torch.Tensor:
    """Clips scaled from uint8 to float32 in [-1, 1] (Sec. 3.1). Any shape; the memory layout is kept."""
    import torch

    return _scaled(batch.to(torch.float32))


def _scaled(batch: torch.Tensor) -> torch.Tensor:
    """Scale values from [0, 255] to [-1, 1] in place."""
    return batch.mul_(2 / 255).sub_(1)


AUGMENT_DRAWS = 5  # random numbers for one clip


def augment(batch: torch.Tensor, augment: AugmentConfig, draws: torch.Tensor) -> torch.Tensor:
    """Random rotation, scaling and, where configured, mirroring (Sec. 3.1) of each clip. Returns float32.

    batch: (B, F, H, W), uint8 as stored or float; draws: (AUGMENT_DRAWS, B), uniform in [0, 1).
    """
    import torch

    draw = draws.to(batch.device)
    angle = (2 * draw[0] - 1) * math.radians(augment.cmr_rotation_degrees)
    side = torch.sqrt(augment.cmr_scale_min + (1 - augment.cmr_scale_min) * draw[1])
    shift = (2 * draw[2:4].T - 1) * (1 - side)[:, None]
    return transform(batch, angle, side, shift, draw[4] < augment.cmr_flip_probability)


def transform(
    batch: torch.Tensor, angle: torch.Tensor, side: torch.Tensor, shift: torch.Tensor, mirror: torch.Tensor
) -> torch.Tensor:
    """Rotate, crop and mirror clips by one affine map per clip, which is the same for all its frames.

    batch: (B, F, H, W) float, or uint8 as stored; uint8 is also scaled to [-1, 1]. angle: (B,) radians. side: (B,) side
    length of the crop relative to the image. shift: (B, 2) centre of the crop, x and y, in half image sides.
    mirror: (B,) bool, left to right. Border pixels are repeated outside the image. The memory layout is kept.
    """
    import torch
    from torch.nn import functional

    from eccl_lib.data import bilinear

    sign = torch.where(mirror, -1.0, 1.0)
    cos, sin = torch.cos(angle) * side, torch.sin(angle) * side
    across, down = (cos * sign, -sin, shift[:, 0]), (sin * sign, cos, shift[:, 1])
    theta = torch.stack([torch.stack(across, dim=1), torch.stack(down, dim=1)], dim=1)
    finish, kind = (_scaled, torch.float32) if batch.dtype == torch.uint8 else (None, batch.dtype)
    with torch.autocast(batch.device.type, enabled=False):  # bf16 coordinates are wrong by up to 0.7 pixels
        grid = functional.affine_grid(theta.to(kind), list(batch.shape), align_corners=False)
        return bilinear.sample(batch, grid, finish)
