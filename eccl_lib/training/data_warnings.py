"""What a stage's data lack: a split without cases, a constant trait, missing labels, flat ECGs, black or still clips.

Such data give scores that are not defined or are those of chance. A stage writes these sentences into its metrics.json
and its log, so that nobody has to infer them from a NaN or an AUC of .5.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eccl_lib.config.schema import LEADS
from eccl_lib.data.small_counts import Limit
from eccl_lib.data.splits import SPLITS
from eccl_lib.metrics.scores import scorable

MOST_NAMED = 5  # columns that a sentence names
_PART = re.compile(rf"(\d[\d,]*) of (\d[\d,]*)(?= in (?:{'|'.join(SPLITS)})\b)")  # as _listed writes it
_WHOLE = re.compile(rf"(?<=among the )(\d[\d,]*)(?= (?:{'|'.join(SPLITS)}) participants)")


def find(rows: Mapping[str, np.ndarray], table: pd.DataFrame, inputs: tuple[str, ...], targets: object) -> list[str]:
    """One sentence per fault, with counts. rows: split to rows of the cohort; inputs: ``ecg``, ``clips``.

    table: the cohort's. targets: ``Targets`` or ``OwnTargets`` of a supervised stage, else None.
    """
    found = [] if targets is None else _of_targets(rows, targets)
    for array in inputs:
        for what, faulty in _faults_of(array, table).items():
            counts = {split: int(faulty[part].sum()) for split, part in rows.items()}
            if any(counts.values()):
                found.append(f"{what}: {_listed(counts, {split: len(part) for split, part in rows.items()})}")
    return found


def shown(sentences: Sequence[str], limit: Limit) -> list[str]:
    """The sentences of ``find`` without small counts."""

    def part(found: re.Match) -> str:
        n, whole = (int(count.replace(",", "")) for count in found.groups())
        return f"{_grouped(limit.of(n, whole))} of {_grouped(limit.count(whole))}"

    def size(found: re.Match) -> str:
        return _grouped(limit.count(int(found[1].replace(",", ""))))

    return [_WHOLE.sub(size, _PART.sub(part, sentence)) for sentence in sentences]


def _grouped(count: int | str) -> str:
    return count if isinstance(count, str) else f"{count:,}"


def _of_targets(rows: Mapping[str, np.ndarray], targets: object) -> list[str]:
    found = []
    binary = np.broadcast_to(getattr(targets, "binary", targets.task.is_disease), targets.values.shape[1])
    names = np.array(targets.task.names)
    for split in SPLITS:
        values = targets.values[rows[split]]
        measured = (~np.isnan(values)).any(axis=0)
        if not measured.all():
            found.append(f"no {split} participant has a value of {_named(names[~measured])}")
        for column in np.flatnonzero(binary & measured):
            known = values[~np.isnan(values[:, column]), column] > 0.5
            if known.all() or not known.any():
                who = "case" if not known.any() else "control"
                found.append(f"no {who} of {names[column]} among the {len(known):,} {split} participants")
        constant = ~binary & measured & ~scorable(values)
        if constant.any():
            found.append(f"all {split} participants have the same value of {_named(names[constant])}")
    unlabelled = {split: int(np.isnan(targets.values[part]).all(axis=1).sum()) for split, part in rows.items()}
    if any(unlabelled.values()):
        found.append(f"no label at all: {_listed(unlabelled, {split: len(part) for split, part in rows.items()})}")
    return found


def _faults_of(array: str, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Faults of the recordings of one kind, (N,) bool each; those that the store does not record are left out."""
    if array == "ecg":
        if "flat_leads" not in table:
            return {}
        flat = table["flat_leads"].fillna("").str.split().str.len().to_numpy()
        absent = table["missing_leads"].fillna("").str.split().str.len().to_numpy()
        whole = flat + absent >= len(LEADS)
        return {"ECGs without a signal": whole, "ECGs with a flat lead": (flat > 0) & ~whole}
    if "clip_contrast" not in table:
        return {}
    black, still = (table[name].to_numpy(float) == 0 for name in ("clip_contrast", "clip_motion"))
    return {"clips of one grey value": black, "clips without motion": still & ~black}


def _listed(counts: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} of {sizes[split]:,} in {split}" for split, n in counts.items() if n)


def _named(names: np.ndarray) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
