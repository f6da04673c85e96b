"""One batch of a training step: the rows in hand, their place in the whole batch, and its random numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """Which rows of a batch are in hand: ``start`` to ``stop``, exclusive. rank_sizes: rows of each rank."""

    start: int
    stop: int
    rank_sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Rows in hand."""
        return self.stop - self.start

    @classmethod
    def whole(cls, size: int) -> Shard:
        """All rows, in one process."""
        return cls(0, size, (size,))


@dataclass(frozen=True)
class Batch:
    """What a step receives. all_rows: (B,) rows of the cohort; shard: those in hand; generator: of this step."""

    all_rows: np.ndarray
    shard: Shard
    generator: torch.Generator

    @classmethod
    def of(cls, rows: np.ndarray, generator: torch.Generator) -> Batch:
        """A batch in one process, all of its rows in hand. rows: (B,)."""
        return cls(rows, Shard.whole(len(rows)), generator)

    @property
    def rows(self) -> np.ndarray:
        """(b,) rows of the cohort in hand."""
        return self.all_rows[self.shard.start : self.shard.stop]

    @property
    def is_whole(self) -> bool:
        """Whether all rows are in hand."""
        return self.shard.size == len(self.all_rows)

    def whole(self) -> Batch:
        """The same batch with all of its rows in hand."""
        return replace(self, shard=replace(self.shard, start=0, stop=len(self.all_rows)))

    def draw(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1); each row gets the same ones on any number of ranks and microbatches.

        shape: -1 stands for the rows in hand, such as (-1, L). Returns float on the generator's device.
        """
        rows = shape.index(-1)
        whole = [len(self.all_rows) if size == -1 else size for size in shape]
        drawn = torch.rand(*whole, generator=self.generator, device=self.generator.device)
        return drawn.narrow(rows, self.shard.start, self.shard.size)

    def weigh(self, mean: Tensor, terms: float | Tensor | None = None, of: float | Tensor | None = None) -> Tensor:
        """A mean over the rows in hand, weighted so that its sum over microbatches, then mean over ranks, is the
        mean over the whole batch. terms, of: what the mean is over, here and in the whole batch, if not rows.
        """
        if self.is_whole:
            return mean
        share = self.shard.size / len(self.all_rows) if terms is None else terms / of
        return (mean * (share * len(self.shard.rank_sizes))).to(mean.dtype)
