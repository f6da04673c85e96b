"""Targets and balanced subsets."""

import itertools

import numpy as np
import pytest

from eccl_lib import tasks
from eccl_lib.config.schema import TrainingConfig
from eccl_lib.tasks import TASKS
from eccl_lib.training.sampling import balanced_chunks, epoch_batches, fixed_chunks, shuffled_batches


def test_every_negative_is_seen_once_and_every_positive_in_each_chunk():
    positive = np.zeros(100, bool)
    positive[:12] = True
    chunks = balanced_chunks(positive, 2, np.random.default_rng(0))
    assert len(chunks) == 4  # 88 negatives over 2 x 12, rounded
    assert all(1.5 <= (chunk >= 12).sum() / 12 <= 2.5 for chunk in chunks)
    assert all(set(range(12)) <= set(chunk) for chunk in chunks)
    negatives = np.concatenate([chunk[chunk >= 12] for chunk in chunks])
    assert sorted(negatives) == list(range(12, 100))


def test_chunks_are_drawn_afresh():
    positive = np.arange(100) < 10
    first, second = (balanced_chunks(positive, 2, np.random.default_rng(s))[0] for s in (0, 1))
    assert set(first) != set(second)


def test_fixed_chunks_cut_the_negatives_in_file_order_and_never_change():
    positive = np.zeros(100, bool)
    positive[[3, 50]] = True
    first, again = (fixed_chunks(positive, 2, np.random.default_rng(s)) for s in (0, 1))
    assert len(first) == 24  # floor of 98 negatives over 2 x 2
    assert [sorted(chunk) for chunk in first] == [sorted(chunk) for chunk in again]
    negatives = [sorted(set(chunk) - {3, 50}) for chunk in first]
    assert negatives[0] == [0, 1, 2, 4, 5]
    assert list(itertools.chain(*negatives)) == sorted(set(range(100)) - {3, 50})
    assert len(fixed_chunks(np.arange(10) < 8, 2, np.random.default_rng(0))) == 1


def test_too_few_negatives_for_one_chunk_still_give_one():
    positive = np.arange(10) < 8
    (chunk,) = balanced_chunks(positive, 2, np.random.default_rng(0))
    assert sorted(chunk) == list(range(10))


def test_trait_scaler_is_fitted_on_training_participants_alone():
    generator = np.random.default_rng(0)
    traits = generator.normal(5, 3, (100, 82)).astype(np.float32)
    traits[3, 7] = np.nan
    train = np.arange(60)
    goal = tasks.build_targets(TASKS["traits"], np.zeros((100, 4), bool), traits, train)
    scaled = goal.standardize().numpy()
    assert np.allclose(np.nanmean(scaled[:60], axis=0), 0, atol=1e-5)
    assert np.allclose(np.nanstd(scaled[:60], axis=0), 1, atol=1e-4)
    changed = traits.copy()
    changed[60:] += 100
    again = tasks.build_targets(TASKS["traits"], np.zeros((100, 4), bool), changed, train)
    assert (again.centre == goal.centre).all() and (again.spread == goal.spread).all()
    assert np.allclose(goal.to_units(scaled)[60:], traits[60:], atol=1e-4)


def test_a_trait_that_nobody_has_does_not_spoil_the_others():
    traits = np.random.default_rng(0).normal(size=(50, 82)).astype(np.float32)
    traits[:, 5] = np.nan
    goal = tasks.build_targets(TASKS["traits"], np.zeros((50, 4), bool), traits, np.arange(30))
    assert np.isfinite(goal.centre).all() and np.isfinite(goal.spread).all()
    assert np.isfinite(goal.score(np.nan_to_num(traits[30:]), np.arange(30, 50)))


@pytest.mark.parametrize("positives", [0, 50])
def test_a_disease_of_one_class_is_refused(positives):
    labels = np.zeros((60, 4), bool)
    labels[:positives] = True
    with pytest.raises(ValueError, match="training needs cases and controls"):
        tasks.build_targets(TASKS["I42"], labels, np.zeros((60, 82), np.float32), np.arange(50))


@pytest.mark.parametrize("steps", [1, 7, 10, 23])
def test_epochs_of_a_number_of_steps_continue_one_another(steps):
    passes = shuffled_batches(np.arange(100), TrainingConfig(batch=10), seed=0)
    stream = [batch for number in range(13) for batch in passes(number)]
    found = [batch for epoch in range(5) for batch in epoch_batches(passes, steps, epoch)]
    assert len(found) == 5 * steps
    assert all(np.array_equal(a, b) for a, b in zip(found, stream[: len(found)], strict=True))
    whole = epoch_batches(passes, 0, 3)
    assert all(np.array_equal(a, b) for a, b in zip(whole, passes(3), strict=True))
