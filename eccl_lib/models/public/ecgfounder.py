"""ECGFounder (Li et al. 2024), 12 leads: a 1-D convolutional network trained on 150 diagnoses.

Compared with PKUDigitalHealth/ECGFounder, commits 39477db and 68d25f2: ``finetune_model.py`` (sizes, checkpoint entry,
classifier) and ``dataset.py`` (leads, scaling). ``net1d.py`` was read in the copy of Verma-Lab/ECGFounder-ukb, commit
7c6b800; rate and scaling for PTB-XL in that copy's ``ptbxl_eval.py``, commit f1466cc, which has no filter.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from eccl_lib.config.schema import LEADS
from eccl_lib.models.public.adapter import Adapter

FIRST, KERNEL, STRIDE, GROUP = 64, 16, 2, 16  # channels after the first convolution; channels in one group
STAGES = ((64, 2), (160, 2), (160, 2), (400, 3), (400, 3), (1024, 4), (1024, 4))  # channels and blocks


class SameConv(nn.Module):
    """Convolution with zero padding to ceil(T / stride) samples; of an odd padding the right side has one more."""

    def __init__(self, channels: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, outputs, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, T). Returns (B, outputs, ceil(T / stride))."""
        kernel, stride, samples = self.conv.kernel_size[0], self.conv.stride[0], x.shape[-1]
        total = max(0, (-(-samples // stride) - 1) * stride + kernel - samples)
        return self.conv(pad(x, (total // 2, total - total // 2)))


class Block(nn.Module):
    """Residual bottleneck with squeeze and excitation. first: without the activation before the first convolution."""

    def __init__(self, channels: int, outputs: int, stride: int, first: bool) -> None:
        super().__init__()
        self.stride, self.first, self.added = stride, first, outputs - channels
        self.conv1 = SameConv(channels, outputs)
        self.conv2 = SameConv(outputs, outputs, KERNEL, stride, outputs // GROUP)
        self.conv3 = SameConv(outputs, outputs)
        self.se_fc1, self.se_fc2 = nn.Linear(outputs, outputs // 2), nn.Linear(outputs // 2, outputs)
        # The published model has these keys and never applies them (use_bn=False).
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm1d(size) for size in (channels, outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, T). Returns (B, outputs, ceil(T / stride))."""
        out = self.conv1(x if self.first else silu(x))
        out = self.conv3(silu(self.conv2(silu(out))))
        gate = self.se_fc2(silu(self.se_fc1(out.mean(dim=-1)))).sigmoid()
        if self.stride > 1:
            x = nn.functional.max_pool1d(pad(x, (0, self.stride - 1)), self.stride)
        before = self.added // 2
        return out * gate[..., None] + pad(x, (0, 0, before, self.added - before))


class Stage(nn.Module):
    """Blocks of one width; the first halves the rate."""

    def __init__(self, channels: int, outputs: int, blocks: int, first: bool) -> None:
        super().__init__()
        sizes = [(channels, STRIDE, first)] + [(outputs, 1, False)] * (blocks - 1)
        self.block_list = nn.Sequential(*(Block(size, outputs, stride, start) for size, stride, start in sizes))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, T). Returns (B, outputs, ceil(T / 2))."""
        return self.block_list(x)


class EcgFounder(nn.Module):
    """The network up to the mean over time, before the classifier ``dense``."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = SameConv(len(LEADS), FIRST, KERNEL, STRIDE)
        self.first_bn = nn.BatchNorm1d(FIRST)  # a key only, as in Block
        widths = [FIRST, *(width for width, _ in STAGES)]
        stages = (Stage(widths[k], width, blocks, k == 0) for k, (width, blocks) in enumerate(STAGES))
        self.stage_list = nn.Sequential(*stages)

    def forward(self, ecg: Tensor) -> Tensor:
        """ecg: (B, 12, T). Returns (B, 1024)."""
        return self.stage_list(silu(self.first_conv(ecg))).mean(dim=-1)


def prepare(ecg: Tensor) -> Tensor:
    """Standardise each ECG over all leads and samples together. ecg: (B, 12, 5000) mV. Returns (B, 1, 12, 5000)."""
    ecg = ecg.to(torch.float64)
    mean, sd = ecg.mean(dim=(1, 2), keepdim=True), ecg.std(dim=(1, 2), keepdim=True, correction=0)
    return ((ecg - mean) / (sd + 1e-8))[:, None]


ADAPTER = Adapter(
    name="ecgfounder",
    licence="MIT",
    source="PKUDigitalHealth/ECGFounder, commit 39477db; net1d.py of Verma-Lab/ECGFounder-ukb, commit 7c6b800",
    download="huggingface.co/PKUDigitalHealth/ECGFounder (12_lead_ECGFounder.pth)",
    entry="state_dict",
    dropped=("dense.weight", "dense.bias"),
    seconds=10,
    rate=500,
    leads=LEADS,
    scaling="mean 0 and SD 1 over all leads and samples of a recording",
    width=1024,
    build=EcgFounder,
    prepare=prepare,
)
