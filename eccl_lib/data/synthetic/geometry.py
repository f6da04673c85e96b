"""Moving contours of a heart: radii of LV cavity, LV epicardium and RV around the LV's axis.

Angles start at the middle of the septum and increase towards anterior. Muscle volume is constant, so walls thicken when
the cavity shrinks. Contours are scaled so that the slices add up to the heart's volumes.
"""

from dataclasses import dataclass

import numpy as np

from eccl_lib.data.synthetic.population import SEGMENT_ANGLE, SEGMENT_LEVEL, Hearts

ANGLES = np.deg2rad(np.arange(-180, 180, 3.75))  # A = 96 directions
DENSITY = 1.05  # g/mL of muscle
LENGTH_TO_DIAMETER = 1.85  # length from base to apex / inner diameter half way
LV_TAPER, RV_TAPER = 3.0, 1.7  # the area along the axis is proportional to 1 - u**taper
_STEP = ANGLES[1] - ANGLES[0]


@dataclass(frozen=True)
class Contours:
    """Radii in mm, each (n, S, F, A): endocardium, epicardium, and outer border of the RV (epicardium if no RV)."""

    inner: np.ndarray
    outer: np.ndarray
    rv: np.ndarray


def length_mm(hearts: Hearts) -> np.ndarray:
    """Length from base to apex in mm, (n,), from the cavity's volume and its shape (area 1 - u**3)."""
    mean = LV_TAPER / (LV_TAPER + 1) / (1 - 0.5**LV_TAPER)
    diameter = np.cbrt(1000 * hearts.edv / (mean * LENGTH_TO_DIAMETER * np.pi / 4))
    return LENGTH_TO_DIAMETER * diameter


def slab_share(slices: int, taper: float) -> np.ndarray:
    """Mean area of each slice relative to the mean of all slices, (S,), so that slices add up to the volume exactly."""
    edges = np.linspace(0, 1, slices + 1)
    integral = edges - edges ** (taper + 1) / (taper + 1)
    return np.diff(integral) / integral[-1] * slices


def emptying(hearts: Hearts, phase: np.ndarray, delay: np.ndarray | float = 0.0) -> np.ndarray:
    """Ejected share of the stroke volume, (n, F): 0 at the R wave, 1 at end systole, then early and atrial filling."""
    hr = hearts.hr_mri[:, None]
    es = np.clip(0.82 * (546 - 2.1 * hr) / (60_000 / hr), 0.24, 0.52)
    p = np.mod(phase - delay, 1.0)
    isovolumic = np.maximum(65 * hr / 60_000, 0.045)
    early = 0.16 + 0.10 * (hr / 60 - 1)
    kick = hearts.kick[:, None]
    slow = 0.12 * (1 - kick)
    e = 1 - kick - slow
    start = es + isovolumic
    filled = e * _ramp(p, start, np.minimum(start + early, 0.95)) + slow * _ramp(p, start, 0.93)
    return _ramp(p, 0.02, es) - filled - kick * _ramp(p, 0.84, 0.985)


def _ramp(p, start, stop):
    x = np.clip((p - start) / (stop - start), 0, 1)
    return x * x * (3 - 2 * x)


def end_systole(hearts: Hearts, frames: int) -> np.ndarray:
    """Frame of the smallest LV volume, (n,)."""
    return np.argmax(emptying(hearts, np.arange(frames) / frames), axis=1)


def contours(hearts: Hearts, slices: int, phase: np.ndarray) -> Contours:
    """Contours in ``slices`` equal slices, base to apex. phase: (F,) or (n, F), 0 at the R wave, 1 at the next."""
    phase = np.broadcast_to(phase, (len(hearts), np.shape(phase)[-1]))
    length = length_mm(hearts)
    at_rest = _rest(hearts, slices, length)
    motion = at_levels(hearts.motion, slices)[:, :, None, :]
    late = 0.10 * hearts.lbbb[:, None] * np.clip(-np.cos(ANGLES), -0.4, 1)  # delay of the lateral wall
    ejected = emptying(hearts, phase)[:, None, :]
    local = ejected[..., None]  # (n, 1, F, A), or A = 1 without a delay
    if hearts.lbbb.any():
        local = np.stack([emptying(hearts, phase, late[:, a, None]) for a in range(len(ANGLES))], axis=-1)[:, None]
    share = slab_share(slices, LV_TAPER)[None, :, None]
    volume = hearts.edv[:, None, None] * (1 - hearts.ef[:, None, None] / 100 * ejected)
    area = 1000 * volume * share / length[:, None, None]
    r0 = at_rest[0][:, :, None, :]
    inner = _shrink(r0, motion * (local + 1e-3), area)
    w0 = at_rest[1][:, :, None, :]
    active = np.clip(motion, 0, 1)
    muscle = ((r0 + w0) ** 2 - r0**2) * (1 + 0.06 * active * ejected[..., None] * (hearts.ef / 60)[:, None, None, None])
    outer = np.sqrt(inner**2 + muscle)
    return Contours(inner, outer, _right(hearts, slices, outer, ejected, length))


def at_levels(values: np.ndarray, slices: int) -> np.ndarray:
    """Segment values (n, 16) interpolated to (n, S, A): smooth around each ring, linear between the three levels."""
    rings = []
    for level in range(3):
        chosen = level == SEGMENT_LEVEL
        gap = np.angle(np.exp(1j * (ANGLES[:, None] - np.deg2rad(SEGMENT_ANGLE[chosen]))))
        gap = gap / np.deg2rad(27 if level < 2 else 38)
        weight = np.exp(-0.5 * gap**2)
        weight /= weight.sum(1, keepdims=True)
        rings.append((values[:, None, chosen] * weight).sum(-1))
    ring = np.stack(rings, axis=1)  # (n, 3, A)
    place = np.clip((np.arange(slices) + 0.5) / slices * 3 - 0.5, 0, 2)
    low = np.minimum(place.astype(int), 1)
    part = (place - low)[None, :, None]
    return ring[:, low] * (1 - part) + ring[:, low + 1] * part


def _rest(hearts, slices, length):
    """Inner radius and wall thickness at end diastole in mm, each (n, S, A)."""
    a, b = _wall_terms(hearts, length)
    c = 1000 * hearts.mass / DENSITY / (length / 3)
    scale = (-b + np.sqrt(b * b + 4 * a * c)) / (2 * a)
    return _cavity(hearts, slices, length), scale[:, None, None] * at_levels(hearts.thickness, slices)


def _wall_terms(hearts, length):
    """Terms a and b, each (n,), of the wall's area summed over three levels: a s**2 + b s for a thickness factor s."""
    three, thick = _cavity(hearts, 3, length), at_levels(hearts.thickness, 3)
    return (thick**2).sum((1, 2)) * _STEP / 2, (three * thick).sum((1, 2)) * _STEP


def wall_mm(hearts: Hearts) -> np.ndarray:
    """Mean thickness of the LV wall at end diastole in mm, (n,)."""
    return _rest(hearts, 3, length_mm(hearts))[1].mean((1, 2))


def mass_of_wall(hearts: Hearts, wall: np.ndarray | float) -> np.ndarray:
    """LV mass in g, (n,), at which the mean thickness at end diastole is ``wall`` mm. Inverse of ``wall_mm``."""
    length = length_mm(hearts)
    a, b = _wall_terms(hearts, length)
    scale = wall / at_levels(hearts.thickness, 3).mean((1, 2))
    return (a * scale**2 + b * scale) * DENSITY * (length / 3) / 1000


def _cavity(hearts, slices, length):
    load = np.clip(0.05 * np.clip(hearts.latent["rvs"], 0, None), 0, 0.15)[:, None]
    shape = 1 - load * np.exp(-((ANGLES / 0.8) ** 2)) + 0.025 * np.cos(2 * ANGLES) + 0.012 * np.cos(3 * (ANGLES - 0.6))
    own = np.clip(hearts.form[:, :6, None], -2.5, 2.5)
    for k, size in enumerate((0.013, 0.009, 0.006)):  # no cavity is round
        angle = (k + 2) * ANGLES
        shape = shape + size * (own[:, 2 * k] * np.cos(angle) + own[:, 2 * k + 1] * np.sin(angle))
    area = 1000 * hearts.edv[:, None] * slab_share(slices, LV_TAPER) / length[:, None]
    scale = np.sqrt(area / ((shape**2).sum(-1, keepdims=True) * _STEP / 2))
    return scale[:, :, None] * shape[:, None, :]


def _shrink(r0, pull, area):
    """Radii r0 (1 - k pull), with k such that the contour has the given area (a quadratic equation in k)."""
    full = (r0**2).sum(-1) * _STEP / 2
    b = (r0**2 * pull).sum(-1) * _STEP / 2
    c = (r0**2 * pull**2).sum(-1) * _STEP / 2
    root = np.sqrt(np.maximum(b * b - c * (full - area), 0))
    k = ((b - root) / c)[..., None]
    return r0 * np.maximum(1 - k * pull, 0.08)


def _right(hearts, slices, outer, ejected, length):
    """Outer border of the RV: a rounded triangle on the septal side whose slices add up to the RV's volume.

    It is inserted at both ends of the septum; its corner, the acute margin, is inferior.
    """
    corner, full = np.clip(hearts.form[:, 6:], -2, 2).T[:, :, None, None]
    reach = np.deg2rad(np.interp((np.arange(slices) + 0.5) / slices, [0.17, 0.5, 0.83], [70, 64, 54]))[:, None]
    x = np.clip((ANGLES - np.deg2rad(2)) / (reach * (1 + 0.03 * full)), -1, 1)  # (n, S, A)
    bump = (1 - x) ** (1.30 + 0.12 * corner) * (1 + x) ** (0.75 - 0.06 * corner)
    bump = (bump * (1 + 0.22 * np.exp(-(((x + 0.5) / 0.25) ** 2))))[:, :, None, :]
    volume = hearts.rvedv[:, None, None] * (1 - hearts.rvef[:, None, None] / 100 * ejected)
    area = 1000 * volume * slab_share(slices, RV_TAPER)[None, :, None] / length[:, None, None]
    a = (bump**2).sum(-1) * _STEP / 2
    b = (outer * bump).sum(-1) * _STEP
    scale = (-b + np.sqrt(b * b + 4 * a * area)) / (2 * a)
    return outer + scale[..., None] * bump
