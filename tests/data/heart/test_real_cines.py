"""The network on real patients: boxes, Dice and volumes against the expert's contours, where the files are.

Bounds lie a little under what was measured (docs/segmentation.md), not at what was aimed at.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from eccl_lib import paths
from eccl_lib.data.cmr import heart_box
from eccl_lib.data.heart import network, volumes

FOLDER = paths.ROOT.parent / "shared" / "data" / "cmr" / "sunnybrook"
PATIENTS = ("SCD0000101", "SCD0000201", "SCD0000301")
if not FOLDER.is_dir():
    pytest.skip(f"the folder of real cines is not there: {FOLDER}", allow_module_level=True)


@dataclass
class Patient:
    """labels: (S, F, H, W) found; expert: (S, 2, H, W) at ED and ES; row: of subjects.csv."""

    labels: np.ndarray
    expert: np.ndarray
    row: dict[str, str]

    def number(self, name: str) -> float:
        return float(self.row[name])

    def at(self, moment: int) -> np.ndarray:
        return self.labels[:, int(self.row[("ed_frame", "es_frame")[moment]])]


def read(path: Path) -> np.ndarray:
    """(S, F, H, W)."""
    import nibabel

    return np.asarray(nibabel.load(path).dataobj).transpose(2, 3, 1, 0)


@pytest.fixture(scope="module", params=PATIENTS)
def patient(request) -> Patient:
    with (FOLDER / "subjects.csv").open(encoding="utf-8") as file:
        row = {row["patient_id"]: row for row in csv.DictReader(file)}[request.param]
    pixel = float(row["pixel_mm"])
    images = read(FOLDER / f"{request.param}_sax_4d.nii.gz")
    labels = network.HeartNet.load().segment(images, (pixel, pixel), float(row["slice_step_mm"]))
    return Patient(labels, read(FOLDER / f"{request.param}_sax_edes_gt.nii.gz"), row)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_the_heart_box_holds_all_of_the_experts_ventricle_on_every_slice(patient):
    for s, drawn in enumerate(patient.expert == 1):
        if drawn.any():
            top, left, bottom, right = heart_box(patient.labels[s])
            rows, columns = np.nonzero(drawn.any(0))
            assert top <= rows.min() and rows.max() < bottom, f"slice {s}"
            assert left <= columns.min() and columns.max() < right, f"slice {s}"


def test_the_left_ventricle_is_the_experts(patient):
    assert dice(patient.at(0) == 1, patient.expert[:, 0] == 1) > 0.89
    assert dice(patient.at(1) == 1, patient.expert[:, 1] == 1) > 0.84


def test_the_wall_is_the_experts(patient):
    assert dice(patient.at(0) == 2, patient.expert[:, 0] == 2) > 0.58


def test_volumes_and_mass_are_near_the_experts(patient):
    pixel = patient.number("pixel_mm")
    found = volumes.measure(patient.labels, (pixel, pixel), patient.number("slice_step_mm"))
    assert found.lv_edv_ml == pytest.approx(patient.number("lv_edv_ml"), rel=0.2)
    assert found.lv_esv_ml == pytest.approx(patient.number("lv_esv_ml"), rel=0.2)
    assert found.lv_ef_pct == pytest.approx(patient.number("lv_ef_pct"), abs=8.5)
    assert found.lv_mass_g == pytest.approx(patient.number("lv_mass_g"), rel=0.35)
    apart = (found.ed_frame - patient.number("ed_frame")) % patient.number("n_frames")
    assert min(apart, patient.number("n_frames") - apart) <= 3
