"""Calibration: the prior shift restores the calibration of a model trained on balanced subsets."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from statsmodels.stats.proportion import proportion_confint

from eccl_lib.metrics import calibration
from eccl_lib.training.sampling import balanced_chunks


def people(n, seed, prevalence=0.05, spread=1.2):
    """True log-odds and outcomes."""
    generator = np.random.default_rng(seed)
    logit = calibration.log_odds(prevalence) + spread * generator.standard_normal(n)
    return logit, generator.random(n) < calibration.risk(logit)


@pytest.fixture(scope="module")
def balanced():
    """A logistic model fitted on balanced subsets: logits and outcomes of other participants, and the prior shift."""
    generator = np.random.default_rng(0)
    signal, came = people(60_000, 1)
    chunks = balanced_chunks(came, 2, generator)
    seen = np.concatenate(chunks)
    fitted = sm.Logit(came[seen].astype(float), sm.add_constant(signal[seen])).fit(disp=False).params
    others, positive = people(40_000, 2)
    return fitted[0] + fitted[1] * others, positive, calibration.Prior(came.mean(), came[seen].mean()).shift


def test_prior_shift_restores_slope_one_and_intercept_zero(balanced):
    logit, positive, shift = balanced
    slope, intercept = calibration.slope(logit + shift, positive)
    assert slope == pytest.approx(1, abs=0.06) and intercept == pytest.approx(0, abs=0.15)
    assert abs(calibration.slope(logit, positive)[1]) > 1.5


def test_prior_shift_improves_the_brier_score_and_the_reliability(balanced):
    logit, positive, shift = balanced
    raw, shifted = calibration.risk(logit), calibration.risk(logit + shift)
    assert calibration.brier(shifted, positive) < 0.8 * calibration.brier(raw, positive)
    assert (calibration.reliability(raw, positive).eval("predicted - high") > 0).all()
    curve = calibration.reliability(shifted, positive)
    assert ((curve["low"] <= curve["predicted"]) & (curve["predicted"] <= curve["high"])).sum() >= 8


def test_prior_shift_is_bayes_rule():
    before, prevalence, share = 0.3, 0.02, 1 / 3
    odds = before / (1 - before) * (prevalence / (1 - prevalence)) / (share / (1 - share))
    shifted = calibration.risk(calibration.log_odds(before) + calibration.Prior(prevalence, share).shift)
    assert shifted == pytest.approx(odds / (1 + odds))
    assert calibration.Prior(0.1, 0.1).shift == 0


def test_brier_score_equals_scikit_learn():
    logit, positive = people(500, 3)
    risk = calibration.risk(logit)
    assert calibration.brier(risk, positive) == pytest.approx(brier_score_loss(positive, risk))
    assert calibration.brier(np.stack([risk, risk]), positive) == pytest.approx(brier_score_loss(positive, risk))


def test_slope_equals_statsmodels():
    logit, positive = people(400, 4, 0.3)
    expected = sm.Logit(positive.astype(float), sm.add_constant(3 * logit + 2)).fit(disp=False).params
    slope, intercept = calibration.slope(3 * logit + 2, positive)
    assert (intercept, slope) == pytest.approx(tuple(expected), abs=1e-6)


def test_slope_of_strongly_miscalibrated_logits_is_correct():
    logit, positive = people(400, 5, 0.3)
    assert calibration.slope(100 * logit - 50, positive)[0] == pytest.approx(
        calibration.slope(logit, positive)[0] / 100, rel=1e-6
    )


@pytest.mark.parametrize("logit", [np.arange(10.0), -np.arange(10.0), np.ones(10)])
def test_slope_of_separating_or_constant_logits_is_nan(logit):
    assert np.isnan(calibration.slope(logit, np.arange(10) > 5)).all()


def test_reliability_of_one_seed_equals_scikit_learn():
    logit, positive = people(1000, 6, 0.4)
    risk = calibration.risk(logit)
    observed, predicted = calibration_curve(positive, risk, n_bins=10, strategy="quantile")
    curve = calibration.reliability(risk, positive)
    np.testing.assert_allclose(curve["observed"], observed, atol=0.011)  # a bin edge may differ by one participant
    np.testing.assert_allclose(curve["predicted"], predicted, atol=0.002)
    assert curve["n"].sum() == 1000


def test_five_equal_seeds_have_the_curve_and_interval_of_one():
    logit, positive = people(1000, 7, 0.4)
    risk = calibration.risk(logit)
    one, five = (calibration.reliability(np.tile(risk, (k, 1)), positive) for k in (1, 5))
    np.testing.assert_allclose(five, one, atol=1e-12)


def test_few_participants_get_few_bins():
    logit, positive = people(120, 8, 0.4)
    assert calibration.reliability(calibration.risk(logit), positive)["n"].tolist() == [20] * 6
    assert len(calibration.reliability(calibration.risk(logit[:9]), positive[:9])) == 1


@pytest.mark.parametrize(("share", "n"), [(0.0, 12), (0.25, 12), (1.0, 3)])
def test_wilson_interval_equals_statsmodels(share, n):
    expected = proportion_confint(share * n, n, method="wilson")
    assert calibration.wilson(share, n) == pytest.approx(expected, abs=1e-12)
