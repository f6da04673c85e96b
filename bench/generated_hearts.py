"""Score the segmentation network on generated hearts by kind: ``python -m bench.generated_hearts [--hearts 6]``.

The hearts are whole stacks with a full field of view that are not among the training images. They are segmented as two
stills (end diastole and end systole), and the first ones of each kind also as a beat. Prints one markdown table for
each, with a row for each kind of heart, and lines on the basal, middle and apical slices of all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.real_hearts import dice
from eccl_lib.commands.cli import guard
from eccl_lib.data.cmr import heart_box, intersection_over_union

SEED = 3_000_000  # larger than the seeds of all training and validation images
SLICES, SIZE = 9, 144
PIXELS_MM = (1.2, 2.2)
FRAMES = 10  # of a beat
END_SYSTOLE = 4  # frame of a beat
CUT_MM = 5.0  # a box that leaves out more of the heart cuts it
LARGE = 2.0  # a box with more than this multiple of the true area is too large
BASAL, APICAL = 0.15, 0.7  # share of the LV's length from the base
LV, WALL, RV = 1, 2, 3
SCORED = {"lv_ed": (LV, 0), "lv_es": (LV, 1), "wall_ed": (WALL, 0), "rv_ed": (RV, 0), "rv_es": (RV, 1)}


@dataclass(frozen=True)
class Stack:
    """One generated heart. images: (S, K, H, W) at the levels of contraction level (K,), 0 to 1; labels: (S, 2, H, W)
    at end diastole and end systole; place: (S, 2), share of the LV's length from the base."""

    kind: str
    images: np.ndarray
    labels: np.ndarray
    level: np.ndarray
    place: np.ndarray
    pixel_mm: float
    slice_step_mm: float

    @property
    def stills(self) -> np.ndarray:
        """End diastole and end systole: (S, 2, H, W)."""
        return self.images[:, [0, -1]]

    @property
    def beat(self) -> np.ndarray:
        """FRAMES images over a beat, interpolated between the levels: (S, F, H, W)."""
        time = np.arange(FRAMES)
        rise = np.sin(np.minimum(time / END_SYSTOLE, 1) * np.pi / 2) ** 2
        fall = np.cos(np.clip((time - END_SYSTOLE) / 3, 0, 1) * np.pi / 2) ** 2
        now = np.where(time < END_SYSTOLE, rise, fall)
        share = np.stack([np.interp(now, self.level, unit) for unit in np.eye(len(self.level))], axis=1)
        return np.einsum("fk,skhw->sfhw", share, self.images).astype(np.float32)


@dataclass(frozen=True)
class Score:
    """Scores of one stack. slices: (place, Dice of the LV, of the RV) of each slice and frame; NaN where absent."""

    kind: str
    overlap: dict[str, float]
    box_iou: float
    cut_mm: float
    box_ratio: float
    ef: tuple[float, float]  # predicted, true; %
    rv_ef: tuple[float, float]
    slices: list[tuple[float, float, float]]
    above: tuple[int, int]  # slices above the base with LV pixels, and slices above the base


def stacks(kind: str, number: int, hearts: int) -> list[Stack]:
    """Generate hearts of a kind. number: of the kind, for the seed."""
    from tools.segmentation import images, kinds
    from tools.segmentation.random_draws import Dice

    out = []
    for k in range(hearts):
        random = Dice(1, SEED + 1000 * number + k, SLICES)
        drawn = images.scene(random, SIZE, kinds.NAMES.index(kind), True, PIXELS_MM)
        h, ends = drawn.heart, [0, -1]
        place = h.place[:, ends, 0, 0].numpy()
        stored = (300 * drawn.images).clamp(0, 4095).numpy().astype(np.uint16)
        labels, level = drawn.labels[:, ends].numpy(), h.level[0, :, 0, 0].numpy()
        step = float(1.26 * h.length[0, 0, 0] / (SLICES - 1))
        out.append(Stack(kind, stored, labels, level, place, float(drawn.pixel_mm[0]), step))
    return out


def score(stack: Stack, labels: np.ndarray) -> Score:
    """Compare labels (S, 2, H, W) at end diastole and end systole with the true ones."""
    true, overlap = stack.labels, {}
    for name, (label, frame) in SCORED.items():
        a, b = labels[:, frame] == label, true[:, frame] == label
        overlap[name] = dice(a, b) if b.any() else float("nan")
    middle = np.flatnonzero((true[:, 0] == LV).any((1, 2)))
    middle = int(middle[0] + middle[-1]) // 2
    iou, cut, ratio = _box(labels[middle], true[middle], stack.pixel_mm)
    slices = [
        (float(stack.place[s, f]), _of_slice(labels[s, f], true[s, f], LV), _of_slice(labels[s, f], true[s, f], RV))
        for s in range(len(true))
        for f in (0, 1)
    ]
    above = [(labels[s, f] == LV).any() for s in range(len(true)) for f in (0, 1) if stack.place[s, f] < -0.02]
    ef, rv_ef = (tuple(_fraction(x, label) for x in (labels, true)) for label in (LV, RV))
    return Score(stack.kind, overlap, iou, cut, ratio, ef, rv_ef, slices, (int(sum(above)), len(above)))


def _of_slice(labels: np.ndarray, true: np.ndarray, label: int) -> float:
    return dice(labels == label, true == label) if (true == label).any() else float("nan")


def _fraction(labels: np.ndarray, label: int) -> float:
    full, empty = ((labels[:, f] == label).sum() for f in (0, 1))
    return float(100 * (full - empty) / full) if full else 0.0


def _box(labels: np.ndarray, true: np.ndarray, pixel_mm: float) -> tuple[float, float, float]:
    """IoU of the boxes of labels (F, H, W), the largest length in mm cut off at a side, and the ratio of the areas."""
    if not labels.any():
        return 0.0, float("inf"), 0.0
    found, whole = heart_box(labels), heart_box(true)
    cut = max(found[0] - whole[0], found[1] - whole[1], whole[2] - found[2], whole[3] - found[3])
    sizes = [(b[2] - b[0]) * (b[3] - b[1]) for b in (found, whole)]
    return intersection_over_union(found, whole), cut * pixel_mm, sizes[0] / sizes[1]


def table(scores: list[Score]) -> str:
    """Markdown table with one row per kind, one for all, and one each for basal and apical slices."""
    names = list(dict.fromkeys(s.kind for s in scores))
    head = "| kind | LV ED / ES | wall ED | RV ED / ES | box IoU | cut > 5 mm | too large | EF bias (SD), r | RVEF r |"
    lines = [head, "|---" * 9 + "|"]
    for name in (*names, "all"):
        part = [s for s in scores if name in (s.kind, "all")]
        mean = {key: float(np.nanmean([s.overlap[key] for s in part])) for key in part[0].overlap}
        ef, rv_ef = (np.array([getattr(s, field) for s in part]) for field in ("ef", "rv_ef"))
        bias, spread = (ef[:, 0] - ef[:, 1]).mean(), (ef[:, 0] - ef[:, 1]).std()
        cells = [
            name,
            f"{mean['lv_ed']:.3f} / {mean['lv_es']:.3f}",
            f"{mean['wall_ed']:.3f}",
            f"{mean['rv_ed']:.3f} / {mean['rv_es']:.3f}",
            f"{np.mean([s.box_iou for s in part]):.3f}",
            f"{sum(s.cut_mm > CUT_MM for s in part)} of {len(part)}",
            f"{sum(s.box_ratio > LARGE for s in part)}",
            f"{bias:+.1f} ({spread:.1f}), {_correlation(ef)}",
            _correlation(rv_ef),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_levels(scores)])


def _correlation(pairs: np.ndarray) -> str:
    return f"{np.corrcoef(pairs.T)[0, 1]:.2f}" if len(pairs) > 2 and pairs.std(0).min() > 0 else "-"


def _levels(scores: list[Score]) -> list[str]:
    """Lines on the basal and apical slices: mean Dice over slices and frames with the label."""
    rows = np.array([row for s in scores for row in s.slices])
    lines = []
    for name, chosen in (
        (f"basal slices (place below {BASAL})", rows[:, 0] < BASAL),
        ("middle slices", (rows[:, 0] >= BASAL) & (rows[:, 0] < APICAL)),
        (f"apical slices (place above {APICAL})", rows[:, 0] >= APICAL),
    ):
        left, right = (_mean(rows[chosen, column]) for column in (1, 2))
        lines.append(f"- {name}: LV {left}, RV {right}")
    found, count = (sum(s.above[k] for s in scores) for k in (0, 1))
    return [*lines, f"- images above the base with LV: {found} of {count}"]


def _mean(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    return f"{known.mean():.3f}" if len(known) else "-"


def measure(
    segment: Callable[[np.ndarray, tuple[float, float]], np.ndarray], hearts: int, beats: int
) -> dict[str, list[Score]]:
    """Scores of a segmentation function on ``stills`` of stacks of each kind, and on the ``beat`` of the first ones."""
    from tools.segmentation import kinds

    out: dict[str, list[Score]] = {"stills": [], "beat": []}
    for number, kind in enumerate(kinds.NAMES):
        for k, stack in enumerate(stacks(kind, number, hearts)):
            spacing = (stack.pixel_mm, stack.pixel_mm)
            out["stills"].append(score(stack, segment(stack.stills, spacing)))
            if k < beats:
                out["beat"].append(score(stack, segment(stack.beat, spacing)[:, [0, END_SYSTOLE]]))
    return out


def main() -> None:
    """The command line."""
    from eccl_lib.data.segmentation.unet.network import HeartNet

    parser = argparse.ArgumentParser(prog="python -m bench.generated_hearts", description=__doc__.splitlines()[0])
    parser.add_argument("--hearts", type=int, default=6, help="stacks of each kind")
    parser.add_argument("--beats", type=int, default=2, help="how many of them are also segmented as a beat")
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    for name, scores in measure(HeartNet.load(given.weights).segment, given.hearts, given.beats).items():
        print(f"{name}\n\n{table(scores)}\n")


if __name__ == "__main__":
    sys.exit(guard(main))
