"""Attention weights, attention rollout and occlusion maps of an ECG encoder."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from eccl_lib import figures
from eccl_lib.config.method_schema import ECCL, Arm
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.ecg_vit import EcgEncoder, grid
from eccl_lib.pipeline import models
from eccl_lib.tasks import task_of
from eccl_lib.training.datasets import EcgDataset
from eccl_lib.training.runs import Run

IDENTITY_SHARE = 0.5  # weight of the residual path; Abnar and Zuidema (2020)


@dataclass(frozen=True)
class AttentionMaps:
    """Attention and occlusion maps of one ECG.

    ecg: (12, T), model input. last_block, rollout: (rows, columns) of the token grid, sum 1. occlusion: (12, columns),
    effect of setting that segment to zero: decrease of the logit for a disease; root mean square change of the
    standardized outputs for traits.
    """

    ecg: np.ndarray
    last_block: np.ndarray
    rollout: np.ndarray
    occlusion: np.ndarray


def attention_of_ecg(config: Config, data: Cohort, row: int, arm: Arm = ECCL) -> AttentionMaps:
    """Attention and occlusion maps of one participant's ECG in an arm's finished ViT. row: cohort row."""
    model = models.ecg_model(config, arm, data)
    ecg = EcgDataset(data, config).of(np.array([row]))
    blocks, shape = attention_of_all_blocks(model.encoder, ecg), grid(config.ecg, ecg.shape[2])
    both = class_token_attention(blocks[-1]), rollout(blocks)
    last_block, through_all = (attention[0].reshape(shape).cpu().numpy() for attention in both)
    change = occlusion(model, ecg[0], config.ecg.patch_samples)  # (12, columns, outputs)
    effect = change[..., 0] if task_of(config).is_disease else change.square().mean(dim=-1).sqrt()
    return AttentionMaps(ecg[0].cpu().numpy(), last_block, through_all, effect.cpu().numpy())


def example_row(run: Run) -> int:
    """Cohort row of the test participant with the highest disease score; for traits, the first one."""
    predictions = run.predictions.set_index("row")
    disease = f"score_{run.task}"
    return int(predictions[disease].idxmax() if disease in predictions else predictions.index[0])


def attention_figure(maps: AttentionMaps, config: Config) -> Figure:
    """Figure of the attention and occlusion maps of one ECG."""
    task = task_of(config)
    traits = f"RMS change of {task.outputs} trait{'s' * (task.outputs > 1)} (SD)"
    output = f"decrease of the {config.disease} logit" if task.is_disease else traits
    attention = {"last block": maps.last_block, "rollout": maps.rollout}
    return figures.attention_maps(maps.ecg, attention, maps.occlusion, config.view.ecg_rate, output=output)


def attention_weights(block: nn.Module, tokens: Tensor) -> Tensor:
    """Attention softmax(q k^T / sqrt d) of a timm block, recomputed because the fused kernel does not return it.

    tokens: (B, L, D), input of the block. Returns (B, heads, L, L); each row sums to 1.
    """
    q, k, _ = queries_keys_values(block, tokens)
    return (block.attn.scale * q @ k.transpose(-2, -1)).softmax(dim=-1)


def queries_keys_values(block: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of a timm block, each (B, heads, L, D / heads). tokens: (B, L, D), input of the block."""
    batch, length, _ = tokens.shape
    packed = block.attn.qkv(block.norm1(tokens)).reshape(batch, length, 3, block.attn.num_heads, -1)
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    return block.attn.q_norm(q), block.attn.k_norm(k), v


@torch.no_grad()
def attention_of_all_blocks(encoder: EcgEncoder, ecg: Tensor) -> list[Tensor]:
    """Attention of every block in order, each (B, heads, 1 + L, 1 + L), class token first. ecg: (B, 12, T)."""
    tokens = encoder.tokens(ecg)
    x = torch.cat([(encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(ecg), -1, -1), tokens], dim=1)
    attention = []
    for block in encoder.blocks:
        attention.append(attention_weights(block, x))
        x = block(x)
    return attention


def class_token_attention(block: Tensor) -> Tensor:
    """Attention of the class token to each patch, averaged over heads and normalized to sum 1.

    block: (B, heads, 1 + L, 1 + L). Returns (B, L), without the class token itself.
    """
    share = block.mean(dim=1)[:, 0, 1:]
    return share / share.sum(dim=1, keepdim=True)


def rollout(all_blocks: list[Tensor]) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020): contribution of each patch to the class token through all blocks.

    Product over blocks of (identity + head-averaged attention) / 2, last block leftmost.
    all_blocks: each (B, heads, 1 + L, 1 + L). Returns (B, L), sum 1.
    """
    length = all_blocks[0].shape[-1]
    identity = torch.eye(length, device=all_blocks[0].device)
    product = identity.expand(len(all_blocks[0]), length, length)
    for block in all_blocks:
        product = (IDENTITY_SHARE * identity + (1 - IDENTITY_SHARE) * block.mean(dim=1)) @ product
    return class_token_attention(product[:, None])


@torch.no_grad()
def occlusion(outputs: Callable[[Tensor], Tensor], ecg: Tensor, segment: int, batch: int = 64) -> Tensor:
    """Occlusion map: outputs for the whole ECG minus outputs with one segment of one lead set to zero.

    The random crop of the training also sets samples to zero. outputs: function of (B, 12, T) to (B, K). ecg: (12, T).
    segment: samples, a divisor of T; otherwise ValueError is raised. Returns (12, T / segment, K).
    """
    leads, samples = ecg.shape
    if samples % segment:
        raise ValueError(f"{samples} samples cannot be divided into segments of {segment}; choose a divisor")
    columns = samples // segment
    whole = outputs(ecg[None])
    changes = []
    for first in range(0, leads * columns, batch):
        positions = range(first, min(first + batch, leads * columns))
        occluded = ecg.repeat(len(positions), 1, 1)  # (B, 12, T)
        for k, position in enumerate(positions):
            lead, column = divmod(position, columns)
            occluded[k, lead, column * segment : (column + 1) * segment] = 0
        changes.append(whole - outputs(occluded))
    return torch.cat(changes).reshape(leads, columns, -1)
