"""Ridge regression on fixed features, its penalty chosen on the validation set."""

import numpy as np

PENALTIES = 10.0 ** np.arange(0, 5.5, 0.5)
SQUARED = 25  # leading principal components that also enter as squares; ours
LARGEST = 5.0  # standardised features are cut at this many standard deviations: one outlier must not move a fit; ours


def ridge(features: np.ndarray, targets: np.ndarray, train: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Predictions of every target for all rows. features: (N, F); targets: (N, K); train, val: row numbers.

    NaN in features is replaced by the training mean. For each target the penalty with the highest r on the validation
    rows is used. Returns (N, K).
    """
    x = expand(np.where(np.isnan(features), np.nanmean(features[train], axis=0), features), train)
    candidates = np.stack(_solve(x[train], targets[train], x))  # (penalties, N, K)
    r = np.stack([correlation(candidate[val], targets[val]) for candidate in candidates])
    return candidates[r.argmax(axis=0), :, np.arange(targets.shape[1])].T


def ridge_on_known(features: np.ndarray, targets: np.ndarray, train: np.ndarray, val: np.ndarray) -> np.ndarray:
    """``ridge`` where targets may be missing: each is fitted on the rows that have it. targets: (N, K), NaN if missing.

    A target with fewer than two such rows in train or in val is predicted as 0. Returns (N, K).
    """
    predicted, known = np.zeros(targets.shape), ~np.isnan(targets)
    patterns, pattern = np.unique(known, axis=1, return_inverse=True)
    for k, has in enumerate(patterns.T):
        columns, rows = np.flatnonzero(pattern.ravel() == k), [part[has[part]] for part in (train, val)]
        if min(map(len, rows)) > 1:
            predicted[:, columns] = ridge(features, np.nan_to_num(targets[:, columns]), *rows)
    return predicted


def expand(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Principal components of the standardised features, partly whitened, and squares of the leading ones."""
    mean, spread = features[train].mean(axis=0), features[train].std(axis=0)
    x = np.clip((features - mean) / np.where(spread > 1e-9, spread, 1), -LARGEST, LARGEST)
    _, size, axes = np.linalg.svd(x[train], full_matrices=False)
    keep = size > 1e-3 * size[0]
    parts = x @ axes[keep].T / (size[keep] / np.sqrt(len(train))) ** 0.8
    leading = parts[:, :SQUARED]
    leading = leading / leading[train].std(axis=0)
    return np.column_stack([parts, leading**2 - 1])


def _solve(x: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Predictions for the rows ``wanted`` with each of PENALTIES; x and y are the training rows."""
    mean, level = x.mean(axis=0), y.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    projected = vectors.T @ ((x - mean).T @ (y - level))
    rotated = (wanted - mean) @ vectors
    return [rotated @ (projected / (values + penalty)[:, None]) + level for penalty in PENALTIES]


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson r of each column; 0 where a column is constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return (a * b).sum(axis=0) / np.where(scale > 0, scale, np.inf)
