"""Validation of a network on unseen generated images: Dice and area of each label, also for small cavities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tools.segmentation import images

HEARTS = 4  # hearts per draw
MODES = {"beat": images.BEAT, "stills": images.STILLS, "single": images.SINGLE}
SMALL_MM = 8.0  # mean radius of a small cavity
NAMES = {1: "lv", 2: "wall", 3: "rv"}


def evaluate(
    model: Callable[[Tensor], Tensor], seed: int, draws: int = 20, mode: int = images.BEAT
) -> dict[str, float]:
    """Scores of a model on ``draws`` x 4 hearts of 4 slices at end diastole and end systole.

    ``lv_ed`` etc.: mean Dice over the images that contain the label (a median would hide failures); ``lv_area_ed``:
    predicted / true pixels; ``lv_small``: Dice of cavities with a mean radius below 8 mm; ``lv_missed``: share of
    images with Dice below 0.5. mode: use the hearts with the whole beat, with two stills, or with a single image.
    """
    rows: list[tuple[str, str, float, float, float, float]] = []
    with torch.inference_mode():
        for k in range(draws):
            drawn = images.draw(seed + k, HEARTS)
            kept = drawn.mode == mode
            if not kept.any():
                continue
            for time, phase in (("ed", 0), ("es", images.PHASES - 1)):
                predicted = model(drawn.inputs[kept, :, phase].flatten(0, 1)).argmax(1)
                truth = drawn.labels[kept, :, phase].flatten(0, 1)
                rows += _compare(predicted, truth, drawn.radius_mm[kept, :, phase].flatten(), time)
    out: dict[str, float] = {"pictures": sum(row[0] == "lv" for row in rows)}
    for name in NAMES.values():
        for time in ("ed", "es"):
            selected = [row for row in rows if row[:2] == (name, time)]
            out[f"{name}_{time}"] = _mean(row[2] for row in selected)
            out[f"{name}_area_{time}"] = sum(row[3] for row in selected) / max(sum(row[4] for row in selected), 1)
    ventricles = [row for row in rows if row[0] == "lv"]
    out["lv_small"] = _mean(row[2] for row in ventricles if row[5] < SMALL_MM)
    out["lv_missed"] = _mean(float(row[2] < 0.5) for row in ventricles)
    return {name: round(value, 4) for name, value in out.items()}


def _compare(predicted: Tensor, true: Tensor, radius: Tensor, time: str) -> list[tuple]:
    """(label, time, Dice, predicted pixels, true pixels, radius) of each image that contains the label."""
    rows = []
    for label, name in NAMES.items():
        a, b = (predicted == label).flatten(1), (true == label).flatten(1)
        both, size, true_size = (a & b).sum(1), a.sum(1), b.sum(1)
        for k in torch.nonzero(true_size > 0).flatten().tolist():
            dice = 2 * int(both[k]) / int(size[k] + true_size[k])
            rows.append((name, time, dice, float(size[k]), float(true_size[k]), float(radius[k])))
    return rows


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else float("nan")
