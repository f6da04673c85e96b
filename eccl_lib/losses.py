"""The paper's losses, Eq. 1 to 5 in order, then those of the autoencoders and of the row Triplet."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(z_ecg: Tensor, z_cmr: Tensor, temperature: float | Tensor) -> Tensor:
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


def clip_loss(z_ecg: Tensor, z_cmr: Tensor, temperature: float | Tensor) -> Tensor:
    """CLIP loss L_CL, the mean of both directions (Eq. 3). Where all similarities are equal, it is log B.

    z_ecg, z_cmr: (B, D), unit norm.
    """
    logits = similarity(z_ecg, z_cmr, temperature)
    return 0.5 * ecg_loss(logits) + 0.5 * cmr_loss(logits)


def bank_loss(z_ecg: Tensor, bank: Tensor, own: Tensor, temperature: float | Tensor) -> Tensor:
    """CLIP loss L_CL (Eq. 3) whose negatives of an ECG are the CMRs of a bank, which may be larger than the batch.

    z_ecg: (B, D); bank: (N, D), unit norm; own: (B,), the row of the bank that matches each ECG. The bank has
    no ECGs, so the direction from CMR to ECG (Eq. 2) is unchanged. A bank that equals the batch gives ``clip_loss``.
    """
    logits = similarity(z_ecg, bank, temperature)  # (B, N)
    return 0.5 * F.cross_entropy(logits, own) + 0.5 * cmr_loss(logits[:, own])


def siglip_loss(z_ecg: Tensor, z_cmr: Tensor, temperature: float | Tensor, bias: float | Tensor) -> Tensor:
    """Sigmoid loss (SigLIP, Zhai et al. 2023): each pair is classified as matching or not; mean over the ECGs.

    z_ecg, z_cmr: (B, D), unit norm; bias: added to every logit.
    """
    logits = similarity(z_ecg, z_cmr, temperature) + bias
    matches = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return F.softplus(torch.where(matches, -logits, logits)).sum() / len(logits)


def soft_clip_loss(z_ecg: Tensor, z_cmr: Tensor, temperature: float | Tensor, target: Tensor) -> Tensor:
    """CLIP loss (Eq. 3) with soft targets: an ECG may match the CMRs of similar hearts.

    z_ecg, z_cmr: (B, D), unit norm; target: (B, B), each row a distribution over the batch. The identity gives
    ``clip_loss``.
    """
    logits = similarity(z_ecg, z_cmr, temperature)
    return 0.5 * F.cross_entropy(logits, target) + 0.5 * F.cross_entropy(logits.T, target)


def similar_hearts(traits: Tensor, width: float) -> Tensor:
    """Soft targets: softmax of minus the mean squared difference of traits over ``width``.

    traits: (B, 82), z-scored; NaN is a missing trait and counts as the mean. Returns (B, B).
    """
    filled = torch.nan_to_num(traits)
    distance = _distances(filled, filled).square() / traits.shape[1]
    return torch.softmax(-distance / width, dim=1)


def trait_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the measured traits (Eq. 4).

    predicted, target: (B, 82), z-scored; NaN in target is a missing trait.
    """
    present = ~torch.isnan(target)
    error = torch.where(present, predicted - torch.nan_to_num(target), 0.0)
    return error.square().sum() / present.sum().clamp(min=1)


def disease_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy (Eq. 4). logits: (B, 1); target: (B, 1), 0 or 1."""
    return F.binary_cross_entropy_with_logits(logits, target)


def mixed_loss(outputs: Tensor, target: Tensor, binary: Tensor) -> Tensor:
    """Mean over the measured targets: binary cross-entropy of binary columns, squared error of the others.

    outputs, target: (B, K), NaN in target is missing; binary: (K,) bool.
    """
    present = ~torch.isnan(target)
    target = torch.nan_to_num(target)
    entropy = F.binary_cross_entropy_with_logits(outputs, target, reduction="none")
    error = torch.where(binary, entropy, (outputs - target).square())
    return torch.where(present, error, 0.0).sum() / present.sum().clamp(min=1)


def total_loss(contrastive: Tensor, task: Tensor, task_weight: float) -> Tensor:
    """Total loss L_CL + lambda L_task (Eq. 5), a scalar. task_weight: lambda."""
    return contrastive + task_weight * task


def masked_patch_mse(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over masked patches (Sec. 2.1).

    predicted, target: (B, L, P); mask: (B, L), 0 is visible, 1 is masked.
    """
    return ((predicted - target).square().mean(dim=-1) * mask).sum() / mask.sum()


def patch_mse(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all patches, visible ones included (authors' code). Both (B, L, P)."""
    return (predicted - target).square().mean()


def patch_decorrelation(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - Pearson r of each ECG with its reconstruction, mean over the batch (authors' code). Both (B, L, P)."""
    x, y = (part.flatten(1) - part.flatten(1).mean(dim=1, keepdim=True) for part in (predicted, target))
    return 1 - F.cosine_similarity(x, y, dim=1).mean()


def log_cosh(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of log cosh of the error: quadratic for small errors, linear for large ones (CMAE's loss on the ECG)."""
    error = predicted - target
    return (error + F.softplus(-2 * error) - math.log(2)).mean()


def triplet_loss(z_ecg: Tensor, z_cmr: Tensor, margin: float) -> Tensor:
    """Triplet loss with semi-hard negatives (FaceNet; row Triplet): an ECG must be nearer to its own CMR by ``margin``.

    mean_i max(0, d(e_i, c_i) - d(e_i, c_n) + margin), d Euclidean. n is the nearest negative that is semi-hard,
    d(e_i, c_i) < d(e_i, c_n) < d(e_i, c_i) + margin. If no negative is semi-hard, n is the nearest one. A batch of one
    has no negative, so its loss is 0. z_ecg, z_cmr: (B, D), not normalised.
    """
    if len(z_ecg) == 1:
        return 0.0 * _distances(z_ecg, z_cmr).sum()  # zero with a gradient, so that the backward pass works
    with torch.no_grad():
        distance = _all_distances(z_ecg.double(), z_cmr.double())  # (B, B), row i for ECG i
        positive = distance.diagonal()[:, None]
        own = torch.eye(len(distance), dtype=torch.bool, device=distance.device)
        semi_hard = (distance > positive) & (distance < positive + margin) & ~own
        candidates = torch.where(semi_hard.any(dim=1, keepdim=True), semi_hard, ~own)
        negative = distance.masked_fill(~candidates, torch.inf).argmin(dim=1)
    pairs = torch.stack([torch.arange(len(negative), device=negative.device), negative], dim=1)  # (B, 2)
    near, far = _distances(z_ecg[:, None], z_cmr[pairs])[:, 0].unbind(1)  # only these distances have a gradient
    return F.relu(near - far + margin).mean()


def _all_distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances by one matrix product, in float64 for precision. a, b: (B, D). Returns (B, B)."""
    with torch.autocast(a.device.type, enabled=False):
        square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return square.clamp(min=0).sqrt()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances, exact for small ones. a: (..., P, D); b: (..., R, D). Returns (..., P, R)."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
