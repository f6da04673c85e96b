"""Split conformal intervals against the definition and against their guarantee."""

import math

import numpy as np
import pytest

from eccl_lib.metrics import conformal


@pytest.mark.parametrize("n", [19, 20, 39, 100, 606])
def test_the_radius_is_the_smallest_that_covers_with_the_finite_sample_rank(n):
    residuals = np.random.default_rng(n).normal(size=(n, 2))
    for column, radius in zip(residuals.T, conformal.radius(residuals), strict=True):
        assert radius == sorted(map(abs, column))[math.ceil(round((n + 1) * 0.95, 6)) - 1]


def test_too_few_participants_give_no_interval():
    assert np.isinf(conformal.radius(np.ones((18, 1)))).all()
    assert np.isfinite(conformal.radius(np.ones((19, 1)))).all()
    assert np.isinf(conformal.radius(np.empty((0, 3)))).all()


def test_missing_values_do_not_count():
    residuals = np.random.default_rng(0).normal(size=(100, 1))
    with_gaps = np.concatenate([residuals, np.full((50, 1), np.nan)])
    assert conformal.radius(with_gaps) == conformal.radius(residuals)
    assert np.isinf(conformal.radius(np.full((100, 1), np.nan)))
    assert np.isnan(conformal.coverage(np.full((5, 1), np.nan), np.ones(1)))
    assert conformal.coverage(np.array([[0.5], [2.0], [np.nan], [-1.0]]), np.ones(1)) == pytest.approx(2 / 3)


def test_new_participants_are_covered_at_the_level_whatever_the_distribution():
    generator, covered, n = np.random.default_rng(0), [], 59
    for _ in range(200):
        residuals = generator.standard_t(2, size=(n + 200, 20))  # heavy tails
        radius = conformal.radius(residuals[:n])
        covered.append(conformal.coverage(residuals[n:], radius).mean())
    assert np.mean(covered) == pytest.approx(math.ceil(0.95 * (n + 1)) / (n + 1), abs=0.003)
