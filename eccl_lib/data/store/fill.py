"""Fill the store: preprocess each participant's files into rows of arrays, or list the participant in quarantine.

Blocks of consecutive slots are processed together. A block's rows are flushed to disk before its record is written
atomically. An interrupted build therefore resumes and gives the same bytes.
"""

import contextlib
import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.errors import DamagedError, MissingError, UnreadableError, unexpected
from eccl_lib.config.schema import ARRAYS, Config, arrays_of
from eccl_lib.data import cmr, ecg, reading, synthetic
from eccl_lib.data.formats import detect
from eccl_lib.data.records import CineRecord, EcgRecord
from eccl_lib.data.segmentation import confidence, providers
from eccl_lib.data.segmentation.providers import AUTO, Segmenter
from eccl_lib.data.store.layout import BLOCK, Layout
from eccl_lib.data.ukb import readers
from eccl_lib.io.files import read_json, write_sealed
from eccl_lib.io.progress import Counter, Log
from eccl_lib.io.workers import Workers, run_all

DISCONNECTED = (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)  # faults of a network disk
GONE = (*DISCONNECTED, errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ENXIO, errno.ENODEV)  # of a listed file
MAX_CRASHES = 3  # a participant whose files crash this many processes goes to quarantine; ours
MISSING_FILE = {
    "ecg": ("there is no ECG of the imaging visit", "Download field 20205, instance 2."),
    "cine": ("there is no short-axis cine of the imaging visit", "Download field 20209, instance 2."),
}
CHECKSUM_COLUMNS = {"ecg": "ecg_sha256", "clips": "clip_sha256"}  # column with the checksum of a row, by array
RECORD_KEYS = ("eid", "slot", "state", *CHECKSUM_COLUMNS.values(), "quarantine")  # the other keys go to the table


@dataclass(frozen=True)
class Participant:
    """One participant's data source: files by kind, or the synthetic generator if ``index`` >= 0.

    files: paths by kind, in the order in which they are tried. state: hash of the listed files and of the segmenter's
    settings; a record with another state is outdated. segmenter: the method that locates the heart.
    """

    eid: str
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    index: int = -1
    state: str = ""
    segmenter: Segmenter = AUTO

    def paths(self, kind: str) -> list[Path]:
        """The files of one kind; empty if there are none."""
        return [Path(path) for path in self.files.get(kind, ())]


def participant(
    eid: str, kinds: Mapping[str, Iterable[Path]], state: str = "", segmenter: Segmenter = AUTO
) -> Participant:
    """A Participant from listed files. kinds: paths by kind."""
    return Participant(eid, {kind: tuple(map(str, kinds[kind])) for kind in sorted(kinds)}, -1, state, segmenter)


def process(participant: Participant, config: Config) -> tuple[dict[str, np.ndarray], dict]:
    """One participant's rows by array name, and facts for the table. Raises Quarantine.

    Rows: ``ecg`` (12, 5000) int16, ``clips`` (H, W, F) uint8; an unpaired store has one of them.
    """
    rows, facts, notes, arrays = {}, {}, [], arrays_of(config.cohort)
    # All files are read before any computation, so that a missing file is detected early.
    record = _ecg(participant, config) if "ecg" in arrays else None
    cine = _cine(participant, config) if "clips" in arrays else None
    if record is not None:
        rows["ecg"], heart_rate, flags = _guard(participant, "ecg", lambda: ecg.preprocess(record))
        facts, notes = {"heart_rate": heart_rate, **flags}, [*notes, *record.notes]
    if cine is not None:
        rows["clips"] = _guard(participant, "cine", lambda: cmr.crop(cine, config.store))
        facts |= {"segmenter": cine.segmenter or "masks", "heart_flagged": cine.flagged}  # synthetic cines have labels
        facts |= _grey_values(rows["clips"])
        if participant.index < 0:  # of a file; the labels of rendered cines are exact
            facts |= _location(cine, config)
        notes = [*notes, *cine.notes]
    return rows, {**facts, "notes": "; ".join(notes)}


def _grey_values(clip: np.ndarray) -> dict[str, int]:
    """Range of the grey values, 0 if a clip is black, and of a pixel over time, 0 if nothing moves. clip: (H, W, F)."""
    return {"clip_contrast": int(np.ptp(clip)), "clip_motion": int(np.ptp(clip, axis=2).max())}


def _location(cine: CineRecord, config: Config) -> dict[str, float | bool | None]:
    """How sure the heart's location is: the network's confidence, and position and stability of the heart's box."""
    chosen = cmr.choose_slice(cine.labels, len(cine.images), config.store.slice_choice)
    change = None if cine.labels is None else confidence.box_change(cine.labels[chosen])
    touches = confidence.at_border(cmr.box_of(cine, chosen), cine.images.shape[2:])
    return {"heart_confidence": cine.confidence, "box_at_border": touches, "box_change": change}


def _ecg(participant: Participant, config: Config) -> EcgRecord:
    if participant.index >= 0:
        return synthetic.render_ecg(config.synthetic, participant.index)
    return _read(participant, "ecg", readers.read_ecg if arrays_of(config.cohort) == ARRAYS else detect.read_ecg)


def _cine(participant: Participant, config: Config) -> CineRecord:
    if participant.index >= 0:
        return synthetic.render_cine(config.synthetic, participant.index, config.store.slice_choice == "middle")
    return _read(participant, "cine", lambda path: read_cine(path, participant, config))


def read_cine(path: Path, participant: Participant, config: Config) -> CineRecord:
    """The stored slice of a cine, with the heart located by the participant's segmenter. Raises UnreadableError."""
    open_file = readers.open_cine if arrays_of(config.cohort) == ARRAYS else detect.open_cine
    masks, segmenter, choice = participant.paths("segmentation"), participant.segmenter, config.store.slice_choice
    if masks and segmenter.chosen(mask_given=True) == "masks":
        return reading.first_readable(masks, lambda mask: providers.read(open_file(path), mask, segmenter, choice))
    return providers.read(open_file(path), None, segmenter, choice)


class Quarantine(Exception):
    """One participant cannot be used. Holds the file, the reason and the cure; the text has no participant id."""

    def __init__(self, file: str, reason: str, cure: str) -> None:
        self.file, self.reason, self.cure = file, reason, cure
        super().__init__(f"{reason}. {cure}")


class Unreachable(Exception):
    """Files that were listed can no longer be reached, for example because a network disk is gone."""


def _reach(paths: Iterable[Path], error: BaseException | None) -> None:
    """Raise Unreachable if a read failed because a listed file is gone or its disk does not answer."""
    for path in paths:
        try:
            path.stat()
        except OSError as fault:
            if fault.errno in GONE:
                raise Unreachable(f"{path.parent}: {fault.strerror}") from fault
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISCONNECTED:
            raise Unreachable(f"{error.strerror}") from error
        error = error.__cause__ or error.__context__


def _read(participant: Participant, kind: str, reader: Callable[[Path], EcgRecord | CineRecord]):
    paths = participant.paths(kind)
    if not paths:
        raise Quarantine("", *MISSING_FILE[kind])
    return _guard(participant, kind, lambda: reading.first_readable(paths, reader))


def _guard(participant: Participant, kind: str, step: Callable):
    paths = participant.paths(kind)
    name = paths[0].name if paths else ""
    try:
        return step()
    except UnreadableError as error:
        _reach(paths, error)
        raise Quarantine(name, error.reason, error.cure) from error
    except Exception as error:
        _reach(paths, error)
        fault = unexpected(error)  # an unexpected error in one file must not stop the build of all others
        raise Quarantine(name, fault.reason, fault.cure) from error


def fill(
    participants: Mapping[int, Participant],
    config: Config,
    layout: Layout,
    workers: Workers,
    progress: Log,
    retry: bool = False,
) -> dict[int, dict]:
    """Write each slot's participant into the arrays and return one record per slot.

    Slots with a current record are skipped. retry: process quarantined participants again. Raises MissingError, once
    all other participants are done, if files that were listed could not be reached.
    """
    shapes = row_shapes(config)
    layout.records.mkdir(parents=True, exist_ok=True)
    if layout.numbered or _pending(participants, read_records(layout), retry):
        # A single array file is moved away once all records exist; later calls must not create it again.
        for first in sorted({slot - slot % layout.shard for slot in participants}):
            for name, (shape, dtype) in shapes.items():
                layout.prepare(name, first, shape, dtype)
    pending = set(_pending(participants, read_records(layout), retry))
    if workers.jobs > 1 or workers.scheduler:  # marks of an interrupted build are no crashes: those end a worker alone
        for slot in participants:
            layout.reading(slot).unlink(missing_ok=True)
    lost: list[str] = []
    size = layout.shard if layout.numbered else BLOCK  # slots per job; each shard has one writer at a time
    counter = Counter("preprocess", len(participants) - len(pending), len(participants), progress)

    def finished(filled: tuple[list[int], list[str]]) -> None:
        slots, unreachable = filled
        pending.difference_update(slots)
        lost.extend(unreachable)
        counter.add(len(slots))

    while pending:
        groups = [list(slots) for _, slots in groupby(sorted(pending), key=lambda slot: slot // size)]
        jobs = ((_fill_slots, {slot: participants[slot] for slot in group}, config, layout) for group in groups)
        try:
            run_all(jobs, workers, layout.records, finished)
        except BrokenExecutor:
            # The process ran out of memory, or a codec crashed; a process cannot catch either.
            limit = f"a participant whose files crash {MAX_CRASHES} processes goes to quarantine"
            progress(f"a process that read files crashed; the others continue; {limit}")
    if lost:
        raise MissingError(
            f"the files of {len(lost):,} participants could not be reached ({lost[0]}), though they were listed. Check "
            "the disk or the network, then run the same command again: it reads the missing participants only"
        )
    records = read_records(layout)
    return {slot: records[slot] for slot in participants}


def row_shapes(config: Config) -> dict[str, tuple[tuple[int, ...], type]]:
    """Row shape and dtype of each array of the cohort."""
    clip = config.store.clip_size, config.store.clip_size, config.store.clip_frames  # (H, W, F)
    shapes = {"ecg": ((12, ecg.SAMPLES), np.int16), "clips": (clip, np.uint8)}
    return {name: shapes[name] for name in arrays_of(config.cohort)}


def read_records(layout: Layout) -> dict[int, dict]:
    """All records written so far, by slot. Raises DamagedError."""
    paths = sorted(layout.records.glob("*.json"))
    return {record["slot"]: record for path in paths for record in records_in(path)}


def records_in(path: Path) -> list[dict]:
    """The records of one block. Raises DamagedError."""
    cure = "Remove it and run the command that built the store again."
    try:
        content = read_json(path)
        records = content["records"] if isinstance(content, dict) else content  # a list: written by earlier versions
        return [{**record, "slot": int(record["slot"])} for record in records]
    except DamagedError as error:
        raise DamagedError(path, error.fault, cure) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(path, "is no list of records", cure) from error


def write_records(path: Path, records: Iterable[dict]) -> None:
    """Write the records of one block, with their checksum."""
    write_sealed(path, {"records": sorted(records, key=lambda record: record["slot"])})


def is_current(participant: Participant, record: dict) -> bool:
    """True if a record was made from the same participant in the same state."""
    return (participant.eid, participant.state) == (record["eid"], record["state"])


def _pending(participants: Mapping[int, Participant], records: dict[int, dict], retry: bool) -> list[int]:
    """Slots without a current record, sorted; with ``retry`` also the quarantined ones."""
    done = {slot: record for slot, record in records.items() if not (retry and "quarantine" in record)}
    return sorted(slot for slot, p in participants.items() if slot not in done or not is_current(p, done[slot]))


def _fill_slots(participants: dict[int, Participant], config: Config, layout: Layout) -> tuple[list[int], list[str]]:
    """Process the slots of one job block by block: write the rows, then the block's record.

    Returns the slots, and a message for each whose files cannot be reached; these have no record.
    """
    lost = []
    for _, slots in groupby(sorted(participants), key=lambda slot: slot // BLOCK):
        block = {slot: participants[slot] for slot in slots}
        path = layout.record(min(block))
        records = {record["slot"]: record for record in records_in(path)} if path.is_file() else {}
        for slot, participant in block.items():
            records.pop(slot, None)
            try:
                records[slot] = _fill_slot(slot, participant, config, layout)
            except Unreachable as error:
                lost.append(str(error))
        layout.flush(min(block))
        write_records(path, records.values())
    return list(participants), lost


def _fill_slot(slot: int, participant: Participant, config: Config, layout: Layout) -> dict[str, Any]:
    record: dict[str, Any] = {"slot": slot, "eid": participant.eid, "state": participant.state}
    try:
        with _limit_crashes(layout.reading(slot)):
            rows, facts = process(participant, config)
    except Quarantine as error:
        rows = {name: np.zeros(shape, dtype) for name, (shape, dtype) in row_shapes(config).items()}
        facts = {"quarantine": {"file": error.file, "reason": error.reason, "cure": error.cure}}
    for name, row in rows.items():
        layout.write(name, slot, row)
    return record | facts | {CHECKSUM_COLUMNS[name]: row_checksum(row) for name, row in rows.items()}


@contextlib.contextmanager
def _limit_crashes(attempts: Path) -> Iterator[None]:
    """Context manager for one read; raises Quarantine if MAX_CRASHES earlier reads crashed the process.

    The file ``attempts`` gets one byte per read and is removed if the process survives the read.
    """
    if attempts.is_file() and attempts.stat().st_size >= MAX_CRASHES:
        attempts.unlink()
        cure = "Provide more memory or another version of the codec, then run again with --retry-quarantined."
        raise Quarantine("", f"reading the files crashed the process {MAX_CRASHES} times", cure)
    with attempts.open("a") as file:
        file.write(".")
    try:
        yield
    finally:
        attempts.unlink(missing_ok=True)


def row_checksum(row: np.ndarray) -> str:
    """SHA-256 of a row's bytes, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(row)).hexdigest()


def table_facts(record: dict[str, Any]) -> dict[str, Any]:
    """The columns of the table that come from a participant's record."""
    if CHECKSUM_COLUMNS["clips"] in record:  # records of older stores have no segmenter; they used masks only
        unknown = {"clip_contrast": None, "clip_motion": None}
        record = {"segmenter": "masks", "heart_flagged": False} | unknown | record
    return {name: value for name, value in record.items() if name not in RECORD_KEYS}


def quarantine_frame(rows: list[dict[str, str]]) -> pd.DataFrame:
    """The quarantine list as a table: one row per excluded participant or file, with reason and cure."""
    return pd.DataFrame(rows, columns=["eid", "file", "reason", "cure"], dtype=str)
