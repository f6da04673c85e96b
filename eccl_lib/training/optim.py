"""Optimiser, learning-rate schedule and even batches."""

import math

import numpy as np
import torch
from torch import nn

from eccl_lib.config.schema import TrainingConfig


def build_optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam as in Sec. 3.1, in one fused update; AdamW where weight decay is above 0."""
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    return kind(parameters, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True)


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Linear warm-up, then a half cosine to zero (Sec. 3.1). progress: epochs so far, with the fraction."""
    if progress < config.warmup_epochs:
        return config.lr * progress / config.warmup_epochs
    left = max(config.epochs - config.warmup_epochs, 1e-9)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min((progress - config.warmup_epochs) / left, 1.0)))


def even_batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows in order, in the fewest batches of at most ``size`` rows, whose lengths differ by at most one."""
    return np.array_split(rows, max(1, math.ceil(len(rows) / size)))
