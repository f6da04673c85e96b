"""Labelled training images: hearts from ``anatomy``, surroundings from ``background``, a randomised scanner.

The network's input has three planes: the frame, the mean over the beat and the signed first harmonic over the beat. The
harmonic is positive where the image is bright at end diastole and dark at end systole, i.e. only inside the ventricles.
Hearts are therefore drawn in K coupled phases. A fifth of the hearts is drawn without time (mean = frame, harmonic =
0), so that the network can also segment single frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from eccl_lib.data.segmentation.unet.network import HARMONIC_GAIN
from tools.segmentation import anatomy, background, rendering
from tools.segmentation.random_draws import Dice

SIZE = 96  # pixels of a training image
BETWEEN = ((0.2, 0.45), (0.6, 0.85))  # ranges of the levels of contraction between 0 and 1
PHASES = 2 + len(BETWEEN)
NO_TIME = 0.2  # share of hearts without mean and harmonic


@dataclass
class Drawn:
    """A batch of B hearts in K phases.

    inputs: (B, K, 3, H, W), frame, mean, harmonic, normalised. labels: (B, K, H, W) uint8, 0 to 3. pixel_mm: (B,).
    level: (B, K) contraction. radius_mm: (B, K), mean radius of the cavity. has_time: (B,) bool.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    pixel_mm: torch.Tensor
    level: torch.Tensor
    radius_mm: torch.Tensor
    has_time: torch.Tensor


def draw(seed: int, hearts: int, size: int = SIZE) -> Drawn:
    """Draw a batch of hearts at end diastole, two phases in between, and end systole; determined by the seed."""
    dice = Dice(hearts, seed)
    between = [dice.uniform(low, high).view(-1, 1) for low, high in BETWEEN]
    level = torch.cat([torch.zeros(hearts, 1), *between, torch.ones(hearts, 1)], 1)
    h = anatomy.draw(dice, level)
    p = background.plane(dice, size)
    t = background.tissue(dice, h.apex)
    back = background.surroundings(dice, p, t, h.outer[:, :1])
    image, labels = rendering.heart(dice, back, p, t, h)
    image = scan(dice, image, t.blood)
    mean_weight, wave_weight = anatomy.beat_weights(dice, level)
    has_time = ~dice.coin(NO_TIME).view(-1)
    inputs = planes(dice, image, mean_weight, wave_weight, has_time)
    return Drawn(inputs, labels, p.pixel_mm.view(-1), level, h.radius[..., 0, 0], has_time)


def planes(
    dice: Dice, image: torch.Tensor, mean_weight: torch.Tensor, wave_weight: torch.Tensor, has_time: torch.Tensor
) -> torch.Tensor:
    """Input planes frame, mean and harmonic, normalised by percentiles of the clip: (B, K, 3, H, W)."""
    flat = image.flatten(1)
    top = dice.uniform(0.965, 0.995).view(-1, 1)
    ordered = flat.sort(1).values
    low = ordered[:, int(0.01 * flat.shape[1])].view(-1, 1, 1, 1)
    high = ordered.gather(1, (top * (flat.shape[1] - 1)).long()).view(-1, 1, 1, 1)
    image = ((image - low) / (high - low).clamp(min=1e-6)).clamp(0, 1) ** torch.exp(dice.uniform(-0.5, 0.5))
    mean = (image * mean_weight[..., None, None]).sum(1, keepdim=True)
    wave = (image * wave_weight[..., None, None]).sum(1, keepdim=True)
    center = image.mean((1, 2, 3), keepdim=True)
    spread = image.std((1, 2, 3), keepdim=True).clamp(min=1e-3)
    frames = (image - center) / spread
    kept = has_time.view(-1, 1, 1, 1)
    mean = torch.where(kept, ((mean - center) / spread).expand_as(frames), frames)
    wave = torch.where(kept, HARMONIC_GAIN * wave / spread, torch.zeros(())).expand_as(frames)
    return torch.stack([frames, mean, wave], 2)


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
    image = torch.hypot(image + noise * real, noise * imaginary)
    return image * _border(dice, size)


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
