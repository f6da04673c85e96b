"""Scores from predictions: AUC, average precision, Pearson r, retrieval."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

RECALLS = (1, 5, 10)
TIE = 1e-6  # smaller differences of float32 cosines are rounding errors


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: probability that a positive scores above a negative, ties count half.

    score, positive: (n,). NaN with only one class.
    """
    positive = np.asarray(positive, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(np.asarray(score, dtype=np.float64))
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Average precision, tied scores taken together; its chance level is the prevalence.

    score, positive: (n,). NaN without a positive.
    """
    positive = np.asarray(positive, dtype=bool)
    if not positive.any():
        return float("nan")
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    positives = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(np.asarray(score)[order])), len(order) - 1)  # end of ties
    gained = np.diff(positives[last], prepend=0)
    return float((gained * positives[last] / (last + 1)).sum() / positives[-1])


def pearson(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Pearson r of each column over the rows with a measurement.

    predicted, measured: (n, k), NaN in measured if missing. Returns (k,), NaN for a constant column.
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
    """Mean Pearson r over traits (the paper's Mean R). Both (n, k).

    A constant prediction counts as 0; traits without two different measurements are left out.
    """
    counts = scorable(measured)
    return float(np.nan_to_num(pearson(predicted, measured))[counts].mean()) if counts.any() else float("nan")


def scorable(measured: np.ndarray) -> np.ndarray:
    """Whether each trait has at least two different measurements. measured: (n, k). Returns (k,) bool."""
    present = ~np.isnan(measured)
    low = np.where(present, measured, np.inf).min(axis=0)
    return low < np.where(present, measured, -np.inf).max(axis=0)


def retrieval(z_query: np.ndarray, z_gallery: np.ndarray) -> dict[str, float]:
    """Retrieval of the matching row: median rank (1 is best) and recall at 1, 5 and 10.

    Both (n, D), unit norm; row i of the query matches row i of the gallery. Chance levels: ``retrieval_chance``.
    """
    ranks, recalls = matching_ranks(z_query, z_gallery)
    return {"median_rank": float(np.median(ranks))} | {name: float(hit.mean()) for name, hit in recalls.items()}


def matching_ranks(z_query: np.ndarray, z_gallery: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rank of each query's matching row (n,), and its recall at 1, 5 and 10, each (n,) from 0 to 1.

    Ties (differences within rounding) count as in random order: mean rank, and probability that the match is
    among the first k. Constant features therefore score at chance level.
    """
    scores = np.asarray(z_query, dtype=np.float64) @ np.asarray(z_gallery, dtype=np.float64).T
    ahead = scores - np.diagonal(scores)[:, None]
    better = (ahead > TIE).sum(axis=1)
    tied = (np.abs(ahead) <= TIE).sum(axis=1)  # including the matching row itself
    recalls = {f"recall_at_{k}": np.clip((k - better) / tied, 0, 1) for k in RECALLS}
    return better + (tied + 1) / 2, recalls


def retrieval_chance(n: int) -> dict[str, float]:
    """Chance levels of ``retrieval`` among n candidates."""
    return {"median_rank": (n + 1) / 2} | {f"recall_at_{k}": min(1.0, k / n) for k in RECALLS}


def deviation(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Standard deviation over seeds (first axis); NaN for one seed."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.std(scores, axis=0, ddof=1) if len(scores) > 1 else np.full(scores.shape[1:], np.nan)[()]
