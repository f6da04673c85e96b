"""What an ECG or a cine of the synthetic cohort shows, free of noise, as features: the base of information ceilings."""

import numpy as np

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.synthetic.cine import turn
from eccl_lib.data.synthetic.dipole import beats, electrodes, trace
from eccl_lib.data.synthetic.geometry import ANGLES, contours, emptying
from eccl_lib.data.synthetic.population import Hearts

_TIMES = np.arange(-264, 560, 12.0)  # ms around the R peak
_PHASES = np.array([0.0, 0.12, 0.24, 0.34, 0.5, 0.84, 0.92])
_STEP = 6  # every sixth of the contours' angles
RESIDUAL_MV = 0.008  # ours: noise left in an average of ten beats


def ecg_features(config: SyntheticConfig, hearts: Hearts, voltage: bool) -> np.ndarray:
    """(n, K): the beat in 12 leads, each scaled to [-1, 1], and the rhythm; ``voltage``: each lead's range as well."""
    beat = beats(config, hearts)
    volts = electrodes(beat.leads, trace(beat.waves, _TIMES))  # (n, 8, T)
    volts += RESIDUAL_MV * np.random.default_rng(config.seed).standard_normal(volts.shape)
    one, two = volts[:, :1], volts[:, 1:2]
    leads = np.concatenate([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, volts[:, 2:]], axis=1)
    low, high = leads.min(-1, keepdims=True), leads.max(-1, keepdims=True)
    scaled = 2 * (leads - low) / (high - low) - 1
    rhythm = np.column_stack([hearts.hr, hearts.af_rhythm, hearts.pvc, hearts.pac])
    size = [np.log(high - low)[:, :, 0]] if voltage else []
    return np.column_stack([scaled.reshape(len(hearts), -1), rhythm, *size])


def cine_features(config: SyntheticConfig, hearts: Hearts, cropped: bool) -> np.ndarray:
    """(n, K): contours of the middle slice over the cycle, aorta, fat; ``cropped``: in units of the heart's box."""
    found = []
    for start in range(0, len(hearts), 500):
        part = hearts[start : start + 500]
        shape = contours(part, 3, _PHASES)
        borders = [border[:, 1] for border in (shape.inner, shape.outer, shape.rv)]  # each (n, F, A)
        place = _in_box(borders, turn(config, part)) if cropped else np.stack([b[..., ::_STEP] for b in borders], 1)
        found.append(np.column_stack([place.reshape(len(part), -1), emptying(part, _PHASES)]))
    if cropped:
        return np.concatenate(found)
    low = hearts.dao_max / (1 + hearts.dao_stiff)
    return np.column_stack([np.concatenate(found), np.sqrt(hearts.dao_max), np.sqrt(low), hearts.dao_stiff, hearts.bmi])


def _in_box(borders: list[np.ndarray], turned: np.ndarray) -> np.ndarray:
    """Contour points (n, 3, F, A', 2) within the smallest rectangle that holds the heart, 0 to 1."""
    theta = (ANGLES - turned[:, None])[:, None, :]
    points = np.stack([np.stack([-np.cos(theta) * b, -np.sin(theta) * b], -1) for b in borders], 1)
    low, high = (f(points, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return ((points - low) / (high - low))[..., ::_STEP, :]
