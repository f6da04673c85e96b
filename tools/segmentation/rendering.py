"""Draw a generated heart over its surroundings at each level of contraction, with its labels."""

from __future__ import annotations

import torch

from tools.segmentation.anatomy import SMALLEST_CAVITY, Heart, sample
from tools.segmentation.background import Plane, Tissue, blend, ellipse, paint
from tools.segmentation.random_draws import Dice

INSET_MM = 2.0  # experts draw the epicardium on the muscle's side of its edge to lung and fat
BLURRED_MM = 6.0  # largest width of an edge that the slice cuts obliquely


def heart(dice: Dice, back: torch.Tensor, p: Plane, t: Tissue, h: Heart) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the heart at its K levels over the surroundings; returns images and labels, (B, K, H, W).

    Labels: 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity. Atria and aorta are background.
    """
    u, v = p.u - h.move[0], p.v - h.move[1]
    rho, theta = torch.hypot(u, v), torch.atan2(v, u)
    endo, epi = sample(h.endo, theta) - rho, sample(h.epi, theta) - rho
    bright = sample(h.bright, theta) - rho
    right = h.rv.depth(u, v, p.pixel_mm)
    edge = torch.sqrt(t.edge_lv_mm**2 + (h.thickness * h.slope) ** 2).clamp(max=BLURRED_MM)
    image = back.expand(-1, h.level.shape[1], -1, -1)
    image = _pericardium(dice, image, p, t, torch.maximum(torch.where(h.there, epi, -rho), right + h.rv.wall))
    image = _pools(dice, image, u, v, t, h)
    image = _paint_rv(dice, _right_atrium(dice, image, u, v, t, h), p, t, h, (u, v, right))
    image = _left_atrium(dice, image, u, v, t, h, epi)
    flow = dice.uniform(0, 0.14) * dice.smooth(5, p.size) + 0.08 * dice.uniform() * dice.smooth(
        7, p.size, h.level.shape[1]
    )
    wall = t.muscle * (1 + dice.uniform(0, 0.2) * dice.smooth(8, p.size))
    blood = t.blood * (1 + flow) * (1 + dice.uniform(-0.15, 0.15) * h.level)
    left = _paint_wall(dice, image, t, edge, epi, h.outer, sample(h.open_, theta), wall, blood)
    left = _paint_cavity(dice, left, p, t, h, (u, v), (endo, bright, sample(h.bases, theta)), (wall, blood, edge))
    image = torch.where(h.there, left, image)
    return image, _labels(endo, epi, torch.minimum(right, v - h.rv.cut), right, h)


def _labels(endo: torch.Tensor, epi: torch.Tensor, rv: torch.Tensor, right: torch.Tensor, h: Heart) -> torch.Tensor:
    """Labels by the experts' convention: the wall ends inside its edge, except at the septum's border to the RV.

    A slice beyond the tip of the cavity at end diastole is not contoured.
    """
    contoured = h.there & (h.radius[:, :1] > SMALLEST_CAVITY)
    cavity = (endo > 0) & (h.radius > SMALLEST_CAVITY) & contoured
    inset = torch.where(right > -1, 0.0, (0.4 * (epi - endo)).clamp(max=INSET_MM))  # smaller for a thin wall
    wall = (epi > inset) & ~cavity & contoured
    return torch.where(cavity, 1, torch.where(wall, 2, torch.where((rv > 0) & (epi < 0), 3, 0))).to(torch.uint8)


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
        there = dice.uniform() < torch.where(h.place < 0.1, 0.3, torch.where(h.place < 0.7, 0.12, 0.0))
        painted = paint(image, depth + dice.uniform(1, 3), t.edge_mm, t.muscle * dice.uniform(0.7, 1.3))
        painted = paint(painted, depth, t.edge_mm, t.blood * dice.uniform(0.75, 1.15))
        image = torch.where(there, painted, image)
    return image


def _left_atrium(
    dice: Dice, image: torch.Tensor, u: torch.Tensor, v: torch.Tensor, t: Tissue, h: Heart, epi: torch.Tensor
) -> torch.Tensor:
    """Add the left atrium and the aortic root, in muscle or fat, to the slices at and above the base.

    The atrium lies behind the ventricle, which covers it while the slice is below the base. Its wall is thin and it is
    largest at end systole.
    """
    full = (h.outer[:, :1] * dice.uniform(0.85, 1.0)).clamp(18, 45)
    wall = t.muscle * dice.uniform(0.7, 1.3)
    between = torch.where(dice.coin(0.5), t.fat, wall)
    image = torch.where(~h.there & (h.place < 0.5), paint(image, epi, t.edge_mm, between), image)
    size = full * dice.uniform(0.6, 1.0) * (1 + dice.uniform(0.0, 0.3) * h.level)
    atrium = (-full * dice.uniform(0.0, 0.45), full * dice.uniform(-0.4, 0.3), size, dice.uniform(0.7, 1.3))
    root = (full * dice.uniform(0.1, 0.5), full * dice.uniform(0.1, 0.6), dice.uniform(10, 17), dice.uniform(0.85, 1.1))
    for (x, y, radius, aspect), reach in ((atrium, dice.uniform(-0.02, 0.08)), (root, dice.uniform(-0.04, 0.02))):
        depth = ellipse(u - x, v - y, radius, radius * aspect)
        painted = paint(image, depth + dice.uniform(0.8, 2.5), t.edge_mm, wall)
        painted = paint(painted, depth, t.edge_mm, t.blood * dice.uniform(0.75, 1.15))
        shown = ((h.place < reach) | ~h.there) & (h.place < 0.5) & dice.coin(0.94)
        image = torch.where(shown, painted, image)
    return image


def _right_atrium(
    dice: Dice, image: torch.Tensor, u: torch.Tensor, v: torch.Tensor, t: Tissue, h: Heart
) -> torch.Tensor:
    """Add the right atrium beside the RV's inflow, larger above the tricuspid valve."""
    x, y, radius = h.rv.atrium
    size = radius.clamp(min=1.0)
    depth = ellipse(u - x, v - y, size, size * dice.uniform(0.7, 1.3))
    painted = paint(image, depth + dice.uniform(0.5, 2.5), t.edge_mm, t.muscle * dice.uniform(0.7, 1.3))
    painted = paint(painted, depth, t.edge_mm, t.rv_blood * dice.uniform(0.75, 1.1))
    return torch.where(radius > 3, painted, image)


def _paint_rv(
    dice: Dice, image: torch.Tensor, p: Plane, t: Tissue, h: Heart, place: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Draw the RV with trabeculae, which are denser in systole, bands, and the tricuspid valve below its cut."""
    _, v, rv = place
    wall = t.muscle * dice.uniform(0.8, 1.2)
    edge = torch.where(h.place > 0.7, t.edge_mm * dice.uniform(1.0, 3.0), t.edge_mm)
    image = paint(image, rv + h.rv.wall, edge, wall)
    blood = t.rv_blood * (1 + dice.uniform(0, 0.14) * dice.smooth(5, p.size))
    image = paint(image, rv, edge, blood)
    noise = dice.smooth(22, p.size)
    near = torch.exp(-(rv.clamp(min=0)) / dice.uniform(2, 10)) * (rv > -1)
    mesh = torch.sigmoid((noise + dice.uniform(-1.5, 0.3) + 0.5 * h.level) * 5) * near * dice.uniform(0, 0.8)
    image = torch.lerp(image, wall.expand_as(image), mesh)
    for _ in range(3):
        image = _band(dice, image, t, h, place, wall)
    valve = torch.exp(-(((v - h.rv.cut) / dice.uniform(0.7, 1.6)) ** 2)) * (rv > 0)
    return torch.lerp(image, wall.expand_as(image), valve * dice.uniform(0.0, 0.8))


def _band(
    dice: Dice, image: torch.Tensor, t: Tissue, h: Heart, place: tuple[torch.Tensor, ...], muscle: torch.Tensor
) -> torch.Tensor:
    """Add a papillary muscle or the moderator band to the RV, so that dark structures do not identify the LV."""
    u, v, rv = place
    turn, size = dice.angle(), dice.uniform(1.0, 4.5)
    a = u - h.rv.center - dice.uniform(-0.3, 0.9) * h.rv.half[0]
    b = v - h.rv.shift - dice.uniform(-0.8, 0.8) * h.rv.half[1]
    a, b = a * torch.cos(turn) + b * torch.sin(turn), b * torch.cos(turn) - a * torch.sin(turn)
    depth = torch.minimum(ellipse(a, b, size, size * dice.uniform(0.4, 3.0)), rv)
    return blend(image, depth, t.edge_mm, muscle, dice.coin(0.45) * dice.uniform(0.4, 1.0))


def _paint_wall(
    dice: Dice,
    image: torch.Tensor,
    t: Tissue,
    edge: torch.Tensor,
    epi: torch.Tensor,
    outer: torch.Tensor,
    open_: torch.Tensor,
    wall: torch.Tensor,
    blood: torch.Tensor,
) -> torch.Tensor:
    """Draw muscle up to the epicardium, and blood in the open sector of a basal slice."""
    thin = torch.sigmoid(4 * epi / torch.minimum(edge, outer.clamp(min=0.5))) * (outer > 0.5)
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
    colours: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Draw blood, the trabecular layer between the bright blood and the contour, and papillary muscles."""
    (u, v), (endo, bright, bases), (wall, blood, edge) = place, depth, colours
    there = torch.sigmoid((h.radius - SMALLEST_CAVITY) * 2)
    edge = torch.minimum(edge, h.radius.clamp(min=1.0))
    rim = torch.lerp(wall.expand_as(image), blood.expand_as(image), dice.uniform(0.0, 0.6) * (1 - bases))
    image = torch.lerp(image, rim, there * torch.sigmoid(4 * endo / edge))
    image = torch.lerp(image, blood.expand_as(image), there * torch.sigmoid(4 * bright / edge))
    muscle = wall * dice.uniform(0.85, 1.15)
    for _ in range(4):
        image = _papillary(dice, image, u, v, t, h, muscle)
    mesh = torch.sigmoid((dice.smooth(26, p.size) - dice.uniform(0.2, 1.6)) * 5)
    near = torch.sigmoid((h.radius * dice.uniform(0.03, 0.3) - endo) * 1.5) * (endo > 0)
    return torch.lerp(image, muscle, mesh * near * dice.coin(0.5) * dice.uniform(0.3, 0.9))


def _papillary(
    dice: Dice, image: torch.Tensor, u: torch.Tensor, v: torch.Tensor, t: Tissue, h: Heart, muscle: torch.Tensor
) -> torch.Tensor:
    """Draw one papillary muscle: free in the blood when the ventricle is full, next to the wall when it is empty.

    Its size is constant while the cavity shrinks, but at most about an eighth of the cavity. The rest of the muscle is
    part of the wall, which has a star-shaped contour.
    """
    full = h.radius[:, :1]
    size = (1.2 + dice.uniform(0.04, 0.3) * full).minimum(0.36 * h.radius).clamp(min=0.3)
    way = dice.angle() + dice.uniform(-0.3, 0.3) * h.level
    inside = dice.uniform(0.55, 1.0)
    far = (inside + 0.5 * h.level * (1 - inside)) * h.radius
    turn = dice.angle()
    a, b = u - far * torch.cos(way), v - far * torch.sin(way)
    a, b = a * torch.cos(turn) + b * torch.sin(turn), b * torch.cos(turn) - a * torch.sin(turn)
    depth = ellipse(a, b, size, size * dice.uniform(0.5, 1.1))
    here = (h.place[:, :1] > 0.12) & (h.place[:, :1] < 0.8)
    opacity = (dice.uniform() < torch.where(here, 0.6, 0.15)) * dice.uniform(0.5, 1.0) * (h.radius > SMALLEST_CAVITY)
    return blend(image, depth, t.edge_mm, muscle, opacity)
