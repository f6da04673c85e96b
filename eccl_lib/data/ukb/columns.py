"""Field, instance and array of a column of a tabular export, from the header styles of all UK Biobank tools."""

import re

import numpy as np
import pandas as pd

from eccl_lib.data.traits import TRAITS

SEX, AGE, VISIT_DATE = 31, 21003, 53
IMAGING_VISIT = 2  # Sec. 3.1: first imaging assessment
FIRST_OCCURRENCE = {"I21": 131298, "I42": 131338, "I48": 131350, "I50": 131354}  # date fields
# Field of hospital diagnoses to field of their dates, element by element: all diagnoses, and main diagnoses only.
CODE_DATES = {41270: 41280, 41202: 41262}
LABEL_ARRAY = 1  # array number given to columns named I21 etc. (authors' code), which are not fields of UK Biobank

Key = tuple[int, int, int]  # field, instance, array

_RAP = r"p(\d+)(?:_i(\d+))?(?:_a(\d+))?"
_HEADERS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:participant\.)?{_RAP}",  # Research Analysis Platform; dx extract_dataset
        r"(\d+)-(\d+)\.(\d+)",  # ukbconv csv
        r"(?:f\.|X)(\d+)\.(\d+)\.(\d+)",  # ukbconv r and txt; a csv that R has read
        r"(?:n|s|ts|sd|d)_(\d+)_(\d+)_(\d+)",  # ukbconv stata
        r".*_f(\d+)_(\d+)_(\d+)",  # ukbtools
        rf".*\((?:participant - )?{_RAP}\)",  # titles with the field in brackets
        rf".*\.{_RAP}\.",  # the same after R has read it
    )
]
_PLACE = re.compile(r"(?P<title>.*?)(?: instance (?P<instance>\d+))?(?: array (?P<array>\d+))?")
_EID = {"eid", "f eid", "n eid", "participant eid", "participant id", "participant id participant eid"}
_TITLES = {
    SEX: "sex",
    AGE: "age when attended assessment centre",
    VISIT_DATE: "date of attending assessment centre",
    41270: "diagnoses icd10",
    41280: "date of first in patient diagnosis icd10",
    41202: "diagnoses main icd10",
    41262: "date of first in patient diagnosis main icd10",
}


def plain(header: str) -> str:
    """The words of a header in lower case, so that a title equals R's version of it, which has dots."""
    return " ".join(re.findall(r"[a-z0-9]+", header.lower()))


_FIELDS_BY_TITLE = {title: field for field, title in _TITLES.items()}
_FIELDS_BY_TITLE |= {plain(trait.name): trait.field_id for trait in TRAITS}


def is_eid(header: str) -> bool:
    """True if the column contains the participants' ids."""
    return plain(header) in _EID


def field_of(header: str) -> Key | None:
    """(field, instance, array) of a column from its header in any known style; None if it is not a field."""
    header = header.strip()
    for pattern in _HEADERS:
        if match := pattern.fullmatch(header):
            field, instance, array = (int(part[:9]) if part else 0 for part in match.groups())
            return field, instance, array
    if header.upper() in FIRST_OCCURRENCE:
        return FIRST_OCCURRENCE[header.upper()], 0, LABEL_ARRAY
    return _by_title(header)


def _by_title(header: str) -> Key | None:
    """Like ``field_of``, from the platform's titles of the fields in use: ``LV ejection fraction | Instance 2``."""
    match = _PLACE.fullmatch(plain(header[:300]))
    title = match["title"]
    if dated := re.match(r"date (i\d\d) first reported\b", title):
        field = FIRST_OCCURRENCE.get(dated[1].upper())
    else:
        field = _FIELDS_BY_TITLE.get(title)
    return None if field is None else (field, int((match["instance"] or "0")[:9]), int((match["array"] or "0")[:9]))


def as_text(table: pd.DataFrame, field: int, instance: int = 0) -> pd.Series:
    """First array element of a field as text; all values are missing if the export does not have the field."""
    key = (field, instance, 0)
    return table[key] if key in table.columns else pd.Series(np.nan, index=table.index, dtype=object)
