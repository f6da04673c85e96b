"""From features to two dimensions, and a number for what the eye then sees."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 5


def tsne(*groups: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """t-SNE of several groups of features in one plane. groups: each (n_k, D); returns each (n_k, 2)."""
    from sklearn.manifold import TSNE

    features = np.concatenate(groups).astype(np.float64)
    perplexity = min(30.0, (len(features) - 1) / 3)
    flat = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(_standard(features))
    return np.split(flat, np.cumsum([len(group) for group in groups])[:-1])


def umap(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP of features. (n, D) to (n, 2)."""
    from umap import UMAP  # compiled anew in each process, 10 to 18 s: hence here and not at the top

    neighbours = min(15, len(features) - 1)
    return UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(_standard(features))


def _standard(features: np.ndarray) -> np.ndarray:
    """Each dimension at mean 0; one scale for all, so that small dimensions stay small."""
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0)
    return centred / max(float(centred.std()), 1e-12)


def purity(features: np.ndarray, group: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Share of each point's nearest neighbours, itself left out, that are of its own group.

    features: (n, D); group: (n,). Returns (n,).
    """
    from sklearn.neighbors import NearestNeighbors

    group = np.asarray(group)
    index = NearestNeighbors(n_neighbors=min(neighbours, len(group) - 1)).fit(features)
    return (group[index.kneighbors(return_distance=False)] == group[:, None]).mean(axis=1)


def silhouette(features: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Each point's silhouette: 1 deep in its own group, 0 between two, -1 in the other. (n, D), (n,) to (n,)."""
    from sklearn.metrics import silhouette_samples

    return silhouette_samples(features, group)


def balanced_interval(
    values: np.ndarray, group: np.ndarray, unit: np.ndarray | None = None, *, seed: int = 0, draws: int = 1000
) -> tuple[float, float, float]:
    """Mean of the groups' means with a 95 % bootstrap interval, so that a rare group counts as much as a common one.

    values: (n,), one of ``purity`` or ``silhouette``; group: (n,). unit: (n,) what is drawn anew (a
    participant may have two points); each point by default.
    """
    values, group = np.asarray(values, float), np.asarray(group)
    unit = np.arange(len(values)) if unit is None else np.unique(np.asarray(unit), return_inverse=True)[1]
    member = (group[None, :] == np.unique(group)[:, None]).astype(float)  # (G, n)
    generator = np.random.default_rng(seed)
    units = int(unit.max()) + 1
    means = []
    for _ in range(draws):
        weight = np.bincount(generator.integers(0, units, units), minlength=units)[unit] * member
        total = weight.sum(axis=1)
        if (total > 0).all():
            means.append(float(((weight @ values) / total).mean()))
    low, high = np.percentile(means, (2.5, 97.5))
    return float(((member @ values) / member.sum(axis=1)).mean()), float(low), float(high)
