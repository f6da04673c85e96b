"""Risks from logits: prior shift after balanced training, Brier score, reliability curve, calibration slope."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

BINS = 10
SMALLEST = 20  # participants per bin; with fewer, the number of bins is reduced; ours


@dataclass(frozen=True)
class Prior:
    """Prevalence of a disease in the training set, and share of cases in one training epoch."""

    prevalence: float
    trained_share: float

    @property
    def shift(self) -> float:
        """Correction to add to the model's logits (Elkan, IJCAI 2001); the test prevalence is not used."""
        return log_odds(self.prevalence) - log_odds(self.trained_share)


def log_odds(share: float) -> float:
    """Log-odds of a share between 0 and 1."""
    return float(np.log(share / (1 - share)))


def risk(logit: np.ndarray) -> np.ndarray:
    """Probability of a logit (sigmoid)."""
    return 1 / (1 + np.exp(-np.asarray(logit, dtype=np.float64)))


def brier(probability: np.ndarray, positive: np.ndarray) -> float:
    """Brier score: mean squared difference of probability and outcome. probability: (..., n); positive: (n,)."""
    return float(np.mean((probability - positive) ** 2))


def slope(logit: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of the outcome on the logit (Cox 1958): 1 and 0 if calibrated.

    logit: (n,); positive: (n,) bool. A slope below 1 means that risks are too extreme. NaN if the logit does not vary
    or separates the classes completely.
    """
    positive = np.asarray(positive, dtype=bool)
    x = np.column_stack([np.asarray(logit, dtype=np.float64), np.ones(len(positive))])
    if not positive.any() or positive.all() or np.ptp(x[:, 0]) == 0 or _separated(x[:, 0], positive):
        return float("nan"), float("nan")
    weights = np.array([0.0, log_odds(positive.mean())])
    scale = np.array([np.abs(x[:, 0]).max(), 1.0])  # column scale, to measure the step size
    for _ in range(100):
        p = risk(x @ weights)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (positive - p))  # Newton
        weights = weights + step / max(1.0, np.abs(step * scale).max() / 4)  # limit long steps
        if np.abs(step * scale).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def _separated(logit: np.ndarray, positive: np.ndarray) -> bool:
    cases, controls = logit[positive], logit[~positive]
    return bool(cases.min() >= controls.max() or cases.max() <= controls.min())


def reliability(probability: np.ndarray, positive: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Observed and predicted share of cases in bins of equal count (at least SMALLEST), pooled over seeds.

    probability: (n,) or (seeds, n); positive: (n,) bool. Columns: bin, predicted, observed, low, high, n. low, high:
    95 % Wilson interval of the observed share; n counts each participant once for all seeds.
    """
    probability = np.atleast_2d(probability)
    outcome = np.broadcast_to(np.asarray(positive, dtype=np.float64), probability.shape).ravel()
    order = np.argsort(probability, axis=None, kind="stable")
    rows = []
    for k, members in enumerate(np.array_split(order, max(1, min(bins, len(positive) // SMALLEST)))):
        n, observed = len(members) / len(probability), float(outcome[members].mean())
        low, high = wilson(observed, n)
        predicted = float(probability.ravel()[members].mean())
        rows.append({"bin": k + 1, "predicted": predicted, "observed": observed, "low": low, "high": high, "n": n})
    return pd.DataFrame(rows)


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a share observed among n (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, scale = share + z**2 / (2 * n), 1 + z**2 / n
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float((middle - reach) / scale)), min(1.0, float((middle + reach) / scale))
