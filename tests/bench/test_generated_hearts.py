"""The scores of generated hearts: the truth has the best ones, and known errors have known ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

from bench import generated_hearts
from bench.generated_hearts import END_SYSTOLE, LV, RV, WALL


@pytest.fixture(scope="module")
def stack() -> generated_hearts.Stack:
    return generated_hearts.stacks("concentric", 2, 1)[0]


def test_a_stack_spans_the_heart_from_the_atrium_to_below_the_apex(stack):
    assert stack.stills.shape == (9, 2, 144, 144)
    left = (stack.labels == LV).any((1, 2, 3))
    assert left.sum() >= 4 and not left[0] and not left[-1]
    assert stack.place[0, 0] < 0 and stack.place[-1, 0] > 1
    again = generated_hearts.stacks("concentric", 2, 1)[0]
    np.testing.assert_array_equal(stack.images, again.images)


def test_the_beat_has_end_diastole_and_end_systole_at_their_frames(stack):
    beat = stack.beat
    assert beat.shape[1] == generated_hearts.FRAMES
    np.testing.assert_allclose(beat[:, 0], stack.stills[:, 0])
    np.testing.assert_allclose(beat[:, END_SYSTOLE], stack.stills[:, 1])


def test_the_truth_has_the_best_scores(stack):
    found = generated_hearts.score(stack, stack.labels)
    assert set(found.overlap.values()) == {1.0}
    assert (found.box_iou, found.cut_mm, found.box_ratio) == (1.0, 0.0, 1.0)
    assert found.ef[0] == found.ef[1] > 20
    assert found.above[0] == 0 < found.above[1]


def test_a_missed_right_ventricle_cuts_the_box_and_an_empty_one_has_no_ejection(stack):
    labels = np.where(stack.labels == RV, 0, stack.labels)
    found = generated_hearts.score(stack, labels)
    assert found.overlap["rv_ed"] == found.overlap["rv_es"] == 0 and found.overlap["lv_ed"] == 1
    assert found.cut_mm > generated_hearts.CUT_MM and found.box_iou < 1
    assert found.rv_ef[0] == 0
    missed = generated_hearts.score(stack, 0 * labels)
    assert missed.box_iou == 0 and missed.cut_mm == np.inf


def test_labels_above_the_base_are_counted_and_the_ejection_fraction_is_that_of_the_volumes(stack):
    labels = stack.labels.copy()
    labels[0] = LV
    assert generated_hearts.score(stack, labels).above[0] == 2
    labels = np.where(stack.labels == LV, WALL, stack.labels)
    labels[:, 0] = stack.labels[:, 0]
    assert generated_hearts.score(stack, labels).ef[0] == 100


def test_the_table_has_a_row_for_each_kind_and_one_for_all(stack):
    found = generated_hearts.score(stack, stack.labels)
    lines = generated_hearts.table([found, dataclasses.replace(found, kind="other")]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| concentric", "| other", "| all"]
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert "1.000 / 1.000" in lines[2]
