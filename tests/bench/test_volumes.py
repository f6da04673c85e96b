"""Volumes against what a cylinder has by geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.volumes import measure

SPACING, STEP = (1.0, 1.25), 10.0


def stack(radii: list[float], wall: float = 8.0, slices: int = 4) -> np.ndarray:
    """A round LV whose radius (mm) changes by frame, with a wall; an RV of 30 x 20 pixels beside it."""
    y = (np.arange(128) - 64)[:, None] * SPACING[0]
    x = (np.arange(160) - 80)[None, :] * SPACING[1]
    rho = np.hypot(y, x)
    frames = [np.where(rho < r, 1, np.where(rho < r + wall, 2, 0)) for r in radii]
    labels = np.repeat(np.stack(frames)[None], slices, axis=0).astype(np.uint8)
    labels[..., 2:32, 2:22] = 3
    return labels


def test_a_cylinder_has_its_volume_fraction_and_mass():
    found = measure(stack([30.0, 25, 20, 28]), SPACING, STEP)
    height = 4 * STEP
    assert found.lv_edv_ml == pytest.approx(math.pi * 30**2 * height / 1000, rel=0.02)
    assert found.lv_esv_ml == pytest.approx(math.pi * 20**2 * height / 1000, rel=0.02)
    assert found.lv_sv_ml == pytest.approx(found.lv_edv_ml - found.lv_esv_ml)
    assert found.lv_ef_pct == pytest.approx(100 * (1 - 20**2 / 30**2), abs=0.7)
    assert found.lv_mass_g == pytest.approx(1.05 * math.pi * (38**2 - 30**2) * height / 1000, rel=0.02)
    assert (found.ed_frame, found.es_frame) == (0, 2)
    assert found.rv_edv_ml == pytest.approx(600 * 1.25 * height / 1000)
    assert found.rv_ef_pct == 0
    assert found.lv_curve.shape == (4,)


def test_frames_that_are_named_are_used():
    found = measure(stack([30.0, 25, 20, 28]), SPACING, STEP, frames=(3, 1))
    assert found.lv_edv_ml == pytest.approx(math.pi * 28**2 * 4 * STEP / 1000, rel=0.02)
    assert found.lv_esv_ml == pytest.approx(math.pi * 25**2 * 4 * STEP / 1000, rel=0.02)


def test_frames_nobody_drew_are_no_end_systole():
    labels = stack([30.0, 25, 20, 28])
    labels[:, [1, 3]] = 0
    assert measure(labels, SPACING, STEP).es_frame == 2


def test_a_cavity_that_closes_is_an_end_systole():
    found = measure(stack([20.0, 0.0, 15]), SPACING, STEP)
    assert (found.es_frame, found.lv_ef_pct) == (1, 100)


@pytest.mark.parametrize("step", [None, 0, float("nan"), -8.0])
def test_without_the_slices_step_there_is_no_volume(step):
    with pytest.raises(ValueError, match="step from slice to slice"):
        measure(stack([30.0]), SPACING, step)


def test_labels_without_a_ventricle_are_refused():
    with pytest.raises(ValueError, match="no left ventricle"):
        measure(np.zeros((2, 3, 8, 8), np.uint8), SPACING, STEP)
