"""ROC curves against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from eccl_lib.metrics import roc
from eccl_lib.metrics import scores as evaluate


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).random(80) < 0.3


def scores(labels: np.ndarray, seeds: int | None = None, steps: int | None = None) -> np.ndarray:
    """Informative scores; steps: number of distinct values, so that there are ties."""
    shape = labels.shape if seeds is None else (seeds, len(labels))
    found = labels + np.random.default_rng(1).standard_normal(shape)
    return found if steps is None else np.round(found * steps) / steps


@pytest.mark.parametrize("steps", [None, 2])
def test_curve_equals_scikit_learn(labels: np.ndarray, steps: int | None):
    score = scores(labels, steps=steps)
    false, true, _ = roc_curve(labels, score, drop_intermediate=False)
    found = roc.curve(labels, score)
    np.testing.assert_allclose(found[0], false)
    np.testing.assert_allclose(found[1], true)


@pytest.mark.parametrize("steps", [None, 2])
def test_area_under_the_mean_curve_is_the_mean_auc(labels: np.ndarray, steps: int | None):
    several = scores(labels, seeds=5, steps=steps)
    false, true = roc.curve(labels, several)
    assert np.trapezoid(true, false) == pytest.approx(
        np.mean([evaluate.auc(one, labels) for one in several]), abs=1e-12
    )
    assert np.trapezoid(true, false) == pytest.approx(np.mean([roc_auc_score(labels, one) for one in several]))
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= -1e-12).all()
    assert (false[0], true[-1]) == (0, 1)


def test_mean_of_equal_seeds_is_their_curve(labels: np.ndarray):
    score = scores(labels)
    one, mean = roc.curve(labels, score), roc.curve(labels, np.stack([score, score]))
    for rate in np.linspace(0, 1, 23):  # the highest point at or before each rate
        assert one[1][one[0] <= rate + 1e-9].max() == pytest.approx(mean[1][mean[0] <= rate + 1e-9].max())


def test_perfect_scores_have_a_band_of_zero_width(labels: np.ndarray):
    _, low, high = roc.band(labels, labels.astype(float), draws=50)
    assert (low.min(), high.max()) == (1, 1)


def test_band_width_equals_the_closed_form():
    """Two normal classes, 600 and 2,400: variance of the sensitivity at a false positive rate (Pepe 2003, 5.2)."""
    generator, cases, controls = np.random.default_rng(2), 600, 2400
    positive = np.repeat([True, False], (cases, controls))
    score = generator.standard_normal(cases + controls) + positive
    rates, low, high = roc.band(positive, score, draws=300)
    for rate in (0.1, 0.3, 0.6):
        threshold = norm.isf(rate)
        true, slope = norm.sf(threshold - 1), norm.pdf(threshold - 1) / norm.pdf(threshold)
        wanted = 2 * 1.96 * np.sqrt(true * (1 - true) / cases + slope**2 * rate * (1 - rate) / controls)
        k = int(np.argmin(np.abs(rates - rate)))
        assert high[k] - low[k] == pytest.approx(wanted, rel=0.25)
        assert low[k] - 0.02 < true < high[k] + 0.02
