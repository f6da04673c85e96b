"""What the trained models hold: reconstructions, and features before and after alignment, as arrays to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from eccl_lib import stages
from eccl_lib.config import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.inputs import Signals, in_batches
from eccl_lib.models.heads import Aligned
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.models.vit import patchify, unpatchify


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
    return _features(stages.unaligned(config, data), config, data, rows)


def after_alignment(config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    """As stage two leaves them, best epoch by validation."""
    return _features(stages.trained_ecg(config, stages.ECCL, data), config, data, rows)


def _features(model: Aligned, config: Config, data: Cohort, rows: np.ndarray) -> Latent:
    signals = Signals(data, config)
    ecg = in_batches(lambda part: model.encoder(signals.of(part)), rows)
    cmr = torch.from_numpy(stages.cmr_features(config, data)[rows]).to(signals.device)
    with torch.no_grad():
        z_ecg = model.project_ecg(torch.from_numpy(ecg).to(signals.device))
        z_cmr = model.project_cmr(cmr)
    return Latent(ecg, z_ecg.cpu().numpy(), z_cmr.cpu().numpy())


def reconstruction(
    config: Config, data: Cohort, row: int, mask_seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One ECG, what the masked autoencoder makes of the visible part, and the mask: three times (12, T).

    Both signals are in [-1, 1]; mask: 1 is removed, 0 is kept.
    """
    model: MaskedAutoencoder = stages.pretrained_ecg(config, data)
    x = Signals(data, config).of(np.array([row]))
    tokens = patchify(x, config.ecg).shape[1]
    noise = torch.rand(1, tokens, generator=torch.Generator().manual_seed(mask_seed)).to(x.device)
    with torch.no_grad():
        _, patches, mask = model(x, noise)
    removed = mask[:, :, None].expand(-1, -1, patches.shape[2])
    pictures = (x, unpatchify(patches.float(), config.ecg), unpatchify(removed, config.ecg))
    return tuple(part[0].cpu().numpy() for part in pictures)
