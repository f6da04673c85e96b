"""Reader of UK Biobank's tabular exports from any tool: selected columns, joined by participant."""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb import columns as headers
from eccl_lib.data.ukb import diagnoses, spreadsheet
from eccl_lib.data.ukb.columns import (
    AGE,
    CODE_DATES,
    FIRST_OCCURRENCE,
    IMAGING_VISIT,
    SEX,
    VISIT_DATE,
    Key,
    as_text,
)
from eccl_lib.data.ukb.spreadsheet import ID_CURE
from eccl_lib.io import regular

MISSING = {"", "NA", "NaN", "nan", "None", "<NA>", "[]"}
SEPARATORS = (",", "\t", ";")
LONGEST_LINE = 2**26  # characters; a row of ten thousand columns has about a million
LONGEST_CELL = 2**20
ROWS_AT_ONCE = 4096  # rows kept as Python strings before they are converted to pandas columns
EID = re.compile(r"(\d{1,19})(?:\.0+)?")  # spreadsheets may write ids as decimal numbers
EXPORT_AGAIN = "Export the table again as comma- or tab-separated text."
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


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOBase]:
    """Open a plain or gzip file as text. Invalid characters are replaced, since only ASCII content is used."""
    try:
        with regular.open_file(path) as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            plain = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            start = plain.read(1024)
            plain.seek(0)
            is_utf16 = start[:2] in (b"\xff\xfe", b"\xfe\xff")
            if b"\0" in start and not is_utf16:
                raise UnreadableError("the table is a binary file (Excel, Stata, R, encrypted?)", EXPORT_AGAIN)
            encoding = "utf-16" if is_utf16 else "utf-8-sig"
            yield io.TextIOWrapper(plain, encoding=encoding, errors="replace", newline="")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnreadableError(f"the table cannot be opened ({reason})", "Check its path.") from error


def _lines(text: io.TextIOBase) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise UnreadableError(f"the table has a line of more than {LONGEST_LINE:,} characters", EXPORT_AGAIN)
        yield line


def _rows(lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        reason = f"the table's quotes or cells are damaged in line {reader.line_num + 1}"
        raise UnreadableError(reason, EXPORT_AGAIN) from error


def _header(line: str) -> tuple[list[str], str, int]:
    """Column names, separator, and number of the id column; tries all separators. Raises UnreadableError."""
    counts = []
    csv.field_size_limit(LONGEST_CELL)
    for separator in SEPARATORS:
        try:
            names = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            names = []
        ids = [k for k, name in enumerate(names) if headers.is_eid(name)]
        if len(ids) == 1:
            return names, separator, ids[0]
        counts.append(len(ids))
    reason = f"the table has {max(counts)} columns of participant ids"
    raise UnreadableError(reason, "One column must be named eid (or f.eid, n_eid, participant.eid, Participant ID).")


def _read_one(path: Path, fields: set[int], only: set[str] | None) -> tuple[pd.DataFrame, list[str]]:
    with _open_text(path) as text:
        lines = _lines(text)
        names, separator, id_column = _header(_first_line(lines))
        keys = {k: key for k, name in enumerate(names) if (key := headers.field_of(name)) and key[0] in fields}
        if not keys:
            cure = "Valid headers are p24100_i2, 24100-2.0, f.24100.2.0 or LV end diastolic volume | Instance 2."
            raise UnreadableError("the table has none of the fields that are needed", cure)
        rows = _checked_rows(_rows(lines, separator), len(names))
        eids, columns, not_ids = _pack(rows, id_column, list(keys), only)
    spreadsheet.stop_at_rewritten(
        f"{path.name}: the column {names[id_column]}", pd.Series(not_ids, dtype="str"), spreadsheet.IDS, ID_CURE
    )
    dropped = Counter({WITHOUT_ID: len(not_ids)} if not_ids else {})
    index = pd.Index(eids, dtype="str", name="eid")
    if not len(index) and only is None:
        raise UnreadableError("the table has no row with a participant's id", EXPORT_AGAIN)
    if index.has_duplicates:
        raise UnreadableError(f"the table has {index.duplicated().sum()} participants twice", "Keep one row for each.")
    by_key: dict[Key, pd.Series] = {}
    notes = [f"skipped {count} rows {reason}" for reason, count in sorted(dropped.items())]
    for (k, key), column in zip(keys.items(), columns, strict=True):
        series = pd.Series(column, index=index)
        notes += _check_cells(f"{path.name}: the column {names[k]}", key, series)
        by_key[key] = _merge(by_key[key], series, key) if key in by_key else series
    table = pd.DataFrame(by_key)
    table.columns = pd.MultiIndex.from_tuples(list(by_key), names=["field", "instance", "array"])
    return table, notes


def _first_line(lines: Iterator[str]) -> str:
    """The line of the header; Excel's line ``sep=;`` before it is left out."""
    line = next(lines, "")
    return next(lines, "") if re.fullmatch(r"sep=.\s*", line, re.IGNORECASE) else line


def _checked_rows(rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    """Yield rows of the header's width.

    If the first row has one cell more than the header, the extra cell is R's row name at the start or an empty cell at
    the end; it is removed from each row. Raises UnreadableError for a row of another length.
    """
    extra, is_first = None, True
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if is_first and len(row) == width + 1:
            extra = slice(0, width) if row[-1] == "" else slice(1, width + 1)
        is_first = False
        if len(row) != width + (extra is not None):
            reason = f"row {number} of the table has {len(row)} cells, the header has {width}"
            cause = "The file is damaged or truncated, or has commas within numbers. "
            raise UnreadableError(reason, cause + EXPORT_AGAIN)
        yield row if extra is None else row[extra]


def _pack(
    rows: Iterator[list[str]], id_column: int, selected: list[int], only: set[str] | None
) -> tuple[list[str], list[pd.Series], list[str]]:
    """Ids, selected columns, and the cells of the id column that are no ids; their rows are dropped.

    Rows are packed in blocks, so that only one block at a time is in memory as Python strings, which are large.
    """
    eids: list[str] = []
    not_ids: list[str] = []

    def kept() -> Iterator[list[str | None]]:
        for row in rows:
            eid = EID.fullmatch(row[id_column].strip())
            if eid is None:
                not_ids.append(row[id_column].strip())
            elif only is None or eid[1] in only:
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
    would be lost, or its values would be biased, without a word.
    """
    filled = cells.dropna()
    if key[0] in DATES:
        spreadsheet.stop_at_rewritten(column, filled, spreadsheet.DATES)
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

    Raises UnreadableError if a line is not an id, since skipping it could keep a withdrawn participant in the data. The
    error gives the line's number, but not its content.
    """
    eids = set()
    with regular.named(path), _open_text(Path(path)) as text:
        for number, line in enumerate(_lines(text), start=1):
            cell = re.split(r"[,;\t]", line.strip())[0].strip(" '\"")
            if not line.strip(' ,;\t\r\n"') or (number == 1 and headers.is_eid(cell)):
                continue
            eid = EID.fullmatch(cell)
            if eid is None:
                reason = f"line {number} of the list of withdrawals is not a participant's id"
                raise UnreadableError(reason, "Use UK Biobank's own file, with one id per line.")
            eids.add(eid[1])
    return frozenset(eids)
