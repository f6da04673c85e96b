"""One array whose rows are stored in many files (shards)."""

import resource
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Rows:
    """Read-only array: row k is row ``slots[k] % shard`` of file number ``slots[k] // shard``.

    It is indexed like a memory map: by an integer, a slice, an integer array or a mask, and by further axes. A file is
    opened at its first read. At most a quarter of the process's limit of open files is used (the limit is often
    1,024; UK Biobank has 1,298 shards); the least recently used file is closed first.
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
        row_shape = np.empty((0, *self.shape[1:]), dtype=self.dtype)[(slice(None), *rest)].shape[1:]
        out = np.empty((len(slots), *row_shape), dtype=self.dtype)
        self._fill(out, slots, rest)
        return out

    def take(self, rows: np.ndarray, axis: int = 0, out: np.ndarray | None = None, mode: str = "raise") -> np.ndarray:
        """Selected rows, like ``np.ndarray.take``; each row is copied once into ``out``. axis: only 0 is supported."""
        if out is None:
            return self[rows]
        self._fill(out, self.slots[rows])
        return out

    def _fill(self, out: np.ndarray, slots: np.ndarray, rest: tuple[Any, ...] = ()) -> None:
        """Copy the rows of some slots into ``out``, in the order of the files."""
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
    """Maximum number of files that one array keeps open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else max(soft // 4, 16)
