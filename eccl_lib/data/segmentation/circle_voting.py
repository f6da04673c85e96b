"""Where the heart is without any weights: edges that face inwards vote for circles' centres, where the heart beats.

The sign tells a ventricle from an aorta, an atrium or the heart's outer border: it is bright at the R wave, when it is
full, and darker half a beat later. So edges are weighted by the signed first harmonic over the beat.
"""

from __future__ import annotations

import numpy as np

from eccl_lib.config.errors import UnreadableError

RADII_MM = np.arange(10.0, 39.0, 2.0)  # of LV cavities, base to apex, in small and in dilated hearts; ours
SURROUNDINGS_MM, BLOB_MM, EDGE_MM, VOTE_MM = 12.0, 4.0, 2.0, 5.0  # blurs (SD); ours
DIM = 0.3  # of the brightest, added to the surroundings, so that a dim organ that pulsates does not win; ours
VOTERS = 0.12  # share of a slice's pixels; ours
BOX_MM = 146.0  # 80 pixels (authors' code) of UK Biobank's 1.83 mm
FAINTEST = 1e-3  # beat over brightness in the 98th percentile; less is rounding
FRAMES = 16  # of a beat: enough for its first harmonic


def some_frames(count: int) -> list[int]:
    """Evenly spaced frames of a beat, at most FRAMES, the first among them."""
    kept = min(count, FRAMES)
    return [k * count // kept for k in range(kept)]


def centre(images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Row and column of the left ventricle's centre in a short-axis stack, one for all slices, to about 4 mm.

    images: (S, F, H, W), one whole beat from the R wave on, evenly spaced. spacing_mm: between rows, between columns.
    Raises UnreadableError where nothing beats.
    """
    votes = sum(_votes(np.asarray(slice_, dtype=np.float32), spacing_mm) for slice_ in images)
    votes = _blur(votes, VOTE_MM, spacing_mm)
    row, column = np.unravel_index(int(np.argmax(votes)), votes.shape)
    if not votes[row, column] > 0:
        raise UnreadableError("nothing in the images beats like a ventricle", "Look at the file: it holds no cine.")
    return float(row), float(column)


def box(at: tuple[float, float], spacing_mm: tuple[float, float], side_mm: float = BOX_MM) -> tuple[int, int, int, int]:
    """A square of fixed physical size around a point: top, left, bottom, right in pixels, the last two exclusive."""
    sides = [max(1, round(side_mm / step)) for step in spacing_mm]
    top, left = (round(place - (side - 1) / 2) for place, side in zip(at, sides, strict=True))
    return top, left, top + sides[0], left + sides[1]


def harmonic(images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean picture and signed first harmonic, both over the brightness of the surroundings. images: (F, H, W).

    The harmonic is 2/F sum over f of I_f cos(2 pi f / F): positive where it is brightest at the R wave.
    """
    frames = len(images)
    mean = images.mean(axis=0)
    wave = (2 / frames) * np.cos(2 * np.pi * np.arange(frames, dtype=np.float32) / frames)
    level = _blur(mean, SURROUNDINGS_MM, spacing_mm) + DIM * np.quantile(mean, 0.99)
    level = np.maximum(level, np.finfo(np.float32).tiny)
    return mean / level, np.tensordot(wave, images, axes=1) / level


def _votes(images: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Votes of one slice's edges for the centre of the circle that they are part of. images: (F, H, W)."""
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


def _blur(picture: np.ndarray, sd_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(picture, [sd_mm / step for step in spacing_mm], mode="nearest")
