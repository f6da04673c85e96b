"""Encoders, heads and the masked autoencoder, on timm's blocks."""

from eccl_lib.models.torchvision_ops import declare_missing_operators

declare_missing_operators()  # before anything imports timm
