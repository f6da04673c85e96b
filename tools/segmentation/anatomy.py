"""Generate short-axis hearts: one slice over a beat, with diastole and systole coupled by the wall's area.

Lengths are in mm, angles are measured from the direction to the RV (the septum). A heart is drawn at K levels of
contraction, from 0 (end diastole) to 1 (end systole). In each direction the cavity's radius decreases by the fractional
shortening, and the wall's area is constant apart from a gain by longitudinal shortening. With a thick wall, the
cavity therefore becomes a small star at end systole. The spikes of the star are the gaps between the papillary muscles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.segmentation.random_draws import Dice

ANGLES = 96  # directions of a contour
SMALLEST_CAVITY = 2.0  # mm; a smaller cavity is not visible in an image


@dataclass
class Heart:
    """B hearts at K levels of contraction. Contours: radius by direction around the LV's centre, (B, K, ANGLES)."""

    level: torch.Tensor  # (B, K, 1, 1) contraction, 0 to 1
    endo: torch.Tensor  # endocardium as drawn by experts, with trabeculae and free papillary muscles inside
    bright: torch.Tensor  # contour of the fully bright blood
    bases: torch.Tensor  # 0 to 1: share of papillary muscle that touches the wall without a visible border
    epi: torch.Tensor
    open_: torch.Tensor  # 1 in the sector of basal slices without wall (outflow tract), (B, 1, ANGLES)
    apex: torch.Tensor  # (B, 1, 1, 1) bool
    base: torch.Tensor
    rv_center: torch.Tensor  # (B, K, 1, 1) mm from the LV's centre along the septal direction
    rv_half: tuple[torch.Tensor, torch.Tensor]  # half axes across and along, (B, K, 1, 1)
    rv_shift: torch.Tensor  # along the septum, (B, 1, 1, 1)
    rv_power: torch.Tensor  # 2: ellipse; more: box-like; less: lens
    rv_wall: torch.Tensor
    rv_there: torch.Tensor  # bool: the slice contains the RV
    move: tuple[torch.Tensor, torch.Tensor]  # displacement of the LV, (B, K, 1, 1)

    @property
    def radius(self) -> torch.Tensor:
        """Mean radius of the cavity: (B, K, 1, 1)."""
        return self.endo.mean(-1)[..., None, None]

    @property
    def outer(self) -> torch.Tensor:
        return self.epi.mean(-1)[..., None, None]


def draw(dice: Dice, level: torch.Tensor) -> Heart:
    """Draw B hearts at their levels of contraction (B, K)."""
    level = level[..., None, None]
    apex, base = dice.coin(0.2), dice.coin(0.2)
    base = base & ~apex
    endo, epi = _walls(dice, level, apex)
    endo, epi, flat = _flatten_septum(dice, endo, epi)
    bases, deep = _bases(dice, endo, level)
    rim = torch.minimum(_rim(dice, endo, apex) + deep, 0.5 * endo)
    bright = (endo - rim).clamp(min=0)
    rv = _right(dice, level, epi, apex, flat)
    gap = base & dice.coin(0.4)
    return Heart(level, endo, bright, bases, epi, _gap(dice, gap), apex, base, *rv, _displacement(dice, level))


def _walls(dice: Dice, level: torch.Tensor, apex: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Endocardium and epicardium over the beat, (B, K, ANGLES) each."""
    kind = [0.42, 0.36, 0.22]  # normal, dilated, thick or small
    radius = dice.pick([dice.uniform(17, 28), dice.uniform(26, 38), dice.uniform(10, 23)], kind)
    which = dice.uniform()
    dilated, small = radius > 27, radius < 16
    thick = small | (~dilated & (which < 0.25))
    wall = torch.where(thick, dice.uniform(8, 19), torch.where(dilated, dice.uniform(4.5, 10), dice.uniform(5, 11)))
    shortening = torch.where(thick, dice.uniform(0.25, 0.8), dice.uniform(0.15, 0.55))
    shortening = torch.where(dilated, dice.uniform(0.02, 0.35), shortening)
    radius = torch.where(apex, dice.uniform(3, 17), radius)
    wall = torch.where(apex, dice.uniform(4, 10), wall)
    shortening = torch.where(apex, dice.uniform(0.05, 1.0), shortening)

    shape = dice.uniform(0.0, 1.0)[..., 0] * dice.ring(ANGLES, {2: 0.13, 3: 0.04, 4: 0.04, 5: 0.025, 7: 0.015})
    diastole = radius[..., 0] * (1 + shape)
    uneven = dice.uniform(0.0, 0.4)[..., 0] * dice.ring(ANGLES, {1: 1.0, 2: 0.4, 3: 0.3})  # infarcts, hypertrophy
    wall = (wall[..., 0] * (1 + uneven)).clamp(min=3.0)
    local = dice.uniform(0.0, 0.5)[..., 0] * dice.ring(ANGLES, {1: 1.0, 2: 0.5})  # an akinetic segment
    shorter = (shortening[..., 0] * (1 + local)).clamp(0.0, 0.95)

    step = level[..., 0]
    endo = diastole * (1 - shorter * step)
    area = ((diastole + wall) ** 2 - diastole**2) * (1 + dice.uniform(-0.05, 0.3)[..., 0] * step)
    epi = torch.sqrt(endo**2 + area)
    star = dice.uniform(0.0, 0.5)[..., 0] * dice.ring(ANGLES, {2: 0.35, 3: 0.5, 4: 0.35, 5: 0.3})
    tight = step * torch.sigmoid((11 - endo.mean(-1, keepdim=True)) / 2)
    endo = endo * (1 + star * tight).clamp(min=0.2)
    return endo.clamp(min=0.0), epi


def _flatten_septum(dice: Dice, endo: torch.Tensor, epi: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Contours of a D-shaped LV under RV pressure: cut by a chord at ``depth`` radii from the centre, then smoothed."""
    flat = dice.coin(0.22)
    depth = torch.where(flat, dice.uniform(0.35, 0.85), torch.tensor(9.0))[..., 0]
    theta = torch.arange(ANGLES) * (2 * torch.pi / ANGLES)
    toward = torch.cos(theta).clamp(min=1e-3)  # the septum lies at angle 0
    mean = endo.mean(-1, keepdim=True)
    chord = depth * mean / toward
    wall = epi - endo
    cut = torch.minimum(endo, torch.where(torch.cos(theta) > 0, chord, torch.tensor(1e3)))
    cut = _round(cut)
    return cut, cut + torch.minimum(wall, wall.mean(-1, keepdim=True) * 1.6), flat


def _round(table: torch.Tensor) -> torch.Tensor:
    """A smoothed contour: the mean over 19 degrees."""
    return sum(torch.roll(table, k, -1) for k in range(-2, 3)) / 5


def _rim(dice: Dice, endo: torch.Tensor, apex: torch.Tensor) -> torch.Tensor:
    """Depth of the trabecular layer between the bright blood and the expert's contour: (B, K, ANGLES).

    Experts draw the contour at the foot of the edge on the muscle's side, so trabeculae belong to the cavity. In some
    hearts, and in many near the apex, the layer fills up to a third of the radius on one side.
    """
    radius = endo.mean(-1, keepdim=True)
    depth = (dice.uniform(1.0, 3.2) + dice.uniform(0.0, 0.12) * dice.coin(0.6) * radius[..., None])[..., 0]
    sponge = dice.coin(torch.where(apex, torch.tensor(0.5), torch.tensor(0.15))) * dice.uniform(0.05, 0.3)
    sides = (0.5 + dice.ring(ANGLES, {1: 0.7, 2: 0.3})).clamp(0.0, 1.0)
    ragged = 0.6 + dice.ring(ANGLES, {3: 0.15, 7: 0.3, 11: 0.3, 17: 0.25})
    return torch.minimum((depth + sponge[..., 0] * sides * radius) * ragged.clamp(0.0, 1.5), 0.4 * endo)


def _bases(dice: Dice, endo: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Share and depth of papillary muscles that touch the wall at end systole, by direction: (B, K, ANGLES) each.

    They are free in the blood at end diastole and merge with the wall as the cavity empties; experts include them in
    the cavity. There are two groups on the side opposite to the septum, and none in a nearly closed cavity.
    """
    theta = torch.arange(ANGLES) * (2 * torch.pi / ANGLES)
    radius = endo.mean(-1, keepdim=True)
    room = torch.sigmoid((radius - 9) / 1.5)
    share, depth = torch.zeros_like(endo), torch.zeros_like(endo)
    for side in (-1, 1):
        middle = side * dice.uniform(1.2, 2.6)[..., 0]
        half = dice.uniform(0.25, 0.8)[..., 0]
        off = torch.remainder(theta - middle + torch.pi, 2 * torch.pi) - torch.pi
        inside = torch.sigmoid((half - off.abs()) / 0.08)
        closed = (level[..., 0] - dice.uniform(-0.2, 0.5)[..., 0]).clamp(0, 1)
        closed = closed * dice.coin(0.6)[..., 0] * room
        share = torch.maximum(share, inside * closed)
        depth = torch.maximum(depth, inside * closed * dice.uniform(0.1, 0.45)[..., 0] * radius)
    return share, depth


def _gap(dice: Dice, gap: torch.Tensor) -> torch.Tensor:
    """Sector of a basal slice that is open to the aorta or the atrium: (B, 1, ANGLES), 0 to 1."""
    theta = torch.arange(ANGLES) * (2 * torch.pi / ANGLES)
    half = dice.uniform(0.25, 0.8)[..., 0]
    away = torch.cos(theta - dice.uniform(0.3, 2 * torch.pi - 0.3)[..., 0])
    return torch.sigmoid((away - torch.cos(half)) * 30) * gap[..., 0]


def _right(
    dice: Dice, level: torch.Tensor, epi: torch.Tensor, apex: torch.Tensor, flat: torch.Tensor
) -> tuple[torch.Tensor | tuple[torch.Tensor, torch.Tensor], ...]:
    """The RV: a superellipse behind the septum, up to twice as large as the LV under pressure load."""
    outer = epi[:, :1].mean(-1)[..., None, None]
    septal = epi[..., [0]].unsqueeze(-1)
    across = dice.uniform(10, 27) * (outer / 32).clamp(0.7, 1.2)
    across = torch.where(flat | dice.coin(0.12), dice.uniform(20, 40), across)
    along = outer * torch.where(flat, dice.uniform(0.9, 1.7), dice.uniform(0.65, 1.4)) + 3
    across = torch.where(apex, across * dice.uniform(0.3, 0.8), across)
    along = torch.where(apex, along * dice.uniform(0.5, 1.0), along)
    offset = dice.uniform(-0.2, 0.6)
    across_now = across * (1 - dice.uniform(0.05, 0.5) * level)
    along_now = along * (1 - dice.uniform(0.0, 0.3) * level)
    center = 0.95 * septal + offset * across_now
    wall = torch.where(dice.coin(0.1), dice.uniform(4, 9), dice.uniform(1.5, 4.5))
    there = ~dice.coin(torch.where(apex, torch.tensor(0.55), torch.tensor(0.12)))
    shift = dice.uniform(-0.35, 0.35) * outer
    return center, (across_now, along_now), shift, dice.uniform(1.6, 2.8), wall, there


def _displacement(dice: Dice, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    distance, angle = dice.uniform(0, 5) * level, dice.angle()
    return distance * torch.cos(angle), distance * torch.sin(angle)


def sample(table: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """A contour (B, K or 1, ANGLES) interpolated linearly at any angles (B, K, H, W)."""
    batch, phases = theta.shape[:2]
    place = (theta * (ANGLES / (2 * torch.pi))) % ANGLES
    low = place.floor()
    part = place - low
    index = (low.long() % ANGLES).flatten(2)
    table = table.expand(batch, phases, ANGLES)
    first = table.gather(2, index).view(theta.shape)
    second = table.gather(2, (index + 1) % ANGLES).view(theta.shape)
    return first + part * (second - first)


def beat_weights(dice: Dice, level: torch.Tensor, samples: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (B, K) of the K images in the mean over a beat and in its signed first harmonic.

    The beat has contraction (30 to 48 %), relaxation and diastasis; its start is up to 6 % away from end diastole.
    """
    systole, relax = dice.uniform(0.3, 0.48)[..., 0], dice.uniform(0.2, 0.4)[..., 0]
    time = (torch.arange(samples) / samples + dice.uniform(-0.06, 0.06)[..., 0]) % 1.0
    rise = torch.sin((time / systole).clamp(max=1) * torch.pi / 2) ** 2
    fall = torch.cos(((time - systole) / relax).clamp(0, 1) * torch.pi / 2) ** 2
    now = torch.where(time < systole, rise, fall)[:, 0]  # (B, samples)
    upper = torch.searchsorted(level.contiguous(), now.contiguous()).clamp(1, level.shape[1] - 1)
    below, above = level.gather(1, upper - 1), level.gather(1, upper)
    part = ((now - below) / (above - below).clamp(min=1e-6)).clamp(0, 1)
    weights = torch.zeros(*now.shape, level.shape[1])
    weights.scatter_add_(2, upper[..., None], part[..., None])
    weights.scatter_add_(2, (upper - 1)[..., None], (1 - part)[..., None])
    wave = torch.cos(torch.arange(samples) * (2 * torch.pi / samples))
    return weights.mean(1), 2 * (wave[:, None] * weights).mean(1)
