"""Rows that lie in many files, seen as one array: what a store in shards shows to whoever reads it."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Rows:
    """Read-only rows: row k is row ``slots[k] % shard`` of file number ``slots[k] // shard``.

    Indexed as a memory map is: by a number, a slice, an array of numbers or a mask, with more axes behind. Files are
    opened when they are first read; a row that nobody asks for costs nothing. Those read longest ago are closed where
    more would be open than a quarter of what the system allows a process (1,024 often; UK Biobank has 1,298 shards).
    """

    def __init__(self, files: Sequence[Path], shard: int, slots: np.ndarray, row_shape: tuple[int, ...], dtype: Any):
        self.files, self.shard, self.slots = tuple(files), shard, np.asarray(slots, dtype=np.int64)
        self.dtype = np.dtype(dtype)
        self.shape = (len(self.slots), *row_shape)
        self._opened: OrderedDict[int, np.ndarray] = OrderedDict()

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape)))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, (int, np.integer)):
            row = self._row(int(self.slots[first]))
            return row[rest] if rest else row
        slots = self.slots[first]
        kept = np.empty((0, *self.shape[1:]), dtype=self.dtype)[(slice(None), *rest)].shape[1:]
        out = np.empty((len(slots), *kept), dtype=self.dtype)
        self._fill(out, slots, rest)
        return out

    def take(self, rows: np.ndarray, axis: int = 0, out: np.ndarray | None = None, mode: str = "raise") -> np.ndarray:
        """Some rows, as ``np.ndarray.take`` gives them: into ``out``, each copied once. axis: 0, the only one."""
        if out is None:
            return self[rows]
        self._fill(out, self.slots[rows])
        return out

    def _fill(self, out: np.ndarray, slots: np.ndarray, rest: tuple[Any, ...] = ()) -> None:
        """Read in the order of the disk; each row is copied once, to its place."""
        for k in np.argsort(slots, kind="stable"):
            row = self._row(int(slots[k]))
            out[k] = row[rest] if rest else row

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def copy(self) -> np.ndarray:
        """All rows in memory."""
        return self[:]

    def _row(self, slot: int) -> np.ndarray:
        number, place = divmod(slot, self.shard)
        if number in self._opened:
            self._opened.move_to_end(number)
        else:
            while len(self._opened) >= most_open():
                self._opened.popitem(last=False)
            self._opened[number] = np.load(self.files[number], mmap_mode="r", allow_pickle=False)
        return self._opened[number][place]


def most_open() -> int:
    """Files that one array may hold open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else max(soft // 4, 16)
