"""Recognise cells that a spreadsheet has rewritten: decimal commas, thousands separators, dates, rounded ids."""

import re

import pandas as pd

from eccl_lib.config.errors import UnreadableError

CURE = (
    "A spreadsheet has rewritten the cells. Use the original export, and import all columns as text where you open it; "
    "or save it with a decimal point, no thousands separators and dates as YYYY-MM-DD."
)
ID_CURE = (
    "A spreadsheet has rounded or reformatted the ids; rounded ids are lost. Use the original export, and import all "
    "columns as text where you open it."
)
_MONTH = r"(?:jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zé]*"
_GROUP = r"[.,'\u2019\s]"
# Names of the faults in a number and in a date, and their forms. Plain numbers are checked before, dates are after ISO.
NUMBERS = {
    "a decimal comma": r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?",
    "a thousands separator": rf"[+-]?\d{{1,3}}(?:{_GROUP}\d{{3}})+(?:[.,]\d+)?",
    "a date in place of a number": r"\d{1,2}[./-]\d{1,2}(?:[./-]\d{2,4})?"
    rf"|\d{{1,2}}[. /-]*{_MONTH}|{_MONTH}[. /-]*\d+",
    "an error of a spreadsheet": r"#.*",
    "a percent sign": r"[+-]?\d+(?:[.,]\d+)?\s*%",
}
DATES = {
    "a date that is not YYYY-MM-DD": r"\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d\d)(?:\s.*)?|\d{4}[./]\d{1,2}[./]\d{1,2}"
    rf"|\d{{1,2}}[. -]+{_MONTH}[. -]+\d{{2,4}}|{_MONTH}[. -]+\d{{1,2}},?\s+\d{{4}}",
    "a serial number in place of a date": r"[2-6]\d{4}(?:[.,]\d+)?",
    "an error of a spreadsheet": r"#.*",
}
IDS = {
    "a number in scientific notation": r"\d[.,]?\d*[eE][+]?\d+",
    "a thousands separator": rf"\d{{1,3}}(?:{_GROUP}\d{{3}})+(?:[.,]0+)?",
    "a decimal comma": r"\d+,0+",
    "an error of a spreadsheet": r"#.*",
}
_ISO = re.compile(r"\d{4}-\d\d-\d\d").match  # most cells of the fields of dates
_COMPILED = {
    id(forms): [(fault, re.compile(form, re.IGNORECASE)) for fault, form in forms.items()]
    for forms in (NUMBERS, DATES, IDS)
}


def fault(cell: str, forms: dict[str, str]) -> str:
    """The fault of a cell, one of the keys of ``forms`` (NUMBERS, DATES or IDS); "" for any other text."""
    return next((name for name, form in _COMPILED[id(forms)] if form.fullmatch(cell.strip())), "")


def stop_at_rewritten(column: str, cells: pd.Series, forms: dict[str, str], cure: str = CURE) -> None:
    """Raise UnreadableError with column, value, fault and number of cells if a spreadsheet has rewritten a cell."""
    faults = {cell: found for cell in cells.unique() if not _ISO(cell) and (found := fault(cell, forms))}
    if faults:
        cell, found = next(iter(faults.items()))
        count = int(cells.isin(list(faults)).sum())
        cells_are = "1 cell" if count == 1 else f"{count} such cells"
        raise UnreadableError(f"{column} has {found}, as in {cell[:40]!r} ({cells_are})", cure)
