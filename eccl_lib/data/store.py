"""Build the store: every participant's files become rows of arrays, or a line in the quarantine list.

Work is cut into blocks of neighbouring rows. A finished block is on disk before its record says so, and records are
written beside and renamed: killed at any moment, the same call goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eccl_lib.config import Config
from eccl_lib.data import cmr, ecg, ukb
from eccl_lib.data.records import CineRecord, EcgRecord, UnreadableError
from eccl_lib.storage import write_atomically, write_text

BLOCK = 8  # participants in one write; 20 MB at the paper's shape
MISSING_FILE = {
    "ecg": ("there is no ECG of the imaging visit", "Download field 20205, instance 2."),
    "cine": ("there is no short-axis cine of the imaging visit", "Download field 20209, instance 2."),
}


@dataclass(frozen=True)
class Participant:
    """Where one participant's data come from: files under a root, or the generator where ``index`` is 0 or more."""

    eid: str
    files: tuple[tuple[str, str], ...] = ()  # kind and path
    index: int = -1

    def path(self, kind: str) -> Path | None:
        """The file of a kind, None where there is none."""
        return next((Path(path) for name, path in self.files if name == kind), None)


def process(participant: Participant, config: Config) -> tuple[np.ndarray, np.ndarray, dict]:
    """One participant's (12, 5000) int16 ECG, (H, W, F) uint8 clip and row of facts. Raises Quarantine."""
    if participant.index >= 0:
        from eccl_lib.data import synthetic

        record = synthetic.render_ecg(config.synthetic, participant.index)
        cine = synthetic.render_cine(config.synthetic, participant.index)
    else:
        record = _read(participant, "ecg", ukb.read_ecg)
        cine = _read(participant, "cine", lambda path: _read_cine(path, participant, config))
    signal, heart_rate, flags = _guard(participant, "ecg", lambda: ecg.preprocess(record))
    clip = _guard(participant, "cine", lambda: cmr.crop(cine, config.store))
    notes = "; ".join((*record.notes, *cine.notes))
    return signal, clip, {"heart_rate": heart_rate, **flags, "notes": notes}


def _read_cine(path: Path, participant: Participant, config: Config) -> CineRecord:
    return ukb.read_cine(path, participant.path("segmentation"), config.store.slice_choice)


class Quarantine(Exception):
    """One participant cannot be used: which file, why, and what mends it."""

    def __init__(self, file: str, reason: str, cure: str) -> None:
        self.file, self.reason, self.cure = file, reason, cure
        super().__init__(f"{file}: {reason}")


def _read(participant: Participant, kind: str, reader: Callable[[Path], EcgRecord | CineRecord]):
    path = participant.path(kind)
    if path is None:
        raise Quarantine("", *MISSING_FILE[kind])
    return _guard(participant, kind, lambda: reader(path))


def _guard(participant: Participant, kind: str, step: Callable):
    path = participant.path(kind)
    try:
        return step()
    except UnreadableError as error:
        raise Quarantine(path.name if path else "", error.reason, error.cure) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # One file that no check foresaw must not stop forty thousand others.
        reason = f"unforeseen damage ({type(error).__name__}: {str(error)[:80]})"
        raise Quarantine(path.name if path else "", reason, "Report it with the message.") from error


def fill(participants: list[Participant], config: Config, build: Path, progress: Callable[[str], None]) -> list[dict]:
    """Write every participant's row into ``build``; returns one record per participant, in order."""
    rows, size = len(participants), config.store.clip_size
    shapes = {"ecg": (rows, 12, ecg.SAMPLES), "clips": (rows, size, size, config.store.clip_frames)}
    blocks = [range(k, min(k + BLOCK, rows)) for k in range(0, rows, BLOCK)]
    if not all(_record_path(build, block).is_file() for block in blocks):
        # Arrays are moved on only when all records are there: a later call must not make them anew.
        for name, shape in shapes.items():
            _preallocate(build / f"{name}.npy", shape, np.int16 if name == "ecg" else np.uint8)
    todo = [block for block in blocks if not _record_path(build, block).is_file()]
    jobs = ((_fill_block, block, [participants[k] for k in block], config, build) for block in todo)
    run_all(jobs, len(todo), config.runtime.workers, progress, "preprocess", rows - sum(map(len, todo)), rows)
    return [record for block in blocks for record in json.loads(_record_path(build, block).read_text())]


def _fill_block(block: range, participants: list[Participant], config: Config, build: Path) -> int:
    size = config.store.clip_size
    signals = np.zeros((len(block), 12, ecg.SAMPLES), dtype=np.int16)
    clips = np.zeros((len(block), size, size, config.store.clip_frames), dtype=np.uint8)
    records = []
    for k, participant in enumerate(participants):
        try:
            signals[k], clips[k], facts = process(participant, config)
            records.append({"eid": participant.eid, **facts})
        except Quarantine as fault:
            found = {"file": fault.file, "reason": fault.reason, "cure": fault.cure}
            records.append({"eid": participant.eid, "quarantine": found})
    write_rows(build / "ecg.npy", block.start, signals)
    write_rows(build / "clips.npy", block.start, clips)
    write_text(_record_path(build, block), json.dumps(records))
    return len(block)


def _record_path(build: Path, block: range) -> Path:
    return build / "records" / f"{block.start:07d}-{block.stop:07d}.json"


def run_all(
    jobs: Iterable[tuple], count: int, workers: int, progress: Callable[[str], None], what: str, done: int, total: int
) -> None:
    """Run jobs (function, arguments...) side by side, one thread each; each returns how many participants it did."""
    from joblib import Parallel, delayed, parallel_config

    if not count:
        return
    if done:
        progress(f"{what}: {done} of {total} participants are there already")
    start, before, last = time.monotonic(), done, 0.0
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=min(workers, count), return_as="generator_unordered", batch_size=1)
        for finished in pool(delayed(job)(*arguments) for job, *arguments in jobs):
            done += finished
            spent = time.monotonic() - start
            if spent - last > 5 or done == total:
                last, left = spent, spent * (total - done) / max(done - before, 1)
                progress(f"{what}: {done} of {total} participants, {spent:.0f} s, about {left:.0f} s to go")


def _preallocate(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """A .npy of zeros (a sparse file), unless it is there in the right shape; without it no record is true."""
    if path.is_file():
        with contextlib.suppress(ValueError, OSError):
            known = np.load(path, mmap_mode="r")
            if known.shape == shape and known.dtype == dtype:
                return
    shutil.rmtree(path.parent / "records", ignore_errors=True)
    (path.parent / "records").mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: np.lib.format.open_memmap(beside, "w+", dtype, shape).flush())


def write_rows(path: Path, first: int, rows: np.ndarray) -> None:
    """Rows into a .npy from row ``first`` on, on disk when it returns."""
    with path.open("r+b") as handle:
        np.lib.format.read_magic(handle)
        np.lib.format.read_array_header_1_0(handle)
        handle.seek(handle.tell() + first * rows[0].nbytes)
        handle.write(np.ascontiguousarray(rows))
        handle.flush()
        os.fsync(handle.fileno())


def keep_rows(source: Path, target: Path, kept: np.ndarray) -> None:
    """``source`` becomes ``target`` with the kept rows alone; a rename where all are kept."""
    if not source.is_file() and target.is_file():
        return  # an earlier call came so far
    rows = np.load(source, mmap_mode="r")
    if len(kept) == len(rows):
        del rows
        source.replace(target)
        return

    def copy(beside: Path) -> None:
        out = np.lib.format.open_memmap(beside, mode="w+", dtype=rows.dtype, shape=(len(kept), *rows.shape[1:]))
        for k in range(0, len(kept), BLOCK):
            out[k : k + BLOCK] = rows[kept[k : k + BLOCK]]
        out.flush()

    write_atomically(target, copy)
    source.unlink()
