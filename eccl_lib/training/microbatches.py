"""A batch in pieces: the loss and gradient of the whole, in the memory of one piece (and on each rank its share)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.training import distributed

Logs = dict[str, Tensor]
Outputs = tuple[Tensor, ...]
Step = Callable[[np.ndarray, torch.Generator], tuple[Tensor, Logs]]


@dataclass(frozen=True)
class Mean:
    """A step whose loss is a mean over terms that each row has alone.

    loss: rows, generator -> loss and parts of it, of these rows. terms: how many terms rows have; one each by default.
    """

    loss: Step
    terms: Callable[[np.ndarray], float | Tensor] = len

    def __call__(self, rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        """The share of these rows in the whole batch's loss."""
        loss, logs = self.loss(rows, generator)
        whole = distributed.whole(rows)
        if whole is rows:
            return loss, logs
        here, all_of_them = self.terms(rows), self.terms(whole)
        weigh = lambda mean: distributed.part(mean, here, all_of_them).to(mean.dtype)  # noqa: E731
        return weigh(loss), {name: weigh(value) for name, value in logs.items()}


@dataclass(frozen=True)
class Contrast:
    """A step in whose loss each row meets the others.

    outputs: rows, generator -> what the loss reads of them, each (b, ...). loss: outputs of the whole batch, its rows,
    generator -> loss and parts of it.
    """

    outputs: Callable[[np.ndarray, torch.Generator], Outputs]
    loss: Callable[[Outputs, np.ndarray, torch.Generator], tuple[Tensor, Logs]]

    def __call__(self, rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        """The loss of the whole batch, these rows its share."""
        outputs = tuple(distributed.all_gather(part) for part in self.outputs(rows, generator))
        return self.loss(outputs, distributed.whole(rows), generator)


@dataclass(frozen=True)
class Pieces:
    """How one batch goes through the model.

    start: piece -> its generator, dropout seeded; called again it gives the same. cast: the precision of a forward
    pass; the way back is outside of it.
    """

    rows: np.ndarray
    count: int
    start: Callable[[int], torch.Generator]
    cast: Callable[[], AbstractContextManager]

    def __iter__(self) -> Iterator[tuple[np.ndarray, torch.Generator]]:
        for piece in range(self.count):
            with distributed.shard(self.rows, piece, self.count) as own:
                yield own, self.start(piece)


def check(model: nn.Module, step: Step, count: int) -> None:
    """Raises ConfigError where a batch in ``count`` pieces would not be the whole batch."""
    if count == 1:
        return
    if not isinstance(step, Mean | Contrast):
        raise ConfigError(f"runtime.accumulate is {count}; this stage takes its batches whole: set it to 1")
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
        why = "this model's batch norms would see one piece at a time"
        raise ConfigError(f"runtime.accumulate is {count}; {why}: set it to 1 or raise runtime.ranks")


def backward(step: Step, pieces: Pieces) -> Logs:
    """Gradients of the batch, into the parameters; returns the loss and its parts. step: as ``check`` lets pass."""
    return _two_passes(step, pieces) if isinstance(step, Contrast) else _one_pass(step, pieces)


def _one_pass(step: Mean, pieces: Pieces) -> Logs:
    sums: Logs = {}
    for own, generator in pieces:
        with pieces.cast():
            loss, logs = step(own, generator)
        loss.backward()
        for name, value in {"loss": loss, **logs}.items():
            sums[name] = sums.get(name, 0.0) + value.detach()
    return sums


def _two_passes(step: Contrast, pieces: Pieces) -> Logs:
    """Outputs first, then the loss's gradient by each of them, then each piece once more with that gradient.

    Gao et al. (2021, GradCache). Dropout is drawn anew from the same seed, so both passes see the same model.
    """
    with torch.no_grad():
        found = []
        for own, generator in pieces:
            with pieces.cast():
                found.append(step.outputs(own, generator))
    leaves = [torch.cat(column).requires_grad_() for column in zip(*found, strict=True)]
    with distributed.shard(pieces.rows) as share, pieces.cast():
        outputs = tuple(distributed.all_gather(leaf) for leaf in leaves)
        loss, logs = step.loss(outputs, distributed.whole(share), generator)
    loss.backward()
    done = 0
    for own, generator in pieces:
        with pieces.cast():
            again = step.outputs(own, generator)
        gradients = [leaf.grad[done : done + len(own)] for leaf in leaves]
        torch.autograd.backward(again, gradients)
        done += len(own)
    return {"loss": loss.detach(), **{name: value.detach() for name, value in logs.items()}}
