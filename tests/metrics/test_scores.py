"""Scores against scikit-learn, numpy and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from eccl_lib.metrics import scores


@pytest.mark.parametrize("levels", [3, 1000])
def test_auc_equals_scikit_learn_with_and_without_ties(levels):
    generator = np.random.default_rng(0)
    positive = generator.random(200) < 0.1
    score = np.round(generator.normal(size=200) + positive, 1 if levels == 3 else 6)
    assert scores.auc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


def test_auc_of_one_class_is_nan():
    assert np.isnan(scores.auc(np.arange(5.0), np.zeros(5, bool)))


def test_pearson_equals_numpy_without_missing_values():
    generator = np.random.default_rng(1)
    predicted, measured = generator.normal(size=(50, 3)), generator.normal(size=(50, 3))
    measured[:20, 1] = np.nan
    got = scores.pearson(predicted, measured)
    for column in range(3):
        there = ~np.isnan(measured[:, column])
        expected = np.corrcoef(predicted[there, column], measured[there, column])[0, 1]
        assert got[column] == pytest.approx(expected, abs=1e-12)


def test_constant_prediction_scores_zero():
    measured = np.random.default_rng(2).normal(size=(30, 4))
    assert scores.mean_r(np.ones((30, 4)), measured) == 0


def test_a_trait_without_measurements_does_not_count():
    generator = np.random.default_rng(5)
    predicted, measured = generator.normal(size=(2, 40, 4))
    measured[:, 2] = np.nan
    measured[:, 3] = 7.0
    expected = scores.pearson(predicted[:, :2], measured[:, :2]).mean()
    assert scores.mean_r(predicted, measured) == pytest.approx(expected)
    assert np.isnan(scores.mean_r(predicted, np.full((40, 4), np.nan)))


def test_retrieval_is_perfect_for_identical_and_at_chance_for_unrelated_embeddings():
    z = np.eye(40)
    assert scores.retrieval(z, z) == {"median_rank": 1, "recall_at_1": 1, "recall_at_5": 1, "recall_at_10": 1}
    a, b = unit(np.random.default_rng(3), (2, 2000, 16))
    found, chance = scores.retrieval(a, b), scores.retrieval_chance(2000)
    assert found["median_rank"] == pytest.approx(chance["median_rank"], rel=0.1)
    assert found["recall_at_10"] == pytest.approx(chance["recall_at_10"], abs=3 * np.sqrt(0.005 / 2000))


def test_ranks_without_ties_are_positions_in_a_sorted_list():
    query, gallery = unit(np.random.default_rng(6), (2, 60, 4))
    ranks, recalls = scores.matching_ranks(query, gallery)
    for i in range(60):
        order = sorted(range(60), key=lambda j, i=i: -float(query[i] @ gallery[j]))
        assert ranks[i] == order.index(i) + 1
    assert all(np.array_equal(recalls[f"recall_at_{k}"], ranks <= k) for k in scores.RECALLS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_embeddings_retrieve_at_chance_level(dtype):
    z = np.tile(unit(np.random.default_rng(7), (1, 33)), (50, 1)).astype(dtype)
    assert scores.retrieval(z, z) == pytest.approx(scores.retrieval_chance(50))


def test_ties_count_as_in_a_random_order():
    z = np.repeat(np.eye(6), 2, axis=0)  # each participant has one double
    found = scores.retrieval(z, z)
    assert (found["median_rank"], found["recall_at_1"], found["recall_at_5"]) == (1.5, 0.5, 1)


def unit(generator, shape):
    z = generator.normal(size=shape)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@pytest.mark.parametrize("levels", [1, 1000])
def test_average_precision_equals_scikit_learn_with_and_without_ties(levels):
    generator = np.random.default_rng(8)
    positive = generator.random(300) < 0.1
    score = np.round(generator.normal(size=300) + positive, 0 if levels == 1 else 6)
    expected = average_precision_score(positive, score)
    assert scores.average_precision(score, positive) == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_a_constant_score_is_the_prevalence():
    assert scores.average_precision(np.zeros(50), np.arange(50) < 5) == pytest.approx(0.1)
    assert np.isnan(scores.average_precision(np.arange(5.0), np.zeros(5, bool)))


def test_average_precision_takes_labels_of_any_type_and_counts_the_lowest_case():
    score, labels = np.array([0.9, 0.5, 0.3, 0.3, 0.1]), np.array([1, 0, 0, 1, 1])
    expected = (1 / 1 + 2 / 4 + 3 / 5) / 3
    for kind in (int, float, bool):
        assert scores.average_precision(score, labels.astype(kind)) == pytest.approx(expected, abs=1e-12)
    assert scores.average_precision(score.tolist(), labels.tolist()) == pytest.approx(expected, abs=1e-12)
