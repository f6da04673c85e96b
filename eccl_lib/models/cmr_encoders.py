"""The CMR encoders. Input: cine frames as channels, (B, F, H, W) in [-1, 1]. Output: features, (B, D)."""

from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from eccl_lib.config import registry
from eccl_lib.config.schema import Config
from eccl_lib.models.ecg_vit import vit_arguments


def swin(config: Config) -> SwinTransformer:
    """The paper's Swin (Sec. 3.1): timm's Swin without a classifier; the feature is the mean over the last grid."""
    cmr = config.cmr
    return SwinTransformer(
        img_size=config.view.clip_size,
        in_chans=config.view.clip_frames,
        patch_size=cmr.patch,
        num_classes=0,
        embed_dim=cmr.width,
        depths=cmr.depths,
        num_heads=cmr.heads,
        window_size=cmr.window,
        proj_drop_rate=cmr.dropout,
        attn_drop_rate=cmr.attention_dropout,
        drop_path_rate=cmr.drop_path,
    )


def resnet50(config: Config) -> ResNet:
    """Row ResNet50 of Table 1: timm's ResNet with bottlenecks; its feature is the mean over the last grid."""
    width, layers = config.cmr_resnet.width, config.cmr_resnet.layers
    channels = tuple(width * 2**k for k in range(len(layers)))
    stem = {"stem_type": "deep" if config.cmr_resnet.stem == "deep" else "", "stem_width": width // 2}
    return ResNet(Bottleneck, layers, num_classes=0, in_chans=config.view.clip_frames, channels=channels, **stem)


def vit(config: Config) -> VisionTransformer:
    """Row ViT of Table 1: timm's ViT over patches of all frames; its feature is the normalised class token."""
    image = {"img_size": config.view.clip_size, "in_chans": config.view.clip_frames}
    return VisionTransformer(**image, patch_size=config.cmr_vit.patch, **vit_arguments(config.cmr_vit))


# Architecture to a builder that takes the Config: a function, or a class of modules.
CMR_ENCODERS = registry.CMR_ENCODERS.define({"swin": swin, "resnet50": resnet50, "vit": vit})


def cmr_encoder(config: Config) -> nn.Module:
    """The encoder of ``config.cmr.architecture``. Its attribute ``num_features`` is D."""
    return CMR_ENCODERS[config.cmr.architecture](config)
