"""Where a store's rows lie on disk, and how they get there without ever being half there unnoticed."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eccl_lib.config.schema import ARRAYS
from eccl_lib.io.files import write_atomically

BLOCK = 8  # participants in one write and one record; 20 MB at the paper's shape
SHARD = 32  # participants in one file of a store in shards, a multiple of BLOCK; 83 MB at the paper's shape


@dataclass(frozen=True)
class Layout:
    """The row in slot k is row ``k % shard`` of file ``k // shard``; records say what became of BLOCK slots each."""

    arrays: Path
    records: Path
    slots: int
    shard: int
    numbered: bool = True
    names: tuple[str, ...] = ARRAYS

    @classmethod
    def whole(cls, build: Path, slots: int) -> Layout:
        """Everything in one file, as the embedded cohort is kept."""
        return cls(build, build / "records", slots, slots, numbered=False)

    @classmethod
    def sharded(cls, folder: Path, slots: int, names: tuple[str, ...] = ARRAYS) -> Layout:
        """A file for every SHARD participants: no two processes, or machines, write into one."""
        return cls(folder / "store" / "shards", folder / "records", slots, SHARD, names=names)

    def file(self, name: str, slot: int) -> Path:
        """The file that holds a slot's row of ``ecg`` or ``clips``."""
        return self.arrays / (f"{name}-{slot // self.shard:05d}.npy" if self.numbered else f"{name}.npy")

    def files(self, name: str) -> list[Path]:
        """All files of ``ecg`` or ``clips``, in order."""
        return [self.file(name, slot) for slot in range(0, self.slots, self.shard)]

    def record(self, slot: int) -> Path:
        """The file that says what became of a slot and its neighbours."""
        first = slot - slot % BLOCK
        last = first + BLOCK if self.numbered else min(first + BLOCK, self.slots)
        return self.records / f"{first:07d}-{last:07d}.json"

    def write(self, name: str, slot: int, row: np.ndarray) -> None:
        """A slot's row; on disk only after ``flush``."""
        with self.file(name, slot).open("r+b") as handle:
            np.lib.format.read_magic(handle)
            np.lib.format.read_array_header_1_0(handle)
            handle.seek(handle.tell() + slot % self.shard * row.nbytes)
            handle.write(np.ascontiguousarray(row))

    def flush(self, slot: int) -> None:
        """Bring to disk what was written to the files of a slot."""
        for name in self.names:
            with self.file(name, slot).open("rb") as handle:
                os.fsync(handle.fileno())

    def prepare(self, name: str, slot: int, row_shape: tuple[int, ...], dtype: type) -> None:
        """A file of zeros (sparse) for a slot's shard, unless it is there as wanted; without it no record is true."""
        path, shape = self.file(name, slot), (self.shard, *row_shape)
        if path.is_file():
            with contextlib.suppress(ValueError, OSError):
                known = np.load(path, mmap_mode="r")
                if known.shape == shape and known.dtype == dtype:
                    return
        first = slot - slot % self.shard
        for other in range(first, min(first + self.shard, self.slots), BLOCK):
            self.record(other).unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda beside: np.lib.format.open_memmap(beside, "w+", dtype, shape).flush())


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
