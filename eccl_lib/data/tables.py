"""UK Biobank's tabular exports, whichever way they were made, and the labels and traits in them."""

from __future__ import annotations

import ast
import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config import DISEASES
from eccl_lib.data.records import UnreadableError
from eccl_lib.data.traits import TRAITS

SEX, AGE, VISIT_DATE = 31, 21003, 53
ICD10_CODES, ICD10_DATES = 41270, 41280  # hospital diagnoses; element i of one belongs to element i of the other
FIRST_OCCURRENCE = {"I21": 131298, "I42": 131338, "I48": 131350, "I50": 131354}  # dates
IMAGING_VISIT = 2  # Sec. 3.1: first imaging assessment

DATE_UNUSABLE = {"1900-01-01", "1901-01-01", "1902-02-02", "1903-03-03"}  # coding 819: diagnosed, date not usable
DATE_PLACEHOLDER = {"1909-09-09", "2037-07-07"}  # coding 819: no diagnosis
MISSING = ["", "NA", "NaN", "nan", "None", "<NA>", "[]"]

EID_HEADERS = {"eid", "f.eid", "n_eid", "participant.eid", "participant id"}
HEADERS = [
    re.compile(pattern)
    for pattern in (
        r"^(?:participant\.)?p(\d+)(?:_i(\d+))?(?:_a(\d+))?$",  # Research Analysis Platform
        r"^(\d+)-(\d+)\.(\d+)$",  # ukbconv csv
        r"^(?:f\.|X)(\d+)\.(\d+)\.(\d+)$",  # ukbconv r and txt; a csv that R has read
        r"^(?:n|s|ts|sd|d)_(\d+)_(\d+)_(\d+)$",  # ukbconv stata
        r"^.*_f(\d+)_(\d+)_(\d+)$",  # ukbtools
        r"^.*\((?:participant - )?p(\d+)(?:_i(\d+))?(?:_a(\d+))?\)$",  # titles with the field in brackets
    )
]


def field_of(header: str) -> tuple[int, int, int] | None:
    """(field, instance, array) that a column's header names in any known style; None for another column."""
    for pattern in HEADERS:
        match = pattern.match(header.strip())
        if match:
            field, instance, array = (int(part) if part else 0 for part in match.groups())
            return field, instance, array
    return None


def needed_fields() -> set[int]:
    """The fields that the project reads; an export may have ten thousand more."""
    fields = {SEX, AGE, VISIT_DATE, ICD10_CODES, ICD10_DATES, *FIRST_OCCURRENCE.values()}
    return fields | {trait.field_id for trait in TRAITS}


def read_table(path: Path, fields: set[int] | None = None) -> pd.DataFrame:
    """A tabular export: one row per eid (str), columns (field, instance, array), cells as text, NaN where empty.

    Comma or tab separated, any header style of ``field_of``. fields: which to keep; None keeps ``needed_fields``.
    Raises UnreadableError on a file without ids or with an id twice.
    """
    path = Path(path)
    encoding = _encoding(path)
    try:
        with path.open(encoding=encoding, newline="") as handle:
            line = handle.readline()
    except OSError as error:
        raise UnreadableError(f"the table cannot be opened ({error.strerror})") from error
    separator = "\t" if line.count("\t") > line.count(",") else ","
    header = next(csv.reader([line], delimiter=separator), [])
    ids = [name for name in header if name.strip().lower() in EID_HEADERS]
    if len(ids) != 1:
        raise UnreadableError(f"the table has {len(ids)} columns of participant ids", "One column must be named eid.")
    wanted = needed_fields() if fields is None else fields
    columns = {name: key for name in header if (key := field_of(name)) and key[0] in wanted}
    if not columns:
        raise UnreadableError("the table has none of the fields needed", "Headers look like p24100_i2 or 24100-2.0.")
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            usecols=[*ids, *columns],
            dtype=str,
            encoding=encoding,
            keep_default_na=False,
            na_values=MISSING,
        )
    except (pd.errors.ParserError, ValueError) as error:
        raise UnreadableError(f"the table is damaged ({str(error)[:80]})") from error
    table = table.dropna(subset=ids).set_index(ids[0])
    table.index = table.index.str.strip().rename("eid")
    if table.index.has_duplicates:
        raise UnreadableError(f"the table has {table.index.duplicated().sum()} participants twice")
    keys = [columns[name] for name in table.columns]
    table.columns = pd.MultiIndex.from_tuples(keys, names=["field", "instance", "array"])
    return table.sort_index(axis=1).sort_index()


def _encoding(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            handle.read(2**20).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character cut in two by the end of the sample is no sign of another encoding.
        return "utf-8-sig" if error.start > 2**20 - 8 else "latin-1"
    except OSError as error:
        raise UnreadableError(f"the table cannot be opened ({error.strerror})") from error
    return "utf-8-sig"


def as_text(table: pd.DataFrame, field: int, instance: int = 0) -> pd.Series:
    """One field's first array element, as text; all missing where the export lacks it."""
    key = (field, instance, 0)
    return table[key] if key in table.columns else pd.Series(np.nan, index=table.index, dtype=object)


def as_number(table: pd.DataFrame, field: int, instance: int = 0) -> pd.Series:
    """One field as float; what is no number is missing."""
    return pd.to_numeric(as_text(table, field, instance), errors="coerce").astype(np.float64)


def traits(table: pd.DataFrame) -> np.ndarray:
    """The 82 traits at the imaging visit: (N, 82) float32, NaN where missing. Negative values are real (strain)."""
    columns = [as_number(table, trait.field_id, IMAGING_VISIT) for trait in TRAITS]
    return np.stack(columns, axis=1).astype(np.float32)


def sex(table: pd.DataFrame) -> pd.Series:
    """``female``, ``male`` or missing."""
    words = {"0": "female", "1": "male", "female": "female", "male": "male"}
    return as_text(table, SEX).astype(object).map(lambda x: words.get(str(x).strip().lower().removesuffix(".0")))


def labels(table: pd.DataFrame, rule: str) -> np.ndarray:
    """(N, 4) bool in the order of DISEASES: hospital codes and first occurrences together.

    ``ever``: diagnosed at any time. ``prevalent``: first dated on or before the imaging visit. ``incident``: after it.
    A diagnosis without a usable date counts for ``ever`` alone.
    """
    dated = first_dates(table)
    if rule == "ever":
        return dated.notna().to_numpy()
    visit = pd.to_datetime(as_text(table, VISIT_DATE, IMAGING_VISIT), errors="coerce", format="ISO8601")
    if visit.isna().all():
        raise UnreadableError(f"labels={rule} needs the imaging date", f"Export field {VISIT_DATE}, instance 2.")
    out = np.zeros((len(table), len(DISEASES)), dtype=bool)
    for k, disease in enumerate(DISEASES):
        when = pd.to_datetime(dated[disease].replace("unknown", None), errors="coerce", format="ISO8601")
        out[:, k] = (when <= visit) if rule == "prevalent" else (when > visit)
    return out


def first_dates(table: pd.DataFrame) -> pd.DataFrame:
    """Per disease the earliest ISO date, ``unknown`` where diagnosed without a usable date, missing where healthy."""
    found: dict[str, list] = {disease: [None] * len(table) for disease in DISEASES}
    for disease, field in FIRST_OCCURRENCE.items():
        for row, date in enumerate(as_text(table, field)):
            if isinstance(date, str) and (date := date.strip()[:10]) not in DATE_PLACEHOLDER:
                found[disease][row] = _earlier(None, date)
    codes = [key for key in table.columns if key[0] == ICD10_CODES]
    has_date = {key for key in table.columns if key[0] == ICD10_DATES}
    for code_key in codes:
        for row, cell in enumerate(table[code_key]):
            if not isinstance(cell, str):
                continue
            for k, code in enumerate(parse_list(cell)):
                disease = code.replace(".", "")[:3].upper()
                if disease in found:
                    key = (ICD10_DATES, code_key[1], code_key[2] + k)
                    date = table[key].iloc[row] if key in has_date else None
                    found[disease][row] = _earlier(found[disease][row], date if isinstance(date, str) else "unknown")
    return pd.DataFrame(found, index=table.index, dtype=object)


def _earlier(known: str | None, date: str) -> str:
    date = "unknown" if date in DATE_UNUSABLE else date.strip()[:10]
    return min(known, date) if known else date  # ISO dates sort as text, and before "unknown"


def parse_list(cell: str) -> list[str]:
    """A cell with several codes: JSON list, Python list, or text divided by bars or commas."""
    cell = cell.strip()
    if cell.startswith("["):
        for read in (json.loads, ast.literal_eval):
            try:
                return [str(item).strip() for item in read(cell[:100_000]) if item is not None]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    return [item.strip(" '\"[]") for item in re.split(r"[|,]", cell) if item.strip(" '\"[]")]
