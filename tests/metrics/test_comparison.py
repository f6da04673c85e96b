"""Comparison of rows: Holm equals statsmodels; size of the test without and power with a difference."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from eccl_lib.metrics import bootstrap, comparison


def test_holm_equals_statsmodels():
    generator = np.random.default_rng(0)
    for p in (generator.random(40) ** 3, np.array([0.01, 0.01, 0.04]), np.array([0.5]), np.full(5, 0.3)):
        np.testing.assert_allclose(comparison.holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_the_number_of_draws_is_sufficient_for_holm_over_40_comparisons():
    least = comparison.p_value(1.0, np.full(bootstrap.DRAWS, 1.0))
    assert least == 1 / (bootstrap.DRAWS + 1)
    assert comparison.holm(np.append(least, np.ones(39)))[0] < 0.05


def test_p_is_the_share_of_draws_that_deviate_as_much_as_the_difference():
    drawn = np.array([0.3, 0.4, 0.5, 0.6, 0.9, np.nan])  # only 0.9 deviates from 0.4 by at least 0.4
    assert comparison.p_value(0.4, drawn) == pytest.approx((1 + 1) / 6)
    assert comparison.p_value(0.0, drawn) == 1


def test_a_row_compared_with_itself_has_p_of_one_and_a_zero_interval():
    drawn = np.full(100, 1e-17)
    assert comparison.p_value(0.0, drawn) == 1
    assert comparison.symmetric_interval(0.0, drawn) == pytest.approx((0, 0), abs=1e-15)


def test_the_interval_excludes_zero_exactly_if_p_is_below_0_05():
    generator = np.random.default_rng(1)
    for difference in np.linspace(-0.4, 0.4, 41):
        drawn = difference + 0.1 * generator.standard_normal(2000)
        low, high = comparison.symmetric_interval(difference, drawn)
        assert (low > 0 or high < 0) == (comparison.p_value(difference, drawn) < 0.05)
        assert (low + high) / 2 == pytest.approx(difference)


def two_rows(generator, n, positives, gain):
    """AUC difference of two rows of three seeds each, and its draws; ``gain``: advantage of the first row."""
    positive = np.arange(n) < positives
    common = generator.standard_normal(n)
    rows = [0.8 * common + 0.6 * generator.standard_normal((3, n)) + shift * positive for shift in (1 + gain, 1)]
    weights = np.concatenate(list(bootstrap.draws(n, 400)), axis=1)
    parts = np.array(
        [np.mean([bootstrap.resampled_auc(one, positive, weights) for one in row], axis=0) for row in rows]
    )
    whole = [np.mean(bootstrap.resampled_auc(one, positive, np.ones((n, 1)))) for row in rows for one in row]
    return np.mean(whole[:3]) - np.mean(whole[3:]), parts[0] - parts[1]


def test_without_a_difference_p_is_below_0_05_in_five_percent():
    generator = np.random.default_rng(2)
    p = np.array([comparison.p_value(*two_rows(generator, 200, 30, 0.0)) for _ in range(400)])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 400))
    assert (p < 0.5).mean() == pytest.approx(0.5, abs=3 * np.sqrt(0.25 / 400))


def test_a_large_difference_is_detected():
    generator = np.random.default_rng(3)
    assert all(comparison.p_value(*two_rows(generator, 200, 60, 2.0)) < 0.01 for _ in range(5))
