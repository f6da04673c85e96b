"""The synthetic tabular export with UK Biobank's column names: demographics, 82 traits, diagnoses with dates."""

import datetime
import json

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES, SyntheticConfig
from eccl_lib.data.synthetic.measure import measured_traits
from eccl_lib.data.synthetic.population import FIRST_EID, Hearts, draw, generator
from eccl_lib.data.traits import TRAITS

FIRST_OCCURRENCE = {"I21": "p131298", "I42": "p131338", "I48": "p131350", "I50": "p131354"}
_CODES = {"I21": ("I210", "I211", "I214", "I219"), "I48": ("I480", "I481", "I489"), "I50": ("I500", "I501", "I509")}
_OTHER = ("E780", "H269", "I10", "J459", "K219", "K573", "M170", "N390", "R074", "Z867")  # codes of other diseases
CODE_COLUMNS = 10  # fixed, so that a row does not depend on other rows
_UNKNOWN_DATE = "1900-01-01"  # coding 819


def render_table(config: SyntheticConfig, indices) -> pd.DataFrame:
    """The table with one row per participant; traits have measurement errors."""
    hearts = draw(config, indices)
    traits = measured_traits(config, hearts)
    rows = []
    for k, index in enumerate(hearts.index):
        rng = generator(config, index, "records")
        visit = datetime.date(2014, 5, 1) + datetime.timedelta(days=int(rng.integers(0, 2000)))
        row = {"eid": int(FIRST_EID + index), "p31": int(hearts.male[k]), "p21003_i2": int(hearts.age[k])}
        row |= {"p50_i2": round(float(hearts.height[k]), 1), "p21002_i2": round(float(hearts.weight[k]), 1)}
        row["p53_i2"] = visit.isoformat()
        row |= {f"p{t.field_id}_i2": float(value) for t, value in zip(TRAITS, traits[k], strict=True)}
        rows.append(row | _diagnoses(rng, hearts, k, visit))
    return pd.DataFrame(rows)


def _diagnoses(rng: np.random.Generator, hearts: Hearts, k: int, visit: datetime.date) -> dict[str, str]:
    """First-occurrence dates, and hospital codes with dates; some of the codes are of other diseases."""
    cells: dict[str, str] = {}
    hospital: dict[str, str] = {}
    for n, disease in enumerate(DISEASES):
        roll = rng.random(5)
        cells[FIRST_OCCURRENCE[disease]] = ""
        if not hearts.disease[k, n]:
            continue
        before = roll[0] < (0.92 if hearts.manifest[k, n] else 0.45)
        days = -int(30 + roll[1] * 4000) if before else int(20 + roll[1] * 1500)
        date = (visit + datetime.timedelta(days=days)).isoformat()
        cells[FIRST_OCCURRENCE[disease]] = _UNKNOWN_DATE if roll[2] < 0.01 else date
        if roll[3] < 0.85:  # the others are known only from general practice or self-report
            hospital[_code(disease, hearts, k, roll[4])] = date
    for other in rng.permutation(len(_OTHER))[: rng.integers(0, 6)]:
        hospital[_OTHER[other]] = (visit + datetime.timedelta(days=int(rng.integers(-4000, 1500)))).isoformat()
    codes = sorted(hospital)
    cells["p41270"] = json.dumps(codes) if codes else ""
    dates = [hospital[code] for code in codes] + [""] * (CODE_COLUMNS - len(codes))
    return cells | {f"p41280_a{a}": date for a, date in enumerate(dates)}


def _code(disease: str, hearts: Hearts, k: int, roll: float) -> str:
    if disease == "I42":
        return "I420" if hearts.dcm[k] > 0 else "I421" if hearts.hcm[k] > 0 else "I429"
    if disease == "I48" and hearts.af_rhythm[k]:
        return "I482"
    return _CODES[disease][int(roll * len(_CODES[disease]))]
