"""Cavities do not vanish in one frame or one slice; plausible labels are not changed."""

from __future__ import annotations

import numpy as np

from eccl_lib.data.segmentation.unet import consistency
from eccl_lib.data.segmentation.unet.consistency import LV, WALL


def ring(radius: float, size: int = 48) -> np.ndarray:
    """Labels of a wall of radius 18 pixels around a cavity."""
    far = np.hypot(*(np.mgrid[:size, :size] - size // 2))
    return np.where(far <= radius, LV, np.where(far <= 18, WALL, 0)).astype(np.uint8)


def beat(slices: int = 3, frames: int = 10) -> np.ndarray:
    radius = 9 - 4 * np.sin(np.pi * np.arange(frames) / frames)
    return np.stack([np.stack([ring(r - s) for r in radius]) for s in range(slices)])


def likely(labels: np.ndarray) -> np.ndarray:
    """Probabilities that decrease from the centre, so that the centre is the likeliest cavity."""
    far = np.hypot(*(np.mgrid[: labels.shape[2], : labels.shape[3]] - labels.shape[2] // 2))
    cavity = np.broadcast_to(0.4 * np.exp(-far / 10), labels.shape)
    return np.stack([0.1 + 0 * cavity, cavity, 0.8 - cavity, 0.1 + 0 * cavity], 2).astype(np.float32)


def test_a_plausible_beat_is_not_changed():
    labels = beat()
    np.testing.assert_array_equal(consistency.grow_cavity(labels, likely(labels), True), labels)


def test_a_cavity_that_vanishes_in_one_frame_grows_from_its_likeliest_pixels():
    labels = beat()
    labels[:, 4][labels[:, 4] == LV] = WALL
    found = consistency.grow_cavity(labels, likely(labels), True)
    volume = (found == LV).sum((0, 2, 3))
    assert volume[4] >= consistency.LEAST_NEXT * (volume[3] + volume[5]) / 2
    assert (found[:, 4, 24, 24] == LV).all()
    assert ((found > 0) == (labels > 0)).all()
    np.testing.assert_array_equal(np.delete(found, 4, 1), np.delete(labels, 4, 1))


def test_the_ejection_fraction_is_below_ninety_percent():
    labels = beat(frames=2)
    labels[:, 1][labels[:, 1] == LV] = WALL
    found = consistency.grow_cavity(labels, likely(labels), False)
    full, empty = (found == LV).sum((0, 2, 3))
    assert 0 < empty <= np.ceil(0.1 * full) + 3


def test_a_gap_between_two_slices_is_filled():
    labels = beat(frames=1)
    labels[1][labels[1] == LV] = WALL
    found = consistency.grow_cavity(labels, likely(labels), False)
    assert (found[1] == LV).sum() >= consistency.LEAST_BETWEEN * (labels[2] == LV).sum()


def test_a_small_apical_cavity_may_close():
    labels = beat()
    labels[2][labels[2] == LV] = WALL
    labels[2, :2] = ring(3)
    found = consistency.grow_cavity(labels, likely(labels), True)
    np.testing.assert_array_equal(found[2], labels[2])


def test_smoothing_removes_what_appears_in_one_frame_alone_and_keeps_the_rest():
    probability = np.zeros((1, 50, 4, 2, 2), dtype=np.float32)
    probability[:, :, 0] = 1
    probability[:, 3, 0, 0, 0], probability[:, 3, 1, 0, 0] = 0.1, 0.9
    found = consistency.smoothed(probability)
    assert (found.argmax(2) == 0).all()
    np.testing.assert_allclose(found.sum(2), 1, rtol=1e-6)
    still = np.broadcast_to(probability[:, :1], probability.shape)
    np.testing.assert_array_equal(consistency.smoothed(still), still)


def test_a_beat_of_few_frames_is_smoothed_less():
    probability = np.zeros((1, 10, 4, 1, 1), dtype=np.float32)
    probability[0, 4, 1] = 1
    found = consistency.smoothed(probability)[0, :, 1, 0, 0]
    np.testing.assert_allclose(found[3:6], [0.05, 0.9, 0.05], rtol=1e-5)
    assert not found[:3].any() and not found[6:].any()
