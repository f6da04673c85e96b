"""``python -m bench.cards``: what a batch needs on a card, computed without one, and the largest that fits 24 GB.

Weights, gradients and Adam's moments in fp32, weights once more in bf16, and what autograd keeps of a bf16 forward
(``speed.saved_bytes`` on tensors without memory); ``KEPT_FREE`` stays for the rest. A CPU's kernels are looked at: they
keep Swin's 49 x 49 windows and two bytes of each dropout mask, where a GPU keeps neither or one, so a card needs less.
"""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from eccl_lib import speed
from eccl_lib.config import RuntimeConfig, load
from eccl_lib.models.cmr_encoders import SwinEncoder
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.models.vit import EcgEncoder

CARD, KEPT_FREE = 24e9, 2e9  # bytes: an RTX 4090's; CUDA's context, kernels' scratch space, one batch being read
STATE = 4 * 4 + 2  # bytes a weight


def needs(name: str, recompute: bool) -> tuple[float, float]:
    """Bytes whatever the batch, and bytes a sample. name: ``alignment``, ``mae`` or ``cmr``, at the paper's sizes."""
    config = load("paper")
    if name == "mae":
        model, shapes = MaskedAutoencoder(config.ecg, config.mae, 5000), ((12, 5000), (600,))
    elif name == "cmr":
        model, shapes = SwinEncoder(config.cmr, config.view), ((50, 224, 224),)
    else:
        model, shapes = EcgEncoder(config.ecg, 5000), ((12, 5000),)
    speed.recompute(model, recompute)
    model.train()

    def kept(batch: int) -> int:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
            inputs = [torch.rand(batch, *shape) for shape in shapes]
            return speed.saved_bytes(lambda: model(*inputs))

    few, more = kept(2), kept(6)
    weights = sum(p.numel() for p in model.parameters())
    return STATE * weights, (more - few) / 4


def main() -> None:
    """One line for each training."""
    runtime = RuntimeConfig()
    for name in ("mae", "cmr", "alignment"):
        for recompute in (runtime.recompute, not runtime.recompute):
            fixed, each = needs(name, recompute)
            fits = int((CARD - KEPT_FREE - fixed) / each)
            words = "recomputed" if recompute else "kept"
            print(f"{name}: {fixed / 1e9:.2f} GB + {each / 1e6:,.1f} MB a sample, activations {words}: {fits:,} fit")


if __name__ == "__main__":
    main()
