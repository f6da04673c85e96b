"""``python -m bench.cards``: what a batch needs on a card, computed without one, and the largest that fits 24 GB.

Whatever the batch: weights, gradients, Adam's moments and the best weights so far in fp32, weights once more in bf16,
all ECGs, and the frozen features. A sample: what autograd keeps of a bf16 forward (``saved_bytes`` on tensors
without memory) and, where it is recomputed, the largest block's once more; what its augmentation holds; clips that are
read ahead. ``KEPT_FREE`` stays for the rest. The figures are of a CPU's kernels, which keep Swin's 49 x 49 windows and
two bytes of each dropout mask, where a GPU keeps neither or one, so a card needs less.
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

CARD, KEPT_FREE = 24e9, 2e9  # bytes: an RTX 4090's; CUDA's context, kernels' scratch space
STATE = 4 * 5 + 2  # bytes a weight
PARTICIPANTS, SAMPLES = 41_519, 5000  # Sec. 3.1
AT_ONCE = PREFETCH + 2  # batches of clips: read, one that is being read, one in use
NAMES = {
    "mae": "masked autoencoder",
    "cmr": "CMR encoder, Swin-T",
    "alignment": "alignment, ViT-B on 600 tokens",
}


def needs(name: str, recompute: bool) -> tuple[float, float]:
    """Bytes whatever the batch, and bytes a sample. name: of ``NAMES``, at the paper's sizes."""
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

    Works on fake tensors too, without using that memory.
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
    """The model, at first weights."""
    if name == "mae":
        return MaskedAutoencoder(config.ecg, config.mae, SAMPLES)
    return cmr_encoder(config) if name == "cmr" else EcgEncoder(config.ecg, SAMPLES)


def inputs(name: str, config: Config, batch: int) -> list[torch.Tensor]:
    """What the model reads."""
    clip = (config.view.clip_frames, config.view.clip_size, config.view.clip_size)
    shapes = {"mae": [(12, SAMPLES), (600,)], "cmr": [clip], "alignment": [(12, SAMPLES)]}[name]
    return [torch.rand(batch, *shape) for shape in shapes]


def slope(kept: Callable[[int], int]) -> float:
    """Bytes a sample, from two batches of tensors without memory, in bf16."""
    few, more = 2, 6
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
        return (kept(more) - kept(few)) / (more - few)


def largest_block(model: nn.Module, name: str, config: Config, batch: int) -> int:
    """Bytes that autograd keeps of the transformer block that keeps most: one at a time is computed again."""
    called: list[tuple[nn.Module, tuple[Any, ...]]] = []
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    hooks = [block.register_forward_pre_hook(lambda *call: called.append(call)) for block in blocks]
    model(*inputs(name, config, batch))
    for hook in hooks:
        hook.remove()
    return max(saved_bytes(lambda block=block, given=given: block(*given)) for block, given in called)


def read_ahead(name: str, config: Config) -> int:
    """Bytes a sample of the uint8 clips that are on the card at once."""
    view = config.view
    return AT_ONCE * view.clip_size**2 * view.clip_frames if name == "cmr" else 0


def most_held(name: str, config: Config) -> float:
    """Bytes a sample that scaling and augmentation hold at their most; clips by ``grid_sample``, as on a card."""
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
    """Bytes of all tensors that are made within and still there: ``now``, and ``most`` at a time."""

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
    """Markdown, as docs/performance.md has it."""
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
