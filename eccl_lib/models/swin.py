"""The CMR encoder: a Swin Transformer that sees a cine's 50 frames as channels (Sec. 3.1)."""

from __future__ import annotations

from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from eccl_lib.config import CmrEncoderConfig, ViewConfig


class CmrEncoder(SwinTransformer):
    """timm's Swin without a classifier; its feature is the mean over the last grid."""

    def __init__(self, config: CmrEncoderConfig, view: ViewConfig) -> None:
        super().__init__(
            img_size=view.clip_size,
            patch_size=config.patch,
            in_chans=view.clip_frames,
            num_classes=0,
            embed_dim=config.width,
            depths=config.depths,
            num_heads=config.heads,
            window_size=config.window,
            proj_drop_rate=config.dropout,
            attn_drop_rate=config.attention_dropout,
            drop_path_rate=config.drop_path,
        )

    def forward(self, clip: Tensor) -> Tensor:
        """clip: (B, F, H, W) in [-1, 1]. Returns (B, D)."""
        return self.forward_head(self.forward_features(clip))
