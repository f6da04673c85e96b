"""Batch normalisation over the batch of all ranks; torch's own (SyncBatchNorm) needs GPUs."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def share_statistics(model: nn.Module) -> None:
    """Let every batch norm of a model use statistics over all ranks; parameters and their names do not change."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm


class SharedBatchNorm(_BatchNorm):
    """Batch norm with mean and variance of the whole batch, and with gradients through both."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, ...), this rank's rows."""
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        over = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        # Created on the device: copying a number to a GPU would make the host wait.
        count = _Sum.apply(torch.full((), x.numel() / x.shape[1], dtype=full.dtype, device=full.device))
        mean = _Sum.apply(full.sum(over)) / count  # (C,)
        centred = full - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / count
        self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (normed * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class _Sum(torch.autograd.Function):
    """The sum over ranks; its gradient is the sum of gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient.contiguous())
