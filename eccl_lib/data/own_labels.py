"""Tasks of the user's own labels: binary, multi-label or continuous columns of a table (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from eccl_lib.config.errors import ConfigError, UnreadableError

Kind = Literal["binary", "multilabel", "continuous"]
KINDS = get_args(Kind)
CURE = (
    "Write NAME:KIND with the kind binary, multilabel or continuous, such as MI:binary or age:continuous. A task with "
    "other columns is written as superclass:multilabel:NORM,MI,STTC."
)


@dataclass(frozen=True)
class OwnTask:
    """One task. columns: of the table; a multi-label task has several, each with 0 or 1."""

    name: str
    kind: Kind
    columns: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, unique over tasks: a column, with the name of a multi-label task before it."""
        return self.columns if len(self.columns) == 1 else tuple(f"{self.name}_{column}" for column in self.columns)

    @property
    def is_binary(self) -> bool:
        """Whether its columns are 0 or 1."""
        return self.kind != "continuous"


@dataclass(frozen=True)
class OwnLabels:
    """Own labels of a cohort. tasks: by name. values: one row per participant and one column per label, NaN missing."""

    tasks: Mapping[str, OwnTask]
    values: pd.DataFrame

    def of(self, names: Sequence[str]) -> tuple[list[OwnTask], np.ndarray]:
        """The tasks of these names and their values, (N, columns) float64. Raises ConfigError on an unknown name."""
        unknown = [name for name in names if name not in self.tasks]
        if unknown:
            raise ConfigError(f"the cohort has no task {', '.join(unknown)}; its tasks are {', '.join(self.tasks)}")
        tasks = [self.tasks[name] for name in names]
        columns = [column for task in tasks for column in task.columns]
        return tasks, self.values[columns].to_numpy(np.float64)

    def rows(self, kept: np.ndarray) -> OwnLabels:
        """The labels of some participants. kept: row numbers or a mask."""
        return OwnLabels(self.tasks, self.values[kept] if kept.dtype == bool else self.values.iloc[kept])

    def tasks_as_json(self) -> list[dict[str, Any]]:
        """The tasks as JSON types; ``tasks_from_json`` is the inverse."""
        return [{"name": t.name, "kind": t.kind, "columns": list(t.columns)} for t in self.tasks.values()]


def tasks_from_json(content: Sequence[Mapping[str, Any]]) -> dict[str, OwnTask]:
    """Tasks by name."""
    return {item["name"]: OwnTask(item["name"], item["kind"], tuple(item["columns"])) for item in content}


def parse(words: Sequence[str]) -> dict[str, OwnTask]:
    """Tasks of ``--tasks``, by name: ``MI:binary``, ``age:continuous``, ``superclass:multilabel:NORM,MI``.

    Raises ConfigError on another form, an unknown kind, or a repeated name.
    """
    tasks: dict[str, OwnTask] = {}
    for word in words:
        name, _, rest = word.partition(":")
        kind, _, listed = rest.partition(":")
        columns = tuple(part.strip() for part in listed.split(",")) if listed else (name,)
        if not name or kind not in KINDS or not all(columns):
            raise ConfigError(f"--tasks {word}: this is no task. {CURE}")
        if kind != "multilabel" and len(columns) > 1:
            raise ConfigError(f"--tasks {word}: only a multilabel task has several columns. {CURE}")
        if name in tasks:
            raise ConfigError(f"--tasks {word}: the name {name} is given twice; give each task its own name")
        tasks[name] = OwnTask(name, kind, columns)
    return tasks


def from_table(table: pd.DataFrame, tasks: Mapping[str, OwnTask], file: str) -> OwnLabels:
    """Own labels from a table of texts. table: one row per participant; an empty cell is missing.

    Raises UnreadableError, with the column and a value, if a column is absent, or a cell is not a number (continuous)
    or not 0 or 1 (binary).
    """
    values = {}
    for task in tasks.values():
        for column in task.columns:
            if column not in table:
                listed = ", ".join(map(str, table.columns[:12]))
                raise UnreadableError(f"{file} has no column {column}; its columns are {listed}", CURE)
            values[column] = _numbers(table[column], column, task, file)
    return OwnLabels(dict(tasks), pd.DataFrame(values, index=table.index))


def _numbers(cells: pd.Series, column: str, task: OwnTask, file: str) -> np.ndarray:
    text = cells.fillna("").astype(str).str.strip()
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    filled = (text != "").to_numpy()
    valid = np.isin(numbers, (0.0, 1.0)) if task.is_binary else np.isfinite(numbers)
    wrong = filled & ~valid
    if wrong.any():
        example = text[wrong].iloc[0][:40]
        wanted = "0, 1 or empty" if task.is_binary else "a number with a decimal point, or empty"
        reason = (
            f"{file}: column {column} has {int(wrong.sum())} cells that do not fit {task.kind}, such as {example!r}"
        )
        raise UnreadableError(reason, f"Write {wanted} in each cell.")
    return np.where(filled, numbers, np.nan)
