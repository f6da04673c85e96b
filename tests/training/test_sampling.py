"""Batches of an epoch depend on seed and epoch alone; balanced ones hold the rows of their chunk."""

from itertools import chain

import numpy as np
import pytest

from eccl_lib.config.schema import AlignConfig, TrainingConfig
from eccl_lib.tasks import TASKS, build_targets
from eccl_lib.training.sampling import balanced_chunks, fixed_chunks, shuffled_batches, task_batches

ROWS = np.arange(200, 260)  # rows of a cohort of 300, of which the first six are cases


def targets(task):
    labels = np.zeros((300, 4), dtype=bool)
    labels[ROWS[:6]] = True
    traits = np.random.default_rng(0).normal(size=(300, 82)).astype(np.float32)
    return build_targets(TASKS[task], labels, traits, ROWS)


def batches(task="I48", seed=0, epoch=0, **settings):
    schedule = AlignConfig(batch=10, negatives_per_positive=2, **settings)
    return [batch.tolist() for batch in task_batches(targets(task), ROWS, schedule, seed)(epoch)]


@pytest.mark.parametrize("settings", [{}, {"chunks": "fixed"}])
def test_batches_of_a_disease_hold_all_cases_in_each_chunk_and_each_control_once(settings):
    found = [*chain(*batches(**settings))]
    chunks = len(balanced_chunks(np.arange(60) < 6, 2, np.random.default_rng(0)))
    assert sorted(row for row in found if row >= 206) == list(range(206, 260))
    assert sorted(row for row in found if row < 206) == sorted([*range(200, 206)] * chunks)
    assert max(map(len, batches(**settings))) <= 10


def test_batches_of_the_traits_are_one_pass():
    found = batches("traits")
    assert sorted(chain(*found)) == ROWS.tolist() and [len(batch) for batch in found] == [10] * 6


@pytest.mark.parametrize(("task", "settings"), [("traits", {}), ("I48", {}), ("I48", {"chunks": "fixed"})])
def test_batches_follow_from_seed_and_epoch(task, settings):
    one = batches(task, seed=3, epoch=2, **settings)
    assert one == batches(task, seed=3, epoch=2, **settings)
    assert one != batches(task, seed=4, epoch=2, **settings)
    assert one != batches(task, seed=3, epoch=1, **settings)


def test_drawn_chunks_change_with_the_epoch_and_fixed_ones_do_not():
    def shares(epoch, chunks):
        """The controls of each chunk."""
        found = batches(epoch=epoch, chunks=chunks)
        length = len(found) // 4  # batches of a chunk; 54 controls make four chunks either way
        parts = (chain(*found[k : k + length]) for k in range(0, len(found), length))
        return [sorted(row for row in part if row >= 206) for part in parts]

    assert shares(0, "fixed") == shares(1, "fixed") == [part.tolist() for part in np.array_split(ROWS[6:], 4)]
    assert shares(0, "drawn") != shares(1, "drawn")


def test_the_number_of_chunks_is_the_ratio_of_controls_and_wanted_controls():
    for cases, controls, drawn, fixed in ((6, 54, 4, 4), (7, 50, 4, 3), (1, 3, 2, 1), (0, 5, 5, 5), (5, 0, 1, 1)):
        positive = np.arange(cases + controls) < cases
        assert len(balanced_chunks(positive, 2, np.random.default_rng(0))) == drawn, (cases, controls)
        assert len(fixed_chunks(positive, 2, np.random.default_rng(0))) == fixed, (cases, controls)


def test_a_pass_over_rows_is_shuffled():
    schedule = TrainingConfig(batch=7)
    (one, other, again) = (shuffled_batches(ROWS, schedule, seed)(epoch) for seed, epoch in ((0, 0), (1, 0), (0, 0)))
    assert np.concatenate(one).tolist() == np.concatenate(again).tolist() != np.concatenate(other).tolist()
    assert np.concatenate(one).tolist() != ROWS.tolist()
    assert sorted(np.concatenate(one).tolist()) == ROWS.tolist()
