"""A small U-Net that segments the heart, trained only on generated images."""
