"""Where an ECG encoder looks: attention weights, their rollout, and what each piece of the ECG is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.method_schema import ECCL, Arm
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.ecg_vit import EcgEncoder, grid
from eccl_lib.pipeline import models
from eccl_lib.training.datasets import EcgDataset

IDENTITY_SHARE = 0.5  # of the residual path; Abnar and Zuidema (2020)


@dataclass(frozen=True)
class AttentionMaps:
    """What a finished ECG model makes of one ECG.

    ecg: (12, T) as the model sees it. last_block, rollout: (rows, columns) of the token grid, shares that sum to 1.
    occlusion: (12, columns): of a disease the fall of its logit where that lead x stretch is zeroed, of the traits the
    root mean square change of the 82, in standard deviations.
    """

    ecg: np.ndarray
    last_block: np.ndarray
    rollout: np.ndarray
    occlusion: np.ndarray


def of_ecg(config: Config, data: Cohort, row: int, arm: Arm = ECCL) -> AttentionMaps:
    """Attention and occlusion of one participant's ECG in an arm's finished model (a ViT). row: of the cohort."""
    model = models.ecg_model(config, arm, data)
    ecg = EcgDataset(data, config).of(np.array([row]))
    blocks, shape = all_weights(model.encoder, ecg), grid(config.ecg, ecg.shape[2])
    last, through = (share[0].reshape(shape).cpu().numpy() for share in (of_class_token(blocks[-1]), rollout(blocks)))
    fallen = occlusion(model, ecg[0], config.ecg.patch_samples)  # (12, columns, outputs)
    worth = fallen.square().mean(dim=-1).sqrt() if config.disease == "traits" else fallen[..., 0]
    return AttentionMaps(ecg[0].cpu().numpy(), last, through, worth.cpu().numpy())


def weights(block: nn.Module, tokens: Tensor) -> Tensor:
    """Attention of one of timm's blocks, softmax(q k^T / sqrt d), computed anew: its fused kernel gives none out.

    tokens: (B, L, D) as they enter the block. Returns (B, heads, L, L); a row is what one token takes from each.
    """
    q, k, _ = queries_keys_values(block, tokens)
    return (block.attn.scale * q @ k.transpose(-2, -1)).softmax(dim=-1)


def queries_keys_values(block: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """tokens: (B, L, D) as they enter the block. Each (B, heads, L, D / heads)."""
    batch, length, _ = tokens.shape
    packed = block.attn.qkv(block.norm1(tokens)).reshape(batch, length, 3, block.attn.num_heads, -1)
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    return block.attn.q_norm(q), block.attn.k_norm(k), v


@torch.no_grad()
def all_weights(encoder: EcgEncoder, ecg: Tensor) -> list[Tensor]:
    """Attention of every block, first to last. ecg: (B, 12, T). Each (B, heads, 1 + L, 1 + L), class token first."""
    tokens = encoder.tokens(ecg)
    x = torch.cat([(encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(ecg), -1, -1), tokens], dim=1)
    found = []
    for block in encoder.blocks:
        found.append(weights(block, x))
        x = block(x)
    return found


def of_class_token(last: Tensor) -> Tensor:
    """What the class token takes from each patch in a block, mean over heads; shares that sum to 1.

    last: (B, heads, 1 + L, 1 + L). Returns (B, L), the class token's look at itself left out.
    """
    share = last.mean(dim=1)[:, 0, 1:]
    return share / share.sum(dim=1, keepdim=True)


def rollout(all_blocks: list[Tensor]) -> Tensor:
    """How much of each patch reaches the class token through all blocks (Abnar and Zuidema 2020, attention rollout).

    A block passes on half of its input as it is and half by attention, mean over heads: the product of these
    matrices, last block leftmost. all_blocks: each (B, heads, 1 + L, 1 + L). Returns (B, L), shares that sum to 1.
    """
    length = all_blocks[0].shape[-1]
    same = torch.eye(length, device=all_blocks[0].device)
    reach = same.expand(len(all_blocks[0]), length, length)
    for block in all_blocks:
        reach = (IDENTITY_SHARE * same + (1 - IDENTITY_SHARE) * block.mean(dim=1)) @ reach
    share = reach[:, 0, 1:]
    return share / share.sum(dim=1, keepdim=True)


@torch.no_grad()
def occlusion(outputs: Callable[[Tensor], Tensor], ecg: Tensor, stretch: int, batch: int = 64) -> Tensor:
    """What each lead x stretch of time is worth: outputs of the whole ECG minus outputs with that piece at zero.

    Zero is what the training's random crop shows of a part that is not there. outputs: (B, 12, T) to (B, K);
    ecg: (12, T); stretch: samples, a divisor of T. Returns (12, T / stretch, K).
    """
    leads, samples = ecg.shape
    if samples % stretch:
        raise ValueError(f"{samples} samples cannot be cut into stretches of {stretch}; take a divisor")
    columns = samples // stretch
    whole = outputs(ecg[None])
    fallen = []
    for first in range(0, leads * columns, batch):
        pieces = torch.arange(first, min(first + batch, leads * columns))
        changed = ecg.repeat(len(pieces), 1, 1)  # (B, 12, T)
        for k, piece in enumerate(pieces.tolist()):
            lead, column = divmod(piece, columns)
            changed[k, lead, column * stretch : (column + 1) * stretch] = 0
        fallen.append(whole - outputs(changed))
    return torch.cat(fallen).reshape(leads, columns, -1)
