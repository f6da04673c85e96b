"""The right heart of generated hearts: RV by level from base to apex, its outflow tract, and the right atrium.

In the plane of a slice the RV is a superellipse behind the septum. It is bent around the LV (crescent), narrower
towards the free wall (triangle) and wider at one end (pear). The tricuspid valve's plane is tilted and descends in
systole: what lies above it is atrium, i.e. background, and what remains of the RV there is its outflow tract.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.segmentation.random_draws import Dice

ABSENT = -99.0  # depth where a slice contains no RV


@dataclass
class RightHeart:
    """Shapes of the right heart of B slices at K levels, each (B, 1 or K, 1, 1), in mm from the LV's centre."""

    center: torch.Tensor  # towards the septum
    half: tuple[torch.Tensor, torch.Tensor]  # half axes across and along
    shift: torch.Tensor  # along the septum
    power: torch.Tensor  # 2: ellipse; more: box-like; less: lens
    bend: torch.Tensor  # curvature of the septum and the free wall, 1 / mm
    taper: torch.Tensor  # decrease of the length towards the free wall
    skew: torch.Tensor
    pear: torch.Tensor  # increase of the width towards one end
    wall: torch.Tensor
    there: torch.Tensor  # bool: the slice is above the RV's tip
    back: torch.Tensor  # smallest u: the RV does not extend behind the LV
    cut: torch.Tensor  # v of the tricuspid valve; below it lies the atrium
    atrium: tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # u and v of the atrium's centre, its radius; 0: absent

    def local(self, u: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Coordinates along the half axes, -1 to 1 inside."""
        a, b = self.half
        along = v - self.shift - self.skew * (u - self.center)
        across = u - self.center + self.bend * along**2
        x = across / (a * (1 + self.pear * (along / b).clamp(-1, 1)))
        return x, along / (b * (1 - self.taper * x.clamp(-1, 1)).clamp(min=0.3))

    def depth(self, u: torch.Tensor, v: torch.Tensor, pixel_mm: torch.Tensor) -> torch.Tensor:
        """Distance to the border of RV and atrium in mm, positive inside: (B, K, H, W)."""
        x, y = self.local(u, v)
        reach = (x.abs().clamp(min=1e-3) ** self.power + y.abs().clamp(min=1e-3) ** self.power) ** (1 / self.power)
        down, side = torch.gradient(reach, dim=(2, 3))
        steep = torch.hypot(down, side) / pixel_mm
        far = (1 - reach) * torch.sqrt(self.half[0] * self.half[1])
        depth = torch.minimum((1 - reach).abs() / steep.clamp(min=1e-3), 2 * far.abs()) * (1 - reach).sign()
        return torch.where(self.there, torch.minimum(depth, u - self.back), torch.tensor(ABSENT))


def draw(
    dice: Dice,
    level: torch.Tensor,
    epi: torch.Tensor,
    outer: torch.Tensor,
    flat: torch.Tensor,
    values: list[torch.Tensor],
    axis: tuple[torch.Tensor, torch.Tensor],
    place: torch.Tensor,
) -> RightHeart:
    """Draw the right hearts of B slices at K levels.

    level: (B, K, 1, 1). epi: the LV's contour, (B, K, ANGLES). outer: the LV's largest outer radius. flat: bool, the
    septum is flattened. values: width at diastole, its systolic shortening, thickness of the free wall. axis: height of
    the slice above the base at end diastole, and the LV's length, in mm. place: of the slice, share of the LV's length.
    """
    (wide, short, wall), (height, length) = values, axis
    septal = epi[..., [0]].unsqueeze(-1)
    tip = length * dice.uniform(0.75, 1.02)
    down = length * (0.04 + 0.3 * short) * dice.uniform(0.5, 1.2) * level + dice.uniform(-14, 1)
    share = ((-height - down) / (tip - down)).clamp(max=1.0)
    inner = share.clamp(min=0)
    width = wide * (1 - inner ** dice.uniform(1.2, 2.8)).clamp(min=0) ** 0.6 * (1 - short * level)
    length_now = outer * torch.where(flat, dice.uniform(0.85, 1.5), dice.uniform(0.7, 1.25))
    length_now = (
        length_now * (1 - inner ** dice.uniform(1.8, 3.4)).clamp(min=0) ** 0.5 * (1 - dice.uniform(0.0, 0.25) * level)
    )
    offset = dice.uniform(-0.45, 0.45)
    a = (width / (1 + offset)).clamp(min=1.0)
    b = (length_now + 2).clamp(min=2.0)
    center = 0.97 * septal + offset * a
    bend = torch.where(flat, dice.uniform(0.0, 0.5), dice.uniform(0.1, 1.0)) / (2 * outer)
    tilt = dice.uniform(0.25, 0.9)
    cut = (down + height) / tilt + dice.uniform(-0.9, -0.6) * b[:, :1]
    shape = [dice.uniform(-0.1, 0.5), dice.uniform(-0.35, 0.35), dice.uniform(-0.4, 0.4)]
    there = (share < 0.97) & (width > 2.5) & (cut < 1.2 * b) & ~dice.coin(0.02)
    there = there & ~((place > 0.8) & dice.coin(0.25))
    grown = ((down + height + 2) / 12).clamp(0, 1)
    size = dice.uniform(13, 28) * grown * (1 + dice.uniform(-0.05, 0.3) * level) * dice.coin(0.85)
    atrium = outer * dice.uniform(0.7, 1.2), -outer * dice.uniform(0.2, 0.9), size
    shift = dice.uniform(-0.3, 0.3) * outer
    power = dice.uniform(1.7, 2.8)
    back = outer * dice.uniform(-0.35, 0.1)
    return RightHeart(center, (a, b), shift, power, bend, *shape, wall, there, back, cut, atrium)
