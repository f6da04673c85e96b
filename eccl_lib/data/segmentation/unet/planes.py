"""The network's input planes: an image with what the beat and the neighbouring slices show at the same place.

| plane | content |
|---|---|
| 0 | the image |
| 1 | mean over the beat, or of the two stills at end diastole and end systole |
| 2 | signed first harmonic over the beat, or half the difference of the two stills |
| 3, 4 | the image of the slice before and after, at the same frame |
| 5, 6 | the harmonic of the slice before and after |

The harmonic is positive where the image is bright at end diastole and dark at end systole, i.e. only inside the
ventricles. For a single image the mean is the image and the harmonic 0. A slice without a neighbour has itself instead.
This module imports torch only when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PLANES = 7
HARMONICS = (2, 5, 6)  # the planes that are 0 where nothing changes
HARMONIC_GAIN = 2.0  # gives the harmonic about the SD of the other planes


def of_beat(images: torch.Tensor) -> torch.Tensor:
    """Planes 0 to 2 of a whole beat (S, F, H, W), its first frame at end diastole: (S, F, 3, H, W)."""
    import torch

    count = images.shape[1]
    wave = torch.cos(torch.arange(count) * (2 * torch.pi / count)) * (2 / count)
    return normalised(images, images.mean(1, keepdim=True), torch.einsum("f,sfhw->shw", wave, images)[:, None])


def of_stills(images: torch.Tensor, diastole: int, systole: int) -> torch.Tensor:
    """Planes 0 to 2 of some frames (S, F, H, W), from the two at end diastole and end systole: (S, F, 3, H, W)."""
    full, empty = images[:, [diastole]], images[:, [systole]]
    return normalised(images, (full + empty) / 2, (full - empty) / 2)


def of_images(images: torch.Tensor) -> torch.Tensor:
    """Planes 0 to 2 of single images (S, F, H, W) whose time is not known: (S, F, 3, H, W)."""
    return normalised(images, images, 0 * images)


def normalised(images: torch.Tensor, mean: torch.Tensor, wave: torch.Tensor) -> torch.Tensor:
    """Planes 0 to 2 with mean 0 and SD 1 over each slice's images: (S, F, 3, H, W).

    images: (S, F, H, W), between 0 and 1. mean, wave: (S, 1 or F, H, W), the mean and the harmonic in the same units.
    """
    import torch

    center = images.mean((1, 2, 3), keepdim=True)
    spread = images.std((1, 2, 3), keepdim=True).clamp(min=1e-3)
    frames = (images - center) / spread
    mean = ((mean - center) / spread).expand_as(frames)
    return torch.stack([frames, mean, (HARMONIC_GAIN * wave / spread).expand_as(frames)], 2)


def with_neighbours(clips: torch.Tensor, number: int, turned: bool = False) -> torch.Tensor:
    """All planes of one slice of a stack with the planes 0 to 2, (S, F, 3, H, W): (F, 7, H, W).

    turned: the slices are in the other order.
    """
    import torch

    before, own, after = clips[max(number - 1, 0)], clips[number], clips[min(number + 1, len(clips) - 1)]
    first, second = (after, before) if turned else (before, after)
    return torch.cat([own, first[:, :1], second[:, :1], first[:, 2:], second[:, 2:]], 1)


def without_neighbours(clip: torch.Tensor) -> torch.Tensor:
    """All planes of a slice with the planes 0 to 2, (F, 3, H, W), that has itself as its neighbours: (F, 7, H, W)."""
    return with_neighbours(clip[None], 0)
