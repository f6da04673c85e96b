"""Split conformal prediction intervals: the width that covers new participants with a stated probability."""

import numpy as np

LEVEL = 0.95


def radius(residuals: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Half width of the interval around a prediction, per column (Lei et al., JASA 2018, Algorithm 2).

    The ceil((n + 1) level)-th smallest absolute residual of n participants that the model was not trained on: an
    interval of this half width covers an exchangeable new participant with probability ``level`` or more. residuals:
    (n, columns), NaN if missing. Returns (columns,), infinite where n is too small (below 19 for 95 %).
    """
    ordered = np.sort(np.abs(np.asarray(residuals, dtype=np.float64)), axis=0)  # NaN is sorted to the end
    n = (~np.isnan(ordered)).sum(axis=0)
    rank = np.ceil(np.round((n + 1) * level, 9)).astype(int)  # rounded: 0.95 has no exact binary form
    enough = rank <= n
    picked = np.take_along_axis(ordered, np.where(enough, rank - 1, 0)[None], axis=0)[0] if len(ordered) else 0.0
    return np.where(enough, picked, np.inf)


def coverage(residuals: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Share of participants whose measured value lies in the interval. residuals: (n, columns), NaN if missing.

    Returns (columns,), NaN where nothing was measured.
    """
    present = ~np.isnan(residuals)
    inside = (np.abs(residuals) <= radius) & present
    count = present.sum(axis=0)
    return np.divide(inside.sum(axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)
