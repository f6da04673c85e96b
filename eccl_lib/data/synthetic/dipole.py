"""The heart's beat as a moving dipole: nine Gaussian waves in X (left), Y (down), Z (back), and the Dower leads.

Times are in ms from the R peak, amplitudes in mV. The effect sizes have the orders of magnitude of published
values; they were tuned by the information ceilings that bench/ceilings.py measures.
"""

from dataclasses import dataclass

import numpy as np

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.synthetic.population import Hearts, generator

WAVES = ("P1", "P2", "q", "r0", "R", "R2", "S", "s2", "T")
# Dower 1980: dipole to I, II, V1 to V6.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
# Centre, width before, width after, X, Y, Z of a normal beat at 60 per minute.
_REST = np.array(
    [
        [-172, 16, 16, 0.030, 0.050, -0.030],
        [-142, 18, 18, 0.050, 0.060, 0.045],
        [-22, 8, 8, -0.12, -0.05, -0.18],
        [-12, 8, 8, 0.30, 0.15, -0.38],
        [2, 11, 11, 1.05, 0.43, 0.22],
        [2, 11, 11, 0.0, 0.0, 0.0],
        [16, 11, 11, -0.02, 0.08, 0.72],
        [34, 8, 8, -0.14, -0.10, 0.22],
        [275, 62, 38, 0.27, 0.19, -0.24],
    ]
)
_NUISANCE = ["gain", "width", "axis", "turn", "tilt", "t_gain", "t_turn", "p_width", "p_back", "p_gain", "pq", "qt"]


@dataclass(frozen=True)
class Beats:
    """Beats of n participants. waves: (n, 9, 6), rows as WAVES; leads: (n, 8, 3), dipole to I, II, V1 to V6."""

    waves: np.ndarray
    leads: np.ndarray


def beats(config: SyntheticConfig, hearts: Hearts) -> Beats:
    """Beat of each heart; variation that is independent of the heart is drawn from the stream ``ecg``."""
    count = len(_NUISANCE) + DOWER.size + len(DOWER)
    normal = np.stack([generator(config, i, "ecg").standard_normal(count) for i in hearts.index])
    nuisance = dict(zip(_NUISANCE, normal.T, strict=False))
    rest = normal[:, len(_NUISANCE) :]
    leads = DOWER + 0.04 * rest[:, : DOWER.size].reshape(-1, *DOWER.shape)
    leads = leads * np.exp(0.10 * rest[:, DOWER.size :])[:, :, None]
    return Beats(_waves(hearts, nuisance), leads)


def standard(hearts: Hearts) -> dict[str, np.ndarray]:
    """Standardised properties of the hearts, with mean about 0 and SD about 1 in participants without diagnoses."""
    left = dict(mass=np.log(hearts.mass / 88) / 0.24, edv=np.log(hearts.edv / 145) / 0.21, weak=(59 - hearts.ef) / 10)
    rv = hearts.latent["rvs"] + 0.5 * np.log(hearts.rvedv / 152) / 0.22
    body = dict(age=(hearts.age - 64) / 7.6, bmi=(hearts.bmi - 26.7) / 4, male=hearts.male - 0.48)
    return dict(la=np.log(hearts.la_max / 70) / 0.32, rv=rv, **left, **body)


def _waves(hearts: Hearts, e: dict[str, np.ndarray]) -> np.ndarray:
    s = standard(hearts)
    waves = np.repeat(_REST[None], len(hearts), axis=0)
    _shape_qrs(waves, hearts, s, e)
    _shape_t(waves, hearts, s, e)
    _shape_p(waves, hearts, s, e)
    _scars(waves, hearts)
    _blocks(waves, hearts)
    _turn(waves, hearts, s, e)
    return waves


def _shape_qrs(waves, hearts, s, e) -> None:
    hf = hearts.manifest[:, 3]
    gain = 0.09 * s["mass"] + 0.04 * s["edv"] - 0.07 * s["bmi"] + 0.04 * s["male"] - 0.08 * hf + 0.21 * e["gain"]
    waves[:, 2:8, 3:] *= np.minimum(np.exp(gain), 1.7)[:, None, None]
    wide = 3.5 * s["mass"] + 3.5 * s["edv"] + 7 * s["weak"] + 8 * s["male"] + 5 * hf + 9 * hearts.dcm
    own = np.clip(wide / 95 + 0.08 * e["width"], -0.20, 0.32)
    block = 0.36 * hearts.lbbb + 0.24 * hearts.rbbb  # delays what comes after the onset
    for early, rows in ((True, slice(2, 4)), (False, slice(4, 8))):
        factor = np.exp(own if early else own + block)[:, None]
        waves[:, rows, 0] *= factor
        waves[:, rows, 1:3] *= factor[:, :, None]
    hcm = np.minimum(hearts.hcm, 1.2)[:, None]
    waves[:, 2, 3:] += hcm * np.array([-0.22, -0.22, -0.12])  # narrow deep septal q
    waves[:, 4, 3:] *= 1 + 0.1 * hcm
    waves[:, 3, 5] += 0.14 * hearts.dcm  # poor R progression
    septal, lateral = hearts.latent["sept"], hearts.latent["lat"]
    waves[:, 2, 3] -= 0.035 * septal
    waves[:, 3, 5] -= 0.05 * septal
    waves[:, 7, 3] -= 0.04 * lateral
    waves[:, 7, 5] += 0.05 * hearts.latent["apx"]


def _shape_t(waves, hearts, s, e) -> None:
    gain = -0.12 * s["weak"] - 0.07 * s["mass"] + 0.12 * s["male"] - 0.04 * s["age"] - 0.12 * hearts.manifest[:, 3]
    waves[:, 8, 3:] *= np.exp(np.clip(gain + 0.30 * e["t_gain"], -1.2, 0.35))[:, None]
    strain = 0.6 * np.clip((s["mass"] - 1.7) / 2, 0, 1) + 0.6 * np.minimum(hearts.hcm, 1.2)
    waves[:, 8, 3:] -= (0.6 * strain)[:, None] * np.array([0.5, 0.12, -0.25])
    angle = 16 * s["weak"] + 7 * hearts.latent["gc"] + 6 * np.clip(s["mass"] - 0.5, 0, None) + 20 * e["t_turn"]
    _rotate(waves[:, 8:], np.deg2rad(np.clip(angle, -70, 100)), 3, 5)
    rr = np.sqrt(60 / hearts.hr)
    late = -10 * s["male"] + 3 * s["age"] + 6 * hearts.manifest[:, 3] + 12 * e["qt"]
    waves[:, 8, 0] = (waves[:, 8, 0] + late) * rr + 0.4 * (waves[:, 7, 0] - 34)
    waves[:, 8, 1:3] *= rr[:, None]


def _shape_p(waves, hearts, s, e) -> None:
    fibrillates = hearts.manifest[:, 2]
    broad = np.exp((6 * s["la"] + 8 * fibrillates) / 110 + 0.08 * e["p_width"])
    middle = -157.0
    waves[:, :2, 0] = middle + (waves[:, :2, 0] - middle) * broad[:, None]
    waves[:, :2, 1:3] *= broad[:, None, None]
    waves[:, 1, 5] *= np.exp(0.28 * s["la"] + 0.32 * e["p_back"])
    waves[:, :2, 3:] *= np.exp(0.18 * e["p_gain"])[:, None, None]
    early = 4 * s["age"] + 3 * s["la"] + 8 * fibrillates + 17 * e["pq"] + 25 * (60 / hearts.hr - 1)
    waves[:, :2, 0] -= np.clip(early, -32, 90)[:, None]
    waves[:, :2, 3:] *= ~hearts.af_rhythm[:, None, None]


def _scars(waves, hearts) -> None:
    """Scars: the initial 40 ms of QRS and the T wave point away from the scar."""
    a = hearts.scar
    anterior, inferior, lateral = (a * (hearts.territory == k) for k in range(3))
    waves[:, 3, 5] += 0.66 * anterior
    waves[:, 4, 5] += 0.28 * anterior
    waves[:, 8, 5] += 0.42 * anterior
    waves[:, 3, 4] -= 0.50 * inferior
    waves[:, 2, 4] -= 0.26 * inferior
    waves[:, 8, 4] -= 0.34 * inferior
    waves[:, 3, 3] -= 0.42 * lateral
    waves[:, 4, 3] *= 1 - 0.3 * lateral
    waves[:, 8, 3] -= 0.28 * lateral


def _blocks(waves, hearts) -> None:
    left, right = hearts.lbbb[:, None], hearts.rbbb[:, None]
    waves[:, 2, 3:] *= 1 - 0.95 * left  # no septal q
    waves[:, 3, 3:] *= 1 - 0.85 * left
    waves[:, 5, 3:] = np.where(left, waves[:, 4, 3:] * 0.85, 0)  # notch: a second R wave
    waves[:, 5, 0] = waves[:, 4, 0] + 42
    waves[:, 6, 3:] += left * np.array([0.20, 0.05, 0.42])
    waves[:, 6, 0] += 8 * hearts.lbbb
    waves[:, 7, 3:] += left * np.array([0.30, 0.05, 0.30])
    waves[:, 7, 0] += 14 * hearts.lbbb
    waves[:, 8, 3:] -= left * np.array([0.60, 0.15, -0.12])
    waves[:, 8, 0] += 25 * hearts.lbbb
    waves[:, 7, 3:] += right * np.array([-0.40, 0.0, -0.72])
    waves[:, 7, 0] += 18 * hearts.rbbb
    waves[:, 7, 1:3] *= np.where(hearts.rbbb, 1.5, 1)[:, None]
    waves[:, 8, 5] += 0.22 * hearts.rbbb


def _turn(waves, hearts, s, e) -> None:
    """Rotate the waves by the position of the heart in the chest."""
    frontal = 7 * s["rv"] - 4 * s["mass"] + 4 * hearts.latent["sept"] - 5.4 * s["age"] - 7.2 * s["bmi"] + 13 * e["axis"]
    frontal = np.deg2rad(np.clip(frontal, -75, 55))
    turn = np.deg2rad(-6 * s["mass"] + 4 * s["edv"] + 5 * hearts.latent["lat"] + 12 * e["turn"])
    _rotate(waves[:, 2:8], frontal, 3, 4)
    _rotate(waves[:, 8:], 0.6 * frontal, 3, 4)
    _rotate(waves[:, :2], 0.5 * frontal, 3, 4)
    _rotate(waves[:, 2:], turn, 3, 5)
    _rotate(waves[:, 2:], np.deg2rad(8 * e["tilt"]), 4, 5)


def _rotate(waves, angle, first: int, second: int) -> None:
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = waves[..., first].copy(), waves[..., second].copy()
    waves[..., first], waves[..., second] = c * a - s * b, s * a + c * b


def trace(waves: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Dipole (..., 3, T) of waves (..., K, 6) at times (T,) in ms from the R peak."""
    gap = times - waves[..., 0, None]
    width = np.where(gap < 0, waves[..., 1, None], waves[..., 2, None])
    shape = np.exp(-0.5 * (gap / width) ** 2)  # (..., K, T)
    return (waves[..., 3:, None] * shape[..., None, :]).sum(-3)


def electrodes(leads: np.ndarray, dipole: np.ndarray) -> np.ndarray:
    """Voltages (..., 8, T) in mV from leads (..., 8, 3) and dipole (..., 3, T), summed in a fixed order."""
    x, y, z = (leads[..., :, k, None] * dipole[..., None, k, :] for k in range(3))
    return x + y + z
