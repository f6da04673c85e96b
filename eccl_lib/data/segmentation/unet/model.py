"""A plain U-Net with fewer than a million parameters, for 2 mm pixels and fast inference on one core."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from eccl_lib.data.segmentation.unet.planes import PLANES

WIDTHS = (16, 32, 64, 96, 128)
CLASSES = 4  # background, LV cavity, LV myocardium, RV
STRIDE = 2 ** (len(WIDTHS) - 1)  # the image's sides must be multiples of it


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two blocks of 3 x 3 convolution, group normalisation and leaky ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [
            nn.Conv2d(width, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(4, outputs),
            nn.LeakyReLU(0.1, inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Label logits of images: (B, 7, H, W) -> (B, 4, H, W); H and W are multiples of 16."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.down = nn.ModuleList(double_conv(a, b) for a, b in zip((PLANES, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(double_conv(a + b, a) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[0], CLASSES, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        skips = []
        x = images.contiguous(memory_format=torch.channels_last)
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for k in reversed(range(len(self.up))):
            upsampled = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.up[k](torch.cat([skips[k], upsampled], dim=1))
        return self.out(x)


def extended(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights whose first layer has weights of 0 for the last input planes, which older weights do not know."""
    first = weights["down.0.0.weight"]
    missing = PLANES - first.shape[1]
    return weights | {"down.0.0.weight": functional.pad(first, (0, 0, 0, 0, 0, missing))}
