"""Convert probabilities to labels of one heart, keeping only parts that are connected in space and time."""

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, label
from scipy.spatial import ConvexHull, QhullError

from eccl_lib.data.segmentation.unet import consistency

LV, WALL, RV = 1, 2, 3
BLUR_MM = 8.0
REACH = 0.6  # weight within 25 mm of the LV's axis; a heart further away is another structure
NEAR_MM = 25.0  # SD of the weight around the LV's axis, by which the LV's component is chosen
RV_GAP_MM = 6.0  # largest distance between RV and LV
SMALL_PART = 0.2  # of the largest component; smaller components are removed
BEYOND = 2  # slices above the LV's base that can contain RV; either end of the stack can be the base
OVERLAP = 0.7  # of an RV component in a slice without LV: least share over the RV of the next slice; ours
STILL = 0.35  # of the LV's change over the beat; a basal RV, whose place the atrium takes, changes by about half


def center(probability: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Row and column of the LV's centre in a stack. probability: (S, F, 4, H, W)."""
    maps = _evidence(probability, spacing_mm).sum(0)
    row, column = np.unravel_index(int(maps.argmax()), maps.shape)
    return float(row), float(column)


def _evidence(probability: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Blurred mean LV probability, with more weight on pixels that change over the beat: (S, H, W)."""
    ventricle = probability[:, :, LV]
    mean, change = ventricle.mean(1), ventricle.std(1)
    weight = 0.2 + change / max(float(change.max()), 1e-6)
    sigma = [0.0, *(BLUR_MM / step for step in spacing_mm)]
    return gaussian_filter(mean * weight, sigma)


def axis(probability: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Centre of the LV in each slice, (S, 2) row and column, tracked from the most certain slice to both ends."""
    maps = _evidence(probability, spacing_mm)
    total = maps.sum(0)
    start = np.array(np.unravel_index(int(total.argmax()), total.shape))
    best = int(maps[:, start[0], start[1]].argmax())
    centers = np.zeros((len(maps), 2))
    for order in (range(best, len(maps)), range(best, -1, -1)):
        current = start.astype(float)
        for s in order:
            near = maps[s] * _gaussian(maps.shape[1:], current, 12.0, spacing_mm)
            if near.max() > 0.02:
                current = np.array(np.unravel_index(int(near.argmax()), near.shape), dtype=float)
            centers[s] = current
    return centers


def _gaussian(shape: tuple[int, int], at: np.ndarray, sigma_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    rows = (np.arange(shape[0])[:, None] - at[0]) * spacing_mm[0]
    columns = (np.arange(shape[1])[None, :] - at[1]) * spacing_mm[1]
    return np.exp(-(rows**2 + columns**2) / (2 * sigma_mm**2))


def labels(
    probability: np.ndarray, spacing_mm: tuple[float, float], change: np.ndarray | None = None, cyclic: bool = False
) -> np.ndarray:
    """Labels from probabilities, (S, F, 4, H, W) -> (S, F, H, W) uint8: one LV with wall and one RV per slice.

    change: SD of each pixel's grey value over the beat, (S, H, W); if given, parts that do not move are not RV.
    cyclic: the frames are a whole beat, so that the probabilities are averaged over neighbouring frames.
    """
    if cyclic:
        probability = consistency.smoothed(probability)
    centers = axis(probability, spacing_mm)
    raw = probability.argmax(2).astype(np.uint8)
    out = np.stack([_clean_slice(clip, at, spacing_mm) for clip, at in zip(raw, centers, strict=True)])
    _drop_apart(out)
    _add_right(out, raw)
    if change is not None:
        for slice_labels, slice_change in zip(out, change, strict=True):
            _drop_still(slice_labels, slice_change)
    return consistency.grow_cavity(out, probability, cyclic)


def _drop_apart(labels: np.ndarray) -> None:
    """Remove the slices that an empty slice separates from the largest run of slices with LV. labels: (S, F, H, W)."""
    ventricle = ((labels == LV) | (labels == WALL)).any((1, 2, 3))
    runs, count = label(ventricle)
    if count > 1:
        size = np.bincount(runs, weights=(labels == LV).sum((1, 2, 3)), minlength=count + 1)
        size[0] = -1
        labels[ventricle & (runs != int(size.argmax()))] = 0


def _add_right(labels: np.ndarray, raw: np.ndarray) -> None:
    """Label the RV in slices without LV next to those with LV, as its inflow and outflow reach above the LV's base.

    A component of a frame is RV if most of it lies over the RV of the slice before it; an atrium is larger than the RV
    below it. labels, raw: (S, F, H, W).
    """
    ventricle = np.flatnonzero((labels == LV).any((1, 2, 3)))
    ends = ((ventricle[0], -1), (ventricle[-1], 1)) if len(ventricle) else ()
    for last, step in ends:
        for s in range(last + step, last + step * (BEYOND + 1), step):
            if not 0 <= s < len(labels):
                break
            for frame, before, candidates in zip(labels[s], labels[s - step] == RV, raw[s] == RV, strict=True):
                parts, count = label(candidates)
                size, over = (np.bincount(parts[mask], minlength=count + 1) for mask in (candidates, before))
                frame[np.isin(parts, 1 + np.flatnonzero(over[1:] > OVERLAP * size[1:]))] = RV


def _clean_slice(raw: np.ndarray, at: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Cleaned labels of one slice from raw labels (F, H, W). at: the LV's centre."""
    out = np.zeros_like(raw)
    near = _gaussian(raw.shape[1:], at, NEAR_MM, spacing_mm)
    left = _main_part((raw == LV) | (raw == WALL), near)
    if not (left & (near > REACH)).any():
        return out
    filled = np.stack([binary_fill_holes(frame) for frame in left])
    cavity = np.stack([_convex(_large_parts(frame[None])[0]) for frame in (raw == LV) & filled]) & filled
    out[filled] = WALL
    out[cavity] = LV
    near = _within(filled, RV_GAP_MM, spacing_mm)
    right = _large_parts((raw == RV) & ~filled, near)
    out[right] = RV
    return out


def _parts(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Components connected in space and time, (F, H, W), and their number; time is cyclic."""
    parts, count = label(mask)
    if count and len(mask) > 1:
        root = np.arange(count + 1)
        both = (parts[-1] > 0) & (parts[0] > 0)
        for a, b in np.unique(np.stack([parts[-1][both], parts[0][both]], 1), axis=0):
            root[root == root[b]] = root[a]
        parts = root[parts]
    return parts, count


def _main_part(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mask of the component with the largest total weight."""
    parts, count = _parts(mask)
    if not count:
        return mask
    mass = np.bincount(parts.ravel(), weights=np.broadcast_to(weight, mask.shape).ravel(), minlength=count + 1)
    mass[0] = 0
    return parts == int(mass.argmax())


def _large_parts(mask: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    """Mask of the components larger than SMALL_PART of the largest; with ``near`` only components that overlap it."""
    parts, count = _parts(mask)
    if not count:
        return mask
    size = np.bincount(parts.ravel(), minlength=count + 1)
    size[0] = 0
    if near is not None:
        size[np.bincount(parts[near].ravel(), minlength=count + 1) == 0] = 0
    return np.isin(parts, np.flatnonzero(size > SMALL_PART * max(size.max(), 1)))


def _drop_still(labels: np.ndarray, change: np.ndarray) -> None:
    """Remove from a slice (F, H, W) the RV components that change much less over the beat than the LV and its wall."""
    ventricle = ((labels == LV) | (labels == WALL)).any(0)
    parts, count = label((labels == RV).any(0))
    if not count or not ventricle.any():
        return
    means = np.bincount(parts.ravel(), weights=change.ravel()) / np.maximum(np.bincount(parts.ravel()), 1)
    still = np.flatnonzero(means < STILL * change[ventricle].mean())
    labels[(labels == RV) & np.isin(parts, still[still > 0])] = 0


def _convex(mask: np.ndarray) -> np.ndarray:
    """Convex hull of a mask: experts include papillary muscles in the cavity, but the network leaves them out."""
    points = np.argwhere(mask)
    try:
        sides = ConvexHull(points).equations  # outward normal and offset of each side
    except (QhullError, ValueError):  # fewer than three points, or collinear points
        return mask
    (top, left), (bottom, right) = points.min(0), points.max(0) + 1
    rows, columns = np.mgrid[top:bottom, left:right]
    out = np.zeros_like(mask)
    depth = np.einsum("kd,dhw->khw", sides[:, :2], np.stack([rows, columns])) + sides[:, 2, None, None]
    out[top:bottom, left:right] = (depth <= 1e-9).all(0)
    return out


def _within(mask: np.ndarray, distance_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Pixels of each frame within a distance of its mask."""
    return np.stack([f if not f.any() else distance_transform_edt(~f, spacing_mm) <= distance_mm for f in mask])
