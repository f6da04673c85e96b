"""Pandera schemas of the tables that one stage writes and another reads."""

from functools import cache
from typing import Any

import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.splits import SPLITS

EID = r"\d{1,19}"
# Columns about the recordings.
FACTS = ("heart_rate", "missing_leads", "flat_leads", "gaps", "clipped", "baseline_mv", "einthoven_uv")
FACTS += ("heart_rate_from", "segmenter", "heart_flagged", "clip_contrast", "clip_motion", "notes")
LOCATION = ("heart_confidence", "box_at_border", "box_change")  # how sure the heart's location is
SHA256, CHECKSUMS = r"[0-9a-f]{64}", ("ecg_sha256", "clip_sha256")


def check(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table converted to its schema's types. Raises UnreadableError, with columns and counts but no values."""
    import pandera.errors

    try:
        return schemas()[name].validate(table, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        counts = cases.groupby([cases["column"].fillna(cases["schema_context"]), "check"], sort=True).size()
        errors = "; ".join(f"{column}: {rule} ({n})" for (column, rule), n in counts.items())
        cure = "Report this message to the developers."
        raise UnreadableError(f"the {name} violates its schema: {errors[:600]}", cure) from None


@cache
def schemas() -> dict[str, Any]:
    """All schemas by name."""
    from pandera.pandas import Check, Column, DataFrameSchema

    eid = Column(str, Check.str_matches(f"^{EID}$"), unique=True)
    share = Check.in_range(0, 1)
    people = {
        "eid": eid,
        "split": Column(str, Check.isin(SPLITS)),
        "sex": Column(object, Check.isin(("female", "male")), nullable=True, coerce=True),
        "age": Column(float, Check.in_range(0, 120), nullable=True),
        "notes": Column(str, nullable=True, coerce=True),
    }
    flags = {
        "heart_rate": Column(float, Check.in_range(20, 300), coerce=True),
        "missing_leads": Column(str, nullable=True, coerce=True),
        "flat_leads": Column(str, nullable=True, coerce=True),
        "gaps": Column(float, share, coerce=True),
        "clipped": Column(float, share, coerce=True),
        "baseline_mv": Column(float, Check.ge(0), coerce=True),
        "einthoven_uv": Column(float, Check.ge(0), coerce=True, nullable=True),
        "heart_rate_from": Column(str, Check.isin(("device", "peaks", "none")), coerce=True),
        "segmenter": Column(str, Check.isin(("masks", "network", "onnx", "voting")), coerce=True, required=False),
        "heart_flagged": Column(bool, coerce=True, required=False),  # absent in older stores, which used masks only
    }
    # Absent, or missing, in older stores.
    greys = Column(float, Check.in_range(0, 255), nullable=True, coerce=True, required=False)
    unknown = {"nullable": True, "coerce": True, "required": False}  # in older stores and for rendered cines
    clip = {"clip_contrast": greys, "clip_motion": greys, "box_at_border": Column(pd.BooleanDtype(), **unknown)}
    clip |= {name: Column(float, share, **unknown) for name in ("heart_confidence", "box_change")}
    slot = {"slot": Column(int, Check.ge(0), unique=True, coerce=True)}
    ecg_checksum, clip_checksum = ({name: Column(str, Check.str_matches(SHA256))} for name in CHECKSUMS)
    # The eid of an unpaired store is a hash of the file's name. All recordings of one patient are in one split.
    named = {"name": Column(str, unique=True), "patient": Column(str, Check.str_matches(f"^{EID}$"))}
    named["fold"] = Column(int, Check.ge(1), coerce=True, required=False)  # published folds of a dataset
    text = {name: Column(str) for name in ("file", "reason", "cure")}
    scores = {"eid": eid, "row": Column(int, Check.ge(0), unique=True, coerce=True)}
    numbers = {r"^(target|score)_\w+$": Column(float, nullable=True, coerce=True, regex=True, required=False)}
    return {
        "table": DataFrameSchema({**people, **flags, **clip}),
        "ukb table": DataFrameSchema({**people, **flags, **clip, **slot, **ecg_checksum, **clip_checksum}),
        "ecg table": DataFrameSchema({**people, **named, **flags, **slot, **ecg_checksum}),
        "cmr table": DataFrameSchema({**people, **named, **clip, **slot, **clip_checksum}),
        "quarantine": DataFrameSchema({"eid": Column(str), **text}, strict=True),
        "predictions": DataFrameSchema({**scores, **numbers}, strict=True),
    }
