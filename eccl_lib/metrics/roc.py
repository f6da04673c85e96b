"""ROC curves as points, of one training or averaged over seeds, with a pointwise band."""

from __future__ import annotations

import numpy as np

DRAWS = 500


def curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from (0, 0) to (1, 1); equal scores move in one step.

    positive: (n,) bool; score: (n,) or (seeds, n), higher is sicker. Of several seeds the sensitivities are averaged at
    each false positive rate, so that the area below is the mean of the seeds' AUCs. Both results (k,), rising.
    """
    curves = [_weighted(*_ranked(positive, one), np.ones(len(one))) for one in np.atleast_2d(score)]
    if len(curves) == 1:
        return curves[0]
    rates = np.unique(np.concatenate([false for false, _ in curves]))
    limits = [np.mean([_at(*one, rates, side) for one in curves], axis=0) for side in ("left", "right")]
    return np.repeat(rates, 2), np.stack(limits, axis=1).ravel()


def band(
    positive: np.ndarray, score: np.ndarray, *, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pointwise interval of the sensitivity at each false positive rate: participants drawn anew, each class alone.

    positive: (n,) bool; score: (n,) or (seeds, n). Returns rates, low, high, each (101,).
    """
    ranked = [_ranked(positive, one) for one in np.atleast_2d(score)]
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~np.asarray(positive, bool))
    generator = np.random.default_rng(seed)
    rates = np.linspace(0, 1, 101)
    found = []
    for _ in range(draws):
        weight = np.zeros(len(positive))
        for group in (cases, controls):
            weight[group] = np.bincount(generator.integers(0, len(group), len(group)), minlength=len(group))
        found.append(np.mean([_at(*_weighted(*one, weight), rates, "right") for one in ranked], axis=0))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return rates, low, high


Ranked = tuple[np.ndarray, np.ndarray, np.ndarray]


def _ranked(positive: np.ndarray, score: np.ndarray) -> Ranked:
    """Order from the highest score down, labels in it, and the last place of each different score."""
    order = np.argsort(-np.asarray(score, float), kind="stable")
    values = np.asarray(score, float)[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    return order, np.asarray(positive, bool)[order], last


def _weighted(order: np.ndarray, ranked: np.ndarray, last: np.ndarray, weight: np.ndarray):
    """Rates where participants count ``weight`` (n,) times."""
    rates = []
    for group in (~ranked, ranked):
        counted = np.cumsum(weight[order] * group)
        rates.append(np.concatenate([[0.0], counted[last] / max(counted[-1], 1)]))
    return rates[0], rates[1]


def _at(false: np.ndarray, true: np.ndarray, rates: np.ndarray, side: str) -> np.ndarray:
    """Sensitivity at false positive rates: below (left) or above (right) a vertical step, between points a line."""
    first, after = np.searchsorted(false, rates - 1e-9), np.searchsorted(false, rates + 1e-9)
    vertex = true[first if side == "left" else after - 1]
    before, behind = np.clip(first - 1, 0, None), np.clip(after, None, len(false) - 1)
    share = (rates - false[before]) / np.maximum(false[behind] - false[before], 1e-12)
    return np.where(first < after, vertex, true[before] + share * (true[behind] - true[before]))
