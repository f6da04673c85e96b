"""The CMR encoders: cine frames are channels, (B, F, H, W) in [-1, 1]; each returns one feature, (B, D)."""

from __future__ import annotations

from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eccl_lib.config.schema import CmrEncoderConfig, CmrResnetConfig, CmrVitConfig, Config, ViewConfig


class SwinEncoder(SwinTransformer):
    """The paper's Swin (Sec. 3.1): timm's without a classifier; its feature is the mean over the last grid."""

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
        """clip: (B, F, H, W). Returns (B, D)."""
        return self.forward_head(self.forward_features(clip))


class ResnetEncoder(ResNet):
    """Row ResNet50 of Table 1: timm's ResNet with bottlenecks; its feature is the mean over the last grid."""

    def __init__(self, config: CmrResnetConfig, view: ViewConfig) -> None:
        super().__init__(
            Bottleneck,
            config.layers,
            num_classes=0,
            in_chans=view.clip_frames,
            stem_type="deep" if config.stem == "deep" else "",
            stem_width=config.width // 2,
            channels=tuple(config.width * 2**k for k in range(len(config.layers))),
        )


class VitEncoder(VisionTransformer):
    """Row ViT of Table 1: timm's ViT over patches of all frames; its feature is the normalised class token."""

    def __init__(self, config: CmrVitConfig, view: ViewConfig) -> None:
        super().__init__(
            img_size=view.clip_size,
            patch_size=config.patch,
            in_chans=view.clip_frames,
            num_classes=0,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            proj_drop_rate=config.dropout,
        )


def cmr_encoder(config: Config) -> nn.Module:
    """The encoder of ``config.cmr.architecture``; ``num_features`` is its D."""
    if config.cmr.architecture == "resnet50":
        return ResnetEncoder(config.cmr_resnet, config.view)
    if config.cmr.architecture == "vit":
        return VitEncoder(config.cmr_vit, config.view)
    return SwinEncoder(config.cmr, config.view)
