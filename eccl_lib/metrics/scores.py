"""Scores, from saved predictions: AUC, average precision, Pearson r, retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RECALLS = (1, 5, 10)
TIE = 1e-6  # cosines of float32 features differ by rounding below this


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


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Mean precision at the recall of each positive, equal scores taken together; a guess has the prevalence.

    score, positive: (n,). NaN without a positive.
    """
    positive = np.asarray(positive, dtype=bool)
    if not positive.any():
        return float("nan")
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    found = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(np.asarray(score)[order])), len(order) - 1)  # of each run of equal scores
    gained = np.diff(found[last], prepend=0)
    return float((gained * found[last] / (last + 1)).sum() / found[-1])


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


def retrieval(z_query: np.ndarray, z_gallery: np.ndarray) -> dict[str, float]:
    """How well each query finds its own partner. Both (n, D), unit norm, row i belongs to row i.

    Returns the median rank (1 is best) and the recall at 1, 5 and 10; ``retrieval_chance`` gives those of a guess.
    """
    ranks, recalls = ranks_of_own(z_query, z_gallery)
    return {"median_rank": float(np.median(ranks))} | {name: float(hit.mean()) for name, hit in recalls.items()}


def ranks_of_own(z_query: np.ndarray, z_gallery: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Each query's rank of its own partner (n,), and its recall at 1, 5 and 10, each (n,) from 0 to 1.

    Cosines closer than float rounding are ties, and ties count as in a random order: the rank is the middle of the tied
    ones, the recall the chance to be among the first k. So features that are the same for all score as a guess.
    """
    scores = np.asarray(z_query, dtype=np.float64) @ np.asarray(z_gallery, dtype=np.float64).T
    ahead = scores - np.diagonal(scores)[:, None]
    better = (ahead > TIE).sum(axis=1)
    tied = (np.abs(ahead) <= TIE).sum(axis=1)  # itself among them
    recalls = {f"recall_at_{k}": np.clip((k - better) / tied, 0, 1) for k in RECALLS}
    return better + (tied + 1) / 2, recalls


def retrieval_chance(n: int) -> dict[str, float]:
    """What a guess among n scores in ``retrieval``."""
    return {"median_rank": (n + 1) / 2} | {f"recall_at_{k}": min(1.0, k / n) for k in RECALLS}


def deviation(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Standard deviation over seeds, the first axis; NaN of one seed."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.std(scores, axis=0, ddof=1) if len(scores) > 1 else np.full(scores.shape[1:], np.nan)[()]
