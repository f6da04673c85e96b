"""What the steps of an epoch said, left on the device until somebody looks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.training.microbatches import Logs
from eccl_lib.training.pace import Throughput


class DivergedError(ConfigError):
    """The loss is no longer a number; the message names the batch, the last good state is kept."""


@dataclass
class State:
    """Where a training stands."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's logs
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    pace: Throughput = field(default_factory=Throughput)


class MetricAccumulator:
    """Sums of an epoch's logs, and the losses since the last look. sums: of the epoch's steps before."""

    def __init__(self, device: torch.device, sums: dict[str, float] | None = None) -> None:
        found = (sums or {}).items()
        self.sums: Logs = {name: torch.tensor(total, dtype=torch.float64, device=device) for name, total in found}
        self.losses: list[Tensor] = []

    def add(self, parts: Logs) -> None:
        """parts: the loss and what else a step logs, scalars without gradient."""
        self.losses.append(parts["loss"])
        for name, part in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + part.double()

    def look(
        self, batches: list[np.ndarray], state: State, parameters: Iterable[nn.Parameter], folder: Path
    ) -> dict[str, float]:
        """Wait for the device. Returns the sums; raises DivergedError at the first bad step since the last look.

        batches: of the epoch; folder: where the state is kept. Weights are looked at as well: a gradient may be
        infinite where the loss is not.
        """
        values = torch.stack(self.losses).tolist() if self.losses else []
        first = state.step - len(values)
        for k, value in enumerate(values):
            if not math.isfinite(value):
                raise DivergedError(_words(f"loss is {value}", state.epoch, first + k, batches, folder))
        if not bool(torch.stack([p.detach().isfinite().all() for p in parameters]).all()):
            raise DivergedError(_words("weights are no longer numbers", state.epoch, state.step - 1, batches, folder))
        self.losses = []
        return {name: float(total) for name, total in self.sums.items()}


def _words(what: str, epoch: int, step: int, batches: list[np.ndarray], folder: Path) -> str:
    rows = batches[step]
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    return (
        f"{what} at epoch {epoch + 1}, step {step + 1}, cohort rows {shown}. "
        f"The last good state is kept in {folder}. Look at those rows, or lower the learning rate."
    )
