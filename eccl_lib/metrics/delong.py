"""How sure an AUC is: structural components, covariance and intervals after DeLong et al. (Biometrics 44, 1988)."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from eccl_lib.metrics.scores import average_ranks

Scale = Literal["logit", "plain"]


def placements(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of the other class against which each participant is placed rightly, ties half.

    score: (..., n), one or several scores of the same participants; positive: (n,) bool.
    Returns (..., m) of the m positives and (..., n - m) of the negatives. The mean of either is the AUC.
    From ranks, O(n log n) (Sun & Xu, IEEE Signal Processing Letters 21, 2014).
    """
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    among_all = _ranks(score)
    below = among_all[..., positive] - _ranks(score[..., positive])  # negatives below each positive
    above = positives - (among_all[..., ~positive] - _ranks(score[..., ~positive]))  # positives above each negative
    return below / negatives, above / positives


def _ranks(score: np.ndarray) -> np.ndarray:
    return np.apply_along_axis(average_ranks, -1, score)


def covariance(of_positives: np.ndarray, of_negatives: np.ndarray) -> np.ndarray:
    """Covariance of k correlated AUCs from their placements. (k, m) and (k, n - m) to (k, k)."""
    return sum(np.atleast_2d(np.cov(part)) / part.shape[-1] for part in (of_positives, of_negatives))


@dataclass(frozen=True)
class Estimate:
    """An AUC and its standard error. smaller: members of the smaller class."""

    auc: float
    error: float
    smaller: int

    def interval(self, level: float = 0.95, scale: Scale = "logit") -> tuple[float, float]:
        """Limits over participants. scale: ``logit`` stays within 0 and 1; ``plain`` is AUC +- z standard errors.

        At an AUC of 0 or 1 all placements are alike and the error says nothing: there the logit interval's open end is
        the exact binomial limit of as many successes in a row as the smaller class has members. NaN where a class has
        fewer than two members.
        """
        if self.smaller < 2:
            return float("nan"), float("nan")
        z = NormalDist().inv_cdf((1 + level) / 2)
        if scale == "plain":
            return self.auc - z * self.error, self.auc + z * self.error
        if self.auc in (0, 1):
            reach = 1 - ((1 - level) / 2) ** (1 / self.smaller)
            return (0.0, reach) if self.auc == 0 else (1 - reach, 1.0)
        middle = np.log(self.auc / (1 - self.auc))
        reach = z * self.error / (self.auc * (1 - self.auc))  # the logit's slope is 1 / (A (1 - A))
        low, high = 1 / (1 + np.exp(-(middle + np.array([-reach, reach]))))
        return float(low), float(high)


def estimate(score: np.ndarray, positive: np.ndarray) -> Estimate:
    """Of one score, or of the mean AUC of several scores of the same participants, such as seeds.

    score: (n,) or (seeds, n); positive: (n,) bool. The mean's placements are the means of the placements.
    """
    positive = np.asarray(positive, dtype=bool)
    smaller = int(min(positive.sum(), (~positive).sum()))
    if not smaller:
        return Estimate(float("nan"), float("nan"), 0)
    of_positives, of_negatives = (part.mean(axis=0) for part in placements(np.atleast_2d(score), positive))
    if smaller == 1:
        return Estimate(float(of_positives.mean()), float("nan"), 1)
    variance = covariance(of_positives[None], of_negatives[None])[0, 0]
    return Estimate(float(of_positives.mean()), float(np.sqrt(variance)), smaller)


def interval(
    score: np.ndarray, positive: np.ndarray, level: float = 0.95, scale: Scale = "logit"
) -> tuple[float, float, float]:
    """AUC, or mean AUC over seeds, with its limits: ``estimate`` and ``Estimate.interval`` in one."""
    found = estimate(score, positive)
    return found.auc, *found.interval(level, scale)
