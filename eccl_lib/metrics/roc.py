"""ROC curves of one run or averaged over seeds, and a pointwise confidence band."""

import numpy as np

DRAWS = 500


def curve(positive: np.ndarray, score: np.ndarray, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from (0, 0) to (1, 1), each (k,), increasing; tied scores form one step.

    positive: (n,) bool; score: (n,) or (seeds, n), higher means more likely positive. Over seeds the sensitivity is
    averaged at each false positive rate, so the area under the curve is the mean AUC. least: above 0, each step has no
    or at least so many cases and controls; raises ValueError where there are too few for two steps.
    """
    curves = [_weighted(*_ranked(positive, seed, least), np.ones(len(seed))) for seed in np.atleast_2d(score)]
    if len(curves) == 1:
        return curves[0]
    rates = np.unique(np.concatenate([false for false, _ in curves]))
    limits = [
        np.mean([_sensitivity_at(*points, rates, side) for points in curves], axis=0) for side in ("left", "right")
    ]
    return np.repeat(rates, 2), np.stack(limits, axis=1).ravel()


def band(
    positive: np.ndarray, score: np.ndarray, *, least: int = 0, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pointwise bootstrap interval of the sensitivity at each false positive rate, stratified by class.

    positive: (n,) bool; score: (n,) or (seeds, n); least: as in ``curve``. Returns rates, low, high, each (101,).
    """
    ranked = [_ranked(positive, of_seed, least) for of_seed in np.atleast_2d(score)]
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


def _ranked(positive: np.ndarray, score: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order by decreasing score, labels in that order, and the last position of each step of the curve."""
    order = np.argsort(-np.asarray(score, float), kind="stable")
    values = np.asarray(score, float)[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    labels = np.asarray(positive, bool)[order]
    return order, labels, coarse_steps(labels, last, least) if least else last


def coarse_steps(labels: np.ndarray, last: np.ndarray, least: int) -> np.ndarray:
    """The last positions of the finest steps with no or at least ``least`` cases and controls each.

    labels: (n,) bool by decreasing score; last: last position of each distinct score. Raises ValueError where a single
    step is left, which would be drawn as a diagonal.
    """
    cases, n = np.cumsum(labels)[last], last + 1
    kept: list[int] = []
    totals = [(0, 0)]  # cases and controls up to each kept position
    for position, a, b in zip(last, cases, n - cases, strict=True):
        if not any(0 < more - before < least for more, before in zip((a, b), totals[-1], strict=True)):
            kept.append(int(position))
            totals.append((int(a), int(b)))
    end = int(cases[-1]), int(n[-1] - cases[-1])
    while kept and any(0 < whole - before < least for whole, before in zip(end, totals[-1], strict=True)):
        kept.pop()
        totals.pop()
    if not kept or kept[-1] != last[-1]:
        kept.append(int(last[-1]))
    if len(kept) == 1:
        raise ValueError(f"{end[0]} cases and {end[1]} controls give no curve with steps of at least {least}")
    return np.array(kept)


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
