"""Locate the left ventricle without weights: edges around pulsating blood vote for the centre of a circle.

Edges are weighted by the signed first harmonic of the brightness over the beat. A ventricle is brightest at the R wave,
when it is full, and darker half a beat later. The sign therefore distinguishes it from the aorta, the atria and the
heart's outer border.
"""

import numpy as np

from eccl_lib.config.errors import UnreadableError

RADII_MM = np.arange(10.0, 39.0, 2.0)  # of LV cavities, base to apex, in small and in dilated hearts; ours
SURROUNDINGS_MM, BLOB_MM, EDGE_MM, VOTE_MM = 12.0, 4.0, 2.0, 5.0  # standard deviations of blurs; ours
DIM = 0.3  # share of the 99th percentile added to the local brightness, so that dim structures do not win; ours
VOTERS = 0.12  # share of a slice's pixels that vote; ours
BOX_MM = 146.0  # 80 pixels (authors' code) of UK Biobank's 1.83 mm
FAINTEST = 1e-3  # smallest 98th percentile of the normalised harmonic; smaller values are rounding errors; ours
FRAMES = 16  # frames of a beat that are used; enough for the first harmonic


def sampled_frames(count: int) -> list[int]:
    """Numbers of evenly spaced frames of a beat: at most FRAMES, starting with the first."""
    sampled = min(count, FRAMES)
    return [k * count // sampled for k in range(sampled)]


def centre(images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Row and column of the left ventricle's centre in a short-axis stack, one for all slices; error about 4 mm.

    images: (S, F, H, W), one beat from the R wave on, evenly spaced. spacing_mm: between rows, between columns. Raises
    UnreadableError if no pixel changes with the beat.
    """
    votes = sum(_votes(np.asarray(slice_, dtype=np.float32), spacing_mm) for slice_ in images)
    votes = _blur(votes, VOTE_MM, spacing_mm)
    row, column = np.unravel_index(int(np.argmax(votes)), votes.shape)
    if not votes[row, column] > 0:
        raise UnreadableError("no part of the images pulsates like a ventricle", "Check that the file is a cine.")
    return float(row), float(column)


def box(at: tuple[float, float], spacing_mm: tuple[float, float], side_mm: float = BOX_MM) -> tuple[int, int, int, int]:
    """A square box of fixed physical size around a point: top, left, bottom, right; the last two are exclusive."""
    sides = [max(1, round(side_mm / step)) for step in spacing_mm]
    top, left = (round(place - (side - 1) / 2) for place, side in zip(at, sides, strict=True))
    return top, left, top + sides[0], left + sides[1]


def harmonic(images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean image and signed first harmonic, both divided by the local brightness. images: (F, H, W).

    The harmonic is 2/F sum over f of I_f cos(2 pi f / F), which is positive if a pixel is brightest at the R wave.
    """
    frames = len(images)
    mean = images.mean(axis=0)
    wave = (2 / frames) * np.cos(2 * np.pi * np.arange(frames, dtype=np.float32) / frames)
    level = _blur(mean, SURROUNDINGS_MM, spacing_mm) + DIM * np.quantile(mean, 0.99)
    level = np.maximum(level, np.finfo(np.float32).tiny)
    return mean / level, np.tensordot(wave, images, axes=1) / level


def _votes(images: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Votes of one slice's edges for circle centres, (H, W). images: (F, H, W)."""
    mean, beat = harmonic(images - images.min(), spacing_mm)
    beat = np.maximum(_blur(beat, BLOB_MM, spacing_mm), 0)
    top = np.quantile(beat, 0.98)
    if not top > FAINTEST:
        return np.zeros(mean.shape)
    ventricle = np.minimum(beat / top, 1)
    down, right = np.gradient(_blur(mean, EDGE_MM, spacing_mm), *spacing_mm)
    slope = np.hypot(down, right)
    weight = np.minimum(slope, np.quantile(slope, 0.98)) * _blur(ventricle, BLOB_MM, spacing_mm)
    strong = np.flatnonzero((weight > 0) & (weight >= np.quantile(weight, 1 - VOTERS)))
    rows, columns = np.unravel_index(strong, mean.shape)
    uphill = (down.flat[strong] / slope.flat[strong], right.flat[strong] / slope.flat[strong])
    votes = np.zeros(mean.size)
    for radius in RADII_MM:
        r = np.rint(rows + radius / spacing_mm[0] * uphill[0]).astype(int)
        c = np.rint(columns + radius / spacing_mm[1] * uphill[1]).astype(int)
        inside = (r >= 0) & (r < mean.shape[0]) & (c >= 0) & (c < mean.shape[1])
        place = r[inside] * mean.shape[1] + c[inside]
        votes += np.bincount(place, weight.flat[strong][inside] / radius, minlength=mean.size)
    return votes.reshape(mean.shape)


def _blur(image: np.ndarray, sd_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, [sd_mm / step for step in spacing_mm], mode="nearest")
