"""Draw the surroundings of a generated heart with soft edges, from back to front: lung, organs, chest wall."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.segmentation.random_draws import Dice

PIXELS_MM = (1.6, 2.4)  # around the 2 mm at which the network works


@dataclass
class Plane:
    """Pixel coordinates in mm from the heart's centre at end diastole, u towards the septum: (B, 1, H, W)."""

    u: torch.Tensor
    v: torch.Tensor
    pixel_mm: torch.Tensor  # (B, 1, 1, 1)

    @property
    def size(self) -> int:
        return self.u.shape[-1]


@dataclass
class Tissue:
    """Intensities, (B, 1, 1, 1); blood is brighter than muscle, as in all bSSFP cines."""

    blood: torch.Tensor
    rv_blood: torch.Tensor
    muscle: torch.Tensor
    fat: torch.Tensor
    lung: torch.Tensor
    liver: torch.Tensor
    edge_mm: torch.Tensor  # width of an edge
    edge_lv_mm: torch.Tensor  # width of the LV's edge where the slice is perpendicular to the wall


def plane(dice: Dice, size: int, pixels_mm: tuple[float, float] = PIXELS_MM) -> Plane:
    """Draw the field of view, the position and rotation of the heart, and a smooth deformation."""
    pixel = dice.uniform(*pixels_mm)
    row = torch.arange(size).view(1, 1, size, 1) - (size - 1) / 2
    column = torch.arange(size).view(1, 1, 1, size) - (size - 1) / 2
    off = torch.where(dice.coin(0.15), dice.uniform(30, 60), 35 * dice.uniform() ** 0.8)
    way, turn = dice.angle(), dice.angle()
    x = column * pixel - off * torch.cos(way)
    y = row * pixel - off * torch.sin(way)
    coarse = 3.5 * dice.uniform() ** 2 * dice.smooth(6, size, 2)
    fine = 1.0 * dice.uniform() * dice.smooth(16, size, 2)
    x = x + coarse[:, :1] + fine[:, :1]
    y = y + coarse[:, 1:] + fine[:, 1:]
    return Plane(x * torch.cos(turn) + y * torch.sin(turn), y * torch.cos(turn) - x * torch.sin(turn), pixel)


def tissue(dice: Dice) -> Tissue:
    blood = dice.uniform(0.45, 1.0)
    muscle = blood * dice.uniform(0.12, 0.58)
    lung = blood * dice.uniform(0.0, 0.22) * dice.uniform(0.1, 1.0)
    lung = torch.where(dice.coin(0.12), dice.uniform(0.0, 0.9) * blood, lung)
    fat = torch.where(dice.coin(0.75), blood * dice.uniform(0.5, 1.8), blood * dice.uniform(0.05, 0.5))
    edge = dice.uniform(0.5, 1.5)
    oblique = torch.where(dice.coin(0.12), dice.uniform(1.0, 4.0), edge)
    rv_blood = blood * dice.uniform(0.75, 1.5)  # closer to the receive coil on the chest
    return Tissue(blood, rv_blood, muscle, fat, lung, muscle * dice.uniform(0.5, 2.0), edge, oblique)


def paint(image: torch.Tensor, depth: torch.Tensor, edge: torch.Tensor | float, value: torch.Tensor) -> torch.Tensor:
    """Draw a value where ``depth`` (mm, positive inside) is positive, with an edge of ``edge`` mm."""
    return torch.lerp(image, value.expand_as(image) if value.dim() else value, torch.sigmoid(4 * depth / edge))


def blend(image: torch.Tensor, depth: torch.Tensor, edge: torch.Tensor, value: torch.Tensor, opacity) -> torch.Tensor:
    return image + opacity * torch.sigmoid(4 * depth / edge) * (value - image)


def any_tissue(dice: Dice, t: Tissue) -> torch.Tensor:
    """Intensity of a random organ, (B, 1, 1, 1)."""
    kinds = [
        t.muscle * dice.uniform(0.6, 1.6),
        t.blood * dice.uniform(0.7, 1.3),
        t.fat * dice.uniform(0.6, 1.2),
        dice.uniform(0.0, 1.2),
    ]
    return dice.pick(kinds, [0.35, 0.2, 0.25, 0.2])


def ellipse(u: torch.Tensor, v: torch.Tensor, a: torch.Tensor, b: torch.Tensor, power=2.0) -> torch.Tensor:
    """Approximate distance to the border of a superellipse in mm, positive inside."""
    if isinstance(power, float) and power == 2.0:
        reach = torch.sqrt((u / a) ** 2 + (v / b) ** 2 + 1e-6)
    else:
        reach = ((u / a).abs().clamp(min=1e-3) ** power + (v / b).abs().clamp(min=1e-3) ** power) ** (1 / power)
    return (1 - reach) * torch.sqrt(a * b)


def surroundings(dice: Dice, p: Plane, t: Tissue, reach: torch.Tensor) -> torch.Tensor:
    """Image of the still surroundings, (B, 1, H, W). reach: distance of the heart's border from its centre in mm."""
    size = p.size
    image = t.lung * (1 + 0.5 * dice.uniform() * dice.smooth(12, size)).clamp(min=0)
    image = _vessels(dice, image, t, 0.6)
    for cells in (3, 5):
        there = dice.coin(0.45)
        depth = 12 * (dice.smooth(cells, size) - dice.uniform(0.0, 1.2))
        value = any_tissue(dice, t) * (1 + dice.uniform(0, 0.2) * dice.smooth(10, size))
        image = torch.where(there, paint(image, depth, t.edge_mm, value), image)
    for k in range(6):
        image = _organ(dice, image, p, t, dice.coin(0.75 if k < 3 else 0.4))
    for _ in range(2):
        image = _half_plane(dice, image, p, t, reach)
    image = _clutter(dice, image, p, t, reach)
    return _chest_wall(dice, image, p, t, reach)


def _vessels(dice: Dice, image: torch.Tensor, t: Tissue, chance: float) -> torch.Tensor:
    """Add bright dots and streaks (thresholded fine noise)."""
    fine = dice.smooth(30, image.shape[-1])
    rare = dice.uniform(1.6, 3.0)
    dots = torch.sigmoid((fine - rare) * 8) * dice.coin(chance)
    return image + dots * (t.blood * dice.uniform(0.2, 1.0) - image)


def _clutter(dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, reach: torch.Tensor) -> torch.Tensor:
    """Add irregular fat, vessels and fibres within about 2 cm of the heart: fine noise between two tissues."""
    mixed = torch.lerp(
        t.lung.expand_as(image), any_tissue(dice, t).expand_as(image), torch.sigmoid(3 * dice.smooth(24, p.size))
    )
    near = reach + dice.uniform(4, 25) + 8 * dice.smooth(5, p.size) - torch.hypot(p.u, p.v)
    return torch.where(dice.coin(0.25), paint(image, near, dice.uniform(2, 12), mixed), image)


def _organ(dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, there: torch.Tensor) -> torch.Tensor:
    """Add an ellipse at a random position (aorta, stomach, spine, vessel), with or without a wall."""
    far, way, turn = dice.uniform(20, 110), dice.angle(), dice.angle()
    u, v = p.u - far * torch.cos(way), p.v - far * torch.sin(way)
    u, v = u * torch.cos(turn) + v * torch.sin(turn), v * torch.cos(turn) - u * torch.sin(turn)
    size = 4 + 34 * dice.uniform() ** 1.7
    depth = ellipse(u, v, size, size * dice.uniform(0.4, 1.0))
    rim = dice.uniform(1, 8) * dice.coin(0.4)
    inner = any_tissue(dice, t) * (1 + dice.uniform(0, 0.15) * dice.smooth(8, p.size))
    painted = paint(image, depth + rim, t.edge_mm, any_tissue(dice, t))
    painted = paint(painted, depth, t.edge_mm, inner)
    return torch.where(there, painted, image)


def _half_plane(dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, reach: torch.Tensor) -> torch.Tensor:
    """Add liver, diaphragm or stomach next to the heart, with a border of fat and with vessels."""
    depth = _curved(dice, p, reach + dice.uniform(-6, 12))
    value = torch.where(dice.coin(0.6), t.liver, any_tissue(dice, t))
    organ = _vessels(dice, (value * (1 + dice.uniform(0, 0.15) * dice.smooth(8, p.size))), t, 0.4)
    rim = dice.uniform(0.5, 5) * dice.coin(0.6)
    painted = paint(image, depth + rim, t.edge_mm, t.fat)
    return torch.where(dice.coin(0.5), paint(painted, depth, t.edge_mm, organ), image)


def _curved(dice: Dice, p: Plane, distance: torch.Tensor) -> torch.Tensor:
    """Depth behind a curved line at a distance from the heart: (B, 1, H, W) in mm."""
    way = dice.angle()
    along = p.u * torch.cos(way) + p.v * torch.sin(way)
    aside = p.v * torch.cos(way) - p.u * torch.sin(way)
    return along - distance - dice.uniform(-1, 1) * aside**2 / 160


def _chest_wall(dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, reach: torch.Tensor) -> torch.Tensor:
    """Add layers of fat, muscle and skin, then air; often the brightest part of the image."""
    depth = _curved(dice, p, reach + 2 + 60 * dice.uniform() ** 1.3)
    near = torch.where(dice.coin(0.4), dice.uniform(1.0, 2.0), torch.tensor(1.0))
    painted, start = image, torch.zeros(1)
    layers = [t.fat, t.muscle * dice.uniform(0.6, 1.4), t.fat, any_tissue(dice, t), 0.06 * dice.uniform()]
    for k, value in enumerate(layers):
        rough = value * (1 + 0.15 * dice.smooth(10, p.size)) * (near if k < 4 else 1.0)
        painted = paint(painted, depth - start, t.edge_mm, rough)
        start = start + dice.uniform(2, 14)
    return torch.where(dice.coin(0.65), painted, image)
