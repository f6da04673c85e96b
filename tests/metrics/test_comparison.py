"""Comparison of rows: Holm equals statsmodels; coverage over participants and seeds; power with a difference."""

import statistics

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from eccl_lib.metrics import bootstrap, comparison


def test_holm_equals_statsmodels():
    generator = np.random.default_rng(0)
    for p in (generator.random(40) ** 3, np.array([0.01, 0.01, 0.04]), np.array([0.5]), np.full(5, 0.3)):
        np.testing.assert_allclose(comparison.holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_comparisons_that_cannot_be_computed_are_no_part_of_the_family():
    found = comparison.holm(np.array([0.02, np.nan, 0.04, np.nan]))
    np.testing.assert_allclose(found, [0.04, np.nan, 0.04, np.nan])


def study(generator, seeds, participants, of_seeds=1.0, of_participants=1.0, of_both=3.0, draws=300):
    """A simulated study with true mean 0: value of each seed, and its bootstrap draws over participants."""
    people = of_participants * generator.standard_normal(participants)
    noise = of_both * generator.standard_normal((seeds, participants))
    values = people + noise + of_seeds * generator.standard_normal((seeds, 1))  # (S, n)
    weights = generator.multinomial(participants, np.full(participants, 1 / participants), size=draws) / participants
    return values.mean(axis=1), values @ weights.T


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "low", "high"),
    [(1, 0.0, 0.93, 0.965), (5, 0.0, 0.94, 0.985), (5, 0.5, 0.925, 0.965), (5, 3.0, 0.925, 0.965)],
)
def test_95_percent_of_the_intervals_contain_the_truth(seeds, of_seeds, low, high):
    generator = np.random.default_rng(4)
    found = [comparison.over_participants_and_seeds(*study(generator, seeds, 150, of_seeds)) for _ in range(1500)]
    assert low < np.mean([one.low <= 0 <= one.high for one in found]) < high
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(
        1 - np.mean([one.low <= 0 <= one.high for one in found])
    )


@pytest.mark.parametrize(("seeds", "ratio", "low", "high"), [(5, 1, 0.8, 1.2), (3, 4, 1.6, 2.3), (2, 4, 3.3, 4.4)])
def test_small_p_values_are_too_frequent_with_few_seeds_as_the_page_says(seeds, ratio, low, high):
    generator, studies, alpha = np.random.default_rng(6), 60_000, 0.01
    by_seed = generator.standard_normal((studies, 1)) + np.sqrt(ratio) * generator.standard_normal((studies, seeds))
    error, freedom = np.transpose([comparison.standard_error(1, 1, one) for one in by_seed])
    p = 2 * stats.t.sf(np.abs(by_seed.mean(axis=1)) / error, freedom)
    assert low < np.mean(p <= alpha) / alpha < high


def test_participants_alone_are_too_narrow_where_seeds_vary():
    generator = np.random.default_rng(5)
    covered = []
    for _ in range(500):
        by_seed, drawn = study(generator, 5, 60, of_seeds=3)
        alone = comparison.over_participants_and_seeds(by_seed.mean(keepdims=True), drawn.mean(axis=0, keepdims=True))
        covered.append(alone.low <= 0 <= alone.high)
    assert np.mean(covered) < 0.5


def test_the_standard_error_is_that_of_a_crossed_design():
    # Components: participants .04, seeds .09, interaction .5; five seeds.
    of_mean, of_one = 0.04 + 0.5 / 5, 0.04 + 0.5
    spread = np.sqrt(0.09 + 0.5) * np.array([-1.5, -0.5, 0, 0.5, 1.5]) / np.std([-1.5, -0.5, 0, 0.5, 1.5], ddof=1)
    error, freedom = comparison.standard_error(of_mean, of_one, spread)
    assert error**2 == pytest.approx(0.04 + 0.09 / 5 + 0.5 / 5)
    assert freedom == pytest.approx(4 * error**4 / ((0.09 + 0.5) / 5) ** 2)


def test_a_row_compared_with_itself_has_p_of_one_and_a_zero_interval():
    same = comparison.over_participants_and_seeds(np.zeros(3), np.full((3, 100), 1e-17))
    assert (same.low, same.high, same.p) == (0, 0, 1)


def test_a_large_difference_is_detected():
    generator = np.random.default_rng(3)
    positive = np.arange(200) < 60
    for _ in range(5):
        rows = [generator.standard_normal((5, 200)) + shift * positive for shift in (3, 1)]
        weights = next(bootstrap.draws(200, 400))
        drawn = [np.array([bootstrap.resampled_auc(seed, positive, weights) for seed in row]) for row in rows]
        whole = [np.concatenate([bootstrap.resampled_auc(s, positive, np.ones((200, 1))) for s in row]) for row in rows]
        found = comparison.over_participants_and_seeds(whole[0] - whole[1], drawn[0] - drawn[1])
        assert found.low > 0 and found.p < 0.01


def test_interval_and_p_of_two_seeds_by_the_formulas_of_the_page_on_statistics():
    drawn = np.array([[0.10, 0.14, 0.06, 0.12, 0.08], [0.20, 0.22, 0.15, 0.21, 0.17]])
    by_seed = np.array([0.1, 0.19])
    found = comparison.over_participants_and_seeds(by_seed, drawn)
    of_mean = statistics.variance((drawn[0] + drawn[1]) / 2)
    of_one = (statistics.variance(drawn[0]) + statistics.variance(drawn[1])) / 2
    between = statistics.variance(by_seed) / 2
    total = of_mean + between - (of_one - of_mean)
    freedom = total**2 / between**2
    low, high = stats.t.interval(0.95, freedom, 0.145, total**0.5)
    assert (found.value, found.low, found.high) == pytest.approx((0.145, low, high))
    p = 1 - abs(stats.t.cdf(0.145 / total**0.5, freedom) - stats.t.cdf(-0.145 / total**0.5, freedom))
    assert found.p == pytest.approx(p)
    wider = comparison.over_participants_and_seeds(by_seed, drawn, level=0.99)
    assert wider.low < found.low and wider.high > found.high and wider.p == found.p


def test_one_seed_has_the_normal_interval_of_its_draws_and_a_draw_without_a_score_is_left_out():
    drawn = np.array([[0.2, 0.3, np.nan, 0.4, 0.1]])
    found = comparison.over_participants_and_seeds(np.array([-0.25]), drawn)
    error = statistics.stdev([0.2, 0.3, 0.4, 0.1])
    low, high = stats.norm.interval(0.95, -0.25, error)
    assert (found.value, found.low, found.high) == pytest.approx((-0.25, low, high))
    assert found.p == pytest.approx(2 * stats.norm.cdf(-0.25 / error))


def test_identical_rows_have_no_interval_and_p_1():
    same = comparison.over_participants_and_seeds(np.zeros(2), np.full((2, 5), 1e-15))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    constant = comparison.over_participants_and_seeds(np.full(2, 0.5), np.full((2, 5), 0.5))
    assert (constant.low, constant.high, constant.p) == (0.5, 0.5, 0)
    small = comparison.over_participants_and_seeds(np.full(1, 0.0), np.array([[0.0, 0.01, -0.01]]))
    assert small.low < 0 < small.high and small.p == 1
