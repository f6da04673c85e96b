"""Where the heart is, by our own network: labels 0 background, 1 LV cavity, 2 LV myocardium, 3 RV.

    HeartNet.load().segment(images, spacing_mm, slice_step_mm)

Each slice is brought to 2 mm pixels. Where the field of view is wider than the pictures the network learned from, a
first look at few frames finds the heart in the whole stack and the second look sees 192 mm round it. Frame, mean and
signed first harmonic over the beat go in (see ``pictures``); the harmonic needs the whole beat and a first frame near
end-diastole (R wave), so that fewer than eight frames are segmented each on its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eccl_lib.data.segmentation.unet import postprocess

if TYPE_CHECKING:
    import torch

    from eccl_lib.data.segmentation.unet.model import UNet

WEIGHTS = Path(__file__).with_name("weights.safetensors")
PIXEL_MM = 2.0
FIELD = 96  # pixels of the second look: what the network learned from
WIDEST = 112  # up to so many pixels one look is enough
FEWEST_FRAMES = 8  # of a beat, for its mean and harmonic
FIRST_LOOK = 4  # frames
FIRST_SLICES = 6  # at most, evenly spread
DARK, WHITE = 0.01, 0.98  # quantiles of the clip
AT_ONCE = 10  # frames


@dataclass(frozen=True)
class HeartNet:
    """The network with its weights. facts: what weights.json says about them."""

    model: UNet
    facts: dict[str, object]

    @classmethod
    def load(cls, path: Path | None = None) -> HeartNet:
        """The packaged weights, or others. Raises DamagedError where they are not what their .json says."""
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

    def __call__(
        self, images: np.ndarray, spacing_mm: tuple[float, float], slice_step_mm: float | None = None
    ) -> np.ndarray:
        return self.segment(images, spacing_mm, slice_step_mm)

    def segment(
        self,
        images: np.ndarray,
        spacing_mm: tuple[float, float],
        slice_step_mm: float | None = None,
        frames: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Labels of a stack (S, F, H, W), uint8. spacing_mm: between rows, between columns.

        frames: label these alone, (S, frames, H, W); all that are given still tell what beats.
        """
        images = np.asarray(images)
        if images.ndim != 4 or not images.size:
            raise ValueError(f"a stack of slices is (S, F, H, W), not {images.shape}")
        place = self.place(images, spacing_mm)
        rows, columns = place
        part = images[:, :, rows, columns]
        some = None if frames is None else np.asarray(frames, dtype=int)
        probability = np.stack([self.probabilities(clip, spacing_mm, some) for clip in part])
        labels = np.zeros((len(images), probability.shape[1], *images.shape[2:]), dtype=np.uint8)
        whole_beat = images.shape[1] >= FEWEST_FRAMES
        change = part.astype(np.float32).std(axis=1) if whole_beat else None
        labels[:, :, rows, columns] = postprocess.labels(probability, spacing_mm, change)
        return labels

    def place(self, images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
        """The part of the picture for the second look: rows, columns."""
        whole = slice(0, images.shape[2]), slice(0, images.shape[3])
        sizes = [n * step / PIXEL_MM for n, step in zip(images.shape[2:], spacing_mm, strict=True)]
        if max(sizes) <= WIDEST:
            return whole
        few = np.unique(np.linspace(0, images.shape[1], FIRST_LOOK, endpoint=False).astype(int))
        spread = np.unique(np.linspace(0, len(images) - 1, FIRST_SLICES).round().astype(int))
        maps = np.stack([self.probabilities(clip, spacing_mm, few) for clip in images[spread]])
        center = postprocess.center(maps, spacing_mm)
        found = []
        for middle, n, step in zip(center, images.shape[2:], spacing_mm, strict=True):
            side = min(round(FIELD * PIXEL_MM / step), n)
            first = min(max(round(middle - side / 2), 0), n - side)
            found.append(slice(first, first + side))
        return found[0], found[1]

    def probabilities(
        self, clip: np.ndarray, spacing_mm: tuple[float, float], frames: np.ndarray | None = None
    ) -> np.ndarray:
        """Of one slice (F, H, W), at its own pixels: (frames, 4, H, W) float32."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            inputs, size = planes(clip, spacing_mm)
            inputs = inputs if frames is None else inputs[torch.as_tensor(frames)]
            outputs = torch.cat([self.model(some) for some in inputs.split(AT_ONCE)])
            outputs = outputs[..., : size[0], : size[1]].softmax(1)
            return functional.interpolate(outputs, clip.shape[1:], mode="bilinear").contiguous().numpy()


def planes(clip: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[torch.Tensor, tuple[int, int]]:
    """What the network sees of a slice (F, H, W): (F, 3, h, w) at 2 mm, padded to multiples of 16; and h, w before.

    Normalised like the generated pictures: quantiles 0.01 and 0.98 of the clip to 0 and 1, then mean 0 and SD 1.
    """
    import torch
    from torch.nn import functional

    from eccl_lib.data.segmentation.unet.model import STRIDE
    from tools.segmentation.images import HARMONIC_GAIN

    images = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
    size = tuple(max(round(n * step / PIXEL_MM), 1) for n, step in zip(clip.shape[1:], spacing_mm, strict=True))
    images = functional.interpolate(images[:, None], size, mode="bilinear", antialias=True)[:, 0]
    low, high = (float(q) for q in np.quantile(images.numpy(), (DARK, WHITE)))
    images = ((images - low) / max(high - low, 1e-6)).clamp(0, 1)
    center, spread = images.mean(), images.std().clamp(min=1e-3)
    if len(images) >= FEWEST_FRAMES:
        wave = torch.cos(torch.arange(len(images)) * (2 * torch.pi / len(images)))
        mean = images.mean(0).expand_as(images)
        harmonic = (HARMONIC_GAIN * 2 * torch.einsum("f,fhw->hw", wave, images) / len(images) / spread).expand_as(
            images
        )
    else:
        mean, harmonic = images, torch.zeros_like(images)
    stacked = torch.stack([(images - center) / spread, (mean - center) / spread, harmonic], 1)
    darkest = float((0 - center) / spread)
    pad = (0, -size[1] % STRIDE, 0, -size[0] % STRIDE)
    levels = torch.tensor([darkest, darkest, 0.0]).view(1, 3, 1, 1)
    return functional.pad(stacked - levels, pad) + levels, (size[0], size[1])


def weights_metadata(path: Path = WEIGHTS) -> dict[str, object]:
    """What is known about the packaged weights: command, seed, seconds, numbers on generated pictures."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
