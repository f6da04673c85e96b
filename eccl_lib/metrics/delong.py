"""Confidence interval of an AUC after DeLong et al. (Biometrics 44, 1988)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata
from scipy.stats import t as student_t

from eccl_lib.metrics.comparison import standard_error

Scale = Literal["logit", "plain"]


def placements(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Placement of each participant: share of the other class that is ordered correctly, ties count half.

    score: (..., n); positive: (n,) bool. Returns (..., m) for the m positives and (..., n - m) for the negatives; the
    mean of either is the AUC. Computed from ranks in O(n log n) (Sun & Xu, IEEE Signal Processing Letters 21, 2014).
    """
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    among_all = rankdata(score, axis=-1)
    below = among_all[..., positive] - rankdata(score[..., positive], axis=-1)  # negatives below each positive
    lower = among_all[..., ~positive] - rankdata(score[..., ~positive], axis=-1)  # positives below each negative
    return below / negatives, (positives - lower) / positives


def covariance(of_positives: np.ndarray, of_negatives: np.ndarray) -> np.ndarray:
    """Covariance (k, k) of k correlated AUCs from their placements (k, m) and (k, n - m)."""
    return sum(np.atleast_2d(np.cov(part)) / part.shape[-1] for part in (of_positives, of_negatives))


@dataclass(frozen=True)
class Estimate:
    """AUC and its standard error. smaller: size of the smaller class; freedom: degrees of freedom of the error."""

    auc: float
    error: float
    smaller: int
    freedom: float = float("inf")

    def interval(self, level: float = 0.95, scale: Scale = "logit") -> tuple[float, float]:
        """Confidence limits. scale: ``logit`` (within 0 and 1), ``plain`` (AUC ± t standard errors).

        At an AUC of 0 or 1 the standard error is 0. The logit interval then uses the exact binomial limit of m
        successes in m trials, m the size of the smaller class. NaN if a class has fewer than two members, or if all
        scores are equal.
        """
        if self.smaller < 2 or (self.error == 0 and self.auc not in (0, 1)):  # all scores are equal
            return float("nan"), float("nan")
        z = float(student_t.ppf((1 + level) / 2, self.freedom))
        if scale == "plain":
            return self.auc - z * self.error, self.auc + z * self.error
        if self.auc in (0, 1):
            reach = 1 - ((1 - level) / 2) ** (1 / self.smaller)
            return (0.0, reach) if self.auc == 0 else (1 - reach, 1.0)
        middle = np.log(self.auc / (1 - self.auc))
        reach = z * self.error / (self.auc * (1 - self.auc))  # derivative of the logit: 1 / (A (1 - A))
        low, high = expit(middle + np.array([-reach, reach]))
        return float(low), float(high)


def estimate(score: np.ndarray, positive: np.ndarray) -> Estimate:
    """AUC and standard error of one score, or of the mean AUC over seeds.

    score: (n,) or (seeds, n); positive: (n,) bool. With several seeds the error is that of new participants and seeds.
    """
    positive = np.asarray(positive, dtype=bool)
    smaller = int(min(positive.sum(), (~positive).sum()))
    if not smaller:
        return Estimate(float("nan"), float("nan"), 0)
    of_positives, of_negatives = placements(np.atleast_2d(score), positive)
    by_seed = of_positives.mean(axis=1)
    if smaller == 1:
        return Estimate(float(by_seed.mean()), float("nan"), 1)
    variance = covariance(of_positives, of_negatives)  # (seeds, seeds)
    error, freedom = standard_error(float(variance.mean()), float(variance.diagonal().mean()), by_seed)
    return Estimate(float(by_seed.mean()), error, smaller, freedom)


def interval(
    score: np.ndarray, positive: np.ndarray, level: float = 0.95, scale: Scale = "logit"
) -> tuple[float, float, float]:
    """AUC (mean over seeds) with its confidence limits. score: (n,) or (seeds, n); positive: (n,) bool."""
    result = estimate(score, positive)
    return result.auc, *result.interval(level, scale)
