"""Encoders, heads and the masked autoencoder, on timm's blocks."""

import warnings

from eccl_lib.models.torchvision_ops import declare_missing_operators

# timm imports tqdm's progress bars for notebooks. They are not used here, and their warning would open each notebook.
warnings.filterwarnings("ignore", message="IProgress not found")
declare_missing_operators()  # before anything imports timm
