"""Fig. 2a and 2d: two-dimensional maps of the embeddings, with separation scores from the full space."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.evaluation import features, run_summary
from eccl_lib.evaluation.features import Latent
from eccl_lib.io.progress import Log
from eccl_lib.metrics import embedding
from eccl_lib.metrics.scores import retrieval
from eccl_lib.pipeline import stages
from eccl_lib.tasks import task_of
from eccl_lib.training.runs import Run


@dataclass(frozen=True)
class DiseaseMap:
    """UMAP of one disease's ECG features. before, after: (n, 2); positive: (n,) bool; scores: purity as text.

    title: the disease and its code.
    """

    before: np.ndarray
    after: np.ndarray
    positive: np.ndarray
    scores: dict[str, str]
    title: str


def aligned_runs(config: Config, log: Log = print) -> dict[str, Run]:
    """ECCL's finished run of the config's task and of each disease; trained now if missing and the scale allows it."""
    tasks = dict.fromkeys([config.disease, *config.codes])
    return {task: stages.require(stages.spec(replace(config, disease=task), "eccl"), log) for task in tasks}


def modality_silhouette(latent: Latent) -> float:
    """Mean silhouette of ECG and CMR embeddings in the shared space: 0 mixed, 1 separated."""
    return float(embedding.silhouette(*_stacked(latent)[:2]).mean())


def silhouette_interval(latent: Latent) -> tuple[float, float, float]:
    """``modality_silhouette`` with its 95 % bootstrap interval over participants: mean, low, high."""
    stacked, modality, participant = _stacked(latent)
    return embedding.balanced_interval(embedding.silhouette(stacked, modality), modality, participant)


def modality_purity(latent: Latent) -> float:
    """Mean share of an embedding's nearest neighbours that are of its own modality: 0.5 mixed, 1 separated.

    Unlike the silhouette, it does not become small only because each modality is spread out.
    """
    return float(embedding.purity(*_stacked(latent)[:2]).mean())


@dataclass(frozen=True)
class SharedMap:
    """t-SNE of the ECG and CMR embeddings of n participants in the shared space. ecg, cmr: (n, 2)."""

    ecg: np.ndarray
    cmr: np.ndarray

    @classmethod
    def of(cls, latent: Latent, seed: int) -> "SharedMap":
        """The map of both modalities together."""
        return cls(*embedding.tsne(latent.z_ecg, latent.z_cmr, seed=seed))

    @property
    def stacked(self) -> np.ndarray:
        """First the ECGs, then the CMRs, (2n, 2)."""
        return np.concatenate([self.ecg, self.cmr])


def fig2a(before: Latent, after: Latent, maps: tuple[SharedMap, SharedMap]) -> Figure:
    """Fig. 2a: ECG and CMR embeddings before and after alignment, with scores of both. maps: of both."""
    points, scores = [part for flat in maps for part in (flat.ecg, flat.cmr)], {}
    for when, latent in (("before", before), ("after", after)):
        rank = retrieval(latent.z_ecg, latent.z_cmr)["median_rank"]
        match = f"median rank of the matching CMR {rank:.0f} of {len(latent.z_ecg):,}"
        mixing = f"silhouette {modality_silhouette(latent):.2f}; purity {modality_purity(latent):.2f} (0.5 = mixed)"
        scores[when] = f"{mixing}\n{match}"
    return figures.fig2a_latent(*points, scores)


def _stacked(latent: Latent) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stack both modalities. Returns embeddings (2n, D), modality (2n,), participant (2n,)."""
    n = len(latent.z_ecg)
    return np.concatenate([latent.z_ecg, latent.z_cmr]), np.repeat(["ECG", "CMR"], n), np.tile(np.arange(n), 2)


def disease_maps(config: Config, data: Cohort, rows: np.ndarray) -> dict[str, DiseaseMap]:
    """UMAP of the ECG features of each disease before and after alignment; the runs must be finished.

    A disease with few cases or controls among the rows is left out (``data/small_counts.py``).
    """
    maps = {}
    for code, task in ((code, task_of(config, code)) for code in config.codes):
        of_disease, positive = replace(config, disease=code), data.label_of(code)[rows]
        if limit_of(config).hides_class(positive):
            continue
        before = features.before_alignment(of_disease, data, rows).ecg
        after = features.after_alignment(of_disease, data, rows).ecg
        scores = {"before": run_summary.separation(before, positive), "after": run_summary.separation(after, positive)}
        points = (embedding.umap(ecg, seed=config.seed) for ecg in (before, after))
        maps[code] = DiseaseMap(*points, positive, scores, task.title)
    return maps


def fig2d(maps: Mapping[str, DiseaseMap]) -> dict[str, Figure]:
    """Fig. 2d: one figure per disease by file name, and ``umap_diseases`` with all of them."""
    if not maps:
        return {}
    drawn = {
        f"fig2d_umap_{code}": figures.fig2d_umap(m.before, m.after, m.positive, m.title, m.scores)
        for code, m in maps.items()
    }
    points = {m.title: (m.before, m.after, m.positive) for m in maps.values()}
    return drawn | {"umap_diseases": figures.umap_diseases(points, {m.title: m.scores for m in maps.values()})}
