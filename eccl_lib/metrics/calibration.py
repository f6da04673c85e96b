"""Risks from logits: the shift that balanced training needs, Brier score, reliability curve and slope."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

BINS = 10
SMALLEST = 20  # participants in a bin, else there are fewer bins; ours


@dataclass(frozen=True)
class Prior:
    """How common a disease is among the training participants, and in what an epoch showed the model."""

    prevalence: float
    trained_share: float

    @property
    def shift(self) -> float:
        """What the model's logits lack."""
        return prior_shift(self.prevalence, self.trained_share)


def log_odds(share: float) -> float:
    """Of a share between 0 and 1."""
    return float(np.log(share / (1 - share)))


def prior_shift(prevalence: float, trained_share: float) -> float:
    """What to add to a logit learned where ``trained_share`` were positive to hold where ``prevalence`` are.

    Both of training participants: the test's prevalence is not known beforehand (Elkan, IJCAI 2001).
    """
    return log_odds(prevalence) - log_odds(trained_share)


def risk(logit: np.ndarray) -> np.ndarray:
    """Probability of a logit."""
    return 1 / (1 + np.exp(-np.asarray(logit, dtype=np.float64)))


def brier(probability: np.ndarray, positive: np.ndarray) -> float:
    """Mean squared distance of the probability from what came, 0 or 1. probability: (..., n); positive: (n,)."""
    return float(np.mean((probability - positive) ** 2))


def slope(logit: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of what came on the logit (Cox 1958): 1 and 0 where calibrated.

    logit: (n,); positive: (n,) bool. A slope below 1: risks too extreme. NaN where the logit does not vary or parts
    the classes without overlap.
    """
    positive = np.asarray(positive, dtype=bool)
    x = np.column_stack([np.asarray(logit, dtype=np.float64), np.ones(len(positive))])
    if not positive.any() or positive.all() or np.ptp(x[:, 0]) == 0 or _parted(x[:, 0], positive):
        return float("nan"), float("nan")
    weights = np.array([0.0, log_odds(positive.mean())])
    scale = np.array([np.abs(x[:, 0]).max(), 1.0])  # of the columns, so that a step's size means something
    for _ in range(100):
        p = risk(x @ weights)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (positive - p))  # Newton
        weights = weights + step / max(1.0, np.abs(step * scale).max() / 4)  # a long step may overshoot
        if np.abs(step * scale).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def _parted(logit: np.ndarray, positive: np.ndarray) -> bool:
    cases, controls = logit[positive], logit[~positive]
    return bool(cases.min() >= controls.max() or cases.max() <= controls.min())


def reliability(probability: np.ndarray, positive: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Predicted against observed share in bins of equal count (at least SMALLEST), those of the seeds pooled.

    probability: (n,) or (seeds, n); positive: (n,) bool. Columns bin, predicted, observed, low, high, n. low, high:
    95 % interval of the observed share (Wilson), each participant counted once however many seeds there are.
    """
    probability = np.atleast_2d(probability)
    came = np.broadcast_to(np.asarray(positive, dtype=np.float64), probability.shape).ravel()
    order = np.argsort(probability, axis=None, kind="stable")
    rows = []
    for k, members in enumerate(np.array_split(order, max(1, min(bins, len(positive) // SMALLEST)))):
        n, observed = len(members) / len(probability), float(came[members].mean())
        low, high = wilson(observed, n)
        predicted = float(probability.ravel()[members].mean())
        rows.append({"bin": k + 1, "predicted": predicted, "observed": observed, "low": low, "high": high, "n": n})
    return pd.DataFrame(rows)


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share seen among n (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, scale = share + z**2 / (2 * n), 1 + z**2 / n
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float((middle - reach) / scale)), min(1.0, float((middle + reach) / scale))
