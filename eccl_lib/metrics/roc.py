"""ROC curves of one run or averaged over seeds, and a pointwise confidence band."""

import numpy as np

DRAWS = 500


def curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from (0, 0) to (1, 1), each (k,), increasing; tied scores form one step.

    positive: (n,) bool; score: (n,) or (seeds, n), higher means more likely positive. Over seeds the sensitivity is
    averaged at each false positive rate, so the area under the curve is the mean AUC.
    """
    curves = [_weighted(*_ranked(positive, seed), np.ones(len(seed))) for seed in np.atleast_2d(score)]
    if len(curves) == 1:
        return curves[0]
    rates = np.unique(np.concatenate([false for false, _ in curves]))
    limits = [
        np.mean([_sensitivity_at(*points, rates, side) for points in curves], axis=0) for side in ("left", "right")
    ]
    return np.repeat(rates, 2), np.stack(limits, axis=1).ravel()


def band(
    positive: np.ndarray, score: np.ndarray, *, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pointwise bootstrap interval of the sensitivity at each false positive rate, stratified by class.

    positive: (n,) bool; score: (n,) or (seeds, n). Returns rates, low, high, each (101,).
    """
    ranked = [_ranked(positive, of_seed) for of_seed in np.atleast_2d(score)]
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~np.asarray(positive, bool))
    generator = np.random.default_rng(seed)
    rates = np.linspace(0, 1, 101)
    drawn = []
    for _ in range(draws):
        weight = np.zeros(len(positive))
        for group in (cases, controls):
            weight[group] = np.bincount(generator.integers(0, len(group), len(group)), minlength=len(group))
        curves = [_sensitivity_at(*_weighted(*order, weight), rates, "right") for order in ranked]
        drawn.append(np.mean(curves, axis=0))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return rates, low, high


def _ranked(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order by decreasing score, labels in that order, and the last position of each distinct score."""
    order = np.argsort(-np.asarray(score, float), kind="stable")
    values = np.asarray(score, float)[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    return order, np.asarray(positive, bool)[order], last


def _weighted(order: np.ndarray, ranked: np.ndarray, last: np.ndarray, weight: np.ndarray):
    """False and true positive rates with participants counted ``weight`` (n,) times."""
    rates = []
    for group in (~ranked, ranked):
        counted = np.cumsum(weight[order] * group)
        rates.append(np.concatenate([[0.0], counted[last] / max(counted[-1], 1)]))
    return rates[0], rates[1]


def _sensitivity_at(false: np.ndarray, true: np.ndarray, rates: np.ndarray, side: str) -> np.ndarray:
    """Sensitivity at given false positive rates, interpolated linearly. side: "left" for the lower end of a step."""
    first, after = np.searchsorted(false, rates - 1e-9), np.searchsorted(false, rates + 1e-9)
    vertex = true[first if side == "left" else after - 1]
    before, behind = np.clip(first - 1, 0, None), np.clip(after, None, len(false) - 1)
    share = (rates - false[before]) / np.maximum(false[behind] - false[before], 1e-12)
    return np.where(first < after, vertex, true[before] + share * (true[behind] - true[before]))
