"""Targets and balanced subsets."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from eccl_lib import tasks
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import TrainingConfig
from eccl_lib.data import own_labels
from eccl_lib.evaluation.experiments import RELIABILITIES
from eccl_lib.metrics import scores
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


def test_noise_on_the_traits_of_training_participants_is_that_of_a_reliability_and_fixed():
    traits = np.random.default_rng(0).normal(5, 3, (4000, 82)).astype(np.float32)
    traits[3, 7] = np.nan
    train = np.arange(3000)
    clean = tasks.build_targets(TASKS["traits"], np.zeros((4000, 4), bool), traits, train)
    noise = RELIABILITIES[20]["align.trait_noise"]
    noisy, again, other = (tasks.with_trait_noise(clean, noise, train, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(noisy.values[3000:], clean.values[3000:])
    np.testing.assert_array_equal(noisy.values, again.values)
    assert (noisy.values[:5] != other.values[:5]).any(axis=1).all()
    assert np.isnan(noisy.values[3, 7])
    assert noisy.centre is clean.centre and noisy.spread is clean.spread
    measured, true = noisy.standardize().numpy()[train], clean.standardize().numpy()[train]
    assert np.nanvar(true) / np.nanvar(measured) == pytest.approx(0.20, abs=0.003)  # a reliability of 20 %
    disease = tasks.build_targets(TASKS["I48"], np.tile(np.arange(400)[:, None] % 4 == 0, 4), traits, np.arange(100))
    assert tasks.with_trait_noise(disease, noise, train, 1) is disease


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


class OwnCohort:
    """Twelve participants with own labels: two classes, one of them alone, and an age."""

    def __init__(self):
        generator = np.random.default_rng(0)
        words = ["both:multilabel:a,b", "a:binary", "age:continuous"]
        self.own = own_labels.OwnLabels(
            own_labels.parse(words),
            pd.DataFrame({"a": [0.0, 1] * 6, "b": [1.0, 0, 0] * 4, "age": generator.normal(60, 9, 12)}),
        )
        self.own.values.loc[[2, 9], "age"] = np.nan
        self.rows = {"train": np.arange(6), "val": np.arange(6, 8), "test": np.arange(8, 12)}

    def __len__(self):
        return 12

    def index(self, split):
        return self.rows[split]


def test_own_targets_scale_the_continuous_columns_by_the_training_participants():
    data = OwnCohort()
    targets = tasks.own_targets(["both", "age"], data)
    assert targets.task.names == ("both_a", "both_b", "age") and targets.binary.tolist() == [True, True, False]
    train = data.own.values["age"].iloc[:6]
    standard = targets.standardize().numpy()
    np.testing.assert_allclose(standard[:6, 2], (train - train.mean()) / train.std(ddof=0), rtol=1e-5)
    np.testing.assert_array_equal(standard[:, :2], data.own.values[["a", "b"]])
    np.testing.assert_allclose(targets.to_units(standard), data.own.values[["a", "b", "age"]], rtol=1e-5)
    assert targets.terms().tolist() == [3, 3, 2, 3, 3, 3, 3, 3, 3, 2, 3, 3]
    assert torch.isfinite(targets.loss(torch.zeros(12, 3), targets.standardize()))


def test_own_tasks_are_scored_by_macro_auc_and_by_r_over_measured_values():
    data = OwnCohort()
    targets, rows = tasks.own_targets(["both", "age"], data), np.array([0, 1, 2, 3, 4, 5, 9])
    predicted = np.random.default_rng(1).normal(size=(7, 3))
    found = targets.scores(predicted, rows)
    values = data.own.values.iloc[rows]
    macro = np.mean([scores.auc(predicted[:, k], values[name] > 0.5) for k, name in enumerate("ab")])
    present = values["age"].notna().to_numpy()
    r = np.corrcoef(predicted[present, 2], values["age"][present])[0, 1]
    assert found == {"both": pytest.approx(macro), "age": pytest.approx(r)}
    assert targets.score(predicted, rows) == pytest.approx((macro + r) / 2)


def test_a_column_with_one_class_is_left_out_of_the_macro_auc():
    task = own_labels.OwnTask("both", "multilabel", ("a", "b"))
    predicted, measured = np.array([[1.0, 0], [2, 0], [3, 1]]), np.array([[0.0, 0], [0, 0], [1, 0]])
    assert tasks.own_score(task, predicted, measured) == 1.0
    assert np.isnan(tasks.own_score(task, predicted, np.zeros((3, 2))))


def test_unknown_and_unlabelled_tasks_are_named():
    data = OwnCohort()
    with pytest.raises(ConfigError, match=r"no task MI; its tasks are both, a, age"):
        tasks.own_targets(["MI"], data)
    data.own.values.loc[:5, "age"] = np.nan
    with pytest.raises(ConfigError, match="no training participant has a value of age"):
        tasks.own_targets(["age"], data)


def test_a_task_that_cannot_be_scored_is_left_out_of_the_mean():
    data = OwnCohort()
    targets, rows = tasks.own_targets(["a", "age"], data), np.array([0, 2, 4])  # no case of a
    predicted = np.random.default_rng(1).normal(size=(3, 2))
    found = targets.scores(predicted, rows)
    assert np.isnan(found["a"]) and targets.score(predicted, rows) == found["age"]


def test_a_class_that_all_training_participants_share_is_refused():
    data = OwnCohort()
    data.own.values.loc[:5, "a"] = 0.0
    with pytest.raises(ConfigError, match="value of a have the same"):
        tasks.own_targets(["a"], data)
