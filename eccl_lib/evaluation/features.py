"""Reconstructions, embeddings before and after alignment, and retrieval examples of trained models, as arrays."""

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from eccl_lib.config.method_schema import ECCL
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.segmentation.masks import END_SYSTOLE
from eccl_lib.data.traits import TRAITS
from eccl_lib.metrics import scores
from eccl_lib.models.ecg_vit import patchify, unpatchify
from eccl_lib.models.heads import Aligned
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.pipeline import models, stages
from eccl_lib.training.datasets import CineDataset, EcgDataset, predict_in_batches


@dataclass(frozen=True)
class Latent:
    """Embeddings of n participants in the requested order.

    ecg: (n, D), output of the ECG encoder. z_ecg, z_cmr: (n, shared width), unit norm, in the shared space.
    """

    ecg: np.ndarray
    z_ecg: np.ndarray
    z_cmr: np.ndarray


def before_alignment(config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    """Embeddings at the start of stage two: pre-trained encoders, projections at their initial weights."""
    return _features(models.unaligned(config, data), config, data, rows)


def after_alignment(config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    """Embeddings at the end of stage two, at the best epoch by validation."""
    return _features(models.ecg_model(config, ECCL, data), config, data, rows)


def _features(model: Aligned, config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    signals = EcgDataset(data, config)
    ecg = predict_in_batches(lambda part: model.encoder(signals.of(part)), rows)
    cmr = torch.from_numpy(stages.cmr_features(config, data)[rows]).to(signals.device)
    with torch.no_grad():
        z_ecg = model.project_ecg(torch.from_numpy(ecg).to(signals.device))
        z_cmr = model.project_cmr(cmr)
    return Latent(ecg, z_ecg.cpu().numpy(), z_cmr.cpu().numpy())


def reconstructions(
    config: Config, data: Cohort, rows: np.ndarray, mask_seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Original ECG, reconstruction and mask of each row, each (12, T).

    Both signals have the model's scale (``data.ecg.scale``). mask: 1 masked, 0 visible.
    """
    model: MaskedAutoencoder = models.masked_autoencoder(config, data)
    x = EcgDataset(data, config).of(np.asarray(rows))
    tokens = patchify(x, config.ecg).shape[1]
    noise = torch.rand(len(x), tokens, generator=torch.Generator().manual_seed(mask_seed)).to(x.device)
    with torch.no_grad():
        patches, _, mask = model.reconstruct(x, noise)
    masked = mask[:, :, None].expand(-1, -1, patches.shape[2])
    signals = (x, unpatchify(patches.float(), config.ecg), unpatchify(masked, config.ecg))
    return list(zip(*(part.cpu().numpy() for part in signals), strict=True))


def constant_errors(config: Config, data: Cohort) -> dict[str, float]:
    """MSE on the test ECGs of two constant predictions, as references for the autoencoder.

    "training mean": each lead's mean over the training ECGs. "own mean": the mean of the same lead of the same ECG; its
    error is the variance of the signal.
    """
    dataset = EcgDataset(data, config)
    train, test = (dataset.of(data.index(split)) for split in ("train", "test"))
    mean = train.mean(dim=(0, 2))[:, None]
    return {"training mean": (test - mean).square().mean().item(), "own mean": test.var(dim=-1).mean().item()}


def retrieval_examples(
    config: Config, data: Cohort, latent: Latent, rows: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], pd.DataFrame]:
    """Three query ECGs at fixed percentiles of retrieval rank, with candidate CMRs, for ``figures.retrieval_examples``.

    latent: embeddings of these cohort rows. Returns the ECGs (3, 12, T), two frames (k, H, W) of the k candidates, near
    end diastole and near end systole, and the candidates; their note is the left ventricular mass (LVM) in grams.
    """
    queries = queries_at_rank_percentiles(latent.z_ecg, latent.z_cmr)
    candidates = nearest_cmrs(latent.z_ecg, latent.z_cmr, queries)
    candidate_rows = rows[candidates["cmr"]]
    mass = data.traits[candidate_rows, [trait.short_name for trait in TRAITS].index("LVM")]
    ecgs = EcgDataset(data, config).of(rows[queries]).cpu().numpy()
    clips = data.clips[candidate_rows]  # (k, H, W, F), from the R wave on
    moments = {"end diastole": 0, "end systole": round(END_SYSTOLE * clips.shape[-1])}
    images = {name: clips[..., frame] for name, frame in moments.items()}
    return ecgs, images, candidates.assign(note=list(map(_mass, mass)))


def _mass(grams: float) -> str:
    return f"LVM {grams:.0f} g" if np.isfinite(grams) else "LVM unknown"


def nearest_cmrs(z_ecg: np.ndarray, z_cmr: np.ndarray, queries: np.ndarray, k: int = 5) -> pd.DataFrame:
    """The matching CMR and the k most similar CMRs of each query ECG. z_ecg, z_cmr: (n, D), unit norm.

    Returns one row per CMR: query (0 ... len(queries) - 1), cmr (row of z_cmr), rank (1: most similar), similarity,
    matching. The matching CMR comes first, then ranks 1 to k (the matching one again if it is among them).
    """
    candidates = []
    for query, row in enumerate(queries):
        similarity = z_cmr @ z_ecg[row]
        order = np.argsort(-similarity, kind="stable")
        for cmr in (row, *order[:k]):
            rank = 1 + int(np.flatnonzero(order == cmr)[0])
            candidates.append((query, int(cmr), rank, float(similarity[cmr]), bool(cmr == row)))
    return pd.DataFrame(candidates, columns=["query", "cmr", "rank", "similarity", "matching"])


def queries_at_rank_percentiles(
    z_ecg: np.ndarray, z_cmr: np.ndarray, quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
) -> np.ndarray:
    """Row numbers of the ECGs at these quantiles of the rank of the matching CMR."""
    ranks, _ = scores.matching_ranks(z_ecg, z_cmr)
    return np.argsort(ranks, kind="stable")[[round(q * (len(ranks) - 1)) for q in quantiles]]


def encoder_reproduces(
    encoder: nn.Module, clips: CineDataset, rows: np.ndarray, features: np.ndarray, tolerance: float = 5e-3
) -> bool:
    """Whether the CMR encoder, run again on these rows, gives the features that the alignment used.

    features: (n, D), in the order of rows. tolerance: largest accepted difference, in standard deviations of features.
    """
    recomputed = predict_in_batches(lambda part: encoder(clips.of(part)), rows)
    return bool(np.abs(recomputed - features).max() <= tolerance * features.std())


def with_perturbed_weights(encoder: nn.Module, share: float = 0.05, seed: int = 0) -> nn.Module:
    """A copy of the encoder with noise added to every weight matrix: a change that ``encoder_reproduces`` must detect.

    share: standard deviation of the noise relative to that of the matrix.
    """
    changed, generator = copy.deepcopy(encoder), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (parameter for parameter in changed.parameters() if parameter.ndim > 1):
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            weight.add_(share * weight.std() * noise)
    return changed
