"""Reader of ECGs in text tables with lead names: CSV of any separator, decimal sign, quotes and time column."""

import csv
import io
import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import time_column
from eccl_lib.data.formats.leads import CSV, GAP, by_lead, lead_names, millivolts, units_of
from eccl_lib.data.records import EcgRecord
from eccl_lib.io import regular

FORM = f"The accepted form is {CSV}."
FEWEST_NAMES = 2  # lead names that the first row of an ECG table must contain; ours
LARGEST_PART = 16 * 2**20  # bytes that are read of a table; two minutes of twelve leads at 1000 Hz have 12 MB
MOST_ROWS = 500_000  # that are read; two minutes at 4 kHz
MOST_NAMES = 4096  # columns; MOST_CHANNELS and their quality flags, many times over
MOST_COMMENTS = 1000  # lines above the names; some devices write a few dozen
LONGEST_LINE = 2**18  # characters; MOST_NAMES columns of 64
LONGEST_COMMENT = 1000  # characters that are searched for settings
# Names of the sampling rate in a line above the table.
RATES = ("rate", "fs", "hz", "frequency", "sampling_rate", "sample_rate", "samplingrate", "samplerate")
SAME_RATE = 0.02  # largest relative difference between a stated rate and a column of times; ours
SEPARATORS = (",", ";", "\t", "|")
BLANKS = (None,)  # if there is no other separator
_WORDS = ("na", "n/a", "nan", "null", "none", "nil", "missing", "#n/a")
NOT_A_VALUE = ["", "-", "--", ".", "?", "NaN"]
NOT_A_VALUE += [form(word) for word in _WORDS for form in (str.lower, str.upper, str.title)]
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # first bytes
_LINE = re.compile(r"[^\r\n]+")
_SETTING = re.compile(r"(\w+)\s*(?:[(\[]\w+[)\]])?\s*[=:]\s*([^\s,;]+)")  # the unit may follow the name
_BEFORE_A_SETTING = ("", "sampling", "sample", "hz")  # words between two settings; "heart rate: 72" is no setting
_EXPLICIT = ("sampling", "sample", "samplingrate", "samplerate", "sampling_rate", "sample_rate")
_AFTER_A_RATE = re.compile(r"\s*(?:$|[,;]|\w+\s*(?:[(\[]\w+[)\]])?\s*[=:]|(?:hz|1/s|samples?|sps)\b)", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's own first line
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?\s*")


@dataclass(frozen=True)
class Head:
    """The beginning of a table. names: of all columns; settings: from lines with '#'; rows: number of lines above the
    values; separator: None for blanks."""

    names: list[str]
    separator: str | None
    settings: dict[str, str]
    rows: int

    @property
    def is_ecg(self) -> bool:
        """Whether the names are those of an ECG: several leads, or one beside a sampling rate or a column of times."""
        timed = {*RATES} & self.settings.keys() or any(map(time_column.is_clock, self.names[:MOST_NAMES]))
        return _count_leads(self.names) >= (1 if timed else FEWEST_NAMES)


def read(path: Path) -> EcgRecord:
    """Read a table with one column per lead; see CSV. Raises UnreadableError."""
    lines, notes = _lines(path)
    head = head_of(lines)
    if not head.is_ecg:
        raise UnreadableError(*_no_names(lines, head))
    if len(head.names) > MOST_NAMES:
        raise UnreadableError(f"the table has {len(head.names):,} columns; an ECG has twelve leads", FORM)
    body = lines[head.rows :]
    units_row = [cell.strip("()[] ") for cell in _cells(body[0], head.separator)] if body else []
    has_units = _is_units(units_row)
    if has_units:
        head, body = replace(head, rows=head.rows + 1), body[1:]
    if not body:
        raise UnreadableError("the file has no rows of numbers", FORM)
    clocks = [k for k, name in enumerate(head.names) if time_column.is_clock(name)]
    leads = [k for k, lead in enumerate(lead_names(head.names)) if lead]
    frame = _frame(body, head, {*clocks, *leads}, clocks)
    rate, more = _rate(head, frame, clocks, units_row if has_units else [])
    notes += more
    units = units_of(head.names, head.settings.get("unit", head.settings.get("units", "mV")))
    if has_units:
        units = [stated or unit for stated, unit in zip_longest(units_row[: len(units)], units)]
    # Other columns are not read; by_lead names them in a note, except counters and empty names.
    counters = {k for k, name in enumerate(head.names) if not name or time_column.is_sample_number(name)}
    kept = [k for k in range(len(head.names)) if k not in counters.union(clocks)]
    columns = [frame[k].to_numpy(dtype=np.float64) if k in leads else np.empty(0) for k in kept]
    signal, more = by_lead([head.names[k] for k in kept], columns, [units[k] for k in kept], missing=GAP)
    return EcgRecord(signal, rate, notes=(*notes, *more))


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """The lines of a table that are not empty, up to MOST_ROWS of its first LARGEST_PART bytes; and notes.

    Raises UnreadableError if a line is too long for a table.
    """
    with regular.open_file(path) as file:
        data = regular.read(file, LARGEST_PART + 1)
    if not data:
        raise UnreadableError("the file is empty", DOWNLOAD_AGAIN)
    is_cut = len(data) > LARGEST_PART
    if is_cut and data[:2] not in UTF16:
        data = data[: data.rfind(b"\n") + 1] or data  # a character at the end may be cut
    found = (match[0] for match in _LINE.finditer(decoded(data)))
    lines = list(islice((line for line in found if line.strip()), MOST_ROWS + 1))
    if any(len(line) > LONGEST_LINE for line in lines):
        raise UnreadableError(f"the table has a line of more than {LONGEST_LINE:,} characters", FORM)
    if len(lines) > MOST_ROWS or is_cut:
        lines = lines[:-1]
        return lines, [f"the table is long: its first {len(lines):,} lines are read"]
    return lines, []


def names_leads(data: bytes) -> bool:
    """True if a table is an ECG, i.e. its first row that is not a comment contains lead names. data: its beginning."""
    lines = [line for line in _LINE.findall(decoded(data)) if line.strip()]
    return head_of(lines).is_ecg


def is_text(start: bytes) -> bool:
    """True unless a file's first bytes have zeros, which text has in UTF-16 only."""
    return b"\0" not in start or start[:2] in UTF16


def decoded(data: bytes) -> str:
    """Text in UTF-8 or UTF-16 with a mark at its start, else in UTF-8 or cp1252."""
    if data[:2] in UTF16:
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _settings(line: str) -> dict[str, str]:
    """Settings of a comment, such as "# rate=500 unit=mV" or "# sampling rate: 500".

    A rate of something else is none: "# Rate: 72 bpm", "# Hz = 50 (mains filter)".
    """
    found, end = {}, 0
    for match in _SETTING.finditer(line):
        before = re.split(r"[,;]", line[end : match.start()])[-1].strip(" #\t_-").lower()
        name, end = match[1].lower(), match.end()
        plain = name not in RATES or before in _EXPLICIT or name in _EXPLICIT
        if before in _BEFORE_A_SETTING and (plain or _AFTER_A_RATE.match(line, end)):
            found[name] = match[2]
    return found


def _plain_rate(text: str) -> str:
    """A stated rate without its unit, in one form where it is a number: "500Hz" and "500.0" are equal."""
    plain = re.sub(r"(?i)hz$", "", text)
    try:
        return f"{float(plain):.12g}"
    except ValueError:
        return plain


def head_of(lines: Sequence[str]) -> Head:
    """Names, separator and settings of a table. lines: without empty ones.

    Raises UnreadableError if it has too many comments, or if these state two sampling rates.
    """
    settings: dict[str, str] = {}
    separators, rows = (), 0
    while rows < len(lines):
        line = lines[rows].strip(" \r\n")
        if line.startswith("#"):
            added = _settings(line[:LONGEST_COMMENT])
            stated = {_plain_rate(found[key]) for found in (settings, added) for key in RATES if key in found}
            if len(stated) > 1:
                both = " and ".join(sorted(repr(text[:20]) for text in stated))
                reason = f"the lines above the table state two sampling rates, {both}"
                raise UnreadableError(reason, "Remove the one that is wrong.")
            settings |= added
        elif match := _SEPARATOR_LINE.fullmatch(line):
            separators = (match[1],)
        else:
            break
        rows += 1
        if rows > MOST_COMMENTS:
            raise UnreadableError(f"the table has more than {MOST_COMMENTS:,} lines of comments above its names", FORM)
    if rows == len(lines):
        return Head([], ",", settings, rows)
    separators = separators or tuple(s for s in SEPARATORS if s in lines[rows]) or BLANKS
    by_separator = {separator: _cells(lines[rows], separator) for separator in separators}
    # The separator that gives the most lead names; without any, the most columns.
    leads = {separator: _count_leads(cells) for separator, cells in by_separator.items()}
    best = max(leads, key=lambda separator: leads[separator] or len(by_separator[separator]) / 1000)
    return Head(by_separator[best], best, settings, rows + 1)


def _count_leads(names: Sequence[str]) -> int:
    return sum(lead is not None for lead in lead_names(names[:MOST_NAMES]))


def _cells(line: str, separator: str | None) -> list[str]:
    """The cells of a line without quotes and blanks."""
    if separator is None:
        return [cell.strip("'\"") for cell in line.split()]
    try:
        row = next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise UnreadableError("a cell of the table is too long, or a quote is not closed", FORM) from error
    return [cell.strip().strip("'\"").strip() for cell in row]


def _is_units(cells: Sequence[str]) -> bool:
    """True for a row of units, in which at least two cells are units of voltage."""
    return sum(bool(cell) and millivolts(cell) is not None for cell in cells) >= FEWEST_NAMES


def _no_names(lines: Sequence[str], head: Head) -> tuple[str, str]:
    """Reason and cure for a table without lead names."""
    numbers = sum(bool(re.fullmatch(r"[-+.,\deE]+", name)) for name in head.names)
    if not lines[head.rows - 1 :]:
        return "the file has no rows of numbers", FORM
    if numbers * 2 > len(head.names):
        no_rate = "" if {*RATES} & head.settings.keys() else " and no sampling rate"
        return f"the table has no lead names{no_rate}: its first row holds numbers", FORM
    shown = ", ".join(repr(name[:20]) if name else "unnamed" for name in head.names[:20])
    return f"fewer than two leads are named; the columns are: {shown}", FORM


def _frame(body: Sequence[str], head: Head, used: Collection[int], clocks: Collection[int]) -> pd.DataFrame:
    """All columns by number. used: these must be numbers, or times if in ``clocks``. Raises UnreadableError."""
    first = _cells(body[0], head.separator)
    columns, quoted = len(head.names), head.separator == "," and '"' in body[0]
    if head.separator == "," and len(first) == 2 * columns and not quoted:
        reason = f"the rows have {len(first)} cells for {columns} names: decimal sign and separator are both commas"
        raise UnreadableError(reason, "Write a decimal point, or separate the cells by semicolons.")
    has_comma = (head.separator != "," or quoted) and _has_decimal_comma(body, head.separator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # longer rows fill the column after the last
            frame = pd.read_csv(
                io.StringIO("\n".join(body)),
                sep=head.separator or r"\s+",
                decimal="," if has_comma else ".",
                header=None,
                names=range(columns + 1),
                index_col=False,
                na_values=NOT_A_VALUE,
                skipinitialspace=True,
                quotechar="'" if body[0].lstrip().startswith("'") else '"',
                engine="c",
            )
    except ValueError as error:
        _check_rows(range(len(body)), body, head)
        raise UnreadableError("the rows cannot be split into cells: a quote is not closed", FORM) from error
    _check_lengths(frame, body, head)
    for k in set(used) - set(clocks):
        if not pd.api.types.is_numeric_dtype(frame[k]):
            _check_cells(frame[k], head, k)
    return frame


def _has_decimal_comma(body: Sequence[str], separator: str | None) -> bool:
    """Whether the cells have decimal commas. Raises UnreadableError where the commas separate thousands."""
    lines = list(islice((line for line in body if "," in line), 50))
    cells = [cell.strip() for line in lines for cell in _cells(line, separator)]
    with_comma = [cell for cell in cells if "," in cell]
    if with_comma and all(map(_THOUSANDS.fullmatch, with_comma)) and not any("." in cell for cell in cells):
        whole = [cell for line in body[:200] if "," not in line for cell in _cells(line, separator)]
        if whole and all(re.fullmatch(r"\s*[-+]?\d+\s*", cell) for cell in whole if cell.strip()):
            reason = f"the cells have separators of thousands, as in {with_comma[0]!r}"
            raise UnreadableError(reason, "Write numbers without separators of thousands.")
    return any(map(_DECIMAL_COMMA.fullmatch, with_comma))


def _check_cells(column: pd.Series, head: Head, k: int) -> None:
    """Raise UnreadableError that names the first cell of a column that is not a number."""
    wrong = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    row = int(np.argmax(wrong))
    cell = str(column.iloc[row])[:20]
    is_mixed = re.fullmatch(r"[-+]?\d[\d.,]*", cell)
    cure = "Write a decimal point in all cells, and no separator of thousands." if is_mixed else FORM
    raise UnreadableError(f"row {row + head.rows + 1}, column {head.names[k][:20]}: {cell!r} is not a number", cure)


def _check_lengths(frame: pd.DataFrame, body: Sequence[str], head: Head) -> None:
    """Raise UnreadableError if a row has more or fewer cells than there are names."""
    named = _last_named(head)
    extra, short = frame[len(head.names)].notna().to_numpy(), frame[named].isna().to_numpy()
    _check_rows(np.flatnonzero(extra | short), body, head)


def _check_rows(rows: Iterable[int], body: Sequence[str], head: Head) -> None:
    columns, named = len(head.names), _last_named(head)
    for row in rows:
        cells = len(_cells(body[row], head.separator))
        if not named < cells <= columns:
            raise UnreadableError(f"row {row + head.rows + 1} has {cells} cells for {columns} names", FORM)


def _last_named(head: Head) -> int:
    """Number of the last column with a name: a separator at the end of a row makes one without."""
    return max(k for k, name in enumerate(head.names) if name)


def _rate(head: Head, frame: pd.DataFrame, clocks: Sequence[int], units: Sequence[str]) -> tuple[float, list[str]]:
    """Samples per second from a line '# rate=500' or from the time column, and notes. Raises UnreadableError."""
    text = next((head.settings[key] for key in RATES if key in head.settings), None)
    if text is not None:
        try:
            stated = float(_plain_rate(text))
        except ValueError:
            raise UnreadableError(f"the sampling rate {text[:20]!r} is not a number", FORM) from None
        if clocks and abs(_rate_of_clock(head, frame, clocks, units)[0] / stated - 1) > SAME_RATE:
            reason = f"the line above the table says {stated:g} samples per second, the column of times something else"
            raise UnreadableError(reason, "Remove the one that is wrong.")
        return stated, []
    if not clocks:
        counted = next((name for name in head.names if time_column.is_sample_number(name)), "")
        more = f"; the column {counted[:20]!r} only counts samples" if counted else ""
        raise UnreadableError(f"the file contains no sampling rate{more}", FORM)
    return _rate_of_clock(head, frame, clocks, units)


def _rate_of_clock(
    head: Head, frame: pd.DataFrame, clocks: Sequence[int], units: Sequence[str]
) -> tuple[float, list[str]]:
    k = clocks[0]
    return time_column.rate(frame[k], head.names[k], units[k] if k < len(units) else "")
