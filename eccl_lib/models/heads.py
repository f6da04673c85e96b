"""The task head h, the projections g_e and g_c, and the models that combine an encoder with them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from eccl_lib.config.schema import COLDEST, AlignConfig

SIGLIP_BIAS = -10.0  # initial bias of the sigmoid loss (Zhai et al. 2023)


class Temperature(nn.Module):
    """tau of the contrastive loss: fixed, or learned through its logarithm, which keeps it positive."""

    def __init__(self, start: float, *, learned: bool) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)), requires_grad=learned)

    def forward(self) -> Tensor:
        """tau, a scalar. Its gradient is that of the value without a limit, so that it can rise from the limit."""
        tau = self.log.exp()
        return tau + (tau.clamp(min=COLDEST) - tau).detach()


class Projection(nn.Linear):
    """A linear layer into the shared space (g_e, g_c; Sec. 2.2), with unit norm where ``unit`` is set."""

    def __init__(self, width: int, shared: int, *, unit: bool = True) -> None:
        super().__init__(width, shared)
        self.unit = unit

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, D). Returns (B, shared width)."""
        z = super().forward(features)
        return nn.functional.normalize(z, dim=-1) if self.unit else z


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
    """The ECG model of stage two: encoder, task head, both projections. The frozen CMR encoder is not part of it.

    unit: whether z has unit norm. The contrastive loss needs it; the triplet loss uses z as it is.
    auxiliary: number of outputs of a second head, for further targets; 0: none.
    """

    def __init__(
        self, supervised: Supervised, cmr_width: int, config: AlignConfig, *, unit: bool = True, auxiliary: int = 0
    ) -> None:
        super().__init__(supervised.encoder, supervised.head.in_features, supervised.head.out_features)
        self.head = supervised.head
        self.project_ecg = Projection(self.head.in_features, config.shared_width, unit=unit)
        self.project_cmr = Projection(cmr_width, config.shared_width, unit=unit)
        self.temperature = Temperature(config.temperature, learned=config.learn_temperature and unit)
        self.auxiliary = nn.Linear(self.head.in_features, auxiliary) if auxiliary else None
        if config.contrastive == "siglip":
            self.bias = nn.Parameter(torch.tensor(SIGLIP_BIAS))

    def forward_pair(self, ecg: Tensor, cmr_features: Tensor) -> tuple[Tensor, ...]:
        """ecg: (B, 12, T); cmr_features: (B, D) from the frozen encoder. Returns logits, z_ecg, z_cmr.

        With an auxiliary head, its outputs come after z_ecg.
        """
        return *self.forward_ecg(ecg), self.project_cmr(cmr_features)

    def forward_ecg(self, ecg: Tensor) -> tuple[Tensor, ...]:
        """ecg: (B, 12, T). Returns logits, z_ecg and, with an auxiliary head, its outputs."""
        features = self.encoder(ecg)
        outputs = self.head(features), self.project_ecg(features)
        return outputs if self.auxiliary is None else (*outputs, self.auxiliary(features))


def parameters_in_millions(module: nn.Module) -> float:
    """Number of parameters, trainable or not, in millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6


def on_meta(build: Callable[..., nn.Module], *arguments: object) -> nn.Module:
    """Build a module on torch's meta device, which allocates no weights, to read its sizes."""
    with torch.device("meta"):
        return build(*arguments)
