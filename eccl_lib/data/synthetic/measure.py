"""The 82 traits of a heart, measured on its contours, with measurement error."""

import numpy as np

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.synthetic.geometry import ANGLES, contours, end_systole
from eccl_lib.data.synthetic.population import MOTION, SEGMENT_ANGLE, SEGMENT_LEVEL, SEGMENTS, Hearts, generator

FRAMES = 50
# Measurement errors; ours; the true and measured traits correlate with about .8 to .9 on average.
VOLUME_ERROR = {"lv": 0.10, "rv": 0.12, "la": 0.14, "ra": 0.16, "aao": 0.09, "dao": 0.08}  # relative
FRACTION_ERROR = {"lv": 3.4, "rv": 4.2, "la": 5.5, "ra": 6.5}  # percentage points
STIFFNESS_ERROR = {"aao": 0.32, "dao": 0.28}  # of the logarithm
MASS_ERROR = 0.13
THICKNESS_ERROR, THICKNESS_SHIFT = 0.65, 0.50  # mm, per segment and common to all segments
ECC_ERROR, ECC_SHIFT = 2.9, 1.4  # percentage points
ERR_ERROR, ERR_SHIFT = 10.0, 4.5
ELL_ERROR, ELL_SHIFT = 3.2, 0.9
ELL_REGIONAL = 0.70  # share of longitudinal strain that follows the region's contraction; ours
# Circumferential strain as tracked / of the contours, at the base, mid and apex; ours. The contours shorten least at
# the apex; the factors give the levels' means of traits.csv, which increase towards it.
ECC_TRACKED = np.array([0.75, 0.81, 0.95])
# Longitudinal strain of the six segments relative to its mean: septal and lateral, at the base, mid and apex.
ELL_PATTERN = np.array([14.5, 19.5, 17.5, 18.0, 21.5, 20.0]) / 18.5
_ELL_SEGMENTS = ((2, 3), (5, 6), (8, 9), (11, 12), (14,), (16,))  # AHA segments of each


def measured_traits(config: SyntheticConfig, hearts: Hearts) -> np.ndarray:
    """Traits with measurement error: (n, 82) as TRAITS; SV, EF and CO are computed from the measured volumes."""
    names = _names()
    count = len(names) + 3 * SEGMENTS + 6
    z = np.stack([generator(config, index, "measurement").standard_normal(count) for index in hearts.index])
    return _traits(hearts, {name: z[:, k] for k, name in enumerate(names)}, z[:, len(names) :])


def _names() -> list[str]:
    sizes = [f"size_{k}" for k in VOLUME_ERROR] + [f"fraction_{k}" for k in (*FRACTION_ERROR, *STIFFNESS_ERROR)]
    return [*sizes, "mass", "wt", "ecc", "err", "ell"]


def _traits(h: Hearts, z: dict[str, np.ndarray], local: np.ndarray) -> np.ndarray:
    size = {k: np.exp(error * z[f"size_{k}"]) for k, error in VOLUME_ERROR.items()}
    chambers = [("lv", h.edv, h.ef), ("rv", h.rvedv, h.rvef), ("la", h.la_max, h.laef), ("ra", h.ra_max, h.raef)]
    columns: list[np.ndarray] = []
    for name, largest, fraction in chambers:
        big = np.round(largest * size[name], 2)
        part = np.clip(fraction + FRACTION_ERROR[name] * z[f"fraction_{name}"], 5, 82)
        small = np.round(big * (1 - part / 100), 2)
        stroke = np.round(big - small, 2)
        columns += [big, small, stroke, np.round(100 * stroke / big, 2)]
        if name == "lv":
            mass = h.mass * np.exp(MASS_ERROR * z["mass"])
            columns += [np.round(stroke * h.hr_mri / 1000, 3), np.round(mass, 2)]
    for name, largest, stretch in (("aao", h.aao_max, h.aao_stiff), ("dao", h.dao_max, h.dao_stiff)):
        big = np.round(largest * size[name], 1)
        gain = stretch * np.exp(STIFFNESS_ERROR[name] * z[f"fraction_{name}"])
        small = np.round(big / (1 + gain), 1)
        columns += [big, small, np.round(1000 * (big - small) / small / h.pulse_pressure, 4)]
    wall = _walls(h, z, local)
    return np.column_stack([*columns, wall])


def _walls(h: Hearts, z, local) -> np.ndarray:
    """Wall thickness, circumferential, radial and longitudinal strain: (n, 58), each followed by its mean."""
    thick, ecc, err = segments(h)
    n = SEGMENTS
    thick = thick + THICKNESS_SHIFT * z["wt"][:, None] + THICKNESS_ERROR * local[:, :n]
    ecc = ecc * ECC_TRACKED[SEGMENT_LEVEL] + ECC_SHIFT * z["ecc"][:, None] + ECC_ERROR * local[:, n : 2 * n]
    err = err + ERR_SHIFT * z["err"][:, None] + ERR_ERROR * local[:, 2 * n : 3 * n]
    pull = _pull(h.motion) / _pull(MOTION)
    ell = h.ell[:, None] * ELL_PATTERN * (1 - ELL_REGIONAL + ELL_REGIONAL * pull)
    ell = ell + ELL_SHIFT * z["ell"][:, None] + ELL_ERROR * local[:, 3 * n :]
    parts = [np.clip(thick, 1.5, None), ecc, err, ell]
    return np.column_stack([np.round(np.column_stack([p, p.mean(1)]), 3) for p in parts])


def _pull(motion: np.ndarray) -> np.ndarray:
    """Contraction (..., 16) of the six longitudinal segments relative to the mean of all, (..., 6)."""
    parts = np.stack([motion[..., np.array(s) - 1].mean(-1) for s in _ELL_SEGMENTS], axis=-1)
    return parts / motion.mean(-1, keepdims=True)


def segments(h: Hearts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thickness at end diastole (mm), circumferential and radial strain at end systole (percent), each (n, 16)."""
    late = end_systole(h, FRAMES) / FRAMES
    shape = contours(h, 3, np.stack([np.zeros(len(h)), late], axis=1))
    wall = shape.outer - shape.inner
    middle = (shape.outer + shape.inner) / 2
    thick, thick_es = _by_segment(wall[:, :, 0]), _by_segment(wall[:, :, 1])
    arc, arc_es = _by_segment(middle[:, :, 0]), _by_segment(middle[:, :, 1])
    return thick, 100 * (arc_es / arc - 1), 100 * (thick_es / thick - 1)


def _by_segment(values: np.ndarray) -> np.ndarray:
    """Means over the 16 segments, (n, 16), of values (n, 3, A) at the three levels."""
    means = []
    for angle, level in zip(np.deg2rad(SEGMENT_ANGLE), SEGMENT_LEVEL, strict=True):
        half = np.deg2rad(30 if level < 2 else 45)
        inside = np.abs(np.angle(np.exp(1j * (ANGLES - angle)))) <= half
        means.append(values[:, level, inside].mean(-1))
    return np.stack(means, axis=1)
