"""What a model reads, by row of the cohort: signals and clips as float batches on the run's device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from eccl_lib.config.schema import Config
from eccl_lib.data import cmr, ecg
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.build import device
from eccl_lib.training import distributed
from eccl_lib.training.reader import Prefetcher

EVALUATION_BATCH = 128  # rows that are read together where nothing is learned


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor there; towards a GPU through pinned memory, so that the host does not wait for the copy."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class EcgDataset:
    """All ECGs of a cohort as the models see them: resident on a GPU as int16, on a CPU left in the memory map."""

    def __init__(self, data: Cohort, config: Config) -> None:
        self.view, self.augment, self.device = config.view, config.augment, device(config)
        self.mapped = distributed.main_process_first(lambda: data.ecg_view(config.view))
        self.samples = self.mapped.shape[2]
        self.resident = torch.from_numpy(self.mapped.copy()).to(self.device) if self.device.type == "cuda" else None
        self.waited = 0.0

    def of(self, rows: np.ndarray) -> Tensor:
        """rows: (B,). Returns (B, 12, T) in [-1, 1]."""
        if self.resident is not None:
            return ecg.scale(self.resident[to_device(rows, self.device)], self.view)
        began = time.perf_counter()
        found = torch.from_numpy(self.mapped[rows])
        self.waited += time.perf_counter() - began
        return ecg.scale(found, self.view)

    def augmented(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """As ``of``, each ECG cropped, reversed or turned by chance (Sec. 3.1)."""
        return ecg.augment(self.of(rows), self.augment, generator)

    def ahead(self, batches: Sequence[np.ndarray]) -> AbstractContextManager:
        """Nothing to do: they are resident, or small."""
        return nullcontext()


class CineDataset:
    """All cine clips of a cohort as the models see them, read from the memory map batch by batch.

    waited: seconds in which a step stood still for its clips.
    """

    def __init__(self, data: Cohort, config: Config) -> None:
        self.pixels, self.device = distributed.main_process_first(lambda: data.clip_view(config.view)), device(config)
        self.augment = config.augment
        asked = config.runtime.read_ahead
        self.read_ahead = asked == "on" or (asked == "auto" and self.device.type == "cuda")
        self.waited = 0.0
        self._reader: Prefetcher | None = None
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def of(self, rows: np.ndarray) -> Tensor:
        """rows: (B,). Returns (B, F, H, W) in [-1, 1], channels_last."""
        return cmr.scale(self.stored(rows))

    def augmented(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """As ``of``, each clip rotated, scaled or mirrored by chance (Sec. 3.1), from its bytes on the device."""
        return cmr.augment(self.stored(rows), self.augment, generator)

    def stored(self, rows: np.ndarray) -> Tensor:
        """rows: (B,). Returns (B, F, H, W) uint8 on the device, channels_last."""
        began = time.perf_counter()
        if self._reader is not None and self._reader.has(rows):
            batch = self._reader.next()
            if self._stream is not None:
                batch.record_stream(torch.cuda.current_stream(self.device))
        else:
            batch = self._read(rows)
        self.waited += time.perf_counter() - began
        return batch.permute(0, 3, 1, 2)

    @contextmanager
    def ahead(self, batches: Sequence[np.ndarray]) -> Iterator[None]:
        """Inside, these batches are read in a thread, in this order, before they are asked for."""
        if not self.read_ahead or self._reader is not None:
            yield
            return
        with Prefetcher(self._read_whole, batches) as self._reader:
            try:
                yield
            finally:
                self._reader = None

    def _read(self, rows: np.ndarray) -> Tensor:
        """(B, H, W, F) uint8; on a GPU on its way there, copied once on the host: from the map to pinned memory."""
        if self.device.type != "cuda":
            return torch.from_numpy(self.pixels[rows])
        found = torch.empty(len(rows), *self.pixels.shape[1:], dtype=torch.uint8, pin_memory=True)
        self.pixels.take(rows, axis=0, out=found.numpy(), mode="clip")  # "raise" would copy once more
        return found.to(self.device, non_blocking=True)

    def _read_whole(self, rows: np.ndarray) -> Tensor:
        """The same, arrived, without a step having waited for the copy."""
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
    """``function`` over rows, piece by piece, without gradient. Returns (len(rows), ...) float32.

    source: what the function reads, so that it can be read ahead.
    """
    pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
    with (
        torch.no_grad(),
        source.ahead(pieces[distributed.rank() :: distributed.world_size()]) if source else nullcontext(),
    ):
        return np.concatenate(distributed.map_over_ranks(lambda part: function(part).float().cpu().numpy(), pieces))
