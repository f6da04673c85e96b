"""Compare the segmentation network with experts' contours: ``python -m bench.real_hearts FOLDER [--patients ...]``.

FOLDER contains ``subjects.csv`` with one row per patient (pixel_mm, slice_step_mm, ed_frame, es_frame, volumes). For
each patient it contains ``<patient_id>_sax_4d.nii.gz`` (x, y, slice, frame) and ``<patient_id>_sax_edes_gt.nii.gz``
(x, y, slice, 2), the expert's contours at end diastole and end systole: 1 LV cavity, 2 myocardium (only at end
diastole), no RV. Prints the table of docs/segmentation.md, one column per patient. ``--weights``: weights of another
network than the packaged one. ``--stills``: without the beat.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import volumes
from eccl_lib.commands.cli import guard
from eccl_lib.data.cmr import heart_box
from eccl_lib.data.segmentation.unet import network

MOMENTS = ("ed", "es")
LV, WALL = 1, 2


@dataclass(frozen=True)
class Patient:
    """labels: (S, F, H, W), predicted; expert: (S, 2, H, W), at ED and ES; row: the patient's row of subjects.csv."""

    labels: np.ndarray
    expert: np.ndarray
    row: dict[str, str]

    def number(self, name: str) -> float:
        """A value of the row as a number."""
        return float(self.row[name])

    @property
    def frames(self) -> tuple[int, int]:
        """Frame numbers of the expert's ED and ES."""
        return int(self.row["ed_frame"]), int(self.row["es_frame"])

    def at(self, moment: int) -> np.ndarray:
        """Predicted labels at the expert's ED (0) or ES (1): (S, H, W)."""
        return self.labels[:, self.frames[moment]]

    def volumes(self, frames: tuple[int, int] | None = None) -> volumes.Volumes:
        """Volumes from the predicted labels."""
        pixel = self.number("pixel_mm")
        return volumes.measure(self.labels, (pixel, pixel), self.number("slice_step_mm"), frames)


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of subjects.csv by patient id."""
    with (folder / "subjects.csv").open(encoding="utf-8") as file:
        return {row["patient_id"]: row for row in csv.DictReader(file)}


def segment(folder: Path, row: dict[str, str], net: network.HeartNet, stills: bool = False) -> Patient:
    """Label one patient's stack. stills: only the expert's two frames, without the beat."""
    pixel, name = float(row["pixel_mm"]), row["patient_id"]
    images = read(folder / f"{name}_sax_4d.nii.gz")
    if stills:
        images = images[:, [int(row["ed_frame"]), int(row["es_frame"])]]
        row = row | {"ed_frame": "0", "es_frame": "1", "n_frames": "2"}
    labels = net.segment(images, (pixel, pixel))
    return Patient(labels, read(folder / f"{name}_sax_edes_gt.nii.gz"), row)


def read(path: Path) -> np.ndarray:
    """The array of a NIfTI file as (S, F, H, W)."""
    import nibabel

    return np.asarray(nibabel.load(path).dataobj).transpose(2, 3, 1, 0)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient of two masks; 1 if they are equal."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def boxes(patient: Patient) -> list[tuple[bool, float, float]]:
    """For each slice with expert contours: whether the predicted box contains the expert's whole LV, and its area over
    the area of the tightest box of the expert's LV, and of LV and wall."""
    found = []
    for labels, drawn in zip(patient.labels, patient.expert, strict=True):
        if not (drawn == LV).any():
            continue
        box, cavity, whole = heart_box(labels), heart_box(drawn == LV), heart_box(drawn)
        holds = box[0] <= cavity[0] and box[1] <= cavity[1] and box[2] >= cavity[2] and box[3] >= cavity[3]
        found.append((holds, area(box) / area(cavity), area(box) / area(whole)))
    return found


def area(box: tuple[int, int, int, int]) -> int:
    """Area in pixels of a box (top, left, bottom, right)."""
    return (box[2] - box[0]) * (box[3] - box[1])


def measures(patient: Patient) -> dict[str, str]:
    """The table's column of one patient: name of the measure to text."""
    lv = [(patient.at(k) == LV, patient.expert[:, k] == LV) for k in (0, 1)]
    wall = patient.at(0) == WALL, patient.expert[:, 0] == WALL
    lowest = [[dice(a, b) for a, b in zip(*pair, strict=True) if b.any()][-1] for pair in lv]
    box, at, own = boxes(patient), patient.volumes(patient.frames), patient.volumes()
    expert = {name: patient.number(name) for name in ("lv_edv_ml", "lv_esv_ml", "lv_ef_pct", "lv_mass_g")}
    return {
        "LV Dice, ED / ES": " / ".join(_digits(dice(*pair)) for pair in lv),
        "LV area, network over expert, ED / ES": " / ".join(f"{a.sum() / b.sum():.2f}" for a, b in lv),
        "LV Dice in the lowest slice, ED / ES": " / ".join(_digits(value) for value in lowest),
        "wall Dice at ED (area, network over expert)": f"{_digits(dice(*wall))} ({wall[0].sum() / wall[1].sum():.2f})",
        "slices whose box (no margin) contains the expert's whole LV": f"{sum(b[0] for b in box)} of {len(box)}",
        "box area over the tightest box of the expert's LV / LV and wall, median": " / ".join(
            f"{np.median([b[k] for b in box]):.1f}" for k in (1, 2)
        ),
        "EDV, network (expert), mL": f"{at.lv_edv_ml:.0f} ({expert['lv_edv_ml']:.0f})",
        "ESV, mL": f"{at.lv_esv_ml:.0f} ({expert['lv_esv_ml']:.0f})",
        "EF at the expert's frames, %": f"{at.lv_ef_pct:.1f} ({expert['lv_ef_pct']:.1f})",
        "EF at frames the network chose, %": f"{own.lv_ef_pct:.1f}",
        "mass, g": f"{at.lv_mass_g:.0f} ({expert['lv_mass_g']:.0f})",
    }


def _digits(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def table(columns: dict[str, dict[str, str]]) -> str:
    """Markdown table: one row per measure, one column per patient."""
    names = list(next(iter(columns.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns.values()) + " |" for name in names]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.real_hearts", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", nargs="+", metavar="ID", help="ids in subjects.csv; default: all")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--stills", action="store_true", help="use only the expert's two frames, without the beat")
    given = parser.parse_args()
    known, net = rows(given.folder), network.HeartNet.load(given.weights)
    if unknown := set(given.patients or ()) - set(known):
        parser.error(f"subjects.csv has no {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    print(
        table(
            {name: measures(segment(given.folder, known[name], net, given.stills)) for name in given.patients or known}
        )
    )


if __name__ == "__main__":
    sys.exit(guard(main))
