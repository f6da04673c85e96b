"""Rows of coming batches, read in a thread of their own while the model computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

import numpy as np
from torch import Tensor

DEPTH = 2  # batches that wait, read, on the device


class Prefetcher:
    """Reads one batch after another; ``next`` hands them out in that order. As a context it ends its thread.

    read: rows -> their tensor, complete on the device when it returns.
    """

    def __init__(self, read: Callable[[np.ndarray], Tensor], batches: Iterable[np.ndarray]) -> None:
        self.read, self.batches = read, list(batches)
        self.given = 0  # batches handed out
        self._ready: queue.Queue[tuple[Tensor | None, BaseException | None]] = queue.Queue(DEPTH)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def has(self, rows: np.ndarray) -> bool:
        """Whether the next batch is this one."""
        return self.given < len(self.batches) and np.array_equal(self.batches[self.given], rows)

    def next(self) -> Tensor:
        """The next batch; waits until it is read. Raises what reading it raised."""
        tensor, error = self._ready.get()
        if error is not None:
            raise error
        self.given += 1
        return tensor

    def _work(self) -> None:
        for rows in self.batches:
            try:
                found = self.read(rows), None
            except BaseException as error:  # it is the other thread's to raise
                found = None, error
            while not self._ended.is_set():
                try:
                    self._ready.put(found, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._ended.is_set() or found[1] is not None:
                return
