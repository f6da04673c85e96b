"""Labelled training images: hearts from ``anatomy``, surroundings from ``background``, a randomised scanner.

Each heart is drawn in some neighbouring slices and K coupled phases, from which ``planes`` makes the network's input.
The network must work for a whole beat, for the two stills at end diastole and end systole, and for a single image; and
with or without the neighbouring slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from eccl_lib.data.segmentation.unet import planes
from tools.segmentation import anatomy, background, rendering
from tools.segmentation.random_draws import Dice

SIZE = 96  # pixels of a training image
SLICES = 4  # neighbouring slices of a heart
BETWEEN = ((0.2, 0.45), (0.6, 0.85))  # ranges of the levels of contraction between 0 and 1
PHASES = 2 + len(BETWEEN)
BEAT, STILLS, SINGLE = 0, 1, 2
MODES = (0.5, 0.35, 0.15)  # shares of hearts with the whole beat, with two stills, with a single image
ALONE = 0.25  # share of hearts whose slices have no neighbours


@dataclass
class Drawn:
    """Images of N hearts in S slices and K phases.

    inputs: (N, S, K, P, H, W), see ``planes``. labels: (N, S, K, H, W) uint8, 0 to 3. pixel_mm: (N,). level: (N, K)
    contraction. radius_mm: (N, S, K), mean radius of the cavity. mode: (N,) BEAT, STILLS or SINGLE. kind: (N,). images:
    (N, S, K, H, W), before normalisation.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    pixel_mm: torch.Tensor
    level: torch.Tensor
    radius_mm: torch.Tensor
    mode: torch.Tensor
    kind: torch.Tensor
    images: torch.Tensor


def draw(seed: int, hearts: int, size: int = SIZE, slices: int = SLICES, kind: int | None = None) -> Drawn:
    """Draw hearts at end diastole, two phases in between, and end systole; determined by the seed."""
    dice = Dice(hearts, seed, slices)
    picture = scene(dice, size, kind)
    h, level = picture.heart, picture.heart.level[..., 0, 0]
    mean_weight, wave_weight = anatomy.beat_weights(dice, level)
    mode = dice.choose(list(MODES))
    inputs = _inputs(dice, picture.images, mean_weight, wave_weight, mode)
    shape = (hearts, slices, PHASES)
    return Drawn(
        inputs.view(*shape, *inputs.shape[2:]),
        picture.labels.view(*shape, size, size),
        picture.pixel_mm[::slices],
        level[::slices],
        h.radius[..., 0, 0].view(shape),
        mode[::slices],
        h.kind[::slices],
        picture.images.view(*shape, size, size),
    )


@dataclass
class Scene:
    """B scanned images at K levels with their labels, (B, K, H, W) each; the hearts and the pixel sizes (B,)."""

    images: torch.Tensor
    labels: torch.Tensor
    heart: anatomy.Heart
    pixel_mm: torch.Tensor


def scene(
    dice: Dice,
    size: int,
    kind: int | None = None,
    whole: bool = False,
    pixels_mm: tuple[float, float] = background.PIXELS_MM,
) -> Scene:
    """Draw and scan the slices of some hearts. kind, whole: see ``anatomy.draw``."""
    between = [dice.uniform(low, high).view(-1, 1) for low, high in BETWEEN]
    level = torch.cat([torch.zeros(dice.count, 1), *between, torch.ones(dice.count, 1)], 1)
    h = anatomy.draw(dice, level, kind, whole)
    p = background.plane(dice, size, pixels_mm)
    t = background.tissue(dice)
    reach = h.outer[:, :1].view(dice.hearts, dice.slices, 1, 1, 1).amax(1).repeat_interleave(dice.slices, 0)
    back = background.surroundings(dice, p, t, torch.maximum(0.7 * reach, h.outer[:, :1]))
    image, labels = rendering.heart(dice, back, p, t, h)
    return Scene(scan(dice, image, t.blood), labels, h, p.pixel_mm.view(-1))


def _inputs(
    dice: Dice, image: torch.Tensor, mean_weight: torch.Tensor, wave_weight: torch.Tensor, mode: torch.Tensor
) -> torch.Tensor:
    """The network's input planes, normalised by percentiles of each slice's images: (B, K, P, H, W)."""
    flat = image.flatten(1)
    top = dice.uniform(0.965, 0.995).view(-1, 1)
    ordered = flat.sort(1).values
    low = ordered[:, int(0.01 * flat.shape[1])].view(-1, 1, 1, 1)
    high = ordered.gather(1, (top * (flat.shape[1] - 1)).long()).view(-1, 1, 1, 1)
    image = ((image - low) / (high - low).clamp(min=1e-6)).clamp(0, 1) ** torch.exp(dice.uniform(-0.5, 0.5))
    mode = mode.view(-1, 1, 1, 1)
    ends = (image[:, :1] + image[:, -1:]) / 2, (image[:, :1] - image[:, -1:]) / 2
    mean = (image * mean_weight[..., None, None]).sum(1, keepdim=True)
    wave = (image * wave_weight[..., None, None]).sum(1, keepdim=True)
    mean = torch.where(mode == BEAT, mean, torch.where(mode == STILLS, ends[0], image))
    wave = torch.where(mode == BEAT, wave, torch.where(mode == STILLS, ends[1], torch.zeros(())))
    clip = planes.normalised(image, mean, wave)
    by_heart = clip.view(dice.hearts, dice.slices, *clip.shape[1:])
    alone = dice.coin(ALONE).view(dice.hearts, dice.slices)[:, 0]
    turned = dice.coin(0.5).view(dice.hearts, dice.slices)[:, 0]
    stacked = []
    for heart, turn, single in zip(by_heart, turned.tolist(), alone.tolist(), strict=True):
        for k in range(dice.slices):
            one = planes.without_neighbours(heart[k]) if single else planes.with_neighbours(heart, k, turn)
            stacked.append(one)
    return torch.stack(stacked)


def scan(dice: Dice, image: torch.Tensor, blood: torch.Tensor) -> torch.Tensor:
    """Images (B, K, H, W) with bias field, blur, coarse sampling, ghosts, Rician noise and an empty border."""
    phases, size = image.shape[1:3]
    ramp = torch.linspace(-1, 1, size)
    way = dice.angle()
    tilt = ramp.view(1, 1, -1, 1) * torch.sin(way) + ramp.view(1, 1, 1, -1) * torch.cos(way)
    image = image.clamp(min=0) * torch.exp(dice.uniform(0, 0.9) * tilt + dice.uniform(0, 0.35) * dice.smooth(3, size))
    image = torch.lerp(image, _blurred(dice, image), dice.uniform())
    image = torch.where(dice.coin(0.3), _coarse(dice, image), image)
    ghost = torch.roll(image, int(dice.uniform(20, 60)[0]), 2) + torch.roll(image, -int(dice.uniform(20, 60)[0]), 2)
    image = image + dice.coin(0.12) * dice.uniform(0, 0.1) * ghost
    noise = dice.uniform() ** 2 * 0.08 * blood
    real, imaginary = dice.normal(phases, size, size), dice.normal(phases, size, size)
    image = torch.hypot(_folded(dice, image * _banding(dice, size)) + noise * real, noise * imaginary)
    return image * _border(dice, size)


def _banding(dice: Dice, size: int) -> torch.Tensor:
    """Factor of the dark bands of balanced SSFP at off-resonance, more common at 3 T: (B, 1, H, W), 0 to 1."""
    place = torch.linspace(-1, 1, size)
    way = dice.angle()
    along = place.view(1, 1, -1, 1) * torch.sin(way) + place.view(1, 1, 1, -1) * torch.cos(way)
    off = along + 0.15 * dice.smooth(3, size) - dice.uniform(0.2, 1.2)
    band = torch.exp(-((off / dice.uniform(0.02, 0.08)) ** 2))
    return 1 - dice.coin(0.2) * dice.uniform(0.3, 0.95) * band


def _folded(dice: Dice, image: torch.Tensor) -> torch.Tensor:
    """Images with wrap-around: the body beyond the field of view appears at the opposite side, in up to a quarter."""
    size = image.shape[-1]
    place = torch.arange(size).view(1, 1, -1, 1)
    depth = dice.uniform(0.05, 0.28) * size
    shift = int(dice.uniform(0.4, 0.6)[0] * size)
    inside = torch.sigmoid((depth - place) / 1.5)
    folded = torch.roll(image, shift, 2).flip(3) * dice.uniform(0.3, 1.0)
    return image + dice.coin(0.12) * inside * folded


def _blurred(dice: Dice, image: torch.Tensor) -> torch.Tensor:
    sigma = float(dice.uniform(0.5, 1.6)[0])
    offsets = torch.arange(-4, 5)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    flat = image.flatten(0, 1).unsqueeze(1)
    flat = functional.conv2d(functional.pad(flat, (0, 0, 4, 4), mode="replicate"), kernel)
    flat = functional.conv2d(functional.pad(flat, (4, 4, 0, 0), mode="replicate"), kernel.transpose(2, 3))
    return flat.view(image.shape)


def _coarse(dice: Dice, image: torch.Tensor) -> torch.Tensor:
    """Images sampled on fewer pixels and interpolated back."""
    size = image.shape[-1]
    fewer = int(dice.uniform(0.5, 0.95)[0] * size)
    small = functional.interpolate(image, (fewer, fewer), mode="bilinear", antialias=True)
    return functional.interpolate(small, (size, size), mode="bilinear")


def _border(dice: Dice, size: int) -> torch.Tensor:
    """Mask of the acquired field of view: 0 in up to a fifth of the image on each side, else 1."""
    place = torch.arange(size)
    there = dice.coin(0.25)
    keep = torch.ones(dice.count, 1, size, size, dtype=torch.bool)
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = size
        first, last = dice.uniform(0, 0.2) * size, size - dice.uniform(0, 0.2) * size
        keep = keep & (place.view(shape) >= first) & (place.view(shape) < last)
    return (keep | ~there).to(torch.float32)
