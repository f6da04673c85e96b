"""The expected Dice is that of labels drawn from the probabilities; a box changes if one frame is left out."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.data.segmentation import confidence


def test_certain_labels_have_the_confidence_1_and_an_empty_slice_too():
    labels = np.zeros((2, 20, 20), dtype=np.uint8)
    empty = np.stack([np.ones_like(labels), *[0 * labels] * 3], 1).astype(np.float32)
    assert confidence.expected_dice(empty, labels) == 1
    labels[:, 5:12, 4:14] = 2
    certain = np.stack([labels == k for k in range(4)], 1).astype(np.float32)
    assert confidence.expected_dice(certain, labels) == 1


def test_the_expected_dice_is_near_the_mean_dice_with_drawn_labels():
    random = np.random.default_rng(0)
    probability = random.dirichlet((0.5, 0.4, 0.4, 0.4), (1, 40, 40)).transpose(0, 3, 1, 2)
    labels = probability.argmax(1)
    cumulative = probability.cumsum(1)
    scores = []
    for _ in range(50):
        drawn = (random.random((1, 1, 40, 40)) > cumulative[:, :3]).sum(1)
        both = sum(((drawn == k) & (labels == k)).sum() for k in (1, 2, 3))
        scores.append(2 * both / ((drawn > 0).sum() + (labels > 0).sum()))
    assert confidence.expected_dice(probability, labels) == pytest.approx(np.mean(scores), abs=0.01)


def test_a_heart_that_is_missed_lowers_the_confidence():
    probability = np.full((1, 4, 20, 20), 0.1)
    probability[:, 0] = 0.7
    assert confidence.expected_dice(probability, np.zeros((1, 20, 20), dtype=np.uint8)) < 0.05


def test_the_box_changes_by_the_part_that_only_one_frame_has():
    labels = np.zeros((5, 40, 40), dtype=np.uint8)
    labels[:, 10:20, 10:20] = 2
    assert confidence.box_change(labels) == 0
    labels[3, 10:20, 10:30] = 2
    assert confidence.box_change(labels) == pytest.approx(0.5)
    only = np.zeros_like(labels)
    only[2, 3:9, 3:9] = 1
    assert confidence.box_change(only) == 1
    assert confidence.box_change(np.zeros_like(labels)) == 0
    assert confidence.box_change(only[2:3]) == 0


@pytest.mark.parametrize(
    ("box", "touches"), [((1, 1, 9, 9), False), ((0, 1, 9, 9), True), ((1, 1, 9, 10), True), ((-3, 1, 9, 9), True)]
)
def test_a_box_touches_the_border(box, touches):
    assert confidence.at_border(box, (10, 10)) is touches
