"""All numbers of one cell of Table 1, computed from the predictions of its seeds."""

import numpy as np

from eccl_lib.metrics import calibration, comparison, delong
from eccl_lib.metrics import scores as evaluate
from eccl_lib.metrics.calibration import Prior


def of_disease(logits: np.ndarray, positive: np.ndarray, prior: Prior) -> dict[str, float]:
    """AUC with both intervals, average precision, Brier score and calibration. logits: (seeds, n); positive: (n,).

    mean, std: over seeds. low, high: DeLong 95 % interval of the mean on the logit scale; plain_low, plain_high: on the
    AUC scale. brier_shifted: after the prior shift; brier_prevalence: of predicting the training prevalence for all.
    slope, intercept: of a logistic regression on the shifted logit (1 and 0 if calibrated).
    """
    estimate = delong.estimate(logits, positive)
    low, high = estimate.interval()
    plain_low, plain_high = estimate.interval(scale="plain")
    raw, shifted = calibration.risk(logits), calibration.risk(logits + prior.shift)
    slopes = np.array([calibration.slope(seed + prior.shift, positive) for seed in logits])
    constant = np.full(logits.shape[1], prior.prevalence)
    return {
        **_over_seeds([evaluate.auc(seed, positive) for seed in logits]),
        **{"low": low, "high": high, "plain_low": plain_low, "plain_high": plain_high},
        "average_precision": float(np.mean([evaluate.average_precision(seed, positive) for seed in logits])),
        "brier_raw": calibration.brier(raw, positive),
        "brier_shifted": calibration.brier(shifted, positive),
        "brier_prevalence": calibration.brier(constant, positive),
        "prior_shift": prior.shift,
        "slope": float(slopes[:, 0].mean()),
        "intercept": float(slopes[:, 1].mean()),
        "n": len(positive),
        "positives": int(positive.sum()),
    }


def of_traits(predicted: np.ndarray, measured: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Mean r with 95 % interval. predicted: (seeds, n, traits); drawn: (seeds, B), mean r of each seed and draw."""
    scores = [evaluate.mean_r(seed, measured) for seed in predicted]
    interval = comparison.over_participants_and_seeds(np.array(scores), drawn)
    return {**_over_seeds(scores), "low": interval.low, "high": interval.high, "n": len(measured)}


def _over_seeds(scores: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(scores)), "std": float(evaluate.deviation(scores)), "seeds": len(scores)}
