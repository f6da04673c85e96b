"""Datasets: ECGs and cine clips of a cohort as float batches on the run's device, by row of the cohort."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from eccl_lib.config.schema import Config
from eccl_lib.data import cmr, ecg
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.build import device
from eccl_lib.training import distributed
from eccl_lib.training.batch import Batch

EVALUATION_BATCH = 128  # rows in one batch of validation, test and feature extraction
PREFETCH = 2  # batches that are read in advance and wait on the device


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor on the device; to a GPU through pinned memory, so that the host does not wait."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class EcgDataset:
    """All ECGs of a cohort, scaled for the models. A GPU holds them as int16; a CPU reads the memory map.

    waited: seconds spent on reading.
    """

    def __init__(self, data: Cohort, config: Config) -> None:
        self.view, self.augment, self.device = config.view, config.augment, device(config)
        self.mapped = distributed.main_process_first(lambda: data.ecg_view(config.view))
        self.samples = self.mapped.shape[2]
        self.resident = torch.from_numpy(self.mapped.copy()).to(self.device) if self.device.type == "cuda" else None
        self.waited = 0.0

    def of(self, rows: np.ndarray) -> Tensor:
        """ECGs of some cohort rows. rows: (B,). Returns (B, 12, T), scaled by ``data.ecg.scale``."""
        if self.resident is not None:
            return ecg.scale(self.resident[to_device(rows, self.device)], self.view)
        began = time.perf_counter()
        found = torch.from_numpy(self.mapped[rows])
        self.waited += time.perf_counter() - began
        return ecg.scale(found, self.view)

    def augmented(self, batch: Batch) -> Tensor:
        """The batch's ECGs as ``of`` gives them, cropped, reversed or negated at random (Sec. 3.1). (b, 12, T)."""
        return ecg.augment(self.of(batch.rows), self.augment, batch.draw(ecg.AUGMENT_DRAWS, -1))

    def ahead(self, batches: Sequence[np.ndarray]) -> AbstractContextManager:
        """A context that does nothing: ECGs are on the device already, or small."""
        return nullcontext()


class CineDataset:
    """All cine clips of a cohort, scaled for the models, read from the memory map batch by batch.

    waited: seconds in which steps waited for their clips.
    """

    def __init__(self, data: Cohort, config: Config) -> None:
        self.pixels, self.device = distributed.main_process_first(lambda: data.clip_view(config.view)), device(config)
        self.augment = config.augment
        asked = config.runtime.read_ahead
        self.read_ahead = asked == "on" or (asked == "auto" and self.device.type == "cuda")
        self.waited = 0.0
        self._prefetcher: Prefetcher | None = None
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def of(self, rows: np.ndarray) -> Tensor:
        """Clips of some cohort rows. rows: (B,). Returns (B, F, H, W) in [-1, 1], channels_last."""
        return cmr.scale(self.stored(rows))

    def augmented(self, batch: Batch) -> Tensor:
        """The batch's clips as ``of`` gives them, rotated, scaled or mirrored at random (Sec. 3.1). (b, F, H, W)."""
        return cmr.augment(self.stored(batch.rows), self.augment, batch.draw(cmr.AUGMENT_DRAWS, -1))

    def stored(self, rows: np.ndarray) -> Tensor:
        """Clips as stored. rows: (B,). Returns (B, F, H, W) uint8 on the device, channels_last."""
        began = time.perf_counter()
        if self._prefetcher is not None and self._prefetcher.has(rows):
            batch = self._prefetcher.next()
            if self._stream is not None:
                batch.record_stream(torch.cuda.current_stream(self.device))
        else:
            batch = self._read(rows)
        self.waited += time.perf_counter() - began
        return batch.permute(0, 3, 1, 2)

    @contextmanager
    def ahead(self, batches: Sequence[np.ndarray]) -> Iterator[None]:
        """Inside this context, a thread reads these batches in advance, in this order."""
        if not self.read_ahead or self._prefetcher is not None:
            yield
            return
        with Prefetcher(self._read_whole, batches) as self._prefetcher:
            try:
                yield
            finally:
                self._prefetcher = None

    def _read(self, rows: np.ndarray) -> Tensor:
        """(B, H, W, F) uint8. For a GPU the host copies once, from the memory map to pinned memory."""
        if self.device.type != "cuda":
            return torch.from_numpy(self.pixels[rows])
        found = torch.empty(len(rows), *self.pixels.shape[1:], dtype=torch.uint8, pin_memory=True)
        self.pixels.take(rows, axis=0, out=found.numpy(), mode="clip")  # mode "raise" would make a second copy
        return found.to(self.device, non_blocking=True)

    def _read_whole(self, rows: np.ndarray) -> Tensor:
        """As ``_read``, but wait for the copy to the GPU, so that no step waits for it."""
        if self._stream is None:
            return self._read(rows)
        with torch.cuda.stream(self._stream):
            batch = self._read(rows)
            self._stream.synchronize()
        return batch


def predict_in_batches(
    function: Callable[[np.ndarray], Tensor],
    rows: np.ndarray,
    size: int = EVALUATION_BATCH,
    source: EcgDataset | CineDataset | None = None,
) -> np.ndarray:
    """Apply ``function`` to batches of rows, without gradient. Returns (len(rows), ...) float32.

    source: the dataset that the function reads; it then reads batches in advance.
    """
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    with (
        torch.no_grad(),
        source.ahead(batches[distributed.rank() :: distributed.world_size()]) if source else nullcontext(),
    ):
        return np.concatenate(distributed.map_over_ranks(lambda part: function(part).float().cpu().numpy(), batches))


class Prefetcher:
    """Reads batches in a thread; ``next`` returns them in order. The context manager starts and ends the thread.

    read: function of rows that returns their tensor after the copy to the device has finished.
    """

    def __init__(self, read: Callable[[np.ndarray], Tensor], batches: Iterable[np.ndarray]) -> None:
        self.read, self.batches = read, list(batches)
        self.returned = 0  # number of batches returned so far
        self._ready: queue.Queue[tuple[Tensor | None, BaseException | None]] = queue.Queue(PREFETCH)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetcher", daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def has(self, rows: np.ndarray) -> bool:
        """Whether the next batch is this one."""
        return self.returned < len(self.batches) and np.array_equal(self.batches[self.returned], rows)

    def next(self) -> Tensor:
        """The next batch, as soon as it is read. Raises the error of the reading thread."""
        tensor, error = self._ready.get()
        if error is not None:
            raise error
        self.returned += 1
        return tensor

    def _work(self) -> None:
        for rows in self.batches:
            try:
                result = self.read(rows), None
            except BaseException as error:  # ``next`` raises it in the other thread
                result = None, error
            while not self._ended.is_set():
                try:
                    self._ready.put(result, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._ended.is_set() or result[1] is not None:
                return
