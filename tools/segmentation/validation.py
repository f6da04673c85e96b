"""How well a network labels generated pictures that it never saw: Dice and area, for what is easy and what is hard."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tools.segmentation import images

HEARTS = 12  # drawn at a time
SMALL_MM = 8.0  # mean radius of a small cavity
NAMES = {1: "lv", 2: "wall", 3: "rv"}


def judge(model: Callable[[Tensor], Tensor], seed: int, draws: int = 20, with_time: bool = True) -> dict[str, float]:
    """Measures on ``draws`` x 12 hearts at end-diastole and end-systole, by frame: medians would hide the failures.

    ``lv_ed`` ...: mean over pictures of the Dice of a label that is there; ``lv_area_ed``: all its pixels, found over
    true; ``lv_small``: cavities under 8 mm in mean radius; ``lv_missed``: share of pictures with Dice under 0.5.
    with_time: of hearts with mean and harmonic, else of hearts without.
    """
    rows: list[tuple[str, str, float, float, float, float]] = []
    with torch.inference_mode():
        for k in range(draws):
            drawn = images.draw(seed + k, HEARTS)
            kept = drawn.has_time == with_time
            for moment, phase in (("ed", 0), ("es", images.PHASES - 1)):
                found = model(drawn.inputs[kept, phase]).argmax(1)
                rows += _compare(found, drawn.labels[kept, phase], drawn.radius_mm[kept, phase], moment)
    out: dict[str, float] = {"pictures": sum(row[0] == "lv" for row in rows)}
    for name in NAMES.values():
        for moment in ("ed", "es"):
            some = [row for row in rows if row[:2] == (name, moment)]
            out[f"{name}_{moment}"] = _mean(row[2] for row in some)
            out[f"{name}_area_{moment}"] = sum(row[3] for row in some) / max(sum(row[4] for row in some), 1)
    ventricles = [row for row in rows if row[0] == "lv"]
    out["lv_small"] = _mean(row[2] for row in ventricles if row[5] < SMALL_MM)
    out["lv_missed"] = _mean(float(row[2] < 0.5) for row in ventricles)
    return {name: round(value, 4) for name, value in out.items()}


def _compare(found: Tensor, true: Tensor, radius: Tensor, moment: str) -> list[tuple]:
    """(label, moment, Dice, pixels found, pixels true, radius) of each picture in which the label is."""
    rows = []
    for label, name in NAMES.items():
        a, b = (found == label).flatten(1), (true == label).flatten(1)
        both, one, other = (a & b).sum(1), a.sum(1), b.sum(1)
        for k in torch.nonzero(other > 0).flatten().tolist():
            dice = 2 * int(both[k]) / int(one[k] + other[k])
            rows.append((name, moment, dice, float(one[k]), float(other[k]), float(radius[k])))
    return rows


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else float("nan")
