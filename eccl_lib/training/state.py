"""The state of a training: its position, the metrics of the epoch, and both on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.io.files import read_json, sha256, verify, write_sealed
from eccl_lib.training.microbatches import Losses
from eccl_lib.training.performance import Throughput
from eccl_lib.training.runs import MANIFEST, save_tensors


class DivergedError(ConfigError):
    """The loss is no longer finite; the message names the batch. A checkpoint written before is kept."""


@dataclass
class State:
    """The position of a training."""

    epoch: int = 0
    step: int = 0  # finished steps of this epoch
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's losses
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    resumed: int = 0  # times that the training was resumed from a checkpoint
    throughput: Throughput = field(default_factory=Throughput)


class MetricAccumulator:
    """Accumulates an epoch's losses on the device without waiting for it. sums: sums over the epoch's earlier steps."""

    def __init__(self, device: torch.device, sums: dict[str, float] | None = None) -> None:
        earlier = (sums or {}).items()
        self.sums: Losses = {name: torch.tensor(total, dtype=torch.float64, device=device) for name, total in earlier}
        self.losses: list[Tensor] = []

    def add(self, losses: Losses) -> None:
        """Add the losses of one step, scalars without gradient."""
        self.losses.append(losses["loss"])
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double()

    def check_finite(
        self, batches: list[np.ndarray], state: State, parameters: Iterable[nn.Parameter], folder: Path
    ) -> dict[str, float]:
        """Wait for the device and return the sums. Raises DivergedError if a step since the last check is not finite.

        batches: rows per step; folder: of the checkpoint. Weights are checked too: a gradient may be infinite where the
        loss is finite.
        """
        values = torch.stack(self.losses).tolist() if self.losses else []
        first = state.step - len(values)
        for k, value in enumerate(values):
            if not math.isfinite(value):
                raise DivergedError(_message(f"loss is {value}", state.epoch, first + k, batches, folder))
        if not bool(torch.stack([p.detach().isfinite().all() for p in parameters]).all()):
            raise DivergedError(_message("weights are not finite", state.epoch, state.step - 1, batches, folder))
        self.losses = []
        return {name: float(total) for name, total in self.sums.items()}


def _message(fault: str, epoch: int, step: int, batches: list[np.ndarray], folder: Path) -> str:
    rows = batches[step]
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    kept = f" The last checkpoint is kept in {folder}." if (folder / MANIFEST).is_file() else ""
    place = f"epoch {epoch + 1}, step {step + 1}, cohort rows {shown}"
    return f"{fault} at {place}.{kept} Check those rows, or lower the learning rate."


# On disk: one file of tensors, and the manifest that makes it valid.


def write_checkpoint(folder: Path, fingerprint: str, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Replace the checkpoint; the new one is valid once its manifest is renamed. state: plain JSON types."""
    path = folder / f"state-{state['epoch']:04d}-{state['step']:06d}.safetensors"
    save_tensors(path, tensors)
    manifest = {"status": "training", "fingerprint": fingerprint, "files": {path.name: sha256(path)}, "state": state}
    write_sealed(folder / MANIFEST, manifest)
    for old in folder.glob("state-*.safetensors"):
        if old != path:
            old.unlink()


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The last checkpoint, None where there is none. Raises DamagedError where its checksum does not match."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_json(folder / MANIFEST)
    ((name, digest),) = manifest["files"].items()
    verify(folder / name, digest)
    return manifest["state"], load_file(folder / name)
