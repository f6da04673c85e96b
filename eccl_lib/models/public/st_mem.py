"""ST-MEM (Na et al. 2024): a ViT on patches of one lead, with separators and an embedding of each lead.

Compared with bakqui/ST-MEM: ``models/encoder/st_mem_vit.py``, ``util/transforms.py``, ``engine_downstream.py`` and
``configs/downstream/st_mem.yaml``, commit a73d1ef; ``models/encoder/vit.py``, ``models/st_mem.py``,
``main_pretrain.py`` and ``util/misc.py`` (checkpoint entry), commit 681a312.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from eccl_lib.config.schema import LEADS
from eccl_lib.models.public.adapter import Adapter

RATE, SAMPLES, PATCH = 250, 2250, 75  # 9 s in patches of 0.3 s
WIDTH, DEPTH, HEADS, HIDDEN = 768, 12, 12, 3072
TIMES = SAMPLES // PATCH
STARTS = (0, 125, 250)  # of the three windows of 9 s whose outputs the published evaluation averages
BAND = ((0.67, "highpass"), (40.0, "lowpass"))  # Hz; Butterworth, order 5, forwards and backwards


class Attention(nn.Module):
    """Multi-head self-attention with a bias in query, key and value."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.to_out = nn.Sequential(nn.Linear(WIDTH, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, L, D). Returns (B, L, D)."""
        query, key, value = self.to_qkv(tokens).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # (B, h, L, d)
        return self.to_out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers; the published indices 0 and 3 count a dropout, which has no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Identity(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, L, D). Returns (B, L, D)."""
        return self.net(tokens)


class Residual(nn.Module):
    """Adds a function of the normalised tokens to the tokens."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(WIDTH), function

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, L, D). Returns (B, L, D)."""
        return tokens + self.fn(self.norm(tokens))


class Block(nn.Module):
    """Attention, then the feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.ff = Residual(Attention()), Residual(FeedForward())

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, L, D). Returns (B, L, D)."""
        return self.ff(self.attn(tokens))


class StMem(nn.Module):
    """The encoder; its feature is the norm of the mean over all tokens that are no separators."""

    def __init__(self) -> None:
        super().__init__()
        embedding = (nn.LayerNorm(PATCH), nn.Linear(PATCH, WIDTH), nn.LayerNorm(WIDTH))
        self.to_patch_embedding = nn.Sequential(nn.Unflatten(-1, (TIMES, PATCH)), *embedding)
        self.pos_embedding = nn.Parameter(torch.zeros(1, TIMES + 2, WIDTH))
        self.sep_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.lead_embeddings = nn.ParameterList(torch.zeros(WIDTH) for _ in LEADS)
        for k in range(DEPTH):
            self.add_module(f"block{k}", Block())
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ecg: Tensor) -> Tensor:
        """ecg: (B, 12, 2250). Returns (B, 768)."""
        patches = self.to_patch_embedding(ecg)  # (B, 12, 30, D)
        separator = self.sep_embedding.expand(len(ecg), len(LEADS), 1, WIDTH)
        tokens = torch.cat([separator, patches, separator], dim=2) + self.pos_embedding[:, None]
        tokens = (tokens + torch.stack(list(self.lead_embeddings))[:, None]).flatten(1, 2)  # (B, 12 * 32, D)
        for k in range(DEPTH):
            tokens = self.get_submodule(f"block{k}")(tokens)
        patches = tokens.unflatten(1, (len(LEADS), -1))[:, :, 1:-1]
        return self.norm(patches.mean(dim=(1, 2)))


def prepare(ecg: Tensor) -> Tensor:
    """Three windows of 9 s at 250 Hz, each filtered, then standardised over its leads and samples together.

    ecg: (B, 12, 5000) mV. Returns (B, 3, 12, 2250).
    """
    import numpy as np
    from scipy.signal import butter, resample, sosfiltfilt

    signal = resample(ecg.cpu().numpy().astype("float64"), ecg.shape[-1] // 2, axis=-1)
    windows = np.stack([signal[..., start : start + SAMPLES] for start in STARTS], axis=1)
    for limit, kind in BAND:
        windows = sosfiltfilt(butter(5, limit, kind, fs=RATE, output="sos"), windows)
    windows = torch.from_numpy(windows.copy())
    mean, sd = windows.mean(dim=(2, 3), keepdim=True), windows.std(dim=(2, 3), keepdim=True, correction=0)
    return torch.where(sd > 0, (windows - mean) / sd, 0.0)


ADAPTER = Adapter(
    name="st_mem",
    licence="CC BY-NC, not for commercial use",
    source="bakqui/ST-MEM, commits a73d1ef and 681a312",
    download="the README of github.com/bakqui/ST-MEM (Encoder)",
    entry="model",
    dropped=(),
    seconds=SAMPLES / RATE,
    rate=RATE,
    leads=LEADS,
    scaling="0.67 to 40 Hz, then mean 0 and SD 1 over all leads and samples of a window",
    width=WIDTH,
    build=StMem,
    prepare=prepare,
)
