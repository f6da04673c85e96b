"""Read tables of text line by line, in limited memory: plain or gzip, UTF-8 or UTF-16, of any number of GB."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.io import regular

LONGEST_LINE = 2**24  # characters; a row of all 30,000 columns of UK Biobank has about three million
LONGEST_CELL = 2**20  # characters
MOST_COLUMNS = 100_000  # the whole of UK Biobank has about 30,000
MOST_LINES = 2_500_000  # the table of the whole CODE dataset has 2.3 million ECGs
EXPORT_AGAIN = "Export the table again as comma- or tab-separated text."


@contextmanager
def open_text(path: Path, errors: str = "replace") -> Iterator[io.TextIOBase]:
    """Open a plain or gzip file as text. errors: invalid characters are replaced, or else raise UnicodeDecodeError.

    Raises UnreadableError if it cannot be opened or read, or is binary.
    """
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
            yield io.TextIOWrapper(plain, encoding=encoding, errors=errors, newline="")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "its compressed content is damaged"
        raise UnreadableError(f"the table cannot be read ({reason})", "Copy or export the table again.") from error


def lines(text: io.TextIOBase, most: int = MOST_LINES) -> Iterator[str]:
    """Yield the lines of a table. Raises UnreadableError if one is too long, or if there are more than ``most``."""
    for _ in range(most):
        line = text.readline(LONGEST_LINE)
        if len(line) == LONGEST_LINE:
            raise UnreadableError(f"the table has a line of more than {LONGEST_LINE:,} characters", EXPORT_AGAIN)
        if not line:
            return
        yield line
    if text.read(1):
        raise UnreadableError(f"the table has more than {most:,} lines", "Leave out the lines that are not used.")


def cells(line: str, separator: str) -> list[str]:
    """The cells of one line, such as the header; empty if a quote is not closed. Raises UnreadableError if too many."""
    if (count := line.count(separator)) > MOST_COLUMNS:
        raise UnreadableError(f"the table has {count + 1:,} columns; the limit is {MOST_COLUMNS:,}", EXPORT_AGAIN)
    csv.field_size_limit(LONGEST_CELL)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def rows(of_lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    """Yield the cells of each row. Raises UnreadableError if a quote or a cell is damaged, or a row has too many."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(_narrow(of_lines, separator), delimiter=separator, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        reason = f"the table's quotes or cells are damaged in line {reader.line_num + 1}"
        raise UnreadableError(reason, EXPORT_AGAIN) from error


def _narrow(of_lines: Iterator[str], separator: str) -> Iterator[str]:
    """The lines. Raises UnreadableError if one has too many cells, before they are split."""
    for line in of_lines:
        if len(line) > MOST_COLUMNS and line.count(separator) > MOST_COLUMNS:
            reason = f"a row of the table has {line.count(separator) + 1:,} cells; the limit is {MOST_COLUMNS:,}"
            raise UnreadableError(reason, EXPORT_AGAIN)
        yield line


def of_width(all_rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    """Yield rows of the header's width.

    If the first row has one cell more than the header, the extra cell is R's row name at the start or an empty cell at
    the end; it is removed from each row. Raises UnreadableError for a row of another length.
    """
    extra, is_first = None, True
    for number, row in enumerate(all_rows, start=2):
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


def first_line(of_lines: Iterator[str]) -> str:
    """The line of the header; Excel's line ``sep=;`` before it is left out."""
    line = next(of_lines, "")
    return next(of_lines, "") if re.fullmatch(r"sep=.\s*", line, re.IGNORECASE) else line
