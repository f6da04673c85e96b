"""``python -m bench.cards``: memory of a training on a GPU and the largest batch in 24 GB, computed without a GPU.

Fixed memory: weights, gradients, Adam's moments and the best weights so far in fp32, a copy of the weights in bf16, all
ECGs, and the frozen features. Memory per sample: the tensors that autograd stores in a bf16 forward pass
(``saved_bytes`` on fake tensors); with recomputation, also those of the largest block; the memory of the augmentation;
the clips that are read ahead. ``KEPT_FREE`` is left for everything else. A GPU needs less than these values, because
they assume the kernels of a CPU. These store Swin's 49 x 49 attention matrices, which a GPU does not store, and two
bytes per element of a dropout mask instead of one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from eccl_lib.config.load import load
from eccl_lib.config.schema import Config
from eccl_lib.data import bilinear, cmr, ecg
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.training import performance
from eccl_lib.training.datasets import PREFETCH
from eccl_lib.training.performance import BLOCKS

CARD, KEPT_FREE = 24e9, 2e9  # bytes: memory of an RTX 4090; CUDA context and workspace of the kernels
STATE = 4 * 5 + 2  # bytes per weight
PARTICIPANTS, SAMPLES = 41_519, 5000  # Sec. 3.1
AT_ONCE = PREFETCH + 2  # batches of clips: prefetched, one being read, one in use
NAMES = {
    "mae": "masked autoencoder",
    "cmr": "CMR encoder, Swin-T",
    "alignment": "alignment, ViT-B on 600 tokens",
}


def needs(name: str, recompute: bool) -> tuple[float, float]:
    """Fixed bytes and bytes per sample of a model at the paper's size. name: a key of ``NAMES``."""
    config = load("paper")
    model = new(name, config).train()
    fixed = STATE * sum(p.numel() for p in model.parameters())
    each = most_held(name, config) + read_ahead(name, config)
    if name != "cmr":
        fixed += PARTICIPANTS * 12 * SAMPLES * 2  # int16, ``datasets.EcgDataset``
    if name == "alignment":
        with torch.device("meta"):
            fixed += PARTICIPANTS * cmr_encoder(config).num_features * 4  # ``steps.CmrFeatures``
    if recompute:
        each += slope(lambda batch: largest_block(model, name, config, batch))
        performance.recompute(model)
    return fixed, each + slope(lambda batch: saved_bytes(lambda: model(*inputs(name, config, batch))))


def saved_bytes(function: Callable[[], Tensor]) -> int:
    """Bytes that autograd stores between forward and backward of one call, without parameters.

    With fake tensors, the call does not use this memory.
    """
    seen: dict[Any, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and not (tensor._base is not None and tensor._base.is_leaf):
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()
            kept.append(storage)  # so that no other tensor reuses its memory
        return tensor

    kept: list[Any] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(seen.values())


def new(name: str, config: Config) -> nn.Module:
    """A new model with initial weights."""
    if name == "mae":
        return MaskedAutoencoder(config.ecg, config.mae, SAMPLES)
    return cmr_encoder(config) if name == "cmr" else EcgEncoder(config.ecg, SAMPLES)


def inputs(name: str, config: Config, batch: int) -> list[torch.Tensor]:
    """Random inputs of the model."""
    clip = (config.view.clip_frames, config.view.clip_size, config.view.clip_size)
    shapes = {"mae": [(12, SAMPLES), (600,)], "cmr": [clip], "alignment": [(12, SAMPLES)]}[name]
    return [torch.rand(batch, *shape) for shape in shapes]


def slope(kept: Callable[[int], int]) -> float:
    """Bytes per sample in bf16, from two batch sizes of fake tensors. kept: batch size to bytes."""
    few, more = 2, 6
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
        return (kept(more) - kept(few)) / (more - few)


def largest_block(model: nn.Module, name: str, config: Config, batch: int) -> int:
    """Most bytes that autograd stores for one transformer block; one block at a time is recomputed."""
    called: list[tuple[nn.Module, tuple[Any, ...]]] = []
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    hooks = [block.register_forward_pre_hook(lambda *call: called.append(call)) for block in blocks]
    model(*inputs(name, config, batch))
    for hook in hooks:
        hook.remove()
    return max(saved_bytes(lambda block=block, given=given: block(*given)) for block, given in called)


def read_ahead(name: str, config: Config) -> int:
    """Bytes per sample of the uint8 clips that are on the GPU at once."""
    view = config.view
    return AT_ONCE * view.clip_size**2 * view.clip_frames if name == "cmr" else 0


def most_held(name: str, config: Config) -> float:
    """Peak bytes per sample of scaling and augmentation; clips use ``grid_sample``, as on a GPU."""
    view, batch = config.view, 2
    one = torch.zeros(batch)
    clips = torch.zeros(batch, view.clip_size, view.clip_size, view.clip_frames, dtype=torch.uint8).permute(0, 3, 1, 2)
    ecgs = torch.zeros(batch, 12, SAMPLES, dtype=torch.int16)
    with torch.no_grad(), mock.patch.object(bilinear, "_exact", return_value=False), Held() as held:
        if name == "cmr":
            cmr.transform(clips, one, one, torch.zeros(batch, 2), one > 0)
        else:
            ecg.transform(ecg.scale(ecgs.clone(), view), one, one, one > 0, one > 0)
    return held.most / batch


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that were created inside and still exist: ``now``, and the peak ``most``."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self.sizes = 0, 0, {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.sizes:
                self.sizes[key] = tensor.untyped_storage().nbytes()
                self.now += self.sizes[key]
                self.most = max(self.most, self.now)
                weakref.finalize(tensor.untyped_storage(), self._gone, key)
        return found

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


def table() -> str:
    """The Markdown table of docs/performance.md."""
    head = ("model at the paper's size", "fixed memory", "memory per sample, activations stored / recomputed")
    lines = [f"| {' | '.join(head)} | largest batch in 24 GB, stored / recomputed |", "|---" * 4 + "|"]
    for name, title in NAMES.items():
        (fixed, kept), (_, again) = (needs(name, recompute) for recompute in (False, True))
        fits = [int((CARD - KEPT_FREE - fixed) / each) for each in (kept, again)]
        sample = f"{kept / 1e6:.0f} / {again / 1e6:.0f} MB"
        lines.append(f"| {title} | {fixed / 1e9:.1f} GB | {sample} | {fits[0]:,} / {fits[1]:,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
