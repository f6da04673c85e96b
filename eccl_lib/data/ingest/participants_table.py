"""The table that a user writes for an unpaired store: a row an id, diseases as 0 or 1, traits by field, sex, age."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import DISEASES
from eccl_lib.data.files import read_bytes
from eccl_lib.data.traits import TRAITS

LARGEST_TABLE = 256 * 2**20
OLDEST = 120  # years
SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
WANTED = (
    "Its columns are id (the recording's name below FOLDER, or the last part of it), any of I21, I42, I48, I50 with 0 "
    "or 1, any of the 82 trait fields such as 24103 with numbers, and if known sex (female, male), age (years) and "
    "patient (the same for all recordings of one person)."
)


@dataclass
class Labelled:
    """What the table says, a row a recording. frame: sex, age, patient. traits: (P, 82), NaN where nothing is said.

    labels: rule to (P, 4) bool; empty where no disease is named.
    """

    frame: pd.DataFrame
    traits: np.ndarray
    labels: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)


def read(path: Path, names: Collection[str]) -> pd.DataFrame:
    """The table with the recordings' names as index, those that it has a row for. Raises UnreadableError.

    names: of the recordings; a row's id is one of them, or the last part of exactly one; at least one row's must be.
    """
    read_bytes(path, LARGEST_TABLE)
    try:
        table = pd.read_csv(path, dtype=str, sep=None, engine="python", encoding="utf-8-sig", skipinitialspace=True)
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path.name} is no readable table ({str(error)[:80]})", WANTED) from error
    table.columns = [str(name).strip() for name in table.columns]
    if "id" not in table.columns:
        raise UnreadableError(f"{path.name} has no column id but {', '.join(table.columns[:8])[:120]}", WANTED)
    known = {"id", "sex", "age", "patient", *DISEASES, *_FIELDS}
    if not known - {"id", "sex", "age", "patient"} & set(table.columns) and not {"sex", "age", "patient"} & set(table):
        raise UnreadableError(f"{path.name} names no disease, no trait and no person's facts", WANTED)
    table.index = pd.Index(_resolved(table["id"].fillna("").str.strip(), names, path.name), name="name")
    if len(table) and names and table.index.isna().all():
        reason = f"no id of {path.name} is the name of a recording: it has {table['id'].iloc[0]!r}"
        reason += f", a recording is called {min(names)!r}"
        raise UnreadableError(reason, "Write the ids as recordings are called: their path below FOLDER, no suffix.")
    table = table[table.index.notna()]
    if twice := table.index[table.index.duplicated()].nunique():
        raise UnreadableError(f"{path.name} has several rows for {twice} of its ids", "Leave one row for each.")
    return table.drop(columns=[name for name in table.columns if name not in known or name == "id"])


def of_layout(facts: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The table that a layout's own facts make, by name: the diseases that are said of everyone, sex, age."""
    table = pd.DataFrame.from_dict({name: dict(said) for name, said in facts.items()}, orient="index", dtype=object)
    unsaid = [name for name in DISEASES if name in table and table[name].isna().any()]
    return table.drop(columns=unsaid)


def _resolved(ids: pd.Series, names: Collection[str], file: str) -> list[str | None]:
    """The recording that each id means; None where there is none. Raises UnreadableError where there are several."""
    by_last: dict[str, list[str]] = {}
    for name in names:
        by_last.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    unclear = sorted({i for i in ids if i not in names and len(by_last.get(i, ())) > 1})
    if unclear:
        reason = f"{len(unclear)} ids of {file} mean several recordings, which lie in several folders"
        raise UnreadableError(reason, "Write their path below FOLDER, such as a/b for a/b.hea.")
    return [i if i in names else next(iter(by_last.get(i, ())), None) for i in ids]


def rows(table: pd.DataFrame | None, names: Sequence[str]) -> Labelled:
    """What the table says of these recordings, in their order. Raises UnreadableError on a cell that cannot be."""
    blank = table is None
    table = pd.DataFrame(index=list(names)) if blank else table.loc[list(names)]
    notes: list[str] = []
    age = _numbers(table, "age")
    odd = (age < 0) | (age > OLDEST)
    if odd.any():
        notes.append(f"{int(odd.sum())} ages are outside 0 to {OLDEST} years and count as missing")
    sex = _column(table, "sex").str.strip().str.lower().map(SEXES)
    patient = _column(table, "patient").str.strip()
    frame = pd.DataFrame({"sex": sex.astype(object).where(sex.notna(), None), "age": np.where(odd, np.nan, age)})
    frame["patient"] = np.where(patient.notna(), patient, list(names))
    traits = np.stack([_numbers(table, number) for number in _FIELDS], axis=1).astype(np.float32)
    named = [disease for disease in DISEASES if disease in table]
    labels = {}
    if named:
        labels["ever"] = np.stack(
            [_disease(table, d) if d in named else np.zeros(len(table), bool) for d in DISEASES], 1
        )
        if missing := [d for d in DISEASES if d not in named]:
            notes.append(f"the table has no column {', '.join(missing)}: nobody counts as having it")
    elif not blank:
        labels["ever"] = np.zeros((len(table), len(DISEASES)), dtype=bool)
        notes.append("the table names no disease: the traits alone can be learned")
    return Labelled(frame.reset_index(drop=True), traits, labels, notes)


_FIELDS = [str(trait.field_id) for trait in TRAITS]


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(None, index=table.index, dtype=object)


def _numbers(table: pd.DataFrame, name: str, cure: str = "Leave a cell empty if unknown.") -> np.ndarray:
    """A column as numbers, NaN where a cell is empty."""
    column = _column(table, name)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    filled = column.notna().to_numpy() & (column.fillna("").astype(str).str.strip() != "").to_numpy()
    if wrong := int((filled & ~np.isfinite(values)).sum()):
        raise UnreadableError(f"column {name} has {wrong} cells that are no numbers", cure)
    return values


def _disease(table: pd.DataFrame, name: str) -> np.ndarray:
    """0 or 1 for everyone: what is not known is not 0."""
    cure = "Say 0 or 1 of everyone, or leave out the rows of those of whom it is not known."
    values = _numbers(table, name, cure)
    if wrong := int((~np.isin(values, (0, 1))).sum()):
        raise UnreadableError(f"column {name} has {wrong} cells that are neither 0 nor 1", cure)
    return values == 1
