"""The still background of a short-axis slice: chest wall, lung with vessels, liver, spine, fat.

Coordinates are in mm from the LV's axis, x to the image's right (the participant's left and back), y downwards.
"""

from dataclasses import dataclass

import numpy as np

LUNG, MUSCLE, LIVER, FAT, MARROW = 13.0, 66.0, 104.0, 225.0, 118.0  # scanner units; blood has 250
_OUTWARD = np.array([-0.55, -0.835])  # from the heart to the sternum
_DEPTH, _BREADTH = 120.0, 165.0  # half axes of the chest, mm


def texture(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise (H, W) float32 with SD about 1 and features about ``cell`` pixels wide."""
    coarse = rng.standard_normal((int(shape[0] / cell) + 3, int(shape[1] / cell) + 3)).astype(np.float32)
    rows = np.arange(shape[0], dtype=np.float32) / np.float32(cell) + np.float32(rng.random())
    columns = np.arange(shape[1], dtype=np.float32) / np.float32(cell) + np.float32(rng.random())
    return np.float32(1.5) * _lookup(_lookup(coarse, rows).T, columns).T


def _lookup(values, place):
    low = place.astype(int)
    part = (place - low)[:, None]
    part = part * part * (3 - 2 * part)
    return values[low] * (1 - part) + values[low + 1] * part


def _inside(distance, edge=2.6):
    """1 for a positive distance (mm), 0 for a negative one, with a linear transition."""
    return np.clip(distance / edge + 0.5, 0, 1)


@dataclass(frozen=True)
class Scene:
    """Anatomy around one participant's heart, the same in all slices. Lengths in mm."""

    front: float  # LV axis to the inside of the chest wall, towards the sternum
    below: float  # LV axis down to the diaphragm
    body_fat: float  # 0 lean to 5
    z: np.ndarray  # (8,) standard normal numbers


def chest(x: np.ndarray, y: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Intensities of a slice without heart and aorta: (H, W) float32. rng: for the textures of this slice."""
    fine, coarse = texture(rng, x.shape, 2.2), texture(rng, x.shape, 9)
    still = np.maximum(LUNG + 3.5 * coarse + 2.5 * fine, 1)
    still = _vessels(still, x, y, rng)
    still = _below(still, x, y, scene, rng, fine, coarse)
    return _wall(still, x, y, scene, fine, coarse).astype(np.float32)


def _vessels(still, x, y, rng):
    """Add the vessels of the lung: small bright spots of different sizes."""
    across, down = x[0], y[:, 0]
    for cx, cy, size, light in rng.random((30, 4)):
        width = 2 * (0.8 + 1.3 * size) ** 2
        vertical = np.exp(-((down - (cy * 190 - 95)) ** 2) / width)[:, None]
        still = still + (20 + 120 * light**3) * (vertical * np.exp(-((across - (cx * 190 - 100)) ** 2) / width))
    return still


def _below(still, x, y, scene, rng, fine, coarse):
    """Add the liver under the RV, stomach or spleen under the lateral wall, and the spine at the back."""
    z = scene.z
    liver = y - scene.below - 0.0035 * (x + 38) ** 2 + 0.5 * coarse
    still = still * (1 - 0.6 * _inside(liver + 3.0))  # dark line of the diaphragm
    still = still + _inside(liver) * (LIVER + 7 * coarse + 5 * fine - still)
    for cx, cy, light in rng.random((6, 3)):
        near = (x + 95 - 90 * cx) ** 2 / 2.5 + (y - scene.below - 8 - 30 * cy) ** 2
        still = still + _inside(liver - 4) * (70 * light - 15) * np.exp(-near / 8)
    if z[1] > -0.6:
        gut = y - (scene.below + 18 + 3 * z[2]) - 0.005 * (x - 45) ** 2 + 0.8 * coarse
        content = 78 + 26 * coarse + 10 * fine if z[3] > 0 else 122 + 5 * coarse + 4 * fine
        still = still + _inside(gut + 2.5) * (0.6 * FAT - still)
        still = still + _inside(gut) * (content - still)
    spine = 19 - np.hypot(x - 8, (y - 112) * 0.9)
    return still + _inside(spine) * (MARROW + 8 * fine - still)


def _wall(still, x, y, scene, fine, coarse):
    """Add fat behind the sternum, muscle and ribs, subcutaneous fat and air, as concentric rings of an ellipse."""
    out = x * _OUTWARD[0] + y * _OUTWARD[1] + (_DEPTH - scene.front)
    along = x * _OUTWARD[1] - y * _OUTWARD[0]
    distance = (np.hypot(out / _DEPTH, along / _BREADTH) - 1) * _DEPTH + 0.5 * coarse
    pad = (4 + 3.0 * scene.body_fat) * np.exp(-(((along - 20 - 5 * scene.z[4]) / 24) ** 2))
    still = still + _inside(distance + pad) * (0.78 * FAT + 18 * coarse + 10 * fine - still)
    ribs = np.clip(np.cos((along + 20 * scene.z[5]) / 6.5) * 2.2 - 1.0, 0, 1)
    ribs = ribs * np.clip(1 - np.abs(distance - 6) / 4.5, 0, 1)
    still = still + _inside(distance) * (MUSCLE + 7 * fine + 50 * ribs - still)
    skin = 12 + 1.2 * coarse
    thick = 5 + 4.2 * scene.body_fat
    still = still + _inside(distance - skin) * (FAT + 14 * coarse + 10 * fine - still)
    return still + _inside(distance - skin - thick) * (2 - still)
