"""Fill the store: every participant's files become rows of arrays, or a line in the quarantine list.

Work is cut into blocks of neighbouring slots. A finished block is on disk before its record says so, and records are
written beside and renamed: killed at any moment, the same call goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import ARRAYS, Config, arrays_of
from eccl_lib.data import cmr, ecg, files
from eccl_lib.data.records import CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store.layout import BLOCK, Layout
from eccl_lib.data.ukb import readers
from eccl_lib.io.files import write_text
from eccl_lib.io.progress import Counter, Log
from eccl_lib.io.workers import Workers, run_all

DEATHS = 3  # of processes that read a participant, before the participant is left out
MISSING_FILE = {
    "ecg": ("there is no ECG of the imaging visit", "Download field 20205, instance 2."),
    "cine": ("there is no short-axis cine of the imaging visit", "Download field 20209, instance 2."),
}
SUMS = {"ecg": "ecg_sha256", "clips": "clip_sha256"}  # of a participant's rows, by array
BOOKKEEPING = ("eid", "slot", "state", *SUMS.values(), "quarantine")  # of a record; the rest are facts for the table


@dataclass(frozen=True)
class Participant:
    """Where one participant's data come from: files by kind, first to try first; or the generator where ``index`` >= 0.

    state: what the files looked like when they were listed, and what else the heart's place hangs on; a record of
    another state is not believed. segmenter: who says where the heart is.
    """

    eid: str
    files: tuple[tuple[str, tuple[str, ...]], ...] = ()
    index: int = -1
    state: str = ""
    segmenter: Segmenter = AUTO

    def paths(self, kind: str) -> list[Path]:
        """The files of a kind, empty where there is none."""
        return [Path(path) for name, paths in self.files if name == kind for path in paths]


def participant(
    eid: str, kinds: Mapping[str, Iterable[Path]], state: str = "", segmenter: Segmenter = AUTO
) -> Participant:
    """A participant whose files have been listed, by kind."""
    listed = tuple((kind, tuple(map(str, paths))) for kind, paths in sorted(kinds.items()))
    return Participant(eid, listed, -1, state, segmenter)


def process(participant: Participant, config: Config) -> tuple[dict[str, np.ndarray], dict]:
    """One participant's row of each array and row of facts. Raises Quarantine.

    Rows by array: ``ecg`` (12, 5000) int16, ``clips`` (H, W, F) uint8; an unpaired store has one of them.
    """
    rows, facts, notes, wanted = {}, {}, [], arrays_of(config.cohort)
    # Everything is read before anything is computed: a file that is missing is noticed early.
    record = _ecg(participant, config) if "ecg" in wanted else None
    cine = _cine(participant, config) if "clips" in wanted else None
    if record is not None:
        rows["ecg"], heart_rate, flags = _guard(participant, "ecg", lambda: ecg.preprocess(record))
        facts, notes = {"heart_rate": heart_rate, **flags}, [*notes, *record.notes]
    if cine is not None:
        rows["clips"] = _guard(participant, "cine", lambda: cmr.crop(cine, config.store))
        facts |= {"segmenter": cine.segmenter or "masks", "heart_flagged": cine.flagged}  # a generated heart has labels
        notes = [*notes, *cine.notes]
    return rows, {**facts, "notes": "; ".join(notes)}


def _ecg(participant: Participant, config: Config) -> EcgRecord:
    if participant.index >= 0:
        from eccl_lib.data import synthetic

        return synthetic.render_ecg(config.synthetic, participant.index)
    if arrays_of(config.cohort) == ARRAYS:
        return _read(participant, "ecg", readers.read_ecg)
    from eccl_lib.data.formats import detect

    return _read(participant, "ecg", detect.read_ecg)


def _cine(participant: Participant, config: Config) -> CineRecord:
    if participant.index >= 0:
        from eccl_lib.data import synthetic

        return synthetic.render_cine(config.synthetic, participant.index)
    return _read(participant, "cine", lambda path: read_cine(path, participant, config))


def read_cine(path: Path, participant: Participant, config: Config) -> CineRecord:
    """The slice of a cine that is kept, with the heart found in it as the participant's segmenter says.

    Raises UnreadableError.
    """
    from eccl_lib.data.formats import detect

    open_file = readers.open_cine if arrays_of(config.cohort) == ARRAYS else detect.open_cine
    masks, asked, choice = participant.paths("segmentation"), participant.segmenter, config.store.slice_choice
    if masks and asked.chosen(mask_given=True) == "masks":
        return files.first_readable(masks, lambda mask: providers.read(open_file(path), mask, asked, choice))
    return providers.read(open_file(path), None, asked, choice)


class Quarantine(Exception):
    """One participant cannot be used: which file, why, and what mends it. Its text names no participant."""

    def __init__(self, file: str, reason: str, cure: str) -> None:
        self.file, self.reason, self.cure = file, reason, cure
        super().__init__(f"{reason}. {cure}")


def _read(participant: Participant, kind: str, reader: Callable[[Path], EcgRecord | CineRecord]):
    paths = participant.paths(kind)
    if not paths:
        raise Quarantine("", *MISSING_FILE[kind])
    return _guard(participant, kind, lambda: files.first_readable(paths, reader))


def _guard(participant: Participant, kind: str, step: Callable):
    paths = participant.paths(kind)
    name = paths[0].name if paths else ""
    try:
        return step()
    except UnreadableError as error:
        raise Quarantine(name, error.reason, error.cure) from error
    except Exception as error:
        # One file that no check foresaw must not stop forty thousand others. Its message may quote the file: it
        # stays in the quarantine list, which is as private as the data.
        reason = f"unforeseen damage ({type(error).__name__}: {str(error)[:80]})"
        raise Quarantine(name, reason, "Report it with the message.") from error


def fill(
    participants: Mapping[int, Participant],
    config: Config,
    layout: Layout,
    workers: Workers,
    progress: Log,
    retry: bool = False,
) -> dict[int, dict]:
    """Write each slot's participant into the arrays. Returns a record per slot.

    What a record of the same files says is done stays so; retry: those in quarantine are tried again.
    """
    shapes = row_shapes(config)
    layout.records.mkdir(parents=True, exist_ok=True)
    if layout.numbered or _due(participants, read_records(layout), retry):
        # One file for all is moved on when all records are there: a later call must not make it anew.
        for first in sorted({slot - slot % layout.shard for slot in participants}):
            for name, (shape, dtype) in shapes.items():
                layout.prepare(name, first, shape, dtype)
    due = _due(participants, read_records(layout), retry)
    size = layout.shard if layout.numbered else BLOCK  # a file has one writer; one file for all has many places
    counter = Counter("preprocess", len(participants) - len(due), len(participants), progress)
    left = set(due)

    def finished(slots: list[int]) -> None:
        left.difference_update(slots)
        counter.add(len(slots))

    while left:
        groups = [list(slots) for _, slots in groupby(sorted(left), key=lambda slot: slot // size)]
        jobs = ((_fill_slots, {slot: participants[slot] for slot in group}, config, layout) for group in groups)
        try:
            run_all(jobs, workers, layout.records, finished)
        except BrokenExecutor:
            # Memory ran out, or a codec crashed: nothing inside that process could catch it.
            progress("a process that read files died; others go on, and who kills three is left out")
    known = read_records(layout)
    return {slot: known[slot] for slot in participants}


def row_shapes(config: Config) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of a row of each array that the cohort has."""
    clip = config.store.clip_size, config.store.clip_size, config.store.clip_frames  # (H, W, F)
    known = {"ecg": ((12, ecg.SAMPLES), np.int16), "clips": (clip, np.uint8)}
    return {name: known[name] for name in arrays_of(config.cohort)}


def read_records(layout: Layout) -> dict[int, dict]:
    """What is known of every slot so far."""
    found = {}
    for path in sorted(layout.records.glob("*.json")):
        found |= {record["slot"]: record for record in json.loads(path.read_text())}
    return found


def _due(participants: Mapping[int, Participant], known: dict[int, dict], retry: bool) -> list[int]:
    def done(slot: int, who: Participant) -> bool:
        record = known.get(slot)
        if record is None or (record["eid"], record["state"]) != (who.eid, who.state):
            return False
        return not (retry and "quarantine" in record)

    return sorted(slot for slot, who in participants.items() if not done(slot, who))


def _fill_slots(participants: dict[int, Participant], config: Config, layout: Layout) -> list[int]:
    """Slots of one file, a block at a time: rows first, then the record that vouches for them. Returns the slots."""
    for _, slots in groupby(sorted(participants), key=lambda slot: slot // BLOCK):
        block = {slot: participants[slot] for slot in slots}
        path = layout.record(min(block))
        records = {r["slot"]: r for r in json.loads(path.read_text())} if path.is_file() else {}
        for slot, participant in block.items():
            records[slot] = _fill_slot(slot, participant, config, layout)
        layout.flush(min(block))
        write_text(path, json.dumps([records[slot] for slot in sorted(records)]))
    return list(participants)


def _fill_slot(slot: int, participant: Participant, config: Config, layout: Layout) -> dict[str, Any]:
    record: dict[str, Any] = {"slot": slot, "eid": participant.eid, "state": participant.state}
    try:
        with _survived(layout.records / f"{slot:07d}.reading"):
            rows, facts = process(participant, config)
    except Quarantine as fault:
        rows = {name: np.zeros(shape, dtype) for name, (shape, dtype) in row_shapes(config).items()}
        facts = {"quarantine": {"file": fault.file, "reason": fault.reason, "cure": fault.cure}}
    for name, row in rows.items():
        layout.write(name, slot, row)
    return record | facts | {SUMS[name]: row_digest(row) for name, row in rows.items()}


@contextlib.contextmanager
def _survived(tries: Path) -> Iterator[None]:
    """Leave a mark while files are read, a dot for each time: who has ended that many processes is not read again."""
    if tries.is_file() and tries.stat().st_size >= DEATHS:
        tries.unlink()
        cure = "Give it more memory or another version of the codec, then --retry-quarantined."
        raise Quarantine("", f"reading it ended the process {DEATHS} times", cure)
    with tries.open("a") as file:
        file.write(".")
    try:
        yield
    finally:
        tries.unlink(missing_ok=True)


def row_digest(row: np.ndarray) -> str:
    """What a row holds, in a word: equal rows, equal words."""
    return hashlib.sha256(np.ascontiguousarray(row)).hexdigest()


def facts_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the recordings, for the table."""
    if SUMS["clips"] in record:  # and nothing of who found the heart: the store knew masks alone
        record = {"segmenter": "masks", "heart_flagged": False} | record
    return {name: value for name, value in record.items() if name not in BOOKKEEPING}


def quarantine_frame(rows: list[dict[str, str]]) -> pd.DataFrame:
    """Who and what was left out: a row per participant or file, with reason and cure."""
    return pd.DataFrame(rows, columns=["eid", "file", "reason", "cure"], dtype=str)
