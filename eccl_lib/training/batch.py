"""The batch of a training step: its rows, the shard to process, and its random numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """The part of a batch to process: rows ``start`` to ``stop``, exclusive. rank_sizes: number of rows per rank."""

    start: int
    stop: int
    rank_sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @classmethod
    def whole(cls, size: int) -> Shard:
        """All rows, in one process."""
        return cls(0, size, (size,))


@dataclass(frozen=True)
class Batch:
    """Input of a training step. all_rows: (B,) cohort rows; shard: the part to process; generator: of this step."""

    all_rows: np.ndarray
    shard: Shard
    generator: torch.Generator

    @classmethod
    def of(cls, rows: np.ndarray, generator: torch.Generator) -> Batch:
        """A batch whose shard is the whole batch. rows: (B,)."""
        return cls(rows, Shard.whole(len(rows)), generator)

    @property
    def rows(self) -> np.ndarray:
        """Cohort rows of the shard, (b,)."""
        return self.all_rows[self.shard.start : self.shard.stop]

    @property
    def is_whole(self) -> bool:
        """Whether the shard is the whole batch."""
        return self.shard.size == len(self.all_rows)

    def whole(self) -> Batch:
        """The same batch with all of its rows in the shard."""
        return replace(self, shard=replace(self.shard, start=0, stop=len(self.all_rows)))

    def draw(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) for the shard; a row's numbers do not depend on ranks and microbatches.

        shape: -1 stands for the rows of the shard, such as (-1, L). Returns float on the generator's device.
        """
        rows = shape.index(-1)
        whole = [len(self.all_rows) if size == -1 else size for size in shape]
        drawn = torch.rand(*whole, generator=self.generator, device=self.generator.device)
        return drawn.narrow(rows, self.shard.start, self.shard.size)

    def weigh(self, mean: Tensor, terms: float | Tensor | None = None, of: float | Tensor | None = None) -> Tensor:
        """Weight a mean over the shard: summed over microbatches and averaged over ranks, it is the batch mean.

        terms, of: number of terms of the mean in the shard and in the batch; by default their rows.
        """
        if self.is_whole:
            return mean
        share = self.shard.size / len(self.all_rows) if terms is None else terms / of
        return (mean * (share * len(self.shard.rank_sizes))).to(mean.dtype)
