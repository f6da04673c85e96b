"""Render a short-axis cine from moving contours: blood, muscle, fat, chest, lung, coil shading and Rician noise."""

from dataclasses import dataclass, replace

import numpy as np

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.records import CineRecord
from eccl_lib.data.synthetic.chest import Scene, chest, texture
from eccl_lib.data.synthetic.geometry import ANGLES, Contours, contours, length_mm
from eccl_lib.data.synthetic.population import Hearts, draw, generator

FRAMES = 50
PIXEL_MM = 1.8269230769  # UK Biobank's 380 mm / 208 pixels, rounded as in the files
RV_WALL_MM = 2.6
_FINER = 16  # interpolation steps between two angles of a contour
BLOOD, MUSCLE, FAT = 250.0, 84.0, 160.0  # scanner units before coil shading


@dataclass(frozen=True)
class View:
    """Acquisition parameters of one cine; independent of the heart, except that the rotation depends on the BMI."""

    turn: float  # radians between the septum's direction and the image's left
    centres: np.ndarray  # (S, 2) row and column of the LV's axis in pixels
    noise: float
    gain: float
    shading: np.ndarray  # (2,) slope of coil shading per mm
    blur: float  # edge width in pixels
    seed: np.random.Generator
    scene: Scene | None = None


def render_cine(config: SyntheticConfig, index: int, middle_only: bool = False) -> CineRecord:
    """Cine of participant ``index``, base to apex: images (S, 50, rows, columns) uint16, labels uint8.

    middle_only: render only the middle slice, with the same pixels as in the whole stack.
    """
    return cine(config, draw(config, [index]), middle_only)


def cine(config: SyntheticConfig, heart: Hearts, middle_only: bool = False) -> CineRecord:
    """Render the cine of one heart (n = 1), or its middle slice alone."""
    shape = contours(heart, config.slices, np.arange(FRAMES) / FRAMES)
    shape = Contours(*(part[0].astype(np.float32) for part in (shape.inner, shape.outer, shape.rv)))
    view = _view(config, heart)
    view = replace(view, scene=_scene(heart, shape, view))
    chosen = [(config.slices - 1) // 2] if middle_only else range(config.slices)
    images = np.empty((len(chosen), FRAMES, config.rows, config.columns), np.uint16)
    labels = np.zeros(images.shape, np.uint8)
    for image, label, k in zip(images, labels, chosen, strict=True):
        rng = generator(config, heart.index[0], "slice", k)
        _slice(image, label, k, heart, shape, view, rng)
    step = round(float(length_mm(heart)[0]) / config.slices, 3)  # rounded as in the files
    return CineRecord(images, (PIXEL_MM, PIXEL_MM), step, round(60_000 / heart.hr_mri[0]) / FRAMES, labels)


def turn(config: SyntheticConfig, hearts: Hearts) -> np.ndarray:
    """Rotation of each heart in the image, (n,) radians."""
    normal = [generator(config, index, "cine").standard_normal() for index in hearts.index]
    return np.array([_turned(bmi, z) for bmi, z in zip(hearts.bmi, normal, strict=True)])


def _turned(bmi: float, z: float) -> float:
    return np.deg2rad(-10 - 1.5 * (bmi - 26.7) + 9 * z)


def _view(config, heart) -> View:
    rng = generator(config, heart.index[0], "cine")
    z = rng.standard_normal(8)
    bmi = (heart.bmi[0] - 26.7) / 4
    middle = np.array([config.rows * 0.5 - 1, config.columns * 0.5 + 9.5]) + np.clip(1.2 * z[1:3], -2.5, 2.5)
    shifts = np.clip(0.45 * rng.standard_normal((config.slices, 2)), -1.2, 1.2)
    gain = float(np.exp(0.12 * z[3]))
    noise = float(5.5 * np.exp(0.2 * z[4] + 0.10 * bmi))
    shading = np.array([-0.0030, -0.0022]) * np.exp(0.3 * z[5:7])
    blur = float(np.clip(1.25 + 0.15 * z[7], 0.9, 1.8)) * (1.7 if heart.af_rhythm[0] else 1.0)  # irregular beats
    return View(float(_turned(heart.bmi[0], z[0])), middle + shifts, noise, gain, shading, blur, rng)


def _scene(heart, shape: Contours, view: View) -> Scene:
    """The anatomy around the heart, with chest wall and diaphragm next to it."""
    z = view.seed.standard_normal(8)
    edge = np.maximum(shape.rv[:, 0], shape.outer[:, 0]).max(0)  # widest slice
    theta = ANGLES - view.turn
    x, y = -np.cos(theta) * edge, -np.sin(theta) * edge
    front = float((-0.55 * x - 0.835 * y).max() + 9 + np.clip(2.5 * z[0], -4, 6))
    below = float(y.max() + 4.5 + np.clip(2.5 * z[7], -4, 8))
    return Scene(front, below, float(np.clip((heart.bmi[0] - 21) / 4, 0, 5)), z)


def _slice(images, labels, k, heart, shape: Contours, view: View, rng) -> None:
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]].astype(np.float32)
    y = (rows - np.float32(view.centres[k, 0])) * np.float32(PIXEL_MM)
    x = (columns - np.float32(view.centres[k, 1])) * np.float32(PIXEL_MM)
    far = np.hypot(x, y)
    half_turn = np.float32(np.pi)
    angle = np.mod(np.arctan2(-y, -x) + np.float32(view.turn) + half_turn, np.float32(2 * np.pi)) - half_turn
    inner, outer, rv = shape.inner[k], shape.outer[k], shape.rv[k]  # (F, A)
    free = _free_wall(outer, rv)
    rim = _rim(free, heart, view.scene.z)
    still = chest(x, y, view.scene, rng)
    clip = np.repeat(still[None], FRAMES, axis=0)
    _aorta(clip, x, y, heart, view)
    near = np.flatnonzero(far < rim.max() + 4)
    flat = clip.reshape(FRAMES, -1)
    angle, far = angle.ravel()[near], far.ravel()[near]
    layers = _layers(angle, inner, outer, rv, free, rim, *_trabeculae(rng, inner, outer, rv))
    marks = _marks(far, layers)
    painted = _paint(flat[:, near], far, layers, _grain(rng, x.shape, near), _band(rng, angle, far), view)
    if 0.25 < (k + 0.5) / len(shape.inner) < 0.9:
        _papillaries(painted, far, angle, inner, rng)
    flat[:, near] = painted
    clip *= np.exp(view.shading[0] * y + view.shading[1] * x) * np.float32(view.gain)
    _scan(clip, images, view.noise, rng)
    labels.reshape(FRAMES, -1)[:, near] = marks


def _free_wall(outer, rv) -> np.ndarray:
    """Outer border of the muscle of both ventricles, (F, A); the wall is equally thick where it is oblique."""
    slope = (np.roll(rv, -1, 1) - np.roll(rv, 1, 1)) / (2 * (ANGLES[1] - ANGLES[0]) * rv)
    return np.where(rv > outer + 1, rv + RV_WALL_MM * np.sqrt(1 + np.minimum(slope**2, 0.8)), outer + 0.6)


def _rim(edge, heart, z) -> np.ndarray:
    """Radius of the outer edge of the epicardial fat, (F, A): it moves with the heart and fills its grooves."""
    fat = 1.2 + 0.7 * np.clip((heart.bmi[0] - 21) / 4, 0, 4)
    around = sum(np.roll(edge, k, 1) for k in (-6, -3, 0, 3, 6)) / 5
    edge = np.maximum(edge, around)
    thick = fat * (0.7 + 1.2 * np.exp(-(((ANGLES - 1.2) / 0.25) ** 2)) + 1.5 * np.exp(-(((ANGLES + 1.1) / 0.25) ** 2)))
    thick = thick * edge[:1] / edge  # the area of fat stays
    patches = 1 + 0.5 * sum(z[n] * np.cos((n + 2) * ANGLES + 6 * z[n + 1]) for n in range(4))
    edge = edge + thick * np.clip(patches, 0.05, 2)
    return ((np.roll(edge, 1, 1) + 2 * edge + np.roll(edge, -1, 1)) / 4).astype(np.float32)


def _aorta(clip, x, y, heart, view) -> None:
    """Draw the descending aorta behind the lateral wall; its area is largest after ejection and falls in diastole."""
    phase = np.arange(FRAMES) / FRAMES
    swell = np.clip((phase - 0.06) / 0.16, 0, 1) * np.exp(-np.clip(phase - 0.22, 0, 1) / 0.28)
    area = heart.dao_max[0] / (1 + heart.dao_stiff[0]) * (1 + heart.dao_stiff[0] * swell / swell.max())
    radius = np.sqrt(area / np.pi).astype(np.float32)[:, None]
    away = 34.0 + 0.45 * np.cbrt(heart.edv[0]) + np.sqrt(heart.dao_max[0] / np.pi)
    distance = np.hypot(x - np.float32(0.52 * away), y - np.float32(0.85 * away)).ravel()
    near = np.flatnonzero(distance < radius.max() + 7)
    flat = clip.reshape(FRAMES, -1)
    part = flat[:, near]
    sharp = np.float32(1 / (view.blur * PIXEL_MM))
    part += np.clip((radius + 6 - distance[near]) / 7, 0, 1) * (np.float32(62) - part)
    part += np.clip((radius + 1.6 - distance[near]) * sharp + np.float32(0.5), 0, 1) * (np.float32(78) - part)
    part += np.clip((radius - distance[near]) * sharp + np.float32(0.5), 0, 1) * (np.float32(0.95 * BLOOD) - part)
    flat[:, near] = part


def _trabeculae(rng, inner, outer, rv) -> tuple[np.ndarray, np.ndarray]:
    """Borders of the blood in the image (not in the labels), each (F, A): trabeculae reach into LV and RV."""
    order = np.arange(4, 22)[:, None]
    z = rng.standard_normal((4, len(order), 1)) * 2.2 / np.sqrt(order)
    cosine, sine = np.cos(order * ANGLES), np.sin(order * ANGLES)
    left, right = (np.maximum((a * cosine + b * sine).sum(0) / 3 - 0.35, 0) for a, b in (z[:2], z[2:]))
    left = 0.075 * left * (1 - 0.7 * np.exp(-((ANGLES / 0.9) ** 2)))  # the septum is smooth
    return inner * (1 - np.minimum(left, 0.25)), rv - np.minimum(0.14 * right, 0.4) * (rv - outer)


def _band(rng, angle, far) -> np.ndarray:
    """Opacity (P,) of the moderator band, which crosses the RV from the septum to the free wall."""
    direction, shift, opacity = np.deg2rad(rng.uniform(-35, 15)), rng.uniform(-6, 6), rng.uniform(0, 0.4)
    away = np.abs(far * np.sin(angle - np.float32(direction)) - np.float32(shift))
    return np.float32(opacity) * np.clip((np.float32(2.8) - away) / np.float32(PIXEL_MM), 0, 1)


def _grain(rng, shape, near) -> tuple[np.ndarray, np.ndarray]:
    """Time-constant textures of muscle and of blood at the pixels of the heart, with mean about zero."""
    fine, coarse = texture(rng, shape, 2), texture(rng, shape, 5)
    return (4.0 * fine + 5.0 * coarse).ravel()[near], (6.0 * fine + 9.0 * coarse).ravel()[near]


def _layers(angle, *radii):
    """Each (F, A) radius interpolated at the pixels' angles: (F, P) float32."""
    step = (ANGLES[1] - ANGLES[0]) / _FINER
    place = np.rint((angle - np.float32(ANGLES[0])) / np.float32(step)).astype(np.int32) % (_FINER * len(ANGLES))
    part = (np.arange(_FINER) / _FINER).astype(np.float32)
    layers = []
    for radius in radii:
        radius = radius.astype(np.float32)[..., None]
        fine = radius + part * (np.roll(radius, -1, 1) - radius)
        layers.append(np.take(fine.reshape(len(radius), -1), place, axis=1))
    return layers


def _marks(far, layers) -> np.ndarray:
    """Labels (F, P): 1 LV cavity with papillary muscles, 2 LV wall, 3 RV."""
    inner, outer, rv = layers[:3]
    return 3 * (far < rv).astype(np.uint8) - (far < outer) - (far < inner)


def _paint(still, far, layers, grain, band, view) -> np.ndarray:
    """Intensities (F, P): layers drawn from the outside to the inside over the still background."""
    _, outer, _, free, rim, rough, rough_rv = layers
    muscle, blood = np.float32(MUSCLE) + grain[0], np.float32(BLOOD) + grain[1]
    sharp = np.float32(1 / (view.blur * PIXEL_MM))
    half = np.float32(0.5)

    def inside(radius):
        cover = radius - far
        cover *= sharp
        cover += half
        return np.clip(cover, 0, 1, out=cover)

    out = still
    out *= 1 - np.float32(0.5) * inside(rim + np.float32(2.2))  # dark line between fat and lung
    for radius, light in (
        (rim, np.float32(FAT) + 2 * grain[0]),
        (free, np.float32(0.9) * muscle),
        (rough_rv, np.float32(0.94) * blood + 2 * np.minimum(grain[0], 0) + band * (muscle - blood)),
        (outer, muscle),
        (rough, blood),
    ):
        cover = inside(radius)
        cover *= light - out
        out += cover
    return out


def _papillaries(painted, far, angle, inner, rng) -> None:
    """Draw the papillary muscles: heads that stand on the wall, move with it and merge with it in systole."""
    for place in (2.25, -2.15):  # anterolateral, posteromedial
        heads = 2 + int(rng.integers(0, 2))
        theta = place + np.linspace(-0.16, 0.16, heads) + 0.06 * rng.standard_normal((2, heads))[0]
        size = np.clip(3.1 + 0.6 * rng.standard_normal(heads), 2.0, 4.4).astype(np.float32)
        height = np.clip(7.5 + 1.8 * rng.standard_normal(heads), 4.0, 11.0)
        near = np.flatnonzero((np.cos(angle - np.float32(place)) > 0.75) & (far < inner.max()))
        cover = np.zeros((FRAMES, len(near)), np.float32)
        for a, radius, tall in zip(theta, size, height, strict=True):
            reach = inner[:, np.argmin(np.abs(ANGLES - a)), None]
            tip = np.maximum(reach - np.float32(tall) + radius, np.float32(0.5) * reach)
            turned = angle[near] - np.float32(a)
            along, across = far[near] * np.cos(turned), far[near] * np.sin(turned)
            short = np.maximum(tip - along, 0)
            short *= short
            short += across * across
            np.sqrt(short, out=short)
            short *= np.float32(-1 / (1.6 * PIXEL_MM))
            short += radius * np.float32(1 / (1.6 * PIXEL_MM)) + np.float32(0.5)
            np.maximum(cover, short, out=cover)
        part = painted[:, near]
        part += np.minimum(cover, np.float32(0.9)) * (np.float32(MUSCLE) - part)
        painted[:, near] = part


def _scan(clip: np.ndarray, images: np.ndarray, noise: float, rng) -> None:
    """Add Rician noise (magnitude of a complex image with noise in both parts) and write 12-bit integers to images."""
    for start in range(0, FRAMES, 10):  # ten frames fit into the processor's cache
        part = clip[start : start + 10]
        real = rng.standard_normal(part.shape, dtype=np.float32)
        real *= np.float32(noise)
        # The imaginary part reuses the real part's noise of another frame and pixel, which is independent.
        other = np.roll(real[:, ::-1], 1, axis=0)
        part += real
        part *= part
        other *= other
        part += other
        np.sqrt(part, out=part)
        part += np.float32(0.5)
        images[start : start + 10] = np.minimum(part, np.float32(4095), out=part)
