"""A short-axis cine from the moving contours: blood, muscle, fat, chest and lung, coil shading and Rician noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eccl_lib.config import SyntheticConfig
from eccl_lib.data.records import CineRecord
from eccl_lib.data.synthetic.chest import chest, texture
from eccl_lib.data.synthetic.geometry import ANGLES, Contours, contours, length_mm
from eccl_lib.data.synthetic.population import Hearts, draw, generator

FRAMES = 50
PIXEL_MM = 1.8269230769  # UK Biobank's 380 mm over 208, as the files state it
RV_WALL_MM = 3.0
BLOOD, MUSCLE, FAT = 250.0, 84.0, 235.0  # scanner units before coil shading


@dataclass(frozen=True)
class View:
    """How the scanner happens to see one heart: nothing here is the heart's, save its turn with body mass."""

    turn: float  # radians, the septum's direction above the image's left
    centres: np.ndarray  # (S, 2) rows and columns in pixels
    noise: float
    gain: float
    shading: np.ndarray  # (2,) slope of coil shading per mm
    blur: float  # edge width in pixels
    seed: np.random.Generator


def render_cine(config: SyntheticConfig, index: int) -> CineRecord:
    """The cine stack of participant ``index``, base to apex: images (S, 50, rows, columns) uint16, labels uint8."""
    return cine(config, draw(config, [index]))


def cine(config: SyntheticConfig, heart: Hearts) -> CineRecord:
    """The cine of one heart (n = 1)."""
    shape = contours(heart, config.slices, np.arange(FRAMES) / FRAMES)
    shape = Contours(*(_blurred_in_time(part[0], heart) for part in (shape.inner, shape.outer, shape.rv)))
    view = _view(config, heart)
    images = np.empty((config.slices, FRAMES, config.rows, config.columns), np.uint16)
    labels = np.zeros(images.shape, np.uint8)
    for k in range(config.slices):
        _slice(images[k], labels[k], k, config, heart, shape, view)
    step = round(float(length_mm(heart)[0]) / config.slices, 3)  # as the files state it
    return CineRecord(images, (PIXEL_MM, PIXEL_MM), step, round(60_000 / heart.hr_mri[0]) / FRAMES, labels)


def volume_ml(labels: np.ndarray, label: int, spacing_mm: tuple[float, float], slice_step_mm: float) -> np.ndarray:
    """Volume over the cycle (F,) of one label in (S, F, H, W): areas times the step, as each slice stands for its slab."""
    return (labels == label).sum((0, 2, 3)) * spacing_mm[0] * spacing_mm[1] * slice_step_mm / 1000


def _blurred_in_time(radius: np.ndarray, heart: Hearts) -> np.ndarray:
    return radius.astype(np.float32)


def _view(config, heart) -> View:
    rng = generator(config, heart.index[0], "cine")
    z = rng.standard_normal(8)
    bmi = (heart.bmi[0] - 26.7) / 4
    turn = np.deg2rad(8 - 6 * bmi + 9 * z[0])
    middle = np.array([config.rows * 0.5 - 1, config.columns * 0.5 + 9.5]) + np.clip(1.2 * z[1:3], -2.5, 2.5)
    shifts = np.clip(0.45 * rng.standard_normal((config.slices, 2)), -1.2, 1.2)
    gain = np.exp(0.12 * z[3])
    return View(
        turn=float(turn),
        centres=middle + shifts,
        noise=float(5.5 * np.exp(0.2 * z[4] + 0.10 * bmi)),
        gain=float(gain),
        shading=np.array([-0.0030, -0.0022]) * np.exp(0.3 * z[5:7]),
        blur=float(np.clip(1.25 + 0.15 * z[7], 0.9, 1.8)),
        seed=rng,
    )


def _slice(images, labels, k, config, heart, shape: Contours, view: View) -> None:
    rows, columns = np.mgrid[: config.rows, : config.columns].astype(np.float32)
    y = (rows - np.float32(view.centres[k, 0])) * np.float32(PIXEL_MM)
    x = (columns - np.float32(view.centres[k, 1])) * np.float32(PIXEL_MM)
    rng = view.seed
    far = np.hypot(x, y)
    angle = np.mod(np.arctan2(-y, -x) + np.float32(view.turn) + np.pi, 2 * np.pi) - np.pi
    inner, outer, rv = shape.inner[k], shape.outer[k], shape.rv[k]  # (F, A)
    rim = _rim(outer, rv, heart)
    still = chest(x, y, heart, rng, rim.max(0), angle, far)
    near = far < rim.max() + 8
    layers = _layers(angle[near], inner, outer, rv, rim)
    images_near, marks = _paint(still[near], far[near], layers, view, rng, k, config)
    shade = np.exp(view.shading[0] * y + view.shading[1] * x) * np.float32(view.gain)
    clip = np.repeat(still[None], FRAMES, axis=0)
    clip[:, near] = images_near
    clip *= shade
    images[:] = _scan(clip, view.noise, rng)
    labels[:, near] = marks


def _rim(outer, rv, heart) -> np.ndarray:
    """Pericardial fat ends here, (F, A): thicker over the RV and with body mass; it moves half as much as the wall."""
    fat = 3.0 + 1.1 * np.clip((heart.bmi[0] - 22) / 4, 0, 4)
    edge = np.where(rv > outer + 0.5, rv + RV_WALL_MM, outer)
    edge = 0.5 * edge + 0.5 * edge.max(0)
    thick = fat * (0.6 + 0.9 * np.exp(-(((ANGLES - 0.9) / 0.5) ** 2)) + 1.2 * np.exp(-(((ANGLES + 1.2) / 0.4) ** 2)))
    edge = edge + thick
    for _ in range(3):
        edge = (np.roll(edge, 1, 1) + edge + np.roll(edge, -1, 1)) / 3
    return edge.astype(np.float32)


def _layers(angle, *radii):
    """Each (F, A) radius looked up at the pixels' angles: (F, P) float32."""
    place = (angle - np.float32(ANGLES[0])) / np.float32(ANGLES[1] - ANGLES[0])
    low = np.floor(place).astype(np.int32)
    part = (place - low).astype(np.float32)
    count = len(ANGLES)
    low, high = low % count, (low + 1) % count
    found = []
    for radius in radii:
        a = radius[:, low]
        a += part * (radius[:, high] - a)
        found.append(a)
    return found


def _paint(still, far, layers, view, rng, k, config):
    """Layers from outside in over the still background. Returns (F, P) intensities and labels."""
    inner, outer, rv, rim = layers
    sharp = np.float32(1 / (view.blur * PIXEL_MM))
    half = np.float32(0.5)

    def inside(radius):
        return np.clip((radius - far) * sharp + half, 0, 1)

    out = still + inside(rim) * (np.float32(FAT) - still)
    out += inside(np.where(rv > outer + 1, rv + np.float32(RV_WALL_MM), outer)) * (np.float32(MUSCLE) - out)
    out += inside(rv) * (np.float32(BLOOD) - out)
    out += inside(outer) * (np.float32(MUSCLE) - out)
    out += inside(inner) * (np.float32(BLOOD) - out)
    marks = np.where(far < inner, 1, np.where(far < outer, 2, np.where(far < rv, 3, 0))).astype(np.uint8)
    return out, marks


def _scan(clip: np.ndarray, noise: float, rng) -> np.ndarray:
    """Magnitude of a complex image with equal noise in both parts (Rician), as 12-bit integers."""
    clip = clip + np.float32(noise) * rng.standard_normal(clip.shape, dtype=np.float32)
    other = np.float32(noise) * rng.standard_normal(clip.shape, dtype=np.float32)
    np.hypot(clip, other, out=clip)
    return np.minimum(clip + np.float32(0.5), 4095).astype(np.uint16)
