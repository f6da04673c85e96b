"""Reader of UK Biobank's tabular exports from any tool: selected columns, joined by participant."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import text_table
from eccl_lib.data.text_table import EXPORT_AGAIN
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb import columns as headers
from eccl_lib.data.ukb import diagnoses, spreadsheet
from eccl_lib.data.ukb.columns import (
    AGE,
    CODE_DATES,
    FIRST_OCCURRENCE,
    IMAGING_VISIT,
    LABEL_ARRAY,
    SEX,
    VISIT_DATE,
    Key,
    as_text,
)
from eccl_lib.data.ukb.spreadsheet import ID_CURE
from eccl_lib.io import regular

MISSING = {"", "NA", "NaN", "nan", "None", "<NA>", "[]"}
SEPARATORS = (",", "\t", ";")
MOST_ROWS = 1_000_000  # UK Biobank has half a million participants
LISTS_CHECKED = 1000  # cells of one column whose dates are checked
ROWS_AT_ONCE = 4096  # rows kept as Python strings before they are converted to pandas columns
EID = re.compile(r"(\d{1,19})(?:\.0+)?")  # spreadsheets may write ids as decimal numbers
EXPORT_NUMBERS = "Export this field as numbers, or remove the column if it is not meant."
EXPORT_CODES = "Export sex with the codes 0 and 1, or as female and male."
WITHOUT_ID = "without a participant's id (withdrawn, or damaged)"
DATES = {VISIT_DATE, *CODE_DATES.values(), *FIRST_OCCURRENCE.values()}

labels = diagnoses.labels


def needed_fields() -> set[int]:
    """The fields that this library uses."""
    fields = {SEX, AGE, VISIT_DATE, *CODE_DATES, *CODE_DATES.values(), *FIRST_OCCURRENCE.values()}
    return fields | {trait.field_id for trait in TRAITS}


def read_table(path: Path, fields: set[int] | None = None) -> pd.DataFrame:
    """Read one export; see ``read_tables``."""
    return read_tables([path], fields)[0]


def read_tables(
    paths: Sequence[Path], fields: set[int] | None = None, only: Collection[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read tabular exports and join them by participant; returns the table and notes about repairs.

    Table: one row per eid (str), columns (field, instance, array), cells as text, empty cells missing. Files: comma,
    tab or semicolon, plain or gzip, any header of ``columns.field_of``. fields: fields to keep, by default
    ``needed_fields``. only: eids to keep; None: all. Raises UnreadableError for a file without ids, a repeated id, a
    row of another length, tables with contradicting values, tables with few participants in common, cells that a
    spreadsheet has rewritten, and a field without any valid value.
    """
    fields = needed_fields() if fields is None else fields
    keep = None if only is None else set(only)
    joined, notes = None, []
    for number, path in enumerate(paths, start=1):
        with regular.named(path):
            table, table_notes = _read_one(Path(path), fields, keep)
        notes += [f"table {number}: {note}" for note in table_notes]
        joined = table if joined is None else _join(joined, table)
    if joined is None:
        raise UnreadableError("no table is given", "Give the path of your tabular export.")
    return joined.sort_index(axis=1).sort_index(), notes


def _header(line: str) -> tuple[list[str], str, int]:
    """Column names, separator, and number of the id column; tries all separators. Raises UnreadableError."""
    counts = []
    for separator in SEPARATORS:
        names = text_table.cells(line, separator)
        ids = [k for k, name in enumerate(names) if headers.is_eid(name)]
        if len(ids) == 1:
            return names, separator, ids[0]
        counts.append(len(ids))
    reason = f"the table has {max(counts)} columns of participant ids"
    raise UnreadableError(reason, "One column must be named eid (or f.eid, n_eid, participant.eid, Participant ID).")


def _read_one(path: Path, fields: set[int], only: set[str] | None) -> tuple[pd.DataFrame, list[str]]:
    with text_table.open_text(path) as text:
        lines = text_table.lines(text, MOST_ROWS)
        names, separator, id_column = _header(text_table.first_line(lines))
        keys = {k: key for k, name in enumerate(names) if (key := headers.field_of(name)) and key[0] in fields}
        if not keys:
            cure = "Valid headers are p24100_i2, 24100-2.0, f.24100.2.0 or LV end diastolic volume | Instance 2."
            raise UnreadableError("the table has none of the fields that are needed", cure)
        rows = text_table.of_width(text_table.rows(lines, separator), len(names))
        eids, columns, not_ids = _pack(rows, id_column, list(keys), only)
    spreadsheet.stop_at_rewritten(
        f"{path.name}: the column {names[id_column]}", pd.Series(not_ids, dtype="str"), spreadsheet.IDS, ID_CURE
    )
    dropped = Counter({WITHOUT_ID: len(not_ids)} if not_ids else {})
    index = pd.Index(eids, dtype="str", name="eid")
    if not len(index) and only is None:
        raise UnreadableError("the table has no row with a participant's id", EXPORT_AGAIN)
    by_key: dict[Key, pd.Series] = {}
    notes = [f"skipped {count} rows {reason}" for reason, count in sorted(dropped.items())]
    for (k, key), column in zip(keys.items(), columns, strict=True):
        series = pd.Series(column, index=index)
        notes += _check_cells(f"{path.name}: the column {names[k]}", key, series)
        by_key[key] = _merge(by_key[key], series, key) if key in by_key else series
    table = pd.DataFrame(by_key)
    table.columns = pd.MultiIndex.from_tuples(list(by_key), names=["field", "instance", "array"])
    return table, notes


def _pack(
    rows: Iterator[list[str]], id_column: int, selected: list[int], only: set[str] | None
) -> tuple[list[str], list[pd.Series], list[str]]:
    """Ids, selected columns, and the cells of the id column that are no ids; their rows are dropped.

    Rows are packed in blocks, so that only one block at a time is in memory as Python strings, which are large. Raises
    UnreadableError at the first id that is repeated.
    """
    eids: list[str] = []
    known: set[str] = set()
    not_ids: list[str] = []

    def kept() -> Iterator[list[str | None]]:
        for row in rows:
            eid = EID.fullmatch(row[id_column].strip())
            if eid is None:
                not_ids.append(row[id_column].strip())
            elif only is None or eid[1] in only:
                if eid[1] in known:
                    reason = f"the table has a participant twice, again after {len(eids):,} others"
                    raise UnreadableError(reason, "Keep one row for each.")
                known.add(eid[1])
                eids.append(eid[1])
                yield [None if (cell := row[k].strip()) in MISSING else cell for k in selected]

    cells, packed = kept(), [[pd.Series([], dtype="str")] for _ in selected]
    while block := list(islice(cells, ROWS_AT_ONCE)):
        for parts, column in zip(packed, zip(*block, strict=True), strict=True):
            parts.append(pd.Series(column, dtype="str"))
    return eids, [pd.concat(parts, ignore_index=True).array for parts in packed], not_ids


def _merge(first: pd.Series, second: pd.Series, key: Key) -> pd.Series:
    """Two columns of one field merged. Raises UnreadableError if the values of a participant differ."""
    differ = (first.notna() & second.notna() & (first != second)).to_numpy()
    if differ.any():
        differ = int((_numbers(first[differ]) != _numbers(second[differ])).sum())  # 61.5 and 61.50 are equal
    if np.any(differ):
        reason = f"field {key[0]} is given twice and differs for {differ} participants"
        raise UnreadableError(reason, "Use only the newer export, and only tables of one application.")
    return first.fillna(second)


def _join(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """The union of the participants and columns of two tables.

    Raises UnreadableError if few participants are common: ids are specific to an application, so tables of two
    applications share ids only by chance.
    """
    common = len(left.index.intersection(right.index))
    same_fields = set(left.columns.get_level_values(0)) == set(right.columns.get_level_values(0))
    if not same_fields and 2 * common < min(len(left), len(right)):
        reason = f"the tables have {common} participants in common"
        raise UnreadableError(reason, "Give tables of one application; ids differ between applications.")
    index = left.index.union(right.index)
    left, right = left.reindex(index), right.reindex(index)
    for key in left.columns.intersection(right.columns):
        left[key] = _merge(left[key], right[key], key)
    return pd.concat([left, right[right.columns.difference(left.columns)]], axis=1)


def _check_cells(column: str, key: Key, cells: pd.Series) -> list[str]:
    """Notes on the cells of one column that are not valid. column: its name in messages.

    Raises UnreadableError if a spreadsheet has rewritten a cell, or if no cell of a number or of sex is valid: a trait
    would be lost, or its values would be biased, without a message.
    """
    filled = cells.dropna()
    if key[0] in DATES:
        spreadsheet.stop_at_rewritten(column, filled, spreadsheet.DATES)
        if key[2] != LABEL_ARRAY or key[0] in CODE_DATES.values():
            _stop_at_unknown_dates(column, filled)
        return []
    if key[0] == SEX:
        valid = filled.isin([cell for cell in filled.unique() if _sex_of(cell)]).to_numpy()
    elif key[0] == AGE or TRAITS[0].field_id <= key[0] <= TRAITS[-1].field_id:
        valid = ~np.isnan(_numbers(filled))
        spreadsheet.stop_at_rewritten(column, filled[~valid], spreadsheet.NUMBERS)
    else:
        return []
    count = int((~valid).sum())
    if count and not valid.any():
        reason = f"{column} has no valid value in {count} cells, as in {filled.iloc[0][:40]!r}"
        raise UnreadableError(reason, EXPORT_CODES if key[0] == SEX else EXPORT_NUMBERS)
    what = "neither female nor male (0, 1)" if key[0] == SEX else "not numbers"
    name = f"field {key[0]}, instance {key[1]}"
    return [f"{name}: {count} cells are {what} and count as missing"] if count else []


def _stop_at_unknown_dates(column: str, cells: pd.Series) -> None:
    """Raise UnreadableError where dates have a form that is not known: their diagnoses would count as undated.

    Text without digits is a meaning of UK Biobank's coding 819. Of lists in a cell, the first ones are checked.
    """
    unique = pd.Series(cells.unique(), dtype=object)
    lists = unique.str.contains(r"[\[|,;]").astype(bool)
    dates = [*unique[~lists], *(date for cell in unique[lists][:LISTS_CHECKED] for date in diagnoses.parse_list(cell))]
    with_digits = re.compile(r"(?!code|\d{4}-\d\d-\d\d).*\d", re.IGNORECASE)  # 2016-13-45 is no other form
    unknown = [date for date in dates if diagnoses.iso_date(date) == diagnoses.UNKNOWN and with_digits.match(date)]
    if unknown:
        count = int(cells.isin(unknown).sum())
        found = f", in {count} cell{'s' * (count > 1)}" if count else ""
        reason = f"{column} has dates of an unknown form, as {unknown[0][:40]!r}{found}"
        raise UnreadableError(reason, "Write the dates as YYYY-MM-DD.")


def as_number(table: pd.DataFrame, field: int, instance: int = 0) -> pd.Series:
    """One field as float; a cell that is not a finite number is missing."""
    return pd.Series(_numbers(as_text(table, field, instance)), index=table.index)


def _numbers(cells: pd.Series) -> np.ndarray:
    """Cells as (N,) float64; NaN for a cell that is not a finite number."""
    numbers = pd.to_numeric(cells.to_numpy(dtype=object), errors="coerce").astype(np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def traits(table: pd.DataFrame) -> np.ndarray:
    """The 82 traits at the imaging visit: (N, 82) float32, NaN if missing. Strains are negative."""
    columns = [as_number(table, trait.field_id, IMAGING_VISIT) for trait in TRAITS]
    return np.stack(columns, axis=1).astype(np.float32)


def sex(table: pd.DataFrame) -> pd.Series:
    """Sex of each participant: ``female``, ``male`` or missing."""
    return as_text(table, SEX).astype(object).map(_sex_of)


def _sex_of(cell: object) -> str | None:
    codes = {"0": "female", "1": "male", "female": "female", "male": "male"}
    return codes.get(str(cell).strip().lower().removesuffix(".0"))


def read_withdrawals(path: Path) -> frozenset[str]:
    """Ids of withdrawn participants from UK Biobank's w<application>_<date>.csv: one id per line, optional header.

    Raises UnreadableError if there is no id, or if a line is not one, since skipping it could keep a withdrawn
    participant in the data. The error gives the line's number, but not its content.
    """
    eids = set()
    with regular.named(path), text_table.open_text(Path(path)) as text:
        for number, line in enumerate(text_table.lines(text, MOST_ROWS), start=1):
            cell = re.split(r"[,;\t]", line.strip())[0].strip(" '\"")
            if not line.strip(' ,;\t\r\n"') or (number == 1 and headers.is_eid(cell)):
                continue
            eid = EID.fullmatch(cell)
            if eid is None:
                reason = f"line {number} of the list of withdrawals is not a participant's id"
                raise UnreadableError(reason, "Use UK Biobank's own file, with one id per line.")
            eids.add(eid[1])
        if not eids:
            reason = "the list of withdrawals has no participant's id"
            raise UnreadableError(reason, "Download it again; if you have received no list, say so instead.")
    return frozenset(eids)
