"""Random numbers for a batch of generated hearts, shaped to broadcast over phases and pixels."""

from __future__ import annotations

import torch
from torch.nn import functional


class Dice:
    """Draws for B hearts, all from one seed. Scalars have shape (B, 1, 1, 1): hearts, phases, rows, columns."""

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
        """(B, 1, 1, 1) bool."""
        return self.uniform() < chance

    def pick(self, values: list[torch.Tensor], chances: list[float]) -> torch.Tensor:
        """One of several (B, 1, 1, 1) per heart."""
        which = torch.multinomial(torch.tensor(chances), self.count, replacement=True, generator=self.generator)
        return torch.stack(values, 0).expand(-1, self.count, 1, 1, 1)[which, torch.arange(self.count)]

    def smooth(self, cells: int, size: int, channels: int = 1) -> torch.Tensor:
        """Smooth noise of about unit SD, ``cells`` bumps across the picture: (B, channels, size, size)."""
        grid = self.normal(channels, cells, cells)
        mode = "bicubic" if cells * 2 < size else "bilinear"
        field = functional.interpolate(grid, (size, size), mode=mode, align_corners=False)
        return field * 1.3  # what the interpolation takes from the SD

    def ring(self, angles: int, amplitudes: dict[int, float]) -> torch.Tensor:
        """Sum of cosines of an angle, k periods around with SD-like amplitude a and free phase: (B, 1, angles)."""
        theta = torch.arange(angles) * (2 * torch.pi / angles)
        out = torch.zeros(self.count, 1, angles)
        for k, amplitude in amplitudes.items():
            strength = amplitude * self.uniform(0.3, 1.0)[..., 0]
            out = out + strength * torch.cos(k * theta + self.angle()[..., 0])
        return out
