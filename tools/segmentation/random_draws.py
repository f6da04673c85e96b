"""Random numbers for a batch of generated hearts, shaped to broadcast over phases and pixels."""

from __future__ import annotations

import torch
from torch.nn import functional


class Dice:
    """Random generator for B = hearts x slices images from one seed; a heart's slices are neighbours in the batch.

    Scalars have the shape (B, 1, 1, 1): image, phase, row, column. They are equal in all slices of a heart, except
    those of ``per_slice``; smooth noise changes gradually from the first to the last slice.
    """

    def __init__(self, hearts: int, seed: int, slices: int = 1):
        self.hearts, self.slices, self.count = hearts, slices, hearts * slices
        self.generator = torch.Generator().manual_seed(seed)
        part = torch.linspace(0, torch.pi / 2, slices) if slices > 1 else torch.zeros(1)
        self._first = torch.cos(part).repeat(hearts).view(-1, 1, 1, 1)  # weights of the noise at the stack's two ends
        self._last = torch.sin(part).repeat(hearts).view(-1, 1, 1, 1)

    def uniform(self, low: float | torch.Tensor = 0.0, high: float | torch.Tensor = 1.0) -> torch.Tensor:
        return low + (high - low) * self._spread(torch.rand(self.hearts, 1, 1, 1, generator=self.generator))

    def per_slice(self, low: float | torch.Tensor = 0.0, high: float | torch.Tensor = 1.0) -> torch.Tensor:
        """Like ``uniform``, but independent in each slice."""
        return low + (high - low) * torch.rand(self.count, 1, 1, 1, generator=self.generator)

    def angle(self) -> torch.Tensor:
        return self.uniform(0.0, 2 * torch.pi)

    def normal(self, *shape: int) -> torch.Tensor:
        """Independent standard normal numbers: (B, *shape)."""
        return torch.randn(self.count, *shape, generator=self.generator)

    def coin(self, chance: float | torch.Tensor) -> torch.Tensor:
        """True with a probability of ``chance``: (B, 1, 1, 1) bool."""
        return self.uniform() < chance

    def pick(self, values: list[torch.Tensor], chances: list[float]) -> torch.Tensor:
        """One of several values per heart, chosen with the given probabilities: (B, 1, 1, 1)."""
        which = self.choose(chances)
        return torch.stack(values, 0).expand(-1, self.count, 1, 1, 1)[which, torch.arange(self.count)]

    def choose(self, chances: list[float]) -> torch.Tensor:
        """A number from 0 to len(chances) - 1 per heart, with the given probabilities: (B,) int64."""
        which = torch.multinomial(torch.tensor(chances), self.hearts, replacement=True, generator=self.generator)
        return self._spread(which)

    def smooth(self, cells: int, size: int, channels: int = 1) -> torch.Tensor:
        """Smooth noise with SD about 1 and ``cells`` cells across the image: (B, channels, size, size)."""
        ends = torch.randn(2, self.hearts, channels, cells, cells, generator=self.generator)
        grid = self._first * self._spread(ends[0]) + self._last * self._spread(ends[1])
        mode = "bicubic" if cells * 2 < size else "bilinear"
        field = functional.interpolate(grid, (size, size), mode=mode, align_corners=False)
        return field * 1.3  # compensates for the SD that is lost by interpolation

    def ring(self, angles: int, amplitudes: dict[int, float]) -> torch.Tensor:
        """Sum of cosines over the circle with random phases: (B, 1, angles). amplitudes: periods to amplitude."""
        theta = torch.arange(angles) * (2 * torch.pi / angles)
        out = torch.zeros(self.count, 1, angles)
        for k, amplitude in amplitudes.items():
            strength = amplitude * self.uniform(0.3, 1.0)[..., 0]
            out = out + strength * torch.cos(k * theta + self.angle()[..., 0])
        return out

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """Values per heart (hearts, ...) repeated for its slices: (B, ...)."""
        return values.repeat_interleave(self.slices, 0)
