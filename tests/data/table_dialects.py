"""The embedded cohort's table in the dialects of UK Biobank's export tools."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb.columns import Key, field_of

if TYPE_CHECKING:
    import pandas

CODES, CODE_DATES, SEX = 41270, 41280, 31
_DATES = {53, CODE_DATES, 131298, 131338, 131350, 131354}
_TITLES = {trait.field_id: trait.name for trait in TRAITS} | {
    SEX: "Sex",
    50: "Standing height",
    53: "Date of attending assessment centre",
    21002: "Weight",
    21003: "Age when attended assessment centre",
    CODES: "Diagnoses - ICD10",
    CODE_DATES: "Date of first in-patient diagnosis - ICD10",
    131298: "Date I21 first reported (acute myocardial infarction)",
    131338: "Date I42 first reported (cardiomyopathy)",
    131350: "Date I48 first reported (atrial fibrillation and flutter)",
    131354: "Date I50 first reported (heart failure)",
}
_SINGLE = {SEX, CODES, 131298, 131338, 131350, 131354}  # fields without instance and array in the platform's names


@dataclass(frozen=True)
class TableDialect:
    """The format of one tool. lists: notation of several codes in a cell, or "columns" for one column per code."""

    header: Callable[[Key], str]
    eid: str = "eid"
    separator: str = ","
    missing: str = ""
    lists: str = "json"
    words: bool = False  # meanings instead of codes
    stata_dates: bool = False
    quoted: bool = False
    row_names: bool = False  # as R's write.table does
    encoding: str = "utf-8"
    newline: str = "\n"
    gzipped: bool = False


def _platform(key: Key) -> str:
    field, instance, array = key
    if field in _SINGLE:
        return f"p{field}"
    return f"p{field}_a{array}" if field == CODE_DATES else f"p{field}_i{instance}"


def _title(key: Key) -> str:
    field, instance, array = key
    title = _TITLES[field]
    if field in _SINGLE:
        return title
    return f"{title} | Array {array}" if field == CODE_DATES else f"{title} | Instance {instance}"


def _both(key: Key) -> str:
    return f"{_title(key)} (participant - {_platform(key)})"


def _read_by_r(header: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]", ".", header)


def _stata(key: Key) -> str:
    return f"{'ts' if key[0] in _DATES else 's' if key[0] == CODES else 'n'}_{key[0]}_{key[1]}_{key[2]}"


def _ukbtools(key: Key) -> str:
    return f"{'_'.join(re.findall('[a-z0-9]+', _TITLES[key[0]].lower()))}_f{key[0]}_{key[1]}_{key[2]}"


_TITLED = TableDialect(_title, "Participant ID", lists="bars", words=True)
_CONVERTED = TableDialect(lambda k: f"{k[0]}-{k[1]}.{k[2]}", lists="columns", quoted=True)
_R = TableDialect(lambda k: f"f.{k[0]}.{k[1]}.{k[2]}", "f.eid", "\t", "NA", "columns")
TABLE_DIALECTS = {
    "platform, coded": TableDialect(_platform),
    "platform, Python lists": TableDialect(_platform, lists="python"),
    "platform, tab, CRLF, byte order mark": TableDialect(
        _platform, separator="\t", encoding="utf-8-sig", newline="\r\n"
    ),
    "platform, gzip": TableDialect(_platform, gzipped=True),
    "platform, titles": _TITLED,
    "platform, titles with names": replace(_TITLED, header=_both, eid="Participant ID (participant - eid)"),
    "platform, titles read by R": replace(_TITLED, header=lambda k: _read_by_r(_title(k)), eid="Participant.ID"),
    "platform, names and titles read by R": replace(
        _TITLED, header=lambda k: _read_by_r(_both(k)), eid="Participant.ID..participant...eid."
    ),
    "dx extract_dataset": TableDialect(lambda k: f"participant.{_platform(k)}", "participant.eid"),
    "ukbconv csv": _CONVERTED,
    "ukbconv r": _R,
    "ukbconv r with row names": replace(_R, row_names=True, quoted=True),
    "ukbconv stata": TableDialect(_stata, "n_eid", "\t", lists="columns", stata_dates=True),
    "csv read by R": replace(_CONVERTED, header=lambda k: f"X{k[0]}.{k[1]}.{k[2]}", missing="NA"),
    "ukbtools": TableDialect(_ukbtools, lists="columns", missing="NA"),
    "spreadsheet, UTF-16": TableDialect(_platform, separator="\t", encoding="utf-16"),
    "spreadsheet, semicolons": TableDialect(_platform, separator=";", encoding="latin-1"),
}


def write(table: pandas.DataFrame, dialect: TableDialect) -> bytes:
    """The frame of ``synthetic.render_table`` as a file in a dialect."""
    names, columns = [dialect.eid], [table["eid"].astype(str).tolist()]
    for name in table.columns.drop("eid"):
        key = field_of(name)
        cells = ["" if value == "" or value != value else str(value) for value in table[name]]
        for array, part in enumerate(_arrays(cells, dialect) if key[0] == CODES else [cells]):
            names.append(dialect.header((key[0], key[1], key[2] + array)))
            columns.append([_cell(cell, key[0], dialect) for cell in part])
    rows = list(zip(*columns, strict=True))
    if dialect.row_names:
        rows = [(str(k + 1), *row) for k, row in enumerate(rows)]
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if dialect.quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=dialect.separator, lineterminator=dialect.newline, quoting=quoting)
    writer.writerows([names, *rows])
    content = text.getvalue().encode(dialect.encoding)
    return gzip.compress(content, mtime=0) if dialect.gzipped else content


def _arrays(cells: list[str], dialect: TableDialect) -> list[list[str]]:
    """The columns of codes in a dialect."""
    lists = [json.loads(cell) if cell else [] for cell in cells]
    if dialect.lists == "columns":
        width = max(map(len, lists), default=0)
        return [[codes[k] if k < len(codes) else "" for codes in lists] for k in range(width)]
    if dialect.words:
        lists = [[f"{code[:3]}.{code[3:]} Something, unspecified" for code in codes] for codes in lists]
    join = {"json": json.dumps, "python": repr, "bars": "|".join}[dialect.lists]
    return [[join(codes) if codes else "" for codes in lists]]


def _cell(cell: str, field: int, dialect: TableDialect) -> str:
    if not cell:
        return dialect.missing
    if field == SEX and dialect.words:
        return {"0": "Female", "1": "Male"}[cell]
    if field in _DATES and dialect.stata_dates:
        year, month, day = cell.split("-")
        months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
        return f"{day}{months[int(month) - 1]}{year}"
    if field in _DATES and dialect.words and cell == "1900-01-01":
        return "Code has no event date"
    return cell
