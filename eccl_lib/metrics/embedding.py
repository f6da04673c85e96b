"""t-SNE, UMAP, and separation scores in the full feature space."""

import numpy as np

NEIGHBOURS = 5


def tsne(*groups: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Joint t-SNE of several groups of features. groups: each (n_k, D). Returns each (n_k, 2)."""
    from sklearn.manifold import TSNE

    features = np.concatenate(groups).astype(np.float64)
    perplexity = min(30.0, (len(features) - 1) / 3)
    flat = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(_standard(features))
    return np.split(flat, np.cumsum([len(group) for group in groups])[:-1])


def umap(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP of features. (n, D) to (n, 2)."""
    from umap import UMAP  # compiles in each process for 10 to 18 s, so it is imported late

    neighbours = min(15, len(features) - 1)
    return UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(_standard(features))


def _standard(features: np.ndarray) -> np.ndarray:
    """Centred features, divided by one common scale so that relative sizes of dimensions are kept."""
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0)
    return centred / max(float(centred.std()), 1e-12)


def purity(features: np.ndarray, group: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Share of each point's nearest neighbours (without the point itself) that belong to its group.

    features: (n, D); group: (n,). Returns (n,).
    """
    from sklearn.neighbors import NearestNeighbors

    group = np.asarray(group)
    index = NearestNeighbors(n_neighbors=min(neighbours, len(group) - 1)).fit(features)
    return (group[index.kneighbors(return_distance=False)] == group[:, None]).mean(axis=1)


def silhouette(features: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Silhouette of each point: 1 inside its group, 0 between groups, -1 in another group. Arguments as ``purity``."""
    from sklearn.metrics import silhouette_samples

    return silhouette_samples(features, group)


def balanced_interval(
    values: np.ndarray, group: np.ndarray, unit: np.ndarray | None = None, *, seed: int = 0, draws: int = 1000
) -> tuple[float, float, float]:
    """Mean of the group means, so that groups have equal weight, with a 95 % bootstrap interval: mean, low, high.

    values: (n,), from ``purity`` or ``silhouette``; group: (n,). unit: (n,), resampling unit such as the participant;
    each point by default.
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
