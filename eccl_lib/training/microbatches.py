"""A step over a whole batch, over a rank's shard, or in microbatches; loss and gradient are the same."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.training import distributed
from eccl_lib.training.batch import Batch, Shard

Outputs = tuple[Tensor, ...]
Losses = dict[str, Tensor]  # "loss" is minimised; the other entries are its parts, for the history


class Step:
    """The mathematics of one training step; each method has a subclass.

    ``encode`` runs the model on the rows of the shard; ``loss`` compares the outputs with the targets. By default the
    loss is a mean over terms of single rows, so the loss of a shard needs only its own rows.
    couples_rows: True if the loss of a row depends on other rows (contrastive loss); ``loss`` then receives the
    outputs of the whole batch. in_microbatches: whether a batch can be split to save memory.
    """

    couples_rows: ClassVar[bool] = False
    in_microbatches: ClassVar[bool] = True

    def encode(self, batch: Batch) -> Outputs:
        """Outputs for the rows of the shard, each (b, ...). A scalar output is a mean over these rows."""
        raise NotImplementedError

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        """The loss and its parts, scalars."""
        raise NotImplementedError

    def terms(self, rows: np.ndarray) -> float | Tensor:
        """Number of terms that these rows add to the mean loss. rows: (b,)."""
        return len(rows)


def shard_losses(step: Step, batch: Batch) -> Losses:
    """Losses of the shard, weighted so that their mean over ranks is the loss of the whole batch."""
    outputs = step.encode(batch)
    if step.couples_rows:
        gathered = (distributed.all_gather(part, batch.shard) if part.dim() else batch.weigh(part) for part in outputs)
        return step.loss(tuple(gathered), batch.whole())
    losses = step.loss(outputs, batch)
    if batch.is_whole:
        return losses
    here, everywhere = step.terms(batch.rows), step.terms(batch.all_rows)
    return {name: batch.weigh(value, here, everywhere) for name, value in losses.items()}


@dataclass(frozen=True)
class Microbatches:
    """A batch split into microbatches. rows: (B,); count: microbatches on each rank.

    start: function of a microbatch's number: seeds dropout, returns a generator; equal numbers give equal draws.
    precision: context of a forward pass; the backward pass runs outside of it.
    """

    rows: np.ndarray
    count: int
    start: Callable[[int], torch.Generator]
    precision: Callable[[], AbstractContextManager]

    def __iter__(self) -> Iterator[Batch]:
        for number, shard in enumerate(distributed.shards(len(self.rows), self.count)):
            yield Batch(self.rows, shard, self.start(number))


def check(model: nn.Module, step: Step, count: int) -> None:
    """Raise ConfigError where a batch in ``count`` microbatches would not give the gradient of the whole batch."""
    if count == 1:
        return
    if not step.in_microbatches:
        raise ConfigError(f"runtime.accumulate is {count}; this stage needs whole batches: set it to 1")
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
        reason = "this model's batch norms would see one microbatch at a time"
        raise ConfigError(f"runtime.accumulate is {count}; {reason}: set it to 1 or raise runtime.ranks")


def backward(step: Step, microbatches: Microbatches) -> Losses:
    """Accumulate the gradients of a batch in the parameters. Returns the losses, detached."""
    return _grad_cache(step, microbatches) if step.couples_rows else _accumulate(step, microbatches)


def _accumulate(step: Step, microbatches: Microbatches) -> Losses:
    sums: Losses = {}
    for batch in microbatches:
        with microbatches.precision():
            losses = shard_losses(step, batch)
        losses["loss"].backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.detach()
    return sums


def _grad_cache(step: Step, microbatches: Microbatches) -> Losses:
    """GradCache (Gao et al. 2021): backpropagate a loss over the whole batch in microbatches.

    Compute all outputs without a graph, and the gradient of the loss by each output. Then run every microbatch again
    and backpropagate from this gradient. Both passes draw the same dropout.
    """
    with torch.no_grad():
        encoded = []
        for batch in microbatches:
            with microbatches.precision():
                encoded.append(step.encode(batch))
    leaves = [torch.cat(column).requires_grad_() for column in zip(*encoded, strict=True)]
    (rank_shard,) = distributed.shards(len(microbatches.rows))
    whole = Batch(microbatches.rows, Shard.whole(len(microbatches.rows)), batch.generator)
    with microbatches.precision():
        losses = step.loss(tuple(distributed.all_gather(leaf, rank_shard) for leaf in leaves), whole)
    losses["loss"].backward()
    done = 0
    for batch in microbatches:
        with microbatches.precision():
            outputs = step.encode(batch)
        torch.autograd.backward(outputs, [leaf.grad[done : done + batch.shard.size] for leaf in leaves])
        done += batch.shard.size
    return {name: value.detach() for name, value in losses.items()}
