"""Segmentation by the library's own network: labels 0 background, 1 LV cavity, 2 LV myocardium, 3 RV.

    HeartNet.load().segment(images, spacing_mm)

Each slice is resampled to 2 mm pixels. If the field of view is wider than in training, a first pass over a few frames
locates the heart, and a second pass segments 192 mm around it. The inputs are the frame, the mean and the signed first
harmonic over the beat (see ``planes``). The harmonic needs the whole beat with its first frame near end diastole (R
wave); with fewer than eight frames each frame is segmented without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eccl_lib.data import cmr
from eccl_lib.data.segmentation.unet import postprocess

if TYPE_CHECKING:
    import torch

    from eccl_lib.data.segmentation.unet.model import UNet

HARMONIC_GAIN = 2.0  # gives the harmonic about the SD of the other planes
WEIGHTS = Path(__file__).with_name("weights.safetensors")
PIXEL_MM = 2.0
FIELD = 96  # pixels of the field of view in training and in the second pass
WIDEST = 112  # pixels of the widest field of view that needs only one pass
FEWEST_FRAMES = 8  # of a beat, for its mean and harmonic
FIRST_FRAMES = 4  # frames in the first pass
FIRST_SLICES = 6  # largest number of slices in the first pass, evenly spaced
DARK, WHITE = 0.01, 0.98  # quantiles of the clip that map to 0 and 1
BATCH = 10  # frames


@dataclass(frozen=True)
class HeartNet:
    """The network with its weights. facts: content of weights.json: training command, seed, seconds, scores."""

    model: UNet
    facts: dict[str, object]

    @classmethod
    def load(cls, path: Path | None = None) -> HeartNet:
        """Load the packaged weights, or those at ``path``. Raises DamagedError if their checksum is wrong."""
        from safetensors.torch import load_file

        from eccl_lib.data.segmentation.unet.model import UNet
        from eccl_lib.io.files import read_json, verify

        path = WEIGHTS if path is None else Path(path)
        facts = read_json(path.with_suffix(".json")) if path.with_suffix(".json").is_file() else {}
        if "sha256" in facts:
            verify(path, facts["sha256"])
        model = UNet()
        model.load_state_dict(load_file(path))
        return cls(model.eval(), facts)

    def segment(
        self, images: np.ndarray, spacing_mm: tuple[float, float], frames: Sequence[int] | None = None
    ) -> np.ndarray:
        """Labels of a stack (S, F, H, W), uint8. spacing_mm: between rows, between columns.

        frames: numbers of the frames to label; None: all. The mean and harmonic use all frames of ``images``.
        """
        images = np.asarray(images)
        if images.ndim != 4 or not images.size:
            raise ValueError(f"the images must have the shape (S, F, H, W), not {images.shape}")
        rows, columns = self.region(images, spacing_mm)
        part = images[:, :, rows, columns]
        probability = np.stack([self.probabilities(clip, spacing_mm, frames) for clip in part])
        labels = np.zeros((len(images), probability.shape[1], *images.shape[2:]), dtype=np.uint8)
        whole_beat = images.shape[1] >= FEWEST_FRAMES
        change = part.astype(np.float32).std(axis=1) if whole_beat else None
        labels[:, :, rows, columns] = postprocess.labels(probability, spacing_mm, change)
        return labels

    def region(self, images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
        """Rows and columns of the region for the second pass, centred on the LV; the whole image if it is small."""
        whole = slice(0, images.shape[2]), slice(0, images.shape[3])
        sizes = [n * step / PIXEL_MM for n, step in zip(images.shape[2:], spacing_mm, strict=True)]
        if max(sizes) <= WIDEST:
            return whole
        frames = np.unique(np.linspace(0, images.shape[1], FIRST_FRAMES, endpoint=False).astype(int))
        slices = np.unique(np.linspace(0, len(images) - 1, FIRST_SLICES).round().astype(int))
        maps = np.stack([self.probabilities(clip, spacing_mm, frames) for clip in images[slices]])
        center = postprocess.center(maps, spacing_mm)
        axes = zip(center, images.shape[2:], spacing_mm, strict=True)
        return tuple(cmr.window(middle, FIELD * PIXEL_MM, n, step) for middle, n, step in axes)

    def probabilities(
        self, clip: np.ndarray, spacing_mm: tuple[float, float], frames: Sequence[int] | None = None
    ) -> np.ndarray:
        """Label probabilities of one slice (F, H, W) at its own pixels: (frames, 4, H, W) float32."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            inputs, size = planes(clip, spacing_mm)
            inputs = inputs if frames is None else inputs[torch.as_tensor(np.asarray(frames, dtype=int))]
            outputs = torch.cat([self.model(batch) for batch in inputs.split(BATCH)])
            outputs = outputs[..., : size[0], : size[1]].softmax(1)
            return functional.interpolate(outputs, clip.shape[1:], mode="bilinear").contiguous().numpy()


def planes(clip: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[torch.Tensor, tuple[int, int]]:
    """The network's input for a slice (F, H, W): (F, 3, h, w) at 2 mm, padded to multiples of 16; and h, w unpadded.

    It is normalised like the training images: the clip's quantiles 0.01 and 0.98 map to 0 and 1, then to mean 0, SD 1.
    """
    import torch
    from torch.nn import functional

    from eccl_lib.data.segmentation.unet.model import STRIDE

    images = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
    size = tuple(max(round(n * step / PIXEL_MM), 1) for n, step in zip(clip.shape[1:], spacing_mm, strict=True))
    images = functional.interpolate(images[:, None], size, mode="bilinear", antialias=True)[:, 0]
    low, high = (float(q) for q in np.quantile(images.numpy(), (DARK, WHITE)))
    images = ((images - low) / max(high - low, 1e-6)).clamp(0, 1)
    center, spread = images.mean(), images.std().clamp(min=1e-3)
    if len(images) >= FEWEST_FRAMES:
        wave = torch.cos(torch.arange(len(images)) * (2 * torch.pi / len(images)))
        mean = images.mean(0).expand_as(images)
        harmonic = HARMONIC_GAIN * 2 * torch.einsum("f,fhw->hw", wave, images) / len(images) / spread
        harmonic = harmonic.expand_as(images)
    else:
        mean, harmonic = images, torch.zeros_like(images)
    stacked = torch.stack([(images - center) / spread, (mean - center) / spread, harmonic], 1)
    darkest = float((0 - center) / spread)
    pad = (0, -size[1] % STRIDE, 0, -size[0] % STRIDE)
    levels = torch.tensor([darkest, darkest, 0.0]).view(1, 3, 1, 1)
    return functional.pad(stacked - levels, pad) + levels, (size[0], size[1])
