"""The ECG encoder: a Vision Transformer over patches of leads x samples (Sec. 3.1)."""

from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eccl_lib.config.schema import LEADS, CmrVitConfig, EcgEncoderConfig


def grid(config: EcgEncoderConfig, samples: int) -> tuple[int, int]:
    """Number of patches along leads and time; 12 x 5000 in patches of 1 x 100 gives (12, 50), 600 tokens."""
    return len(LEADS) // config.patch_leads, samples // config.patch_samples


def positions(width: int, shape: tuple[int, int]) -> Tensor:
    """Fixed 2-D sine-cosine position embedding, zero for the class token, which is first. Returns (1, 1 + L, D).

    Not stated in the paper; as MAE (He et al. 2022) and the authors' code.
    """
    table = build_sincos2d_pos_embed(list(shape), dim=width)  # (L, D)
    return torch.cat([torch.zeros(1, width), table])[None]


def vit_arguments(config: EcgEncoderConfig | CmrVitConfig, dropout: float | None = None) -> dict[str, Any]:
    """Arguments of timm's ViT without a classifier: width, depth, heads and dropout (the config's by default)."""
    dropout = config.dropout if dropout is None else dropout
    shape = {"embed_dim": config.width, "depth": config.depth, "num_heads": config.heads}
    return {**shape, "num_classes": 0, "proj_drop_rate": dropout}


class EcgEncoder(VisionTransformer):
    """timm's ViT on one-channel "images" of 12 leads x T samples; its feature is the normalised class token.

    pooling: ``mean`` uses the mean of the other tokens instead.
    """

    pooling = "class"

    def __init__(self, config: EcgEncoderConfig, samples: int, dropout: float | None = None) -> None:
        image = {"img_size": (len(LEADS), samples), "in_chans": 1}
        patch = (config.patch_leads, config.patch_samples)
        super().__init__(**image, patch_size=patch, **vit_arguments(config, dropout))
        del self.pos_embed
        self.register_buffer("pos_embed", positions(config.width, grid(config, samples)), persistent=False)

    def forward(self, ecg: Tensor) -> Tensor:
        """ecg: (B, 12, T), scaled by ``data.ecg.scale``. Returns (B, D)."""
        tokens = self.forward_features(ecg[:, None])  # (B, 1 + L, D)
        return tokens[:, 0] if self.pooling == "class" else tokens[:, 1:].mean(dim=1)

    def tokens(self, ecg: Tensor) -> Tensor:
        """Embedded patches with their positions, before attention. ecg: (B, 12, T). Returns (B, L, D)."""
        return self.patch_embed(ecg[:, None]) + self.pos_embed[:, 1:]

    def encode(self, tokens: Tensor) -> Tensor:
        """Apply all blocks to any subset of tokens. tokens: (B, l, D). Returns (B, 1 + l, D), the class token first."""
        start = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return self.norm(self.blocks(torch.cat([start, tokens], dim=1)))


def patchify(ecg: Tensor, config: EcgEncoderConfig) -> Tensor:
    """Split ECGs into patches, in the order of the tokens. ecg: (B, 12, T). Returns (B, L, leads x samples)."""
    batch, leads, samples = ecg.shape
    rows, columns = grid(config, samples)
    blocks = ecg.reshape(batch, rows, leads // rows, columns, samples // columns)
    return blocks.transpose(2, 3).reshape(batch, rows * columns, -1)


def unpatchify(patches: Tensor, config: EcgEncoderConfig) -> Tensor:
    """The inverse of ``patchify``. patches: (B, L, leads x samples). Returns (B, 12, T)."""
    batch, tokens, _ = patches.shape
    rows = len(LEADS) // config.patch_leads
    blocks = patches.reshape(batch, rows, tokens // rows, config.patch_leads, config.patch_samples)
    return blocks.transpose(2, 3).reshape(batch, len(LEADS), -1)


def initialise(module: nn.Module) -> None:
    """Initialise a linear layer as in ViT: Xavier weights, zero bias."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
