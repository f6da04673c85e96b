"""The synthetic population: body, diseases and heart of each participant.

Sizes and effects have the orders of magnitude of published values; no real participant's data are used. Participant i
depends only on (seed, i): the disease thresholds are computed from a fixed reference population of the same seed.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Self

import numpy as np

from eccl_lib.config.schema import DISEASES, SyntheticConfig

FIRST_EID = 9_000_001  # real ids start with 1 to 6
GENERATOR = 3  # version; increase it with every change of the generated data, so that stores are built again
SEGMENTS = 16  # AHA: 6 basal, 6 mid, 4 apical
REFERENCE = 20_000  # size of the reference population for the disease thresholds
# One random stream per purpose, so that ECG and MRI share only the heart.
STREAMS = {"heart": 1, "ecg": 2, "cine": 3, "measurement": 4, "records": 5, "reference": 6, "slice": 7}

# One random number per name and participant.
_NORMALS = """
    age height bmi sbp lvd la_f rvs gc ls aos sept apx lat i21 i42 i48 i50 mass ef hr hr_mri rvedv rvef la laef ra
    raef aao dao stiff_a stiff_d kick ell
""".split()  # noqa: SIM905
_UNIFORMS = """
    male show_i21 show_i42 show_i48 show_i50 kind hfref severity territory extent lbbb rbbb af_rhythm pvc pac
    apical
""".split()  # noqa: SIM905
# AHA segment angles from the middle of the septum, degrees towards anterior (6 per ring, 4 at the apex), and level.
SEGMENT_ANGLE = np.array([90, 30, -30, -90, -150, 150] * 2 + [90, 0, -90, 180], float)
SEGMENT_LEVEL = np.array([0] * 6 + [1] * 6 + [2] * 4)
THICKNESS = np.array(  # mm, used relative to their mean; as in traits.csv
    [6.1, 7.2, 7.5, 6.3, 5.8, 5.8, 4.9, 5.9, 6.6, 5.6, 5.3, 5.1, 5.1, 5.6, 5.2, 5.0]
)
MOTION = np.array(  # regional contraction relative to the mean: smaller in the septum, larger in the lateral wall
    [1.02, 0.85, 0.84, 0.98, 1.12, 1.12, 1.04, 0.91, 0.90, 0.98, 1.07, 1.12, 1.04, 0.96, 1.02, 1.06]
)
TERRITORIES = ((1, 2, 7, 8, 13, 14), (3, 4, 9, 10, 15), (5, 6, 11, 12, 16))  # LAD, RCA, LCx as AHA numbers


@dataclass(frozen=True)
class Hearts:
    """State of n participants; every array has n rows. Volumes mL, mass g, lengths mm, rates per minute, EF percent."""

    index: np.ndarray
    male: np.ndarray
    age: np.ndarray
    height: np.ndarray  # cm
    weight: np.ndarray  # kg
    bmi: np.ndarray
    bsa: np.ndarray  # m2
    sbp: np.ndarray  # z
    disease: np.ndarray  # (n, 4) bool, in the order of DISEASES: ever diagnosed
    manifest: np.ndarray  # (n, 4) bool: diagnosed and visible in the heart
    scar: np.ndarray  # extent 0 to 1
    territory: np.ndarray  # 0 LAD, 1 RCA, 2 LCx
    dcm: np.ndarray  # severity, 0 if absent
    hcm: np.ndarray
    hfref: np.ndarray
    af_rhythm: np.ndarray  # bool
    lbbb: np.ndarray  # bool
    rbbb: np.ndarray
    pvc: np.ndarray
    pac: np.ndarray
    hr: np.ndarray
    hr_mri: np.ndarray
    edv: np.ndarray
    ef: np.ndarray
    mass: np.ndarray
    rvedv: np.ndarray
    rvef: np.ndarray
    la_max: np.ndarray
    laef: np.ndarray
    ra_max: np.ndarray
    raef: np.ndarray
    aao_max: np.ndarray  # mm2
    aao_stiff: np.ndarray  # (max - min) / min
    dao_max: np.ndarray
    dao_stiff: np.ndarray
    pulse_pressure: np.ndarray  # mmHg
    kick: np.ndarray  # share of atrial contraction in the filling
    ell: np.ndarray  # global longitudinal strain, percent
    thickness: np.ndarray  # (n, 16) relative
    motion: np.ndarray  # (n, 16) relative
    form: np.ndarray  # (n, 8) standard normal numbers: shape of the ventricles, independent of their function
    latent: dict[str, np.ndarray]  # latent factors that affect several properties

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows) -> Self:
        """State of selected participants (slice or index array)."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        latent = {name: value[rows] for name, value in parts.pop("latent").items()}
        return Hearts(latent=latent, **{name: value[rows] for name, value in parts.items()})


def generator(config: SyntheticConfig, index: int, stream: str, part: int = 0) -> np.random.Generator:
    """Random generator of one participant for one stream, or for one part of it, such as a slice."""
    return np.random.Generator(np.random.SFC64([config.seed, int(index), STREAMS[stream], part]))


def draw(config: SyntheticConfig, indices) -> Hearts:
    """Hearts of the participants with these 0-based indices; each depends only on (config.seed, index)."""
    indices = np.atleast_1d(np.asarray(indices, dtype=np.int64))
    normal = np.empty((len(indices), len(_NORMALS) + 2 * SEGMENTS))
    uniform = np.empty((len(indices), len(_UNIFORMS)))
    form = np.empty((len(indices), 8))
    for row, index in enumerate(indices):
        rng = generator(config, index, "heart")
        normal[row], uniform[row] = rng.standard_normal(normal.shape[1]), rng.random(uniform.shape[1])
        form[row] = rng.standard_normal(8)
    thresholds = _thresholds(config.seed, tuple(getattr(config, f"prevalence_{d.lower()}") for d in DISEASES))
    return _hearts(indices, normal, uniform, form, thresholds)


@lru_cache(maxsize=8)
def _thresholds(seed: int, prevalence: tuple[float, ...]) -> tuple[float, ...]:
    """Liability thresholds of the diseases that give the required prevalence in the reference population."""
    rng = np.random.Generator(np.random.SFC64([seed, REFERENCE, STREAMS["reference"]]))
    z = dict(zip(_NORMALS, rng.standard_normal((len(_NORMALS), REFERENCE)), strict=True))
    u = dict(zip(_UNIFORMS, rng.random((len(_UNIFORMS), REFERENCE)), strict=True))
    thresholds: dict[str, float] = {}

    def decide(name: str, liability: np.ndarray) -> np.ndarray:
        thresholds[name] = float(np.quantile(liability, 1 - prevalence[DISEASES.index(name)]))
        return liability > thresholds[name]

    _diseases(_body(z, u), z, decide)
    return tuple(thresholds[name] for name in DISEASES)


def _body(z, u) -> dict[str, np.ndarray]:
    """Sex, age and body size, with standardised forms az (age), bz (BMI), lb (log BSA) and m (sex)."""
    male = u["male"] < 0.48
    age = np.clip(64 + 7.6 * z["age"], 45, 82)
    height = 163 + 13 * male + 6.5 * z["height"]
    bmi = np.exp(np.log(26.3) + 0.03 * male + 0.15 * z["bmi"])
    weight = bmi * (height / 100) ** 2
    bsa = np.sqrt(height * weight / 3600)
    az, bz = (age - 64) / 7.6, (bmi - 26.7) / 4
    sbp = 0.35 * az + 0.25 * bz + 0.2 * male + 0.9 * z["sbp"]
    return dict(male=male, age=age, height=height, weight=weight, bmi=bmi, bsa=bsa, sbp=sbp, az=az, bz=bz,
                lb=np.log(bsa / 1.86), m=male - 0.48)  # fmt: skip


def _diseases(b, z, decide) -> np.ndarray:
    """Diseases, (n, 4) bool. decide: (name, liability) -> bool array. I50 depends on I21 and I42, and I48 on I50."""
    az, bz, male, sbp = b["az"], b["bz"], b["male"], b["sbp"]
    mi = decide("I21", 0.24 * az + 0.34 * male + 0.25 * sbp + z["i21"])
    cm = decide("I42", 0.15 * az + 0.25 * male + z["i42"])
    hf = decide("I50", 0.28 * az + 0.2 * male + 0.25 * sbp + 0.9 * mi + 1.1 * cm + 0.35 * z["lvd"] + z["i50"])
    af = decide("I48", 0.40 * az + 0.25 * male + 0.2 * sbp + 0.2 * bz + 0.5 * z["la_f"] + 0.7 * hf + z["i48"])
    return np.stack([mi, cm, af, hf], axis=-1)


def _hearts(indices, normal, uniform, form, thresholds) -> Hearts:
    z = {name: normal[:, k] for k, name in enumerate(_NORMALS)}
    u = {name: uniform[:, k] for k, name in enumerate(_UNIFORMS)}
    b = _body(z, u)
    limit = dict(zip(DISEASES, thresholds, strict=True))
    disease = _diseases(b, z, lambda name, liability: liability > limit[name])
    c = _conditions(b, z, u, disease)
    v = _volumes(b, z, c)
    r = _regions(z, u, c, normal[:, len(_NORMALS) :])
    latent = {name: z[name] for name in ("lvd", "la_f", "rvs", "gc", "ls", "aos", "sept", "apx", "lat")}
    body = {name: b[name] for name in ("male", "age", "height", "weight", "bmi", "bsa", "sbp")}
    kept = {name: value for name, value in c.items() if name != "hf"}
    return Hearts(index=indices, disease=disease, latent=latent, form=form, **body, **kept, **v, **r)


SCAR_THINS, SCAR_STIFFENS = 0.38, 0.95  # shares of thickness and of contraction that a full scar takes
# Share of participants with a diagnosis whose heart shows it; with 1.0 diseases would be too easy to detect.
MANIFEST = {"I21": 0.55, "I42": 0.58, "I48": 0.70, "I50": 0.74}


def _conditions(b, z, u, disease) -> dict[str, np.ndarray]:
    """Visible effects of the diseases, rhythm and conduction."""
    manifest = disease & np.stack([u[f"show_{d.lower()}"] < MANIFEST[d] for d in DISEASES], axis=-1)
    mi, cm, af, hf = (manifest[:, k].astype(float) for k in range(4))
    severity = 0.6 + 0.8 * u["severity"]
    dcm = cm * (u["kind"] < 0.6) * severity
    hcm = cm * (u["kind"] >= 0.6) * severity
    hfref = hf * (u["hfref"] < 0.5) * severity
    lbbb = u["lbbb"] < 0.008 + 0.22 * (dcm > 0) + 0.08 * hf
    rbbb = (u["rbbb"] < 0.025 + 0.008 * np.clip(b["az"], 0, None)) & ~lbbb
    scars = dict(scar=mi * (0.4 + 0.6 * u["extent"]), territory=np.digitize(u["territory"], [0.45, 0.80]))
    beats = dict(pvc=u["pvc"] < 0.03 + 0.08 * hf, pac=u["pac"] < 0.02 + 0.10 * af)
    beats["af_rhythm"] = (af > 0) & (u["af_rhythm"] < 0.42)
    return dict(manifest=manifest, hf=hf, dcm=dcm, hcm=hcm, hfref=hfref, lbbb=lbbb, rbbb=rbbb, **scars, **beats)


def _volumes(b, z, c) -> dict[str, np.ndarray]:
    """Size and function of the chambers, heart rate and aorta."""
    left = _left_ventricle(b, z, c)
    return left | _right_ventricle(b, z, c, left["ef"]) | _atria(b, z, c, left) | _vessels(b, z)


def _left_ventricle(b, z, c) -> dict[str, np.ndarray]:
    az, bz, lb, m, hf = b["az"], b["bz"], b["lb"], b["m"], c["hf"]
    dcm, hcm, hfref, scar, af = c["dcm"], c["hcm"], c["hfref"], c["scar"], c["af_rhythm"].astype(float)
    big = 0.9 * lb + 0.08 * m - 0.045 * az + 0.15 * z["lvd"] + 0.38 * dcm + 0.16 * hfref - 0.18 * hcm
    big = big + 0.05 * (scar > 0)
    edv = 142 * np.exp(np.clip(big, -0.75, 0.85))
    drop = 17 * dcm + 10 * hfref + 13 * scar + 4 * c["lbbb"] - 5 * hcm + 4 * af + 2.5 * c["manifest"][:, 2]
    ef = 60.2 - 2 * m + 5 * (0.8 * z["ef"] + 0.6 * z["gc"]) - np.clip(z["lvd"], 0, None) - drop
    ef = np.clip(ef, 18, 74)
    log_mass = 0.75 * lb + 0.17 * m + 0.07 * b["sbp"] + 0.35 * np.log(edv / 142) + 0.16 * z["mass"]
    mass = 86 * np.exp(log_mass + 0.58 * hcm + 0.1 * dcm + 0.04 * hf)
    hr = 62 + 8.5 * z["hr"] - 3.5 * (big / 0.24) + 0.15 * (60 - ef) + 5 * hf + 12 * af + 1.5 * bz
    ell = 0.45 + 0.55 * ef / 59.3 - 0.012 * bz - 0.03 * b["sbp"] + 0.08 * z["ls"]
    rates = dict(hr=np.clip(hr, 42, 125), hr_mri=np.clip(hr + 2.5 * z["hr_mri"], 40, 130))
    ell = np.clip(-18.8 * ell * (1 + 0.06 * z["ell"]), -30, -5)
    return dict(edv=edv, ef=ef, mass=np.clip(mass, 42, 260), ell=ell, **rates)


def _right_ventricle(b, z, c, ef) -> dict[str, np.ndarray]:
    size = 0.9 * b["lb"] + 0.15 * b["m"] - 0.05 * b["az"] + 0.10 * z["lvd"] + 0.11 * z["rvs"] + 0.05 * z["rvedv"]
    size = size + 0.05 * c["hf"] + 0.07 * c["manifest"][:, 2]
    fraction = 56.5 - 2 * b["m"] + 0.3 * (ef - 59) + 4.5 * z["rvef"] - 2 * np.clip(z["rvs"], 0, None)
    return dict(rvedv=150 * np.exp(np.clip(size, -0.7, 0.75)), rvef=np.clip(fraction, 18, 74))


def _atria(b, z, c, left) -> dict[str, np.ndarray]:
    az, lb, hf = b["az"], b["lb"], c["hf"]
    ever, now = c["manifest"][:, 2].astype(float), c["af_rhythm"].astype(float)
    dilated = np.log(left["edv"] / 142) - 0.9 * lb
    la = 0.6 * lb + 0.25 * z["la_f"] + 0.03 * az + 0.2 * ever + 0.25 * now + 0.15 * hf + 0.25 * dilated
    la = la + 0.08 * b["sbp"]
    ra = 0.6 * lb + 0.12 * b["m"] + 0.18 * z["la_f"] + 0.15 * z["ra"] + 0.12 * ever + 0.25 * now + 0.033 * z["rvs"]
    falls = 2 * az + 5 * ever + 14 * now + 6 * hf
    laef = 60 - falls + 0.25 * (left["ef"] - 59) - 3 * z["la_f"] + 5 * z["laef"]
    raef = 42 - 0.7 * falls + 0.08 * (left["ef"] - 59) - 2 * z["la_f"] + 6 * z["raef"]
    kick = np.clip(0.26 + 0.05 * az + 0.04 * z["kick"], 0.08, 0.45)
    la_max = 63 * np.exp(np.clip(la + 0.08 * z["la"], -1.2, 1.2))
    ra_max = 76 * np.exp(np.clip(ra, -1.2, 1.2))
    kick = kick * (1 - 0.35 * ever) * (1 - now)
    return dict(la_max=la_max, laef=np.clip(laef, 12, 78), ra_max=ra_max, raef=np.clip(raef, 8, 66), kick=kick)


def _vessels(b, z) -> dict[str, np.ndarray]:
    az, sbp = b["az"], b["sbp"]
    size = 0.35 * b["lb"] + 0.06 * b["m"] + 0.04 * az
    return dict(
        aao_max=850 * np.exp(size + 0.14 * z["aos"] + 0.12 * z["aao"]),
        aao_stiff=np.clip(np.exp(np.log(0.083) - 0.30 * az - 0.12 * sbp + 0.28 * z["stiff_a"]), 0.01, 0.45),
        dao_max=490 * np.exp(size + 0.14 * z["aos"] + 0.13 * z["dao"]),
        dao_stiff=np.clip(np.exp(np.log(0.138) - 0.22 * az - 0.10 * sbp + 0.26 * z["stiff_d"]), 0.02, 0.45),
        pulse_pressure=np.clip(52 + 5 * az + 9 * sbp, 28, 110),
    )


def _regions(z, u, c, noise) -> dict[str, np.ndarray]:
    """Wall thickness and contraction of the 16 AHA segments relative to the heart's mean."""
    level = SEGMENT_LEVEL / 2
    to_septum = np.cos(np.deg2rad(SEGMENT_ANGLE))
    pattern = 0.07 * (z["sept"][:, None] * to_septum + 0.8 * z["apx"][:, None] * (level - 0.5) * 2)
    side = np.sin(np.deg2rad(SEGMENT_ANGLE))
    damage = _damage(c["scar"], c["territory"])
    hcm = c["hcm"][:, None]
    apical = (u["apical"] < 0.2)[:, None]
    extra = 0.60 * hcm * np.where(apical, level * 1.6 - 0.4, np.clip(to_septum, -0.2, 1))
    thick = THICKNESS / THICKNESS.mean() * (1 + pattern + 0.07 * noise[:, :SEGMENTS]) * (1 - SCAR_THINS * damage)
    thick = thick * (1 + extra)
    move = z["lat"][:, None] * side + 0.8 * z["gc"][:, None] * (level - 0.5) - 0.5 * z["sept"][:, None] * to_septum
    move = MOTION * (1 + 0.10 * move)
    move = (move + 0.11 * noise[:, SEGMENTS:]) * (1 - SCAR_STIFFENS * damage)
    move = move * (1 - 0.25 * hcm * np.clip(to_septum, 0, 1))
    return dict(thickness=np.clip(thick, 0.35, None), motion=np.clip(move, 0.02, None))


def _damage(scar: np.ndarray, territory: np.ndarray) -> np.ndarray:
    """Extent of the scar in each segment, (n, 16). scar: (n,) 0 to 1; territory: (n,) as in TERRITORIES."""
    damage = np.zeros((len(scar), SEGMENTS))
    for k, segments in enumerate(TERRITORIES):
        inside = np.isin(np.arange(1, SEGMENTS + 1), segments)
        damage += np.where(inside, 1.0, 0.0) * (scar * (territory == k))[:, None]
    return damage


def with_scar(hearts: Hearts, scar: float, territory: int) -> Hearts:
    """The hearts with another scar instead of their own, and all else equal: also the ejection fraction.

    scar: extent, 0 to 1. territory: 0 LAD, 1 RCA, 2 LCx. The scar thins its segments and stops their contraction.
    """
    own = _damage(hearts.scar, hearts.territory)
    new_scar, new_territory = np.full(len(hearts), float(scar)), np.full(len(hearts), int(territory))
    new = _damage(new_scar, new_territory)
    thin = (1 - SCAR_THINS * new) / (1 - SCAR_THINS * own)
    stiff = (1 - SCAR_STIFFENS * new) / (1 - SCAR_STIFFENS * own)
    walls = {"thickness": hearts.thickness * thin, "motion": hearts.motion * stiff}
    return replace(hearts, scar=new_scar, territory=new_territory, **walls)
