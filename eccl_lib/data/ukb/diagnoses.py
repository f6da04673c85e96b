"""Disease labels from a tabular export: hospital codes with dates and first occurrences, relative to the visit."""

import ast
import json
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import DISEASES
from eccl_lib.data.ukb.columns import CODE_DATES, FIRST_OCCURRENCE, IMAGING_VISIT, LABEL_ARRAY, VISIT_DATE, as_text

DATE_UNUSABLE = {"1900-01-01", "1901-01-01", "1902-02-02", "1903-03-03"}  # coding 819: diagnosed, date not usable
DATE_PLACEHOLDER = {"1909-09-09", "2037-07-07"}  # coding 819: no diagnosis
UNKNOWN = "unknown"  # sorts after every ISO date
LONGEST_LIST = 100_000  # characters of a cell
_CODE = re.compile(r"\s*[A-Z]\d\d", re.IGNORECASE)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def labels(table: pd.DataFrame, rule: str, until: str | None = None, diseases: Sequence[str] = DISEASES) -> np.ndarray:
    """Labels from hospital codes and first occurrences: (N, diseases) bool. diseases: ICD-10 codes such as I25.

    rule: ``ever`` (diagnosed at any time), ``prevalent`` (first date on or before the imaging visit) or ``incident``
    (first date after it). A diagnosis without a usable date counts only for ``ever``. until: ISO date at which the
    records end (published by UK Biobank for each data provider); later diagnoses do not count. Raises UnreadableError
    if the rule needs the dates of the diagnoses or of the visit and the table has none.
    """
    if rule != "ever" and not _has_dates(table):
        cure = "Export field 41280 with field 41270, or the first occurrences."
        raise UnreadableError(f"labels={rule} needs the dates of the diagnoses", cure)
    dates = first_dates(table, diseases)
    if until is not None:
        dates = dates.where(~(dates.notna() & (dates != UNKNOWN) & (dates > until)))
    if rule == "ever":
        return dates.notna().to_numpy()
    visit = as_text(table, VISIT_DATE, IMAGING_VISIT).astype(object).map(iso_date, na_action="ignore")
    visit = visit.where(visit != UNKNOWN)
    if visit.isna().all():
        raise UnreadableError(f"labels={rule} needs the imaging date", f"Export field {VISIT_DATE}, instance 2.")
    out = np.zeros((len(table), len(diseases)), dtype=bool)
    for k, disease in enumerate(diseases):
        known = dates[disease].notna() & (dates[disease] != UNKNOWN) & visit.notna()
        first, visited = dates.loc[known, disease].astype(str), visit[known].astype(str)
        out[known.to_numpy(), k] = (first <= visited) if rule == "prevalent" else (first > visited)
    return out


def without_source(table: pd.DataFrame) -> list[str]:
    """Those of DISEASES whose diagnosis no field of the table can give."""
    fields = {key[0] for key in table.columns}
    has_codes = bool(fields & CODE_DATES.keys())
    return [disease for disease in DISEASES if not has_codes and FIRST_OCCURRENCE[disease] not in fields]


def _has_dates(table: pd.DataFrame) -> bool:
    """Whether the table has a field of dates; a column of labels, such as I21, may have dates as well."""

    def has(key: tuple[int, int, int]) -> bool:
        if key[0] in FIRST_OCCURRENCE.values() and key[2] == LABEL_ARRAY:
            return bool(table[key].dropna().map(iso_date).ne(UNKNOWN).any())
        return key[0] in (*CODE_DATES.values(), *FIRST_OCCURRENCE.values())

    return any(map(has, table.columns))


def first_dates(table: pd.DataFrame, diseases: Sequence[str] = DISEASES) -> pd.DataFrame:
    """Earliest ISO date of each disease by column; ``unknown``: diagnosed, without a usable date; NaN: no diagnosis."""
    earliest: dict[str, dict[str, str]] = {disease: {} for disease in diseases}
    for eid, disease, date in (*_first_occurrences(table, diseases), *_hospital(table, diseases)):
        earliest[disease][eid] = min(earliest[disease].get(eid, date), date)
    columns = {disease: pd.Series(dates, dtype=object).reindex(table.index) for disease, dates in earliest.items()}
    return pd.DataFrame(columns, index=table.index, dtype=object)


def _first_occurrences(table: pd.DataFrame, diseases: Sequence[str]):
    """Yield (eid, disease, date) from the first-occurrence fields and from columns named I21, I42, I48, I50."""
    of_field = {field: disease for disease, field in FIRST_OCCURRENCE.items() if disease in diseases}
    for key in table.columns:
        if key[0] not in of_field:
            continue
        for eid, cell in table[key].dropna().items():
            if key[2] == LABEL_ARRAY and cell.lower().removesuffix(".0") in ("0", "false", "no"):
                continue
            if (date := event_date(cell)) is not None:
                yield eid, of_field[key[0]], date


def _hospital(table: pd.DataFrame, diseases: Sequence[str]):
    """Yield (eid, disease, date) from the hospital codes; the date of code i is element i of the dates."""
    existing = set(table.columns)
    for key in table.columns:
        if key[0] not in CODE_DATES:
            continue
        cells = table[key].dropna()
        for eid, cell in cells[cells.str.contains("|".join(diseases), case=False)].items():
            for k, code in enumerate(parse_list(cell)):
                if (disease := code[:3].upper()) not in diseases:
                    continue
                own, first = ((CODE_DATES[key[0]], key[1], array) for array in (key[2] + k, 0))
                date, listed = (table.at[eid, place] if place in existing else None for place in (own, first))
                dates = parse_list(listed) if isinstance(listed, str) else []
                if len(dates) > 1 or (dates and listed.lstrip().startswith("[")):  # one cell contains all dates
                    date = dates[k] if k < len(dates) else None
                date = event_date(date) if isinstance(date, str) else UNKNOWN
                if date is not None:
                    yield eid, disease, date


def event_date(cell: str) -> str | None:
    """ISO date of a diagnosis; ``unknown`` for unusable dates, None for coding 819's placeholders."""
    date = iso_date(cell)
    if date in DATE_PLACEHOLDER or "future" in cell.lower():  # the platform may write the coding's text
        return None
    return UNKNOWN if date in DATE_UNUSABLE else date


def iso_date(cell: str) -> str:
    """YYYY-MM-DD from an ISO date or 01may2016 (Stata, SAS), with or without time; ``unknown`` for anything else.

    01/05/2016 is ``unknown``, because the order of day and month is ambiguous.
    """
    cell = str(cell).strip().lower()
    if match := re.match(r"(\d{4})-(\d\d)-(\d\d)(?!\d)", cell):
        year, month, day = match.groups()
    elif (match := re.fullmatch(r"(\d\d)([a-z]{3})(\d{4})(?:[:\s].*)?", cell)) and match[2] in _MONTHS:
        day, month, year = match[1], f"{_MONTHS.index(match[2]) + 1:02d}", match[3]
    else:
        return UNKNOWN
    return f"{year}-{month}-{day}" if "01" <= month <= "12" and "01" <= day <= "31" else UNKNOWN


def parse_list(cell: str) -> list[str]:
    """Elements of a cell with several codes: a JSON list, a Python list, or text separated by bars or commas.

    A code may be followed by its meaning, which may contain a comma: ``I21.9 Acute myocardial infarction,
    unspecified`` is one element.
    """
    cell = cell.strip()
    if cell.startswith("["):
        for read in (json.loads, ast.literal_eval):
            try:
                return ["" if item is None else str(item).strip() for item in read(cell[:LONGEST_LIST])]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    inner = cell.strip("[]")
    parts = inner.split("|") if "|" in inner else inner.split(",")
    if "|" not in inner and _CODE.match(parts[0].strip(" '\"")):
        parts = parts if all(_CODE.match(part.strip(" '\"")) for part in parts if part.strip()) else [inner]
    parts = [part.strip(" '\"") for part in parts]
    while parts and not parts[-1]:
        parts.pop()
    return parts
