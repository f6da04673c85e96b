"""Plan of a store: participants and their slots, from the user's folders and tables, before any file is read."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from eccl_lib.config.diseases import setting
from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import digest
from eccl_lib.config.schema import DISEASES
from eccl_lib.data.own_labels import OwnLabels, parse
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store import fill
from eccl_lib.data.ukb import file_names, tables, trait_checks, withdrawals
from eccl_lib.data.ukb.columns import CODE_DATES, IMAGING_VISIT
from eccl_lib.data.ukb.diagnoses import without_source
from eccl_lib.io.files import read_json, write_frame, write_json

MAX_AGE = 120  # years; ours
SOURCE, SLOTS = "source.json", "slots.parquet"
RULES = ("ever", "prevalent", "incident")  # StoreConfig.labels
# Command-line option of each field of Segmenter.
OPTIONS = {"provider": "--segmenter", "mask_labels": "--mask-labels", "onnx": "--onnx"}
OPTIONS |= {"onnx_labels": "--onnx-labels", "onnx_scaling": "--onnx-scaling", "onnx_pixel_mm": "--onnx-pixel-mm"}
NO_ROW = {"reason": "the table has no row for this participant", "cure": "Export the table again with all ids."}


@dataclass
class Inventory:
    """The plan of a build.

    participants: slot to participant, in the order of eids. demographics: index eid; columns sex and age. traits:
    (P, 82). labels: rule to (P, 4) bool, for the rules that the table supports. excluded: rows of the quarantine list
    that are known before any file is read. counts, skipped, notes, identities: for the report. own: the user's own
    labels, in the order of demographics. diagnoses: as labels, (P, codes) bool, of the further diseases in codes.
    patients: what is known about several recordings of one patient; it and to_log are for the last lines of the build.
    """

    participants: dict[int, fill.Participant]
    demographics: pd.DataFrame
    traits: np.ndarray
    labels: dict[str, np.ndarray]
    excluded: list[dict[str, str]]
    counts: dict[str, int]
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    identities: list[dict[str, object]] = field(default_factory=list)
    own: OwnLabels | None = None
    codes: tuple[str, ...] = ()
    diagnoses: dict[str, np.ndarray] = field(default_factory=dict)
    patients: str = ""
    to_log: tuple[str, ...] = ()


class Inputs:
    """The inputs of a build command, saved in the folder of its store.

    A subclass is a dataclass with the field ``segmenter``, and has ``words()`` and ``make_inventory(folder)``.
    """

    segmenter: Segmenter

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Inputs of the last command that built the store in this folder; None if there was none."""
        if not (folder / SOURCE).is_file():
            return None
        content = read_json(folder / SOURCE)
        content.pop("command", None)
        segmenter = Segmenter(**content.pop("segmenter", {}))
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return cls(**fields, segmenter=segmenter)

    def write(self, folder: Path) -> None:
        """Save the inputs and the command in the folder of the store."""
        write_json(folder / SOURCE, asdict(self) | {"command": self.command()})

    def command(self) -> str:
        """The shell command with these inputs, which also resumes an interrupted build."""
        settings = [word for name, value in self.segmenter.asked().items() for word in (OPTIONS[name], str(value))]
        return shlex.join(["eccl", "ingest", *self.words(), *settings])


@dataclass(frozen=True)
class Source(Inputs):
    """The inputs of ``eccl ingest ukb``; paths are absolute."""

    folders: tuple[str, ...]
    tables: tuple[str, ...]
    segmentations: tuple[str, ...] = ()
    until: str | None = None  # ISO date of the last recorded diagnoses
    segmenter: Segmenter = AUTO
    diseases: tuple[str, ...] = ()  # further ICD-10 codes, as own tasks
    names: dict[str, str] = field(default_factory=dict)  # further ICD-10 codes of the config, with their names

    @property
    def codes(self) -> tuple[str, ...]:
        """All further ICD-10 codes, of the option and of the config."""
        return tuple(sorted({*self.diseases, *self.names} - set(DISEASES)))

    def make_inventory(self, folder: Path) -> Inventory:
        """``make_inventory`` without the withdrawn participants."""
        return make_inventory(self, folder, withdrawals.read())

    def words(self) -> list[str]:
        """The command's words without the options of the segmenter."""
        segmentations = ["--segmentations", *self.segmentations] if self.segmentations else []
        until = ["--until", self.until] if self.until else []
        diseases = ["--diseases", *self.diseases] if self.diseases else []
        diseases += ["--set", setting(self.names)] if self.names else []
        return ["ukb", *self.folders, "--table", *self.tables, "--no-withdrawals", *segmentations, *until, *diseases]


def make_inventory(source: Source, folder: Path, withdrawn: frozenset[str], visit: int = IMAGING_VISIT) -> Inventory:
    """List files and tables, assign a slot to each participant with complete data, and write the slots to ``folder``.

    A participant keeps its slot permanently. Raises UnreadableError if a table or path cannot be used, or if no
    participant has complete data.
    """
    listing = file_names.find([Path(f) for f in source.folders], visit, [Path(f) for f in source.segmentations])
    present = {eid: kinds for eid, kinds in listing.participants.items() if {"ecg", "cine"} & kinds.keys()}
    consenting = {eid: kinds for eid, kinds in present.items() if eid not in withdrawn}
    table, notes = tables.read_tables([Path(t) for t in source.tables], only=consenting.keys())
    complete, excluded = _complete_participants(consenting, set(table.index))
    excluded += [asdict(rejected) for rejected in listing.rejected if rejected.eid not in withdrawn]
    if not complete:
        raise UnreadableError("no participant has an ECG, a cine and a row in the table", _hint(excluded))
    rows = table.loc[complete]
    slots = assign_slots(folder, complete)
    participants = {slots[eid]: listed_participant(eid, consenting[eid], source.segmenter) for eid in complete}
    write_slots(folder, slots, participants)
    counts = {"withdrawn": len(present) - len(consenting), "with an ECG or a cine": len(consenting)}
    counts["with an ECG, a cine and a row in the table"] = len(complete)
    traits, demographics = tables.traits(rows), _demographics(rows, visit, notes)
    labels, identities = _labels(rows, source.until, notes), trait_checks.check(traits).to_dict("records")
    skipped = dict(listing.skipped)
    _check_diagnoses(rows, source.codes)
    if missing := without_source(rows):
        notes.append(
            f"no field of the tables has the diagnosis of {', '.join(missing)}: nobody counts as a case of it. Export "
            "field 41270 with its dates, field 41280"
        )
    diagnoses = _labels(rows, source.until, [], source.codes) if source.codes else {}
    more = {"own": _own_diseases(rows, source), "codes": source.codes, "diagnoses": diagnoses}
    return Inventory(participants, demographics, traits, labels, excluded, counts, skipped, notes, identities, **more)


def _check_diagnoses(rows: pd.DataFrame, codes: Sequence[str]) -> None:
    """Raise UnreadableError where the tables have no hospital diagnoses, from which further codes are labelled."""
    if codes and not any(field in CODE_DATES for field, *_ in rows.columns):
        raise UnreadableError(
            f"the diseases {' '.join(codes)} need the hospital diagnoses, which the tables do not have",
            "Export field 41270 with its dates, field 41280.",
        )


def _own_diseases(rows: pd.DataFrame, source: Source) -> OwnLabels | None:
    """The codes of the option as binary tasks, diagnosed at any time; None if there are none."""
    if not source.diseases:
        return None
    values = tables.labels(rows, "ever", source.until, source.diseases).astype(float)
    tasks = parse([f"{code}:binary" for code in source.diseases])
    return OwnLabels(tasks, pd.DataFrame(values, index=rows.index, columns=list(source.diseases)))


def _complete_participants(present: Mapping[str, Mapping], known: set[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Sorted eids with both files and a row in the table (``known``); and rows of the quarantine list of the others."""
    complete, excluded = [], []
    for eid, kinds in present.items():
        if missing := [fill.MISSING_FILE[kind] for kind in ("ecg", "cine") if kind not in kinds]:
            reason, cure = missing[0]
            excluded.append({"eid": eid, "file": "", "reason": reason, "cure": cure})
        elif eid not in known:
            excluded.append({"eid": eid, "file": "", **NO_ROW})
        else:
            complete.append(eid)
    return sorted(complete), excluded


def _hint(excluded: Sequence[dict[str, str]]) -> str:
    if not excluded:
        return "Valid file names are <eid>_20205_2_0.xml and <eid>_20209_2_0.zip; see docs/data.md."
    return f"The first of {len(excluded)} excluded: {excluded[0]['reason']}. {excluded[0]['cure']}"


def listed_participant(eid: str, kinds: Mapping[str, Sequence[Path]], segmenter: Segmenter = AUTO) -> fill.Participant:
    """A Participant whose state is a hash of its files' names, sizes and modification times, and of its segmenter."""
    facts = [(kind, path.name, *_size_and_time(path)) for kind, paths in sorted(kinds.items()) for path in paths]
    mark = segmenter.mark("segmentation" in kinds) if "cine" in kinds else []
    return fill.participant(eid, kinds, digest([*facts, mark] if mark else facts)[:16], segmenter)


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a file; for a folder, the total size and the latest time."""
    inside = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stats = [p.stat() for p in inside]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def assign_slots(folder: Path, eids: Sequence[str]) -> dict[str, int]:
    """Slot of each eid: its previous slot, or the next free one. Includes all eids that had a slot before."""
    known = read_slots(folder)
    slots = dict(zip(known["eid"], known["slot"].tolist(), strict=True))
    free = max(slots.values(), default=-1) + 1
    for eid in eids:
        if eid not in slots:
            slots[eid], free = free, free + 1
    return slots


def read_slots(folder: Path) -> pd.DataFrame:
    """All assigned slots: columns eid, slot, files (JSON of kind to paths; empty if the files are gone)."""
    if not (folder / SLOTS).is_file():
        return pd.DataFrame({"eid": pd.Series(dtype="str"), "slot": pd.Series(dtype="int64"), "files": []})
    return pd.read_parquet(folder / SLOTS)


def write_slots(folder: Path, slots: dict[str, int], participants: dict[int, fill.Participant]) -> None:
    """Write the slot of each eid and the files of each participant."""
    ordered = sorted(slots.items(), key=lambda item: item[1])
    paths = [json.dumps(participants[slot].files) if slot in participants else "" for _, slot in ordered]
    frame = pd.DataFrame({"eid": [eid for eid, _ in ordered], "slot": [slot for _, slot in ordered], "files": paths})
    write_frame(folder / SLOTS, frame)


def _demographics(table: pd.DataFrame, visit: int, notes: list[str]) -> pd.DataFrame:
    age = tables.as_number(table, tables.AGE, visit)
    invalid = (age < 0) | (age > MAX_AGE)
    if invalid.any():
        notes.append(f"{int(invalid.sum())} ages are outside 0 to {MAX_AGE} years and count as missing")
    return pd.DataFrame({"sex": tables.sex(table).astype("str"), "age": age.mask(invalid)})


def _labels(
    table: pd.DataFrame, until: str | None, notes: list[str], diseases: Sequence[str] = DISEASES
) -> dict[str, np.ndarray]:
    """Labels by rule, each (P, diseases) bool; a rule that the table does not support is skipped with a note."""
    labels = {}
    for rule in RULES:
        try:
            labels[rule] = tables.labels(table, rule, until, diseases)
        except UnreadableError as error:
            notes.append(str(error))
    return labels
