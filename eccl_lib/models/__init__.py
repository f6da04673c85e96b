"""Encoders, heads and the masked autoencoder, on timm's blocks."""

import warnings

from eccl_lib.models.torchvision_ops import declare_missing_operators

# timm reaches tqdm's bars for notebooks, which nobody draws here; each notebook would begin with its warning.
warnings.filterwarnings("ignore", message="IProgress not found")
declare_missing_operators()  # before anything imports timm
