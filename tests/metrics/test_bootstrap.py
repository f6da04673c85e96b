"""Bootstrap draws as weights give the same results as literal resampling."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eccl_lib.metrics import bootstrap, scores

N = 50


def drawn(count=40, n=N, seed=0):
    """The weights of the draws (n, count), and the same draws as lists of participants."""
    weights = np.concatenate(list(bootstrap.draws(n, count, seed)), axis=1)
    return weights, [np.repeat(np.arange(n), w.astype(int)) for w in weights.T]


def test_each_draw_has_n_participants_and_each_is_drawn_once_on_average():
    weights, people = drawn(1200)
    assert weights.shape == (N, 1200) and {len(one) for one in people} == {N}
    assert abs(weights.mean(axis=1) - 1).max() < 5 / np.sqrt(1200)
    assert weights.var() == pytest.approx(1 - 1 / N, rel=0.05)  # binomial(n, 1 / n)


def test_the_same_seed_draws_the_same_participants():
    np.testing.assert_array_equal(drawn(30, seed=3)[0], drawn(30, seed=3)[0])
    assert not np.array_equal(drawn(30, seed=3)[0], drawn(30, seed=4)[0])


@pytest.mark.parametrize("decimals", [0, 8])
def test_resampled_auc_equals_scikit_learn_on_the_drawn_participants(decimals):
    generator = np.random.default_rng(1)
    positive = np.arange(N) < 12
    score = np.round(generator.standard_normal(N) + positive, decimals)
    weights, people = drawn()
    expected = [roc_auc_score(positive[who], score[who]) for who in people]
    np.testing.assert_allclose(bootstrap.resampled_auc(score, positive, weights), expected, atol=1e-12)


def test_a_draw_without_positives_has_no_auc():
    weights, positive = np.ones((4, 2)), np.array([True, False, False, False])
    weights[0, 1] = 0
    found = bootstrap.resampled_auc(np.array([0.0, 1, 2, 3]), positive, weights)
    assert found[0] == 0 and np.isnan(found[1])


def test_resampled_r_equals_numpy_on_the_drawn_participants_with_a_measurement():
    generator = np.random.default_rng(2)
    measured = 1e3 + 5 * generator.standard_normal((N, 3))
    predicted = 0.01 * measured + 0.1 * generator.standard_normal((2, N, 3))
    measured[:20, 1] = np.nan
    weights, people = drawn()
    found = bootstrap.resampled_r(predicted, measured, weights)
    for who, values in zip(people, found, strict=True):
        for trait in range(3):
            there = who[~np.isnan(measured[who, trait])]
            r = [np.corrcoef(one[there, trait], measured[there, trait])[0, 1] for one in predicted]
            assert values[trait] == pytest.approx(np.mean(r), abs=1e-9)


def test_a_constant_prediction_counts_as_zero_and_a_constant_measurement_is_nan():
    measured = np.random.default_rng(3).standard_normal((N, 3))
    measured[:, 1], measured[:, 2] = 0.1, np.nan
    predicted = np.full((1, N, 3), 1e6 / 3)
    found = bootstrap.resampled_r(predicted, measured, drawn()[0])
    assert (found[:, 0] == 0).all() and np.isnan(found[:, 1:]).all()


def test_weights_of_one_give_the_metrics_without_resampling():
    generator = np.random.default_rng(4)
    measured, predicted = generator.standard_normal((N, 5)), generator.standard_normal((1, N, 5))
    measured[generator.random((N, 5)) < 0.2] = np.nan
    found = bootstrap.resampled_r(predicted, measured, np.ones((N, 1)))
    np.testing.assert_allclose(found[0], scores.pearson(predicted[0], measured), atol=1e-12)


def test_mean_r_draws_average_traits_and_seeds_of_the_same_participants():
    generator = np.random.default_rng(5)
    measured = generator.standard_normal((N, 4))
    predicted = measured + generator.standard_normal((3, N, 4))
    people = drawn(25, seed=9)[1]
    expected = [np.mean([scores.mean_r(one[who], measured[who]) for one in predicted]) for who in people]
    np.testing.assert_allclose(bootstrap.mean_r_draws(predicted, measured, 25, seed=9), expected, atol=1e-9)


def test_percentile_interval_ignores_nan():
    values = np.append(np.arange(1001.0), np.nan)
    assert bootstrap.percentile(values) == pytest.approx((25, 975))
