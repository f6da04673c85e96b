"""AUC intervals against a literal double loop, scikit-learn and published worked examples."""

from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eccl_lib.metrics import delong

# Albumin, total protein, K-G score and whether surgery helped, of 43 patients: the data of DeLong et al. 1988 as
# printed in the SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves".
SURGERY = np.fromstring(
    """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1   3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1   4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1   4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1   3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1   3.7 6.9 5 1  3.6 6.6 5 1
    """,
    sep=" ",
).reshape(-1, 4)
SCORES = np.stack([SURGERY[:, 0], SURGERY[:, 1], 10 - SURGERY[:, 2]])
HELPED = SURGERY[:, 3] == 1


def study(seed=0, n=60, levels=None):
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.3
    score = generator.standard_normal((3, n)) + generator.standard_normal(n) + positive
    return (score if levels is None else np.round(score * levels) / levels), positive


def literal(score, positive):
    """Placements by a double loop over pairs, the components' covariances by their definition."""
    cases, controls = score[positive], score[~positive]
    wins = [[1.0 if x > y else 0.5 if x == y else 0.0 for y in controls] for x in cases]
    of_cases = [sum(row) / len(controls) for row in wins]
    of_controls = [sum(row[j] for row in wins) / len(cases) for j in range(len(controls))]
    return of_cases, of_controls


def literal_covariance(first, second):
    """first, second: placements of two scores."""
    total = 0.0
    for a, b in zip(first, second, strict=True):
        middle_a, middle_b = sum(a) / len(a), sum(b) / len(b)
        products = [(x - middle_a) * (y - middle_b) for x, y in zip(a, b, strict=True)]
        total += sum(products) / (len(a) - 1) / len(a)
    return total


@pytest.mark.parametrize("levels", [None, 1])
def test_placements_and_covariance_equal_a_literal_double_loop(levels):
    score, positive = study(levels=levels)
    cases, controls = delong.placements(score, positive)
    expected = [literal(one, positive) for one in score]
    np.testing.assert_allclose(cases, [pair[0] for pair in expected], atol=1e-12)
    np.testing.assert_allclose(controls, [pair[1] for pair in expected], atol=1e-12)
    matrix = [[literal_covariance(a, b) for b in expected] for a in expected]
    np.testing.assert_allclose(delong.covariance(cases, controls), matrix, atol=1e-12)


@pytest.mark.parametrize("levels", [None, 1])
def test_the_mean_of_the_placements_is_scikit_learns_auc(levels):
    score, positive = study(levels=levels)
    cases, controls = delong.placements(score, positive)
    expected = [roc_auc_score(positive, one) for one in score]
    np.testing.assert_allclose(cases.mean(axis=1), expected, atol=1e-12)
    np.testing.assert_allclose(controls.mean(axis=1), expected, atol=1e-12)


def test_delongs_example_has_the_published_areas_errors_and_intervals():
    published = {  # SAS/STAT User's Guide: area, standard error, 95 % Wald limits
        "albumin": (0.7366, 0.0927, 0.5549, 0.9182),
        "total protein": (0.6478, 0.1000, 0.4518, 0.8439),
        "K-G score": (0.7258, 0.1028, 0.5243, 0.9273),
    }
    for score, (area, error, low, high) in zip(SCORES, published.values(), strict=True):
        found = delong.estimate(score, HELPED)
        assert (round(found.auc, 4), round(found.error, 4)) == (area, error)
        np.testing.assert_allclose(found.interval(scale="plain"), (low, high), atol=6e-5)


def test_delongs_example_has_the_published_differences():
    matrix = delong.covariance(*delong.placements(SCORES, HELPED))
    areas = np.array([delong.estimate(score, HELPED).auc for score in SCORES])
    against_kg = np.array([[1, 0, -1], [0, 1, -1]])
    difference, spread = against_kg @ areas, against_kg @ matrix @ against_kg.T
    np.testing.assert_allclose(difference, (0.0108, -0.0780), atol=6e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(spread)), (0.0953, 0.1046), atol=6e-5)
    assert difference @ np.linalg.solve(spread, difference) == pytest.approx(2.5340, abs=6e-5)


def test_hanley_and_mcneils_example_has_the_published_area_and_error():
    # Ratings 1 to 5 of 58 normal and 51 abnormal images (Radiology 143, 1982, Table I); area and DeLong's error as in
    # the Stata Base Reference Manual, roctab.
    rating = np.repeat(np.tile(np.arange(5.0), 2), [33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
    abnormal = np.arange(109) >= 58
    found = delong.estimate(rating, abnormal)
    assert (round(found.auc, 4), round(found.error, 4)) == (0.8932, 0.0307)
    np.testing.assert_allclose(found.interval(scale="plain"), (0.83295, 0.95339), atol=6e-6)


def test_the_logit_interval_is_the_delta_method():
    score, positive = study(4)
    found = delong.estimate(score[0], positive)
    z, a = NormalDist().inv_cdf(0.975), found.auc
    for limit, sign in zip(found.interval(), (-1, 1), strict=True):
        logit = np.log(limit / (1 - limit))
        assert logit == pytest.approx(np.log(a / (1 - a)) + sign * z * found.error / (a * (1 - a)))


def test_the_mean_over_seeds_has_the_variance_of_the_mean_of_correlated_aucs():
    score, positive = study(2)
    found = delong.estimate(score, positive)
    matrix = delong.covariance(*delong.placements(score, positive))
    assert found.auc == pytest.approx(np.mean([delong.estimate(one, positive).auc for one in score]))
    assert found.error**2 == pytest.approx(matrix.mean())


def test_an_area_of_one_or_zero_has_the_exact_binomial_limit_of_its_smaller_class():
    positive = np.arange(40) >= 30
    auc, low, high = delong.interval(positive.astype(float), positive)
    assert (auc, high) == (1, 1) and low**10 == pytest.approx(0.025)
    assert delong.interval(-positive.astype(float), positive) == pytest.approx((0, 0, 1 - low))


def test_a_class_with_too_few_members_gives_no_interval():
    one = np.arange(10) == 9
    auc, low, high = delong.interval(np.arange(10.0), one)
    assert auc == 1 and np.isnan([low, high]).all()
    assert np.isnan(delong.interval(np.arange(10.0), np.zeros(10, bool))).all()


@pytest.mark.parametrize("scale", ["logit", "plain"])
def test_equal_scores_give_no_interval(scale):
    found = delong.estimate(np.zeros(40), np.arange(40) < 10)
    assert found.auc == 0.5 and np.isnan(found.interval(scale=scale)).all()


def test_logit_limits_stay_within_zero_and_one():
    positive = np.arange(24) < 4
    score = np.where(positive, 1.0, 0.0)
    score[23] = 2
    assert delong.interval(score, positive, scale="plain")[2] > 1
    auc, low, high = delong.interval(score, positive)
    assert 0 < low < auc < high < 1
