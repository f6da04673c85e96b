"""Location of a store's rows on disk, and writes that cannot leave incomplete rows unnoticed."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from eccl_lib.config.schema import ARRAYS
from eccl_lib.io.disk import writing
from eccl_lib.io.files import COMPLETE, write_rows

BLOCK = 8  # participants per write and per record file; 20 MB at the paper's shape
SHARD = 32  # participants per file of a sharded store, a multiple of BLOCK; 83 MB at the paper's shape


@dataclass(frozen=True)
class Layout:
    """Slot k is row ``k % shard`` of file ``k // shard``; each record file covers BLOCK slots."""

    arrays: Path
    records: Path
    slots: int
    shard: int
    numbered: bool = True
    names: tuple[str, ...] = ARRAYS

    @classmethod
    def whole(cls, build: Path, slots: int) -> Self:
        """One file per array, as in the synthetic cohort."""
        return cls(build, build / "records", slots, slots, numbered=False)

    @classmethod
    def sharded(cls, folder: Path, slots: int, names: tuple[str, ...] = ARRAYS) -> Self:
        """One file per SHARD participants, so that no two processes or machines write to the same file."""
        return cls(folder / "store" / "shards", folder / "records", slots, SHARD, names=names)

    def file(self, name: str, slot: int) -> Path:
        """Path of the file with a slot's row. name: ``ecg`` or ``clips``."""
        return self.arrays / (f"{name}-{slot // self.shard:05d}.npy" if self.numbered else f"{name}.npy")

    def files(self, name: str) -> list[Path]:
        """Paths of all files of one array, in order. name: ``ecg`` or ``clips``."""
        return [self.file(name, slot) for slot in range(0, self.slots, self.shard)]

    def record(self, slot: int) -> Path:
        """Path of the record file of a slot's block."""
        first = slot - slot % BLOCK
        last = first + BLOCK if self.numbered else min(first + BLOCK, self.slots)
        return self.records / f"{first:07d}-{last:07d}.json"

    def reading(self, slot: int) -> Path:
        """Path of the mark that a slot's files are being read."""
        return self.records / f"{slot:07d}.reading"

    def write(self, name: str, slot: int, row: np.ndarray) -> None:
        """Write a slot's row; it is safely on disk only after ``flush``. Raises WriteError."""
        path = self.file(name, slot)
        with writing(path, COMPLETE), path.open("r+b") as handle:
            np.lib.format.read_magic(handle)
            np.lib.format.read_array_header_1_0(handle)
            handle.seek(handle.tell() + slot % self.shard * row.nbytes)
            handle.write(np.ascontiguousarray(row))

    def flush(self, slot: int) -> None:
        """Flush a slot's existing files to disk (fsync). Raises WriteError."""
        for path in filter(Path.is_file, (self.file(name, slot) for name in self.names)):
            with writing(path, COMPLETE), path.open("rb") as handle:
                os.fsync(handle.fileno())

    def prepare(self, name: str, slot: int, row_shape: tuple[int, ...], dtype: type) -> None:
        """Create a sparse file of zeros for a slot's shard and delete the shard's records.

        Does nothing if a file of this shape and dtype exists.
        """
        path, shape = self.file(name, slot), (self.shard, *row_shape)
        if path.is_file():
            with contextlib.suppress(Exception):  # of a damaged header, numpy raises a dozen types
                existing = np.load(path, mmap_mode="r")
                if existing.shape == shape and existing.dtype == dtype:
                    return
        first = slot - slot % self.shard
        for block in range(first, min(first + self.shard, self.slots), BLOCK):
            self.record(block).unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(path, [], shape, dtype)


def keep_rows(source: Path, target: Path, kept: np.ndarray) -> None:
    """Move the array file ``source`` to ``target`` and keep only some rows. kept: numbers of these rows."""
    if not source.is_file() and target.is_file():
        return  # an earlier call has moved it and was then interrupted
    rows = np.load(source, mmap_mode="r")
    if len(kept) == len(rows):
        del rows
        source.replace(target)
        return
    blocks = (rows[kept[k : k + BLOCK]] for k in range(0, len(kept), BLOCK))
    write_rows(target, blocks, (len(kept), *rows.shape[1:]), rows.dtype)
    source.unlink()
