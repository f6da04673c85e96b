"""A plain U-Net of under a million parameters: enough for 2 mm pixels, quick on one core."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 96, 128)
PLANES = 3  # frame, mean, harmonic
CLASSES = 4  # background, LV cavity, LV myocardium, RV
STRIDE = 2 ** (len(WIDTHS) - 1)  # a picture's sides must be multiples of it


def double(inside: int, outside: int) -> nn.Sequential:
    """Twice: convolution 3 x 3, group normalisation, leaky ReLU."""
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [
            nn.Conv2d(width, outside, 3, padding=1, bias=False),
            nn.GroupNorm(4, outside),
            nn.LeakyReLU(0.1, inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Labels' logits of pictures: (B, 3, H, W) -> (B, 4, H, W); H and W are multiples of 16."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.down = nn.ModuleList(double(a, b) for a, b in zip((PLANES, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(double(a + b, a) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[0], CLASSES, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        kept = []
        x = picture.contiguous(memory_format=torch.channels_last)
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else functional.max_pool2d(x, 2))
            kept.append(x)
        for k in reversed(range(len(self.up))):
            wider = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.up[k](torch.cat([kept[k], wider], dim=1))
        return self.out(x)
