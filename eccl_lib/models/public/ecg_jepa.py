"""ECG-JEPA (Kim 2024): a ViT on 8 leads whose tokens attend to their own lead and their own time.

Compared with sehunfromdaegu/ECG_JEPA in its fork xonobo/ECG_JEPA, commit 9772ce3: ``ecg_jepa.py``, ``models.py``
(sizes, checkpoint entry) and ``ecg_data.py`` (leads, rate, no scaling). The encoder with rotary positions of commit
1c55cc2 of the original has other keys and is not supported.
"""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from eccl_lib.config.schema import LEADS
from eccl_lib.models.public.adapter import Adapter

USED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
RATE, SECONDS, PATCH = 250, 10, 50  # samples of one patch: 0.2 s
WIDTH, DEPTH, HEADS = 768, 12, 16
TIMES = RATE * SECONDS // PATCH


class Blocks(nn.Module):
    """Transformer blocks; the positions are added before each of them."""

    def __init__(self) -> None:
        super().__init__()
        # LayerNorm of torch: eps is 1e-5, timm's own is 1e-6.
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS, norm_layer=nn.LayerNorm) for _ in range(DEPTH))

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """tokens: (B, L, D); positions: (L, D); mask: (L, L), added to the attention. Returns (B, L, D)."""
        for block in self.blocks:
            tokens = block(tokens + positions, attn_mask=mask)
        return tokens


class EcgJepa(nn.Module):
    """The context encoder; its feature is the mean over all tokens after the last norm."""

    def __init__(self) -> None:
        super().__init__()
        self.W_P = nn.Linear(PATCH, WIDTH)
        self.pos_embed = nn.Parameter(torch.zeros(len(USED) * TIMES, WIDTH))  # in the file
        self.encoder_blocks = Blocks()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ecg: Tensor) -> Tensor:
        """ecg: (B, 8, 2500). Returns (B, 768)."""
        tokens = self.W_P(ecg.reshape(len(ecg), -1, PATCH))  # (B, 400, D), lead by lead
        mask = cross_mask(len(USED), TIMES).to(tokens)
        return self.norm(self.encoder_blocks(tokens, self.pos_embed, mask)).mean(dim=1)


def cross_mask(leads: int, times: int) -> Tensor:
    """0 between tokens of the same lead or the same time, -inf between others. Returns (L, L)."""
    lead, time = torch.arange(leads).repeat_interleave(times), torch.arange(times).repeat(leads)
    related = (lead[:, None] == lead) | (time[:, None] == time)
    return torch.zeros(related.shape).masked_fill(~related, float("-inf"))


def prepare(ecg: Tensor) -> Tensor:
    """Eight leads at 250 Hz, by Fourier resampling, in mV. ecg: (B, 12, 5000) mV. Returns (B, 1, 8, 2500)."""
    from scipy.signal import resample

    used = ecg[:, [LEADS.index(lead) for lead in USED]].cpu().numpy().astype("float64")
    return torch.from_numpy(resample(used, RATE * SECONDS, axis=-1))[:, None]


ADAPTER = Adapter(
    name="ecg_jepa",
    licence="MIT",
    source="sehunfromdaegu/ECG_JEPA, in its fork xonobo/ECG_JEPA, commit 9772ce3",
    download="the README of github.com/sehunfromdaegu/ECG_JEPA (multiblock_epoch100.pth or random_epoch100.pth)",
    entry="encoder",
    dropped=(),
    seconds=SECONDS,
    rate=RATE,
    leads=USED,
    scaling="none, mV",
    width=WIDTH,
    build=EcgJepa,
    prepare=prepare,
)
