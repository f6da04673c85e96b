"""Generate short-axis hearts: some slices over a beat, with diastole and systole coupled by the wall's area.

Lengths are in mm, angles are measured from the direction to the RV (the septum). A heart is drawn at K levels of
contraction, from 0 (end diastole) to 1 (end systole). In each direction the cavity's radius decreases by the fractional
shortening, and the wall's area is constant apart from a gain by longitudinal shortening. With a thick wall, the
cavity therefore becomes a small star or a slit at end systole, or closes. The spikes of the star are the gaps between
the papillary muscles. The base descends towards the apex in systole while the slices stay where they are, so a basal
slice through the ventricle at end diastole may lie in the atrium at end systole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.segmentation import right
from tools.segmentation.kinds import KINDS
from tools.segmentation.random_draws import Dice

ANGLES = 96  # directions of a contour
SMALLEST_CAVITY = 2.0  # mm; a smaller cavity is not visible in an image
THETA = torch.arange(ANGLES) * (2 * torch.pi / ANGLES)


@dataclass
class Heart:
    """B slices of hearts at K levels of contraction. Contours: radius by direction around the LV, (B, K, ANGLES)."""

    kind: torch.Tensor  # (B,) number in kinds.NAMES
    level: torch.Tensor  # (B, K, 1, 1) contraction, 0 to 1
    place: torch.Tensor  # (B, K, 1, 1) share of the LV's length from the base (0) to the tip of the cavity (1)
    endo: torch.Tensor  # endocardium as drawn by experts, with trabeculae and free papillary muscles inside
    bright: torch.Tensor  # contour of the fully bright blood
    bases: torch.Tensor  # 0 to 1: share of papillary muscle that touches the wall without a visible border
    epi: torch.Tensor
    open_: torch.Tensor  # 0 to 1, share of the wall that lies above the base (outflow tract, atrium)
    there: torch.Tensor  # (B, K, 1, 1) bool: the slice is below the base, so it contains LV
    slope: torch.Tensor  # (B, K, 1, 1) change of the cavity's radius along the axis, mm per mm
    thickness: torch.Tensor  # (B, 1, 1, 1) of the slices in mm
    length: torch.Tensor  # (B, 1, 1) of the LV at end diastole in mm
    rv: right.RightHeart
    move: tuple[torch.Tensor, torch.Tensor]  # displacement of the LV, (B, K, 1, 1)

    @property
    def radius(self) -> torch.Tensor:
        """Mean radius of the cavity: (B, K, 1, 1)."""
        return self.endo.mean(-1)[..., None, None]

    @property
    def outer(self) -> torch.Tensor:
        return self.epi.mean(-1)[..., None, None]


@dataclass
class Axis:
    """The LV along its axis. place, length_now: (B, K, 1), the slices' share of the length, and the length in mm."""

    place: torch.Tensor
    beyond: torch.Tensor  # mm of the slice beyond the tip of the cavity, (B, K, 1)
    above: torch.Tensor  # mm of the slice above the base, (B, K, 1); negative below
    length: torch.Tensor  # (B, 1, 1) at end diastole
    shorter: torch.Tensor  # (B, K, 1) share of the length that is left
    power: torch.Tensor  # (B, 1, 1) shape of the cavity: 2 is an ellipsoid, more is blunter


def draw(dice: Dice, level: torch.Tensor, kind: int | None = None, whole: bool = False) -> Heart:
    """Draw the B slices at their levels of contraction (B, K).

    kind: of all hearts, number in NAMES; None: random. whole: the slices span the heart from above the base to below
    the apex; else they are at a random place.
    """
    which = torch.full((dice.count,), kind) if kind is not None else dice.choose([k.share for k in KINDS.values()])
    level, step = level[..., None, None], level[..., None]
    radius, wall = _of(dice, which, "radius"), _of(dice, which, "wall")
    axis, thickness = _axis(dice, which, radius[..., 0], step, whole)
    size = _profile(axis, axis.place)
    endo, epi = _walls(dice, which, radius[..., 0] * size, wall[..., 0], axis, step)
    endo, epi, flat = _flatten_septum(dice, which, endo, epi)
    apex = axis.place[..., None] > 0.72
    bases, deep = _bases(dice, endo, axis.place, step)
    rim = torch.minimum(_rim(dice, endo, apex[..., 0]) + deep, 0.55 * endo)
    open_ = _open(dice, axis, radius[..., 0])
    there = (open_.mean(-1, keepdim=True) < 0.5)[..., None]
    slope = radius * (_profile(axis, axis.place - 0.03) - _profile(axis, axis.place + 0.03))[..., None]
    slope = (slope / (0.06 * axis.length[..., None])).abs()
    values = [_of(dice, which, name) for name in ("rv_across", "rv_short", "rv_wall")]
    outer = radius + wall
    tilt = axis.above[:, :1, :, None], axis.length[..., None]
    rv = right.draw(dice, level, epi, outer, flat, values, tilt, axis.place[..., None])
    place = axis.place[..., None]
    bright = (endo - rim).clamp(min=0)
    return Heart(
        which,
        level,
        place,
        endo,
        bright,
        bases,
        epi,
        open_,
        there,
        slope,
        thickness,
        axis.length,
        rv,
        _displacement(dice, level),
    )


def _of(dice: Dice, which: torch.Tensor, name: str) -> torch.Tensor:
    """A value from the range of each heart's kind: (B, 1, 1, 1)."""
    ranges = torch.tensor([getattr(kind, name) for kind in KINDS.values()], dtype=torch.float32)[which]
    return dice.uniform(ranges[:, 0].view(-1, 1, 1, 1), ranges[:, 1].view(-1, 1, 1, 1))


def _axis(
    dice: Dice, which: torch.Tensor, radius: torch.Tensor, step: torch.Tensor, whole: bool
) -> tuple[Axis, torch.Tensor]:
    """Place of the slices along the LV over the beat, and their thickness (B, 1, 1, 1)."""
    length = (radius * dice.uniform(2.7, 4.0)[..., 0]).clamp(55, 115)
    number = torch.arange(dice.slices).repeat(dice.hearts).view(-1, 1, 1)
    if whole:
        z = length * (-0.14 + 1.26 * number / max(dice.slices - 1, 1))
        gap = 1.26 * length / max(dice.slices - 1, 1)
    else:
        gap = dice.uniform(6, 12)[..., 0]
        z = dice.uniform(-0.05, 0.95)[..., 0] * length + gap * (number - (dice.slices - 1) / 2)
    thickness = torch.minimum(dice.uniform(5, 10), gap[..., None])
    down = length * _of(dice, which, "descent")[..., 0] * step
    left = length - down
    axis = Axis((z - down) / left, z - length, down - z, length, left / length, dice.uniform(1.8, 3.4)[..., 0])
    return axis, thickness


def _profile(axis: Axis, place: torch.Tensor) -> torch.Tensor:
    """Radius of the cavity over its largest radius, by place along the axis."""
    inner = place.clamp(0, 1)
    waist = 1 - 0.5 * (0.3 - inner).clamp(min=0) ** 2
    return (1 - inner**axis.power).clamp(min=0) ** 0.55 * waist


def _walls(
    dice: Dice, which: torch.Tensor, radius: torch.Tensor, wall: torch.Tensor, axis: Axis, step: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Endocardium and epicardium over the beat, (B, K, ANGLES) each. radius: (B, K, 1) of the level at diastole."""
    inner = axis.place.clamp(0, 1)
    shape = dice.uniform(0.0, 1.0)[..., 0] * dice.ring(ANGLES, {2: 0.13, 3: 0.04, 4: 0.04, 5: 0.025, 7: 0.015})
    uneven = dice.uniform(0.0, 0.3)[..., 0] * dice.ring(ANGLES, {1: 1.0, 2: 0.4, 3: 0.3})
    septum = _septum(dice, which, inner)
    by_level = 1 + (_of(dice, which, "apex")[..., 0] - 1) * inner ** dice.uniform(1.0, 3.0)[..., 0]
    scar, stiff = _scar(dice, which, inner)
    inward = wall * (0.4 * septum.clamp(min=0) + 0.5 * (by_level - 1).clamp(min=0))  # hypertrophy narrows the cavity
    diastole = (radius * (1 + shape) - inward).clamp(min=0)
    wall = (wall * (1 + uneven + septum).clamp(min=0.4) * by_level * (1 - 0.55 * scar)).clamp(min=2.5, max=32.0)
    base, tip = _of(dice, which, "shortening")[..., 0], _of(dice, which, "apical_shortening")[..., 0]
    local = dice.uniform(0.0, 0.35)[..., 0] * dice.ring(ANGLES, {1: 1.0, 2: 0.5})
    shortening = (base + (tip - base).clamp(min=-0.2) * inner**2) * (1 + local) * (1 - stiff)
    shortening = shortening.clamp(-0.05, 0.96)

    endo = diastole * (1 - shortening * step)
    tip_cap = torch.sqrt((1 - (axis.beyond.clamp(min=0) / (0.8 * wall.mean(-1, keepdim=True) + 1)) ** 2).clamp(min=0))
    gain = (1 / axis.shorter) ** dice.uniform(0.6, 1.1)[..., 0]
    area = ((diastole + wall * tip_cap) ** 2 - diastole**2) * gain
    epi = torch.sqrt(endo**2 + area)
    ring = dice.ring(ANGLES, {2: 0.35, 3: 0.5, 4: 0.35, 5: 0.3})
    star = dice.uniform(0.0, 0.5)[..., 0] * ring + dice.coin(0.35)[..., 0] * dice.ring(ANGLES, {2: 0.7})  # or a slit
    tight = step * torch.sigmoid((10 - endo.mean(-1, keepdim=True)) / 2)
    endo = endo * (1 + star * tight).clamp(min=0.25)
    return torch.minimum(endo, (epi - 2.0).clamp(min=0)).clamp(min=0.0), epi


def _septum(dice: Dice, which: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Extra thickness of the septum, share of the wall: (B, K, ANGLES)."""
    middle, half = dice.uniform(-0.6, 0.6)[..., 0], dice.uniform(0.5, 1.2)[..., 0]
    off = torch.remainder(THETA - middle + torch.pi, 2 * torch.pi) - torch.pi
    level, reach = dice.uniform(0.1, 0.7)[..., 0], dice.uniform(0.25, 0.9)[..., 0]
    along = torch.exp(-(((inner - level) / reach) ** 2))
    return _of(dice, which, "septum")[..., 0] * torch.exp(-((off / half) ** 2)) * along


def _scar(dice: Dice, which: torch.Tensor, inner: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Thinning of an infarcted sector, and its loss of motion, 0 to 1: (B, K, ANGLES) each."""
    middle, half = dice.angle()[..., 0], dice.uniform(0.5, 1.4)[..., 0]
    off = torch.remainder(THETA - middle + torch.pi, 2 * torch.pi) - torch.pi
    level, reach = dice.uniform(0.2, 1.0)[..., 0], dice.uniform(0.3, 1.0)[..., 0]
    sector = torch.sigmoid((half - off.abs()) / 0.15) * torch.exp(-(((inner - level) / reach) ** 2))
    depth = _of(dice, which, "scar")[..., 0]
    return sector * depth * dice.uniform(0.2, 1.0)[..., 0], (sector * depth * 1.2).clamp(max=1.1)


def _flatten_septum(dice: Dice, which: torch.Tensor, endo: torch.Tensor, epi: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Contours of a D-shaped LV under RV pressure: cut by a chord at ``depth`` radii from the centre, then smoothed."""
    chance = torch.tensor([kind.flat for kind in KINDS.values()])[which].view(-1, 1, 1, 1)
    flat = dice.coin(chance)
    depth = torch.where(flat, dice.uniform(0.35, 0.85), torch.tensor(9.0))[..., 0]
    toward = torch.cos(THETA).clamp(min=1e-3)  # the septum lies at angle 0
    mean = endo.mean(-1, keepdim=True)
    chord = depth * mean / toward
    wall = epi - endo
    cut = torch.minimum(endo, torch.where(torch.cos(THETA) > 0, chord, torch.tensor(1e3)))
    cut = torch.where(flat[..., 0], _round(cut), endo)
    limited = torch.minimum(wall, wall.mean(-1, keepdim=True) * 1.6)
    return cut, cut + torch.where(flat[..., 0], limited, wall), flat


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
    spongy = dice.uniform()[..., 0] < torch.where(apex, 0.5, 0.15)
    sponge = spongy * dice.uniform(0.05, 0.3)[..., 0]
    sides = (0.5 + dice.ring(ANGLES, {1: 0.7, 2: 0.3})).clamp(0.0, 1.0)
    ragged = 0.6 + dice.ring(ANGLES, {3: 0.15, 7: 0.3, 11: 0.3, 17: 0.25})
    return torch.minimum((depth + sponge * sides * radius) * ragged.clamp(0.0, 1.5), 0.4 * endo)


def _bases(
    dice: Dice, endo: torch.Tensor, place: torch.Tensor, step: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Share and depth of papillary muscles that touch the wall at end systole, by direction: (B, K, ANGLES) each.

    They are free in the blood at end diastole and merge with the wall as the cavity empties; experts include them in
    the cavity. There are two groups on the side opposite to the septum, and none in a nearly closed cavity, at the base
    and near the apex.
    """
    radius = endo.mean(-1, keepdim=True)
    room = torch.sigmoid((radius - dice.uniform(4, 9)[..., 0]) / 1.0)
    room = room * torch.sigmoid((place - 0.15) / 0.04) * torch.sigmoid((0.85 - place) / 0.04)
    share, depth = torch.zeros_like(endo), torch.zeros_like(endo)
    for side in (-1, 1):
        middle = side * dice.uniform(1.2, 2.6)[..., 0]
        half = dice.uniform(0.25, 0.8)[..., 0]
        off = torch.remainder(THETA - middle + torch.pi, 2 * torch.pi) - torch.pi
        inside = torch.sigmoid((half - off.abs()) / 0.08)
        closed = (step - dice.uniform(-0.2, 0.5)[..., 0]).clamp(0, 1)
        closed = closed * dice.coin(0.6)[..., 0] * room
        share = torch.maximum(share, inside * closed)
        depth = torch.maximum(depth, inside * closed * dice.uniform(0.1, 0.5)[..., 0] * radius)
    return share, depth


def _open(dice: Dice, axis: Axis, radius: torch.Tensor) -> torch.Tensor:
    """Share of the wall in each direction that lies above the tilted base: (B, K, ANGLES), 0 to 1."""
    tilt = torch.tan(dice.uniform(-0.25, 0.25))[..., 0]
    local = axis.above + tilt * radius * torch.cos(THETA - dice.angle()[..., 0])
    return torch.sigmoid(local / 1.2)


def _displacement(dice: Dice, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacement of the LV over the beat, and of each slice by another breath-hold: (B, K, 1, 1) each."""
    distance, angle = dice.uniform(0, 5) * level, dice.angle()
    breath = 3.0 * dice.uniform() ** 2
    return (
        distance * torch.cos(angle) + breath * dice.per_slice(-1, 1),
        distance * torch.sin(angle) + breath * dice.per_slice(-1, 1),
    )


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
