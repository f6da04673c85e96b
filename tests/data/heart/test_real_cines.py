"""The network on real patients: boxes, Dice and volumes compared with the expert's contours.

Bounds are slightly below the measured scores (docs/segmentation.md), not the target scores.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from bench import real_hearts
from bench.real_hearts import LV, WALL, dice
from eccl_lib.data.segmentation.unet import network
from eccl_lib.io import paths

FOLDER = paths.ROOT.parent / "shared" / "data" / "cmr" / "sunnybrook"
PATIENTS = ("SCD0000101", "SCD0000201", "SCD0000301")
if not FOLDER.is_dir():
    pytest.skip(f"the folder of real cines is not there: {FOLDER}", allow_module_level=True)


@pytest.fixture(scope="module", params=PATIENTS)
def patient(request) -> real_hearts.Patient:
    return real_hearts.segment(FOLDER, real_hearts.rows(FOLDER)[request.param], network.HeartNet.load())


def test_the_heart_box_contains_the_experts_ventricle_in_each_slice(patient):
    found = real_hearts.boxes(patient)
    assert len(found) == len(patient.expert) and all(holds for holds, _, _ in found)


def test_the_left_ventricle_agrees_with_the_experts(patient):
    assert dice(patient.at(0) == LV, patient.expert[:, 0] == LV) > 0.91
    assert dice(patient.at(1) == LV, patient.expert[:, 1] == LV) > 0.88


def test_the_wall_agrees_with_the_experts(patient):
    assert dice(patient.at(0) == WALL, patient.expert[:, 0] == WALL) > 0.61


def test_volumes_and_mass_are_near_the_experts(patient):
    found = patient.volumes()
    assert found.lv_edv_ml == pytest.approx(patient.number("lv_edv_ml"), rel=0.1)
    assert found.lv_esv_ml == pytest.approx(patient.number("lv_esv_ml"), rel=0.1)
    assert found.lv_ef_pct == pytest.approx(patient.number("lv_ef_pct"), abs=2)
    assert found.lv_mass_g == pytest.approx(patient.number("lv_mass_g"), rel=0.08)
    apart = (found.ed_frame - patient.number("ed_frame")) % patient.number("n_frames")
    assert min(apart, patient.number("n_frames") - apart) <= 3


def test_the_table_has_a_column_for_a_patient(patient):
    lines = real_hearts.table({"one": real_hearts.measures(patient)}).splitlines()
    assert lines[0] == "| | one |" and lines[2].startswith("| LV Dice, ED / ES | .")
