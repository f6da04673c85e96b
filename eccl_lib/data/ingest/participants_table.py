"""The user's table of labels for an unpaired store: one row per id; diseases, traits, sex, age and patient."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.escape import one_line
from eccl_lib.config.schema import DISEASES
from eccl_lib.data import text_table
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb import spreadsheet
from eccl_lib.io import regular

SEPARATORS = (",", ";", "\t", "|")
# Cells without a value.
MISSING = {"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>"}
MAX_AGE = 120  # years; ours
MOST_NAMED = 12  # unused columns that a note names
SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
ONE_ROW = "Keep one row per id."
COLUMNS = (
    "The columns are: id (the recording's path below FOLDER, or its last part); any of I21, I42, I48, I50 with 0 or 1; "
    "any of the 82 trait fields such as 24103, with numbers; optionally sex (female, male), age (years) and patient "
    "(the same value for all recordings of one person)."
)


@dataclass
class Labelled:
    """The table's values, one row per recording. frame: sex, age, patient. traits: (P, 82), NaN if missing.

    labels: rule to (P, 4) bool; empty without a table. notes: warnings for the report.
    """

    frame: pd.DataFrame
    traits: np.ndarray
    labels: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)


def read(path: Path, names: Collection[str], own: Collection[str] = (), notes: list[str] | None = None) -> pd.DataFrame:
    """The table, indexed by the names of the recordings that have a row. notes: receives the names of unused columns.

    names: of all recordings. An id is a name or the last part of exactly one name. own: columns of the user's own
    tasks, which are kept as text. Raises UnreadableError if the file is not a table, lacks columns, has ids that match
    no or several recordings, or has several rows per recording.
    """
    known = {"id", "sex", "age", "patient", *DISEASES, *_FIELDS, *own}
    with regular.named(path):
        try:
            with text_table.open_text(path, errors="strict") as text:
                lines = text_table.lines(text)
                header, separator = _header(text_table.first_line(lines), own, known)
                unused = list(dict.fromkeys(name for name in header if name and name not in known))
                rows = text_table.of_width(text_table.rows(lines, separator), len(header))
                ids, cells = _kept(rows, header, known, _by_name(names))
        except UnicodeDecodeError as error:
            raise UnreadableError("the table is not UTF-8", "Save it again as CSV in UTF-8.") from error
        resolved = _resolved(ids, names)
        if ids and names and not any(resolved):
            reason = f"no id of the table matches a recording: the first id is {ids[0]!r}"
            reason += f", the first recording is {min(names)!r}"
            raise UnreadableError(reason, "Use each recording's path below FOLDER, without the suffix, as its id.")
        table = pd.DataFrame(cells, index=pd.Index(resolved, name="name", dtype=object))
        table = table[table.index.notna()]
        if repeated := table.index[table.index.duplicated()].nunique():
            raise UnreadableError(f"the table has several rows for {repeated} of its ids", ONE_ROW)
    if unused and notes is not None:
        notes.append(_of_unused(unused))
    return table


def _of_unused(columns: Sequence[str]) -> str:
    """A sentence that names columns that nothing uses."""
    named = ", ".join(one_line(name[:40]) for name in columns[:MOST_NAMED])
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    example = f"--tasks {one_line(columns[0][:40])}:KIND, with binary, multilabel or continuous"
    return f"columns of the table that are not used: {named}{more}. To predict one, name it a task: {example}"


def _header(line: str, own: Collection[str], known: Collection[str]) -> tuple[list[str], str]:
    """Names of the columns, and the separator. Raises UnreadableError if columns are missing."""
    by_separator = {s: [name.strip() for name in text_table.cells(line, s)] for s in SEPARATORS}
    separator = max(SEPARATORS, key=lambda s: ("id" in by_separator[s], len(by_separator[s])))
    header = by_separator[separator]
    if "id" not in header:
        raise UnreadableError(f"the table has no column id; its columns are {', '.join(header[:8])[:120]}", COLUMNS)
    if absent := sorted(set(own) - set(header)):
        raise UnreadableError(
            f"the table has no column {', '.join(absent)}; its columns are {', '.join(header[:12])[:160]}",
            "Correct the name in --tasks or in the table; capitals count.",
        )
    if not (set(known) - {"id"}) & set(header):
        raise UnreadableError("the table has no column with a disease, trait, sex, age or patient", COLUMNS)
    if repeated := sorted({name for name in set(header) & set(known) if header.count(name) > 1}):
        raise UnreadableError(f"the table has several columns {', '.join(repeated)}", "Keep one of them.")
    return header, separator


def _kept(
    rows: Iterable[list[str]], header: Sequence[str], known: Collection[str], by_last: Mapping[str, Sequence[str]]
) -> tuple[list[str], dict[str, list[str | None]]]:
    """Ids and cells of the known columns, None if empty, of the rows whose ids are of recordings; and the first id.

    Raises UnreadableError if an id is repeated.
    """
    at = header.index("id")
    columns = {k: name for k, name in enumerate(header) if name in known and name != "id"}
    ids: list[str] = []
    known_ids: set[str] = set()
    cells: dict[str, list[str | None]] = {name: [] for name in columns.values()}
    for number, row in enumerate(rows):
        name = row[at].strip()
        if number and name.rsplit("/", 1)[-1] not in by_last:
            continue  # of no recording; the first is kept for the message
        if name in known_ids:
            raise UnreadableError(f"the table has several rows for one of its ids, as in row {number + 2:,}", ONE_ROW)
        known_ids.add(name)
        ids.append(name)
        for k, column in columns.items():
            cell = row[k].strip()
            cells[column].append(None if cell in MISSING else cell)
    return ids, cells


def _by_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of recordings by their last part."""
    by_last: dict[str, list[str]] = {}
    for name in names:
        by_last.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    return by_last


def of_layout(facts: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Table of labels from a dataset's facts by recording and column; diseases unknown for some are dropped."""
    table = pd.DataFrame.from_dict({name: dict(values) for name, values in facts.items()}, orient="index", dtype=object)
    incomplete = [name for name in DISEASES if name in table and table[name].isna().any()]
    return table.drop(columns=incomplete)


def _resolved(ids: Sequence[str], names: Collection[str]) -> list[str | None]:
    """The recording of each id, None if there is none. Raises UnreadableError if an id matches several recordings."""
    by_last, known = _by_name(names), set(names)
    ambiguous = {i for i in ids if i not in known and len(by_last.get(i, ())) > 1}
    if ambiguous:
        reason = f"{len(ambiguous)} ids of the table match several recordings in different folders"
        raise UnreadableError(reason, "Use the path below FOLDER as the id, such as a/b for a/b.hea.")
    return [i if i in known else next(iter(by_last.get(i, ())), None) for i in ids]


def rows(table: pd.DataFrame | None, names: Sequence[str]) -> Labelled:
    """The table's values for some recordings, in their order; without a table all values are missing.

    Raises UnreadableError if a cell is not a number, or a disease is neither 0 nor 1.
    """
    blank = table is None
    table = pd.DataFrame(index=list(names)) if blank else table.loc[list(names)]
    notes: list[str] = []
    age = _numbers(table, "age")
    invalid = (age < 0) | (age > MAX_AGE)
    if invalid.any():
        notes.append(f"{int(invalid.sum())} ages are outside 0 to {MAX_AGE} years and count as missing")
    sex = _sex(table, notes)
    patient = _column(table, "patient").str.strip()
    frame = pd.DataFrame({"sex": sex.astype(object).where(sex.notna(), None), "age": np.where(invalid, np.nan, age)})
    frame["patient"] = np.where(patient.notna(), patient, list(names))
    traits = np.stack([_numbers(table, number) for number in _FIELDS], axis=1).astype(np.float32)
    named = [disease for disease in DISEASES if disease in table]
    labels = {}
    if named:
        absent = np.zeros(len(table), dtype=bool)
        labels["ever"] = np.stack([_disease(table, d) if d in named else absent for d in DISEASES], axis=1)
        if missing := [d for d in DISEASES if d not in named]:
            notes.append(f"the table has no column {', '.join(missing)}: all participants count as controls")
    elif not blank:
        labels["ever"] = np.zeros((len(table), len(DISEASES)), dtype=bool)
        notes.append("the table has no disease: only the traits can be predicted")
    return Labelled(frame.reset_index(drop=True), traits, labels, notes)


_FIELDS = [str(trait.field_id) for trait in TRAITS]


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(None, index=table.index, dtype=object)


def _sex(table: pd.DataFrame, notes: list[str]) -> pd.Series:
    """Sex of each row, missing if it is empty or unknown. Raises UnreadableError if no word in the column is known."""
    column = _column(table, "sex").str.strip()
    sex = column.str.lower().map(SEXES)
    unknown = column[sex.isna() & column.notna() & (column != "")]
    if len(unknown) and sex.isna().all():
        reason = f"column sex has no known value in {len(unknown)} cells, as in {unknown.iloc[0][:40]!r}"
        raise UnreadableError(reason, "Write female or male (F or M), or remove the column.")
    if len(unknown):
        notes.append(f"{len(unknown)} cells of the column sex are neither female nor male and count as missing")
    return sex


def _numbers(table: pd.DataFrame, name: str, cure: str = "Leave a cell empty if unknown.") -> np.ndarray:
    """A column as numbers, NaN for an empty cell. Raises UnreadableError if a cell is not a number."""
    column = _column(table, name)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    filled = column.notna().to_numpy() & (column.fillna("").astype(str).str.strip() != "").to_numpy()
    wrong = column[filled & ~np.isfinite(values)].astype(str)
    if len(wrong):
        spreadsheet.stop_at_rewritten(f"column {name}", wrong, spreadsheet.NUMBERS)
        reason = f"column {name} has {len(wrong)} cells that are not numbers, as in {wrong.iloc[0][:40]!r}"
        raise UnreadableError(reason, cure)
    return values


def _disease(table: pd.DataFrame, name: str) -> np.ndarray:
    """A disease's column as bool. Raises UnreadableError if a cell is not 0 or 1; empty does not count as 0."""
    cure = "Write 0 or 1 in each row, or remove the rows in which it is unknown."
    values = _numbers(table, name, cure)
    if wrong := int((~np.isin(values, (0, 1))).sum()):
        raise UnreadableError(f"column {name} has {wrong} cells that are neither 0 nor 1", cure)
    return values == 1
