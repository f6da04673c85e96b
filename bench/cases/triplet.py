"""The triplet loss with its gradient at batch 256, compared with a double loop over anchors and negatives."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least

BATCH, WIDTH, MARGIN = 256, 256, 2.5


def prepare(folder: Path) -> Pair:
    """Loss and gradients; the relative difference is at most 1e-5."""
    import torch

    from eccl_lib import losses

    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(BATCH, WIDTH, generator=generator) for _ in range(2)]

    def with_gradient(loss):
        def call():
            leaves = [part.clone().requires_grad_() for part in given]
            value = loss(*leaves, MARGIN)
            value.backward()
            return [value.detach(), *(leaf.grad for leaf in leaves)]

        return call

    def same(ours, theirs):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)

    return Pair(with_gradient(losses.triplet_loss), with_gradient(double_loop), same)


def double_loop(z_ecg, z_cmr, margin: float):
    """Loss with, for each anchor, the nearest semi-hard negative, or else the nearest negative."""
    total = 0.0
    for i, anchor in enumerate(z_ecg):
        positive = (anchor - z_cmr[i]).norm()
        hardest = semi_hard = None
        for j, other in enumerate(z_cmr):
            if j == i:
                continue
            distance = (anchor - other).norm()
            if hardest is None or distance < hardest:
                hardest = distance
            if positive < distance < positive + margin and (semi_hard is None or distance < semi_hard):
                semi_hard = distance
        total = total + (positive - (hardest if semi_hard is None else semi_hard) + margin).clamp(min=0)
    return total / len(z_ecg)


CASE = Case(
    "triplet loss with gradient, batch 256",
    "double Python loop",
    prepare,
    (at_least("ratio", 100),),
    place=8,
)
