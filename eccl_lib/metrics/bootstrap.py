"""Bootstrap over participants. A draw is a vector of weights; all rows and seeds use the same draws."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

DRAWS = 2_000  # the standard deviation of the draws then has a relative error of 1.6 %; ours
ROUNDING = 1e-12  # smaller variances of standardized values are rounding errors
BLOCK = 500  # draws per block: 33 MB of weights at the paper's 8,308 participants


def draws(n: int, count: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each of n participants occurs in each of ``count`` draws. Yields (n, at most BLOCK) float64."""
    generator = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(BLOCK, count - start))
        yield np.ascontiguousarray(counts.T, dtype=np.float64)


def resampled_auc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of each draw. score: (n,); positive: (n,) bool; weights: (n, B). Returns (B,), NaN without both classes.

    The order of the scores is computed once; each draw only sums weights.
    """
    positive = np.asarray(positive, dtype=bool)
    edges, edge = np.unique(score[positive], return_inverse=True)
    negatives = score[~positive]
    # A control in gap 2e lies just below edge e; a control in gap 2e + 1 equals edge e.
    gap = np.searchsorted(edges, negatives, "left") + np.searchsorted(edges, negatives, "right")
    mass = _sums(gap, 2 * len(edges) + 1, weights[~positive])  # (gaps, B)
    cases = _sums(edge, len(edges), weights[positive])  # (edges, B)
    below = np.cumsum(mass, axis=0)[:-1:2] + mass[1::2] / 2
    pairs = cases.sum(axis=0) * mass.sum(axis=0)
    wins = (cases * below).sum(axis=0)
    return np.divide(wins, pairs, out=np.full(weights.shape[1], np.nan), where=pairs > 0)


def auc_draws(score: np.ndarray, positive: np.ndarray, count: int = DRAWS, seed: int = 0) -> np.ndarray:
    """``resampled_auc`` of ``count`` draws. Returns (count,)."""
    return np.concatenate([resampled_auc(score, positive, weights) for weights in draws(len(score), count, seed)])


def _sums(group: np.ndarray, groups: int, weights: np.ndarray) -> np.ndarray:
    """Weights summed over the members of each group. group: (k,); weights: (k, B). Returns (groups, B)."""
    members = csr_array((np.ones(len(group)), (group, np.arange(len(group)))), shape=(groups, len(group)))
    return members @ weights


def resampled_r(predicted: np.ndarray, measured: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson r of each draw and trait, averaged over seeds.

    predicted: (seeds, n, traits); measured: (n, traits), NaN if missing; weights: (n, B). Returns (B, traits): 0 for a
    constant prediction, NaN if the measurement does not vary in a draw.
    """
    present = ~np.isnan(measured)
    weights = weights.T
    count = weights @ present.astype(np.float64)
    y = _standard(measured, present)
    mean_y = _divide(weights @ y, count)
    var_y = _divide(weights @ (y * y), count) - mean_y**2
    total = np.zeros_like(count)
    for seed in predicted:
        x = _standard(seed, present)
        mean_x = _divide(weights @ x, count)
        var_x = _divide(weights @ (x * x), count) - mean_x**2
        product = _divide(weights @ (x * y), count) - mean_x * mean_y
        varies = (var_x > ROUNDING) & (var_y > ROUNDING)
        total += np.divide(product, np.sqrt(var_x * var_y), out=np.zeros_like(count), where=varies)
    return np.where(var_y > ROUNDING, total / len(predicted), np.nan)


def _standard(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Standardized values for numerical accuracy; missing values and constant columns become 0."""
    values = np.where(present, values, np.nan).astype(np.float64)
    count = np.maximum(present.sum(axis=0), 1)
    centred = np.nan_to_num(values - np.nansum(values, axis=0) / count)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    rounding = 1e-9 * np.nanmax(np.abs(np.nan_to_num(values)), axis=0)
    return np.where(spread > rounding, centred / np.where(spread > 0, spread, 1), 0.0)


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return total / np.maximum(count, 1)


def r_draws(predicted: np.ndarray, measured: np.ndarray, count: int = DRAWS, seed: int = 0) -> np.ndarray:
    """``resampled_r`` of ``count`` draws. Returns (count, traits)."""
    return np.concatenate([resampled_r(predicted, measured, weights) for weights in draws(len(measured), count, seed)])


def mean_r_draws(predicted: np.ndarray, measured: np.ndarray, count: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Mean r over the traits, averaged over seeds, in each draw. predicted: (seeds, n, traits). Returns (count,)."""
    return mean_over_traits(r_draws(predicted, measured, count, seed))


def mean_over_traits(r: np.ndarray) -> np.ndarray:
    """Mean over the traits that are not NaN. r: (..., traits). Returns (...), NaN if all are NaN."""
    present = ~np.isnan(r)
    total = np.nan_to_num(r).sum(axis=-1)
    return np.divide(total, present.sum(axis=-1), out=np.full(total.shape, np.nan), where=present.any(axis=-1))


def percentile(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over draws, ignoring NaN. values: (B, ...). Returns low and high, each (...)."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
