"""Integrated gradients: how much each sample of each lead adds to an output of an ECG model."""

import numpy as np
import torch

from eccl_lib.pipeline import portable
from eccl_lib.pipeline.portable import EcgModel

STEPS = 128  # of the path from a silent ECG to the recording; the sum then differs by well below 1 % from the output
BINS = 100  # parts of the ten seconds in a map


def integrated_gradients(model: EcgModel, stored: np.ndarray, output: int = 0, steps: int = STEPS) -> np.ndarray:
    """Attribution of an output to each sample of the model's input (Sundararajan et al., ICML 2017, Eq. 1).

    The gradient is averaged over the straight path from a silent ECG (all zero) to this one, by the midpoint rule, and
    multiplied with the ECG. The sum is the output of this ECG minus that of the silent one. stored: (12, 5000) int16
    uV. Returns (12, T), in the output's unit.
    """
    ecg = model.scale(stored[None])
    total = torch.zeros_like(ecg)
    for part in (torch.arange(steps) + 0.5).to(ecg) / steps:
        point = (part * ecg).requires_grad_(True)
        with torch.enable_grad():
            value = model.outputs(point)[0, output]
        total += torch.autograd.grad(value, point)[0]
    return (total / steps * ecg)[0].detach().cpu().numpy()


def maps(model: EcgModel, stored: np.ndarray, output: int = 0) -> dict[str, np.ndarray]:
    """Attribution of the trained model, and of the same model with random weights, in BINS parts of the time.

    stored: (12, 5000) int16 uV. Returns name to (12, BINS).
    """
    both = {"trained": model, "random weights": portable.with_initial_weights(model)}
    return {name: binned(integrated_gradients(each, stored, output)) for name, each in both.items()}


def binned(attribution: np.ndarray) -> np.ndarray:
    """Sums over BINS parts of the time, equal up to one sample. attribution: (12, T). Returns (12, BINS)."""
    return np.stack([part.sum(axis=1) for part in np.array_split(attribution, BINS, axis=1)], axis=1)
