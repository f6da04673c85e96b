"""The paper's losses, Eq. 1 to 5 in order, then the masked autoencoder's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(z_ecg: Tensor, z_cmr: Tensor, temperature: float) -> Tensor:
    """z_e^T z_c / tau for every pair. z_ecg, z_cmr: (B, D), unit norm. Returns (B, B), row i for ECG i."""
    full = torch.promote_types(z_ecg.dtype, torch.float32)  # bf16 has steps of 0.06 near 1 / tau
    with torch.autocast(z_ecg.device.type, enabled=False):
        return z_ecg.to(full) @ z_cmr.to(full).T / temperature


def ecg_loss(logits: Tensor) -> Tensor:
    """InfoNCE from each ECG to its own CMR (Eq. 1), mean over the batch. logits: (B, B) from ``similarity``."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def cmr_loss(logits: Tensor) -> Tensor:
    """InfoNCE from each CMR to its own ECG (Eq. 2). logits: (B, B) from ``similarity``."""
    return ecg_loss(logits.T)


def clip_loss(z_ecg: Tensor, z_cmr: Tensor, temperature: float) -> Tensor:
    """L_CL, half of each direction (Eq. 3); equal similarities give log B.

    z_ecg, z_cmr: (B, D), unit norm.
    """
    logits = similarity(z_ecg, z_cmr, temperature)
    return 0.5 * ecg_loss(logits) + 0.5 * cmr_loss(logits)


def trait_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the traits that are there (Eq. 4).

    predicted, target: (B, 82), z-scored; NaN in target is a missing trait.
    """
    present = ~torch.isnan(target)
    error = torch.where(present, predicted - torch.nan_to_num(target), 0.0)
    return error.square().sum() / present.sum().clamp(min=1)


def disease_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy (Eq. 4). logits: (B, 1); target: (B, 1), 0 or 1."""
    return F.binary_cross_entropy_with_logits(logits, target)


def total_loss(contrastive: Tensor, task: Tensor, task_weight: float) -> Tensor:
    """L_CL + lambda L_task (Eq. 5)."""
    return contrastive + task_weight * task


def masked_patch_mse(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over masked patches (Sec. 2.1).

    predicted, target: (B, L, P); mask: (B, L), 0 is visible, 1 is masked.
    """
    return ((predicted - target).square().mean(dim=-1) * mask).sum() / mask.sum()
