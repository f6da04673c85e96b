"""What the trained models hold: reconstructions, and features before and after alignment, as arrays to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.method_schema import ECCL
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.metrics import scores
from eccl_lib.models.ecg_vit import patchify, unpatchify
from eccl_lib.models.heads import Aligned
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.pipeline import models, stages
from eccl_lib.training.datasets import EcgDataset, predict_in_batches


@dataclass(frozen=True)
class Latent:
    """Features of n participants, rows in the order asked for.

    ecg: (n, D) of the ECG encoder. z_ecg, z_cmr: (n, shared width), unit norm, in the shared space.
    """

    ecg: np.ndarray
    z_ecg: np.ndarray
    z_cmr: np.ndarray


def before_alignment(config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    """As stage two finds them: the pre-trained encoders, the projections with their first weights."""
    return _features(models.unaligned(config, data), config, data, rows)


def after_alignment(config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    """As stage two leaves them, best epoch by validation."""
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
    """ECGs, what the masked autoencoder makes of the visible part, and the masks: of each row three times (12, T).

    Both signals are in [-1, 1]; mask: 1 is removed, 0 is kept.
    """
    model: MaskedAutoencoder = models.masked_autoencoder(config, data)
    x = EcgDataset(data, config).of(np.asarray(rows))
    tokens = patchify(x, config.ecg).shape[1]
    noise = torch.rand(len(x), tokens, generator=torch.Generator().manual_seed(mask_seed)).to(x.device)
    with torch.no_grad():
        patches, _, mask = model(x, noise)
    removed = mask[:, :, None].expand(-1, -1, patches.shape[2])
    pictures = (x, unpatchify(patches.float(), config.ecg), unpatchify(removed, config.ecg))
    return list(zip(*(part.cpu().numpy() for part in pictures), strict=True))


def nearest_hearts(z_ecg: np.ndarray, z_cmr: np.ndarray, queries: np.ndarray, k: int = 5) -> pd.DataFrame:
    """Of each ECG asked for its own heart and the k most similar hearts. z_ecg, z_cmr: (n, D), unit norm.

    Returns a row a heart: example (0 ... of the queries), heart (row of z_cmr), rank (1 is most similar), similarity,
    own. The own heart comes first, then the nearest, the own one again where it is among them.
    """
    found = []
    for example, query in enumerate(queries):
        similarity = z_cmr @ z_ecg[query]
        order = np.argsort(-similarity, kind="stable")
        for heart in (query, *order[:k]):
            rank = 1 + int(np.flatnonzero(order == heart)[0])
            found.append((example, int(heart), rank, float(similarity[heart]), bool(heart == query)))
    return pd.DataFrame(found, columns=["example", "heart", "rank", "similarity", "own"])


def at_rank_percentiles(
    z_ecg: np.ndarray, z_cmr: np.ndarray, quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
) -> np.ndarray:
    """ECGs whose own heart's rank lies at these quantiles of all: examples that nobody picked. Returns row numbers."""
    ranks, _ = scores.ranks_of_own(z_ecg, z_cmr)
    return np.argsort(ranks, kind="stable")[[round(q * (len(ranks) - 1)) for q in quantiles]]
