"""What lies still around the heart in a short-axis slice: chest wall, lung with vessels, liver, aorta, spine."""

from __future__ import annotations

import numpy as np


def texture(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """(H, W) float32 smooth noise of about unit spread; features are about ``cell`` pixels wide."""
    coarse = rng.standard_normal((shape[0] // cell + 3, shape[1] // cell + 3)).astype(np.float32)
    rows = (np.arange(shape[0], dtype=np.float32) + np.float32(rng.random())) / cell
    columns = (np.arange(shape[1], dtype=np.float32) + np.float32(rng.random())) / cell
    return 1.5 * _lookup(_lookup(coarse, rows).T, columns).T


def _lookup(values, place):
    low = place.astype(int)
    part = (place - low)[:, None]
    part = part * part * (3 - 2 * part)
    return values[low] * (1 - part) + values[low + 1] * part


def chest(x, y, heart, rng, rim, angle, far) -> np.ndarray:
    """(H, W) float32 intensities; x to the image's right, y down, mm from the LV's axis."""
    bmi = (heart.bmi[0] - 26.7) / 4
    still = 16 + 5 * texture(rng, x.shape, 9) + 3 * texture(rng, x.shape, 3)  # lung
    fat = 9 + 4 * np.clip(bmi + 1, 0, 4)
    wall = -0.55 * x - 0.83 * y - 62 + 0.0022 * (0.83 * x - 0.55 * y) ** 2
    soft = lambda d: np.clip(d / 2.5 + 0.5, 0, 1)  # noqa: E731
    still = still + soft(wall) * (70 - still)
    still = still + soft(wall - 12) * (240 - still)
    still = still + soft(wall - 12 - fat) * (4 - still)
    liver = y - 46 - 0.10 * x + 0.003 * (x + 20) ** 2
    still = still + soft(liver) * (112 + 6 * texture(rng, x.shape, 5) - still)
    radius = np.sqrt(heart.dao_max[0] / np.pi)
    aorta = radius - np.hypot(x - 46, y - 44)
    still = still + soft(aorta + 1.5) * (75 - still)
    return (still + soft(aorta) * (235 - still)).astype(np.float32)
