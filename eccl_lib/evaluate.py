"""Scores, from saved predictions: AUC, Pearson r, retrieval."""

from __future__ import annotations

import numpy as np


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties half.

    score, positive: (n,). NaN where there is one class only.
    """
    positive = np.asarray(positive, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = average_ranks(np.asarray(score, dtype=np.float64))
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs. values: (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def pearson(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Pearson r per column over the rows where the measurement is there.

    predicted, measured: (n, k), NaN in measured is missing.
    Returns (k,), NaN where nothing varies.
    """
    present = ~np.isnan(measured)
    count = present.sum(axis=0)
    x, y = _centred(predicted, present, count), _centred(measured, present, count)
    norm = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    return np.divide((x * y).sum(axis=0), norm, out=np.full(norm.shape, np.nan), where=norm > 0)


def _centred(values: np.ndarray, present: np.ndarray, count: np.ndarray) -> np.ndarray:
    values = np.where(present, values, 0.0).astype(np.float64)
    return np.where(present, values - values.sum(axis=0) / np.maximum(count, 1), 0.0)


def mean_r(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Mean of the traits' Pearson r (the paper's Mean R). Both (n, k).

    A constant prediction counts as 0; a trait that nobody here has, or that is the same for all, does not count.
    """
    counts = scorable(measured)
    return float(np.nan_to_num(pearson(predicted, measured))[counts].mean()) if counts.any() else float("nan")


def scorable(measured: np.ndarray) -> np.ndarray:
    """Traits with at least two different measurements. measured: (n, k). Returns (k,) bool."""
    present = ~np.isnan(measured)
    low = np.where(present, measured, np.inf).min(axis=0)
    return low < np.where(present, measured, -np.inf).max(axis=0)


def bootstrap_interval(
    score: object, *arrays: np.ndarray, seed: int = 0, draws: int = 500, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of ``score(*arrays)`` over participants drawn with replacement. arrays: (n, ...)."""
    generator = np.random.default_rng(seed)
    n = len(arrays[0])
    values = []
    for _ in range(draws):
        rows = generator.integers(0, n, n)
        values.append(score(*(a[rows] for a in arrays)))
    low, high = np.nanquantile(np.stack(values), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def retrieval(z_query: np.ndarray, z_gallery: np.ndarray) -> dict[str, float]:
    """How well each query finds its own partner. Both (n, D), unit norm, row i belongs to row i.

    Returns the median rank (1 is best) and the recall at 1, 5 and 10; chance gives (n + 1) / 2 and k / n.
    """
    scores = z_query @ z_gallery.T
    own = np.diagonal(scores)[:, None]
    ranks = 1 + (scores > own).sum(axis=1)
    return {"median_rank": float(np.median(ranks))} | {f"recall_at_{k}": float((ranks <= k).mean()) for k in (1, 5, 10)}
