"""Random numbers for a batch of generated hearts, shaped to broadcast over phases and pixels."""

from __future__ import annotations

import torch
from torch.nn import functional


class Dice:
    """Random generator for B hearts from one seed. Scalars have the shape (B, 1, 1, 1): heart, phase, row, column."""

    def __init__(self, count: int, seed: int):
        self.count = count
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float | torch.Tensor = 0.0, high: float | torch.Tensor = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.count, 1, 1, 1, generator=self.generator)

    def angle(self) -> torch.Tensor:
        return self.uniform(0.0, 2 * torch.pi)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.count, *shape, generator=self.generator)

    def coin(self, chance: float | torch.Tensor) -> torch.Tensor:
        """True with a probability of ``chance``: (B, 1, 1, 1) bool."""
        return self.uniform() < chance

    def pick(self, values: list[torch.Tensor], chances: list[float]) -> torch.Tensor:
        """One of several values per heart, chosen with the given probabilities: (B, 1, 1, 1)."""
        which = torch.multinomial(torch.tensor(chances), self.count, replacement=True, generator=self.generator)
        return torch.stack(values, 0).expand(-1, self.count, 1, 1, 1)[which, torch.arange(self.count)]

    def smooth(self, cells: int, size: int, channels: int = 1) -> torch.Tensor:
        """Smooth noise with SD about 1 and ``cells`` cells across the image: (B, channels, size, size)."""
        grid = self.normal(channels, cells, cells)
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
