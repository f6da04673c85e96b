"""What stands on an encoder: the task head h, the projections g_e and g_c, and the model of each stage."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eccl_lib.config import AlignConfig


class Projection(nn.Linear):
    """One linear layer into the shared space, on the unit sphere (g_e, g_c; Sec. 2.2)."""

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, D). Returns (B, shared width), unit norm."""
        return nn.functional.normalize(super().forward(features), dim=-1)


class Supervised(nn.Module):
    """An encoder with a task head: h(f(x))."""

    def __init__(self, encoder: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits or standardised traits, (B, outputs)."""
        return self.head(self.encoder(x))


class Aligned(Supervised):
    """Stage two on the ECG: encoder, task head, both projections. The CMR encoder is frozen and stays outside."""

    def __init__(self, encoder: nn.Module, width: int, outputs: int, cmr_width: int, config: AlignConfig) -> None:
        super().__init__(encoder, width, outputs)
        self.project_ecg = Projection(width, config.shared_width)
        self.project_cmr = Projection(cmr_width, config.shared_width)

    def forward_pair(self, ecg: Tensor, cmr_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ecg: (B, 12, T); cmr_features: (B, D) from the frozen encoder. Returns logits, z_ecg, z_cmr."""
        features = self.encoder(ecg)
        return self.head(features), self.project_ecg(features), self.project_cmr(cmr_features)


def parameters_in_millions(module: nn.Module) -> float:
    """Trainable or not, in millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6


def on_meta(build: type[nn.Module], *arguments: object) -> nn.Module:
    """The module without memory for its weights: its sizes can be read at once."""
    with torch.device("meta"):
        return build(*arguments)
