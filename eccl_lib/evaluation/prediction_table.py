"""Predictions of many ECGs as one table, a row a file, and as CSV, Parquet, JSON or text."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import DISEASES
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import prediction_page
from eccl_lib.evaluation.ecg_files import NotRead, Reading
from eccl_lib.evaluation.ecg_prediction import disease_table, trait_table
from eccl_lib.evaluation.predict import Scored, limits, predict_all, reliability
from eccl_lib.evaluation.predictor import Predictor
from eccl_lib.io.files import write_frame, write_text
from eccl_lib.metrics.calibration import risk

Entry = tuple[Reading | NotRead, Scored | None]
READ, NOT_READ = "read", "not read"
FACTS = ("file", "status", "reason", "cure", "heart_rate")
FLAGS = ("missing_leads", "flat_leads", "gaps", "clipped", "baseline_mv", "einthoven_uv", "heart_rate_from")
PARTS = ("", "_low", "_high")  # of each trait: value and both ends of its 95 % prediction interval
SCORES = ("_score", "_probability", "_percentile")  # of each disease
SUFFIXES = (".parquet", ".csv", ".json", ".html")
LEGENDS = {  # column of a table for a terminal -> what it and its neighbours are
    "coverage": "low, high: 95 % prediction interval; coverage: share of the test participants with the measured value"
    " in their interval; test_r: correlation of predicted and measured values in the test participants",
    "percentile": "score: output of the model from 0 to 1, not a probability; percentile: percentage of the test"
    " participants with a lower score; test_auc: AUC in the test participants",
}


def columns(further: Iterable[str] = ()) -> list[str]:
    """The columns of the table, in their order: facts, quality flags, remarks, traits, diseases.

    further: ICD-10 codes of diseases beside the paper's four.
    """
    traits = [f"{trait.short_name}{part}" for trait in TRAITS for part in PARTS]
    return [*FACTS, *FLAGS, "remarks", *traits, *(f"{code}{part}" for code in (*DISEASES, *further) for part in SCORES)]


def row(entry: Entry) -> dict[str, Any]:
    """One file's row. The score of a disease is a number from 0 to 1, its percentile from 0 to 100."""
    reading, scored = entry
    if isinstance(reading, NotRead):
        return {"file": reading.file, "status": NOT_READ, "reason": reading.reason, "cure": reading.cure}
    found: dict[str, Any] = {"file": reading.file, "status": READ, "reason": "", "cure": ""}
    found |= {"heart_rate": round(reading.heart_rate, 1), **reading.flags}
    found["remarks"] = "; ".join((*reading.remarks, *scored.remarks))
    if scored.traits is not None:
        for trait, values in zip(TRAITS, scored.traits, strict=True):
            found |= {f"{trait.short_name}{part}": float(v) for part, v in zip(PARTS, values, strict=True)}
    for code, (logit, *others) in scored.diseases.items():
        found |= {f"{code}{part}": v for part, v in zip(SCORES, (float(risk(logit)), *others), strict=True)}
    return found


def of_entries(entries: Iterable[Reading | NotRead], predictor: Predictor) -> pd.DataFrame:
    """The table of these files."""
    return frame((row(entry) for entry in predict_all(entries, lambda: predictor)), predictor.diseases)


def frame(rows: Iterable[dict[str, Any]], further: Iterable[str] = ()) -> pd.DataFrame:
    """The table of rows: all columns in their order, numbers as float64, texts as text. further: as in ``columns``."""
    table = pd.DataFrame(list(rows), columns=columns(further))
    texts = ["file", "status", "reason", "cure", "missing_leads", "flat_leads", "heart_rate_from", "remarks"]
    numbers = [name for name in table if name not in texts]
    return table.assign(**table[texts].fillna("").astype(str), **table[numbers].astype(np.float64))


def check_target(path: Path, suffixes: tuple[str, ...] = SUFFIXES, *, replaces: bool = False) -> None:
    """Raise ConfigError where the results cannot be written: an unknown suffix, no folder, or a file that exists.

    replaces: a file that exists is replaced.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"--out {path}: the name must end in one of {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise ConfigError(f"--out {path}: it is a folder; give the name of a file")
    if path.exists() and not replaces:
        raise ConfigError(f"--out {path}: the file exists and is not overwritten; remove it or give another name")


def write(
    table: pd.DataFrame,
    path: Path,
    measured: Sequence[str] = (),
    limited: Sequence[str] = (),
    diseases: Mapping[str, str] | None = None,
) -> None:
    """Write the table in the format of the file's suffix, atomically.

    For an HTML page: measured and limited are the sentences of ``predict.reliability`` and ``predict.limits``, diseases
    the names of further diseases by code.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        write_frame(path, table)
    elif suffix == ".csv":
        write_text(path, as_csv(table))
    elif suffix == ".html":
        write_text(path, prediction_page.page(table, measured, limited, diseases or {}))
    else:
        write_text(path, as_json(table) + "\n")


def as_csv(table: pd.DataFrame) -> str:
    """The table as CSV with six digits of each number."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def as_json(table: pd.DataFrame) -> str:
    """The table as a JSON list, one object a file; a missing number is null."""
    plain = table.astype(object).where(table.notna(), None)
    return json.dumps(plain.to_dict("records"), indent=1, allow_nan=False)


def text(entry: Entry, predictor: Predictor) -> str:
    """One ECG's predictions as text for a terminal."""
    reading, scored = entry
    remarks = "; ".join((*reading.remarks, *scored.remarks)) or "no remarks on quality"
    parts = [f"{reading.file}: heart rate {reading.heart_rate:.0f} per minute; {remarks}"]
    for table in (trait_table(predictor, scored), disease_table(predictor, scored)):
        shown = table.drop(columns=["field_id", "short_name", "group", "z", "code", "meaning"], errors="ignore")
        if len(shown):
            parts.append(shown.to_string(index=False, float_format="%.2f"))
            parts += [legend for column, legend in LEGENDS.items() if column in shown]
        parts += [f"{row.name}: {row.meaning}" for row in table.itertuples(index=False) if "meaning" in table]
    parts += reliability(predictor)
    return "\n".join([*parts, *limits(predictor)])
