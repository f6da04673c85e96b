"""What a model reads, by row of the cohort: signals and clips as float batches on the run's device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from eccl_lib import distributed
from eccl_lib.config import Config
from eccl_lib.data import cmr, ecg
from eccl_lib.data.cohort import Cohort
from eccl_lib.runs import device

PIECE = 128  # rows that are read together where nothing is learned


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor there; towards a GPU through pinned memory, so that the host does not wait for the copy."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Signals:
    """All ECGs of a cohort as the models see them: resident on a GPU as int16, on a CPU left in the memory map."""

    def __init__(self, data: Cohort, config: Config) -> None:
        self.view, self.device = config.view, device(config)
        self.mapped = distributed.first_then_all(lambda: data.ecg_view(config.view))
        self.samples = self.mapped.shape[2]
        self.resident = torch.from_numpy(self.mapped.copy()).to(self.device) if self.device.type == "cuda" else None

    def of(self, rows: np.ndarray) -> Tensor:
        """rows: (B,). Returns (B, 12, T) in [-1, 1]."""
        if self.resident is not None:
            return ecg.scale(self.resident[on_device(rows, self.device)], self.view)
        return ecg.scale(torch.from_numpy(self.mapped[rows]), self.view)


class Clips:
    """All cine clips of a cohort as the models see them, read from the memory map batch by batch."""

    def __init__(self, data: Cohort, config: Config) -> None:
        self.pixels, self.device = distributed.first_then_all(lambda: data.clip_view(config.view)), device(config)

    def of(self, rows: np.ndarray) -> Tensor:
        """rows: (B,). Returns (B, F, H, W) in [-1, 1], channels_last."""
        batch = on_device(self.pixels[rows], self.device)  # (B, H, W, F)
        return cmr.scale(batch.permute(0, 3, 1, 2))


def in_batches(function: Callable[[np.ndarray], Tensor], rows: np.ndarray, size: int = PIECE) -> np.ndarray:
    """``function`` over rows, piece by piece, without gradient. Returns (len(rows), ...) float32."""
    pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
    with torch.no_grad():
        return np.concatenate(distributed.each(lambda part: function(part).float().cpu().numpy(), pieces))
