"""What the user's folders and tables hold: who gets a slot in the store, and who is left out before a file is read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import digest
from eccl_lib.data import files
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store import fill
from eccl_lib.data.ukb import tables, trait_checks, withdrawals
from eccl_lib.data.ukb.columns import IMAGING_VISIT
from eccl_lib.io.files import read_json, write_frame, write_json

OLDEST = 120  # years
SOURCE, SLOTS = "source.json", "slots.parquet"
RULES = ("ever", "prevalent", "incident")  # StoreConfig.labels
OPTIONS = {
    "provider": "--segmenter",
    "mask_labels": "--mask-labels",
    "onnx": "--onnx",
    "onnx_labels": "--onnx-labels",
    "onnx_scaling": "--onnx-scaling",
    "onnx_pixel_mm": "--onnx-pixel-mm",
}  # of the command, by field of Segmenter
NO_ROW = {"reason": "the table has no row for this participant", "cure": "Export the table again with all ids."}


@dataclass(frozen=True)
class Source:
    """What the command was pointed to; paths are absolute."""

    folders: tuple[str, ...]
    tables: tuple[str, ...]
    segmentations: tuple[str, ...] = ()
    until: str | None = None  # ISO date at which the diagnoses end
    segmenter: Segmenter = AUTO

    @classmethod
    def read(cls, folder: Path) -> Source | None:
        """The last command's source of a store, None where there was none."""
        if not (folder / SOURCE).is_file():
            return None
        content = read_json(folder / SOURCE)
        content.pop("command", None)
        segmenter = Segmenter(**content.pop("segmenter", {}))
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return cls(**fields, segmenter=segmenter)

    def take(self, folder: Path) -> Inventory:
        """``take`` without those who have withdrawn."""
        return take(self, folder, withdrawals.read())

    def write(self, folder: Path) -> None:
        """Keep it beside the store."""
        write_json(folder / SOURCE, asdict(self) | {"command": self.command()})

    def command(self) -> str:
        """The shell command that goes on from here."""
        words = [*self.folders, "--table", *self.tables, "--no-withdrawals"]
        words += ["--segmentations", *self.segmentations] if self.segmentations else []
        words += ["--until", self.until] if self.until else []
        words += words_of(self.segmenter)
        return shlex.join(["eccl", "ingest", "ukb", *words])


def words_of(segmenter: Segmenter) -> list[str]:
    """What a command says of a segmenter."""
    return [word for name, value in segmenter.asked().items() for word in (OPTIONS[name], str(value))]


@dataclass
class Inventory:
    """The plan of a build.

    participants: by slot, in the order of eids. people: index eid; columns sex and age. traits: (P, 82). labels: rule
    to (P, 4) bool, of the rules that the table allows. left_out: rows of the quarantine list that no file had to be
    read for. counts, notes, identities: for the report.
    """

    participants: dict[int, fill.Participant]
    people: pd.DataFrame
    traits: np.ndarray
    labels: dict[str, np.ndarray]
    left_out: list[dict[str, str]]
    counts: dict[str, int]
    passed_over: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    identities: list[dict[str, object]] = field(default_factory=list)


def take(source: Source, folder: Path, withdrawn: frozenset[str], visit: int = IMAGING_VISIT) -> Inventory:
    """List files and table, give everyone who has all that is needed a slot, and write the list into ``folder``.

    A participant keeps a slot for ever, whoever comes or goes later. Raises UnreadableError on a table or a path that
    cannot be used.
    """
    found = files.find([Path(f) for f in source.folders], visit, [Path(f) for f in source.segmentations])
    present = {eid: kinds for eid, kinds in found.participants.items() if {"ecg", "cine"} & kinds.keys()}
    stayed = {eid: kinds for eid, kinds in present.items() if eid not in withdrawn}
    table, notes = tables.read_tables([Path(t) for t in source.tables], only=stayed.keys())
    complete, left_out = _sort_out(stayed, set(table.index))
    left_out += [asdict(refused) for refused in found.refused if refused.eid not in withdrawn]
    if not complete:
        raise UnreadableError("no participant has an ECG, a cine and a row in the table", _hint(left_out))
    people = table.loc[complete]
    slots = assign_slots(folder, complete)
    participants = {slots[eid]: participant_of(eid, stayed[eid], source.segmenter) for eid in complete}
    write_slots(folder, slots, participants)
    traits = tables.traits(people)
    return Inventory(
        participants,
        _demographics(people, visit, notes),
        traits,
        _labels(people, source.until, notes),
        left_out,
        {
            "withdrawn": len(present) - len(stayed),
            "with an ECG or a cine": len(stayed),
            "with an ECG, a cine and a row in the table": len(complete),
        },
        dict(found.passed_over),
        notes,
        trait_checks.check(traits).to_dict("records"),
    )


def _sort_out(present: Mapping[str, Mapping], known: set[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Sorted eids of those who have everything, and rows for the quarantine list of the others."""
    complete, left_out = [], []
    for eid, kinds in present.items():
        missing = [fill.MISSING_FILE[kind] for kind in ("ecg", "cine") if kind not in kinds]
        if missing:
            reason, cure = missing[0]
            left_out.append({"eid": eid, "file": "", "reason": reason, "cure": cure})
        elif eid not in known:
            left_out.append({"eid": eid, "file": "", **NO_ROW})
        else:
            complete.append(eid)
    return sorted(complete), left_out


def _hint(left_out: Sequence[dict[str, str]]) -> str:
    if not left_out:
        return "File names look like <eid>_20205_2_0.xml and <eid>_20209_2_0.zip; see docs/data.md."
    return f"The first of {len(left_out)} left out: {left_out[0]['reason']}. {left_out[0]['cure']}"


def participant_of(eid: str, kinds: Mapping[str, Sequence[Path]], segmenter: Segmenter = AUTO) -> fill.Participant:
    """A participant whose state is what the files look like from outside, and who finds the heart.

    Of files: names, sizes and times of change. A mask as ukbb_cardiac writes it leaves no other trace.
    """
    facts = [(kind, path.name, *_size_and_time(path)) for kind, paths in sorted(kinds.items()) for path in paths]
    mark = segmenter.mark("segmentation" in kinds) if "cine" in kinds else []
    return fill.participant(eid, kinds, digest([*facts, mark] if mark else facts)[:16], segmenter)


def _size_and_time(path: Path) -> tuple[int, int]:
    """Of a file; of a folder's files together."""
    inside = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    looks = [p.stat() for p in inside]
    return sum(look.st_size for look in looks), max((look.st_mtime_ns for look in looks), default=0)


def assign_slots(folder: Path, eids: Sequence[str]) -> dict[str, int]:
    """A slot for each: the one it has had, or the next free one."""
    known = read_slots(folder)
    slots = dict(zip(known["eid"], known["slot"].tolist(), strict=True))
    free = max(slots.values(), default=-1) + 1
    for eid in eids:
        if eid not in slots:
            slots[eid], free = free, free + 1
    return slots


def read_slots(folder: Path) -> pd.DataFrame:
    """Everyone who has a slot: eid, slot, files (JSON of kind to paths; empty where they are not there any more)."""
    if not (folder / SLOTS).is_file():
        return pd.DataFrame({"eid": pd.Series(dtype="str"), "slot": pd.Series(dtype="int64"), "files": []})
    return pd.read_parquet(folder / SLOTS)


def write_slots(folder: Path, slots: dict[str, int], participants: dict[int, fill.Participant]) -> None:
    """Keep who has which slot, and from which files."""
    known = sorted(slots.items(), key=lambda item: item[1])
    there = [json.dumps(dict(participants[slot].files)) if slot in participants else "" for _, slot in known]
    frame = pd.DataFrame({"eid": [eid for eid, _ in known], "slot": [slot for _, slot in known], "files": there})
    write_frame(folder / SLOTS, frame)


def _demographics(people: pd.DataFrame, visit: int, notes: list[str]) -> pd.DataFrame:
    age = tables.as_number(people, tables.AGE, visit)
    odd = (age < 0) | (age > OLDEST)
    if odd.any():
        notes.append(f"{int(odd.sum())} ages are outside 0 to {OLDEST} years and count as missing")
    return pd.DataFrame({"sex": tables.sex(people).astype("str"), "age": age.mask(odd)})


def _labels(people: pd.DataFrame, until: str | None, notes: list[str]) -> dict[str, np.ndarray]:
    """The labels of each rule; a rule that the table cannot serve is left out with a note."""
    found = {}
    for rule in RULES:
        try:
            found[rule] = tables.labels(people, rule, until)
        except UnreadableError as error:
            notes.append(str(error))
    return found
