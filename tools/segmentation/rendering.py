"""Draw a generated heart over its surroundings at each level of contraction, with its labels."""

from __future__ import annotations

import torch

from tools.segmentation.anatomy import SMALLEST_CAVITY, Heart, sample
from tools.segmentation.background import Plane, Tissue, blend, ellipse, paint
from tools.segmentation.random_draws import Dice

NO_HEART = 0.04  # share of images without a heart
INSET_MM = 2.0  # experts draw the epicardium on the muscle's side of its edge to lung and fat


def heart(dice: Dice, back: torch.Tensor, p: Plane, t: Tissue, h: Heart) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the heart at its K levels over the surroundings; returns images and labels, (B, K, H, W).

    Labels: 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity.
    """
    u, v = p.u - h.move[0], p.v - h.move[1]
    rho, theta = torch.hypot(u, v), torch.atan2(v, u)
    endo, epi = sample(h.endo, theta) - rho, sample(h.epi, theta) - rho
    bright = sample(h.bright, theta) - rho
    open_ = sample(h.open_, theta)
    rv = ellipse(u - h.rv_center, v - h.rv_shift, h.rv_half[0], h.rv_half[1], h.rv_power)
    rv = torch.where(h.rv_there, rv, torch.tensor(-99.0))
    image = back.expand(-1, h.level.shape[1], -1, -1)
    image = _pericardium(dice, image, p, t, torch.maximum(epi, rv + h.rv_wall))
    image = nothing = _pools(dice, image, u, v, t, h)
    image = _paint_rv(dice, image, p, t, h, (u, v, rv))
    flow = dice.uniform(0, 0.14) * dice.smooth(5, p.size) + 0.08 * dice.uniform() * dice.smooth(
        7, p.size, h.level.shape[1]
    )
    wall = t.muscle * (1 + dice.uniform(0, 0.2) * dice.smooth(8, p.size))
    blood = t.blood * (1 + flow) * (1 + dice.uniform(-0.15, 0.15) * h.level)
    image = _paint_wall(dice, image, t, h, epi, open_, wall, blood)
    image = _paint_cavity(dice, image, p, t, h, (u, v), (endo, bright, sample(h.bases, theta)), (wall, blood))
    gone = dice.coin(NO_HEART)  # beyond the apex or above the base
    labels = torch.where(gone, torch.zeros((), dtype=torch.uint8), _labels(endo, epi, rv, h))
    return torch.where(gone, nothing, image), labels


def _labels(endo: torch.Tensor, epi: torch.Tensor, rv: torch.Tensor, h: Heart) -> torch.Tensor:
    """Labels by the experts' convention: the wall ends inside its edge, except at the septum's border to the RV."""
    cavity = (endo > 0) & (h.radius > SMALLEST_CAVITY)
    inset = torch.where(rv > -1, 0.0, (0.4 * (epi - endo)).clamp(max=INSET_MM))  # smaller for a thin wall
    wall = (epi > inset) & ~cavity
    return torch.where(cavity, 1, torch.where(wall, 2, torch.where(rv > 0, 3, 0))).to(torch.uint8)


def _pericardium(dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, out: torch.Tensor) -> torch.Tensor:
    """Add fat of varying thickness around the heart, and the dark bSSFP line between fat and water."""
    thickness = 7 * dice.uniform() ** 1.5 + 2.5 * dice.uniform() * dice.smooth(7, p.size)
    fat = t.fat * (1 + 0.2 * dice.uniform() * dice.smooth(10, p.size))
    painted = paint(image, out + thickness, t.edge_mm, fat)
    image = torch.where(dice.coin(0.65), painted, image)
    line = dice.coin(0.4) * dice.uniform(0.2, 0.85) * torch.exp(-(((out + 0.7) / dice.uniform(0.5, 1.1)) ** 2))
    return image * (1 - line)


def _pools(dice: Dice, image: torch.Tensor, u: torch.Tensor, v: torch.Tensor, t: Tissue, h: Heart) -> torch.Tensor:
    """Add atria, outflow tract and aorta beside the base: bright, thin-walled, largest at end systole."""
    for _ in range(2):
        way, size = dice.angle(), dice.uniform(6, 20)
        now = size * (1 + dice.uniform(-0.1, 0.35) * h.level)
        far = h.outer[:, :1] + size * dice.uniform(0.3, 1.5) - dice.uniform(0, 6) * h.level
        depth = ellipse(u - far * torch.cos(way), v - far * torch.sin(way), now, now * dice.uniform(0.6, 1.4))
        there = dice.coin(torch.where(h.base, torch.tensor(0.7), torch.tensor(0.12))) & ~h.apex
        painted = paint(image, depth + dice.uniform(1, 3), t.edge_mm, t.muscle * dice.uniform(0.7, 1.3))
        painted = paint(painted, depth, t.edge_mm, t.blood * dice.uniform(0.75, 1.15))
        image = torch.where(there, painted, image)
    return image


def _paint_rv(
    dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, h: Heart, place: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    rv = place[2]
    wall = t.muscle * dice.uniform(0.8, 1.2)
    image = paint(image, rv + h.rv_wall, t.edge_mm, wall)
    blood = t.rv_blood * (1 + dice.uniform(0, 0.14) * dice.smooth(5, p.size))
    image = paint(image, rv, t.edge_mm, blood)
    noise = dice.smooth(22, p.size)
    near = torch.exp(-(rv.clamp(min=0)) / dice.uniform(2, 10)) * (rv > -1)
    mesh = torch.sigmoid((noise + dice.uniform(-1.5, 0.3)) * 5) * near * dice.uniform(0, 1)
    image = torch.lerp(image, wall.expand_as(image), mesh)
    for _ in range(3):
        image = _band(dice, image, t, h, place, wall)
    return image


def _band(
    dice: Dice, image: torch.Tensor, t: Tissue, h: Heart, place: tuple[torch.Tensor, ...], muscle: torch.Tensor
) -> torch.Tensor:
    """Add a papillary muscle or the moderator band to the RV, so that dark structures do not identify the LV."""
    u, v, rv = place
    turn, size = dice.angle(), dice.uniform(1.0, 4.5)
    a = u - h.rv_center - dice.uniform(-0.3, 0.9) * h.rv_half[0]
    b = v - h.rv_shift - dice.uniform(-0.8, 0.8) * h.rv_half[1]
    a, b = a * torch.cos(turn) + b * torch.sin(turn), b * torch.cos(turn) - a * torch.sin(turn)
    depth = torch.minimum(ellipse(a, b, size, size * dice.uniform(0.4, 3.0)), rv)
    return blend(image, depth, t.edge_mm, muscle, dice.coin(0.45) * dice.uniform(0.4, 1.0))


def _paint_wall(
    dice: Dice,
    image: torch.Tensor,
    t: Tissue,
    h: Heart,
    epi: torch.Tensor,
    open_: torch.Tensor,
    wall: torch.Tensor,
    blood: torch.Tensor,
) -> torch.Tensor:
    """Draw muscle up to the epicardium, and blood in the open sector of a basal slice."""
    thin = torch.sigmoid(4 * epi / torch.minimum(t.edge_lv_mm, h.outer))
    image = torch.lerp(image, wall.expand_as(image), thin)
    fibrous = dice.uniform(0.6, 1.0) * open_ * torch.sigmoid(4 * (epi + dice.uniform(-1, 4)) / t.edge_mm)
    return torch.lerp(image, blood.expand_as(image), fibrous)


def _paint_cavity(
    dice: Dice,
    image: torch.Tensor,
    p: Plane,
    t: Tissue,
    h: Heart,
    place: tuple[torch.Tensor, ...],
    depth: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    colours: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Draw blood, the trabecular layer between the bright blood and the contour, and papillary muscles."""
    (u, v), (endo, bright, bases), (wall, blood) = place, depth, colours
    there = torch.sigmoid((h.radius - SMALLEST_CAVITY) * 2)
    edge = torch.minimum(t.edge_lv_mm, h.radius.clamp(min=1.0))
    rim = torch.lerp(wall.expand_as(image), blood.expand_as(image), dice.uniform(0.0, 0.6) * (1 - bases))
    image = torch.lerp(image, rim, there * torch.sigmoid(4 * endo / edge))
    image = torch.lerp(image, blood.expand_as(image), there * torch.sigmoid(4 * bright / edge))
    muscle = wall * dice.uniform(0.85, 1.15)
    for _ in range(3):
        image = _papillary(dice, image, u, v, t, h, muscle)
    mesh = torch.sigmoid((dice.smooth(26, p.size) - dice.uniform(0.2, 1.6)) * 5)
    near = torch.sigmoid((h.radius * dice.uniform(0.03, 0.2) - endo) * 1.5) * (endo > 0)
    return torch.lerp(image, muscle, mesh * near * dice.coin(0.4) * dice.uniform(0.3, 0.9))


def _papillary(
    dice: Dice, image: torch.Tensor, u: torch.Tensor, v: torch.Tensor, t: Tissue, h: Heart, muscle: torch.Tensor
) -> torch.Tensor:
    """Draw one papillary muscle: free in the blood when the ventricle is full, next to the wall when it is empty.

    Its size is constant while the cavity shrinks, but at most about an eighth of the cavity. The rest of the muscle is
    part of the wall, which has a star-shaped contour.
    """
    full = h.radius[:, :1]
    size = (1.2 + dice.uniform(0.04, 0.3) * full).minimum(0.36 * h.radius)
    way = dice.angle() + dice.uniform(-0.3, 0.3) * h.level
    inside = dice.uniform(0.55, 1.0)
    far = (inside + 0.5 * h.level * (1 - inside)) * h.radius
    turn = dice.angle()
    a, b = u - far * torch.cos(way), v - far * torch.sin(way)
    a, b = a * torch.cos(turn) + b * torch.sin(turn), b * torch.cos(turn) - a * torch.sin(turn)
    depth = ellipse(a, b, size, size * dice.uniform(0.5, 1.1))
    opacity = dice.coin(torch.where(h.apex, torch.tensor(0.2), torch.tensor(0.6))) * dice.uniform(0.5, 1.0)
    return blend(image, depth, t.edge_mm, muscle, opacity)
