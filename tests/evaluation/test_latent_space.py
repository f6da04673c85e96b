"""Maps and silhouettes of the shared space on random embeddings."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from eccl_lib.config.schema import DISEASES
from eccl_lib.evaluation import latent_space
from eccl_lib.evaluation.features import Latent

N = 40


def embeddings(gap: float, seed: int = 0) -> Latent:
    generator = np.random.default_rng(seed)
    ecg, cmr = generator.standard_normal((2, N, 6))
    return Latent(ecg, ecg, cmr + gap)


def test_modality_silhouette_is_that_of_scikit_learn():
    latent = embeddings(2)
    both, modality = np.concatenate([latent.z_ecg, latent.z_cmr]), np.repeat([0, 1], N)
    mean, low, high = latent_space.silhouette_interval(latent)
    assert latent_space.modality_silhouette(latent) == pytest.approx(silhouette_score(both, modality))
    assert mean == pytest.approx(latent_space.modality_silhouette(latent)) and low < mean < high


def test_modality_purity_is_one_for_separate_and_one_half_for_mixed_modalities():
    assert latent_space.modality_purity(embeddings(50)) == 1
    assert latent_space.modality_purity(embeddings(0)) == pytest.approx(0.5, abs=0.1)


def test_a_small_gap_between_spread_out_modalities_shows_in_the_purity_and_not_in_the_silhouette():
    generator = np.random.default_rng(0)
    spread = 5 * generator.standard_normal((2, N, 1))
    z_ecg, z_cmr = (np.hstack([points, np.full((N, 1), gap)]) for points, gap in zip(spread, (0, 3), strict=True))
    latent = Latent(z_ecg, z_ecg, z_cmr)
    assert latent_space.modality_silhouette(latent) < 0.3
    assert latent_space.modality_purity(latent) > 0.9


def test_fig2a_shows_the_separation_before_and_after():
    latents = embeddings(50), embeddings(0)
    figure = latent_space.fig2a(*latents, tuple(latent_space.SharedMap.of(latent, seed=0) for latent in latents))
    before, after = (ax.get_title(loc="left") for ax in figure.axes)
    assert before.startswith("before alignment\nsilhouette 0.9")
    assert after.replace("-", "").startswith("after alignment\nsilhouette 0.0")
    points = [np.asarray(c.get_offsets()) for c in figure.axes[0].collections if c.get_label() in ("ECG", "CMR")]
    assert [len(p) for p in points] == [N, N]


def test_fig2d_has_one_figure_per_disease_and_one_with_all():
    positive, points = np.arange(N) < 8, np.random.default_rng(0).standard_normal((2, N, 2))
    scores = {"before": "purity b", "after": "purity a"}
    maps = {code: latent_space.DiseaseMap(*points, positive, scores, code) for code in DISEASES}
    drawn = latent_space.fig2d(maps)
    assert list(drawn) == [*(f"fig2d_umap_{code}" for code in DISEASES), "umap_diseases"]
    cases = next(c for c in drawn["fig2d_umap_I42"].axes[1].collections if c.get_label() == "with the diagnosis")
    np.testing.assert_array_equal(cases.get_offsets(), points[1][positive])
    assert len(drawn["umap_diseases"].axes) == 2 * len(DISEASES)
