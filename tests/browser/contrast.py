"""Contrast of the pixels of an element (WCAG 2.2: 4.5 for text)."""

import io

import numpy as np
from matplotlib.image import imread

LEAST = 4.5


def contrast(png: bytes) -> float:
    """Contrast ratio between the darkest and the lightest of the common luminances in a screenshot."""
    pixels = imread(io.BytesIO(png), format="png")[..., :3].astype(float)
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    low, high = np.quantile(luminance, (0.005, 0.995))  # a few pixels of a border are no text
    return float((high + 0.05) / (low + 0.05))
