"""Segmentation by the library's own network: labels 0 background, 1 LV cavity, 2 LV myocardium, 3 RV.

    HeartNet.load().segment(images, spacing_mm)

Each slice is resampled to 2 mm pixels. If the field of view is wider than in training, a first pass over a few frames
locates the heart, and a second pass segments 192 mm around it. The input of a frame contains what the beat and the
neighbouring slices show (see ``planes``). The harmonic needs the whole beat with its first frame near end diastole (R
wave). With fewer than eight frames, end diastole and end systole are the frames with the largest and the smallest LV,
found by a pass over single frames, and their difference replaces the harmonic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eccl_lib.data import cmr
from eccl_lib.data.segmentation.confidence import Segmentation, expected_dice
from eccl_lib.data.segmentation.unet import planes, postprocess

if TYPE_CHECKING:
    import torch

    from eccl_lib.data.segmentation.unet.model import UNet

WEIGHTS = Path(__file__).with_name("weights.safetensors")
PIXEL_MM = 2.0
FIELD = 96  # pixels of the field of view in training and in the second pass
WIDEST = 112  # pixels of the widest field of view that needs only one pass
FEWEST_FRAMES = 8  # of a beat, for its mean and harmonic
FIRST_FRAMES = 4  # frames in the first pass
FIRST_SLICES = 6  # largest number of slices in the first pass, evenly spaced
DARK, WHITE = 0.01, 0.98  # quantiles of the clip that map to 0 and 1
BATCH = 10  # frames
CLASSES = 4


@dataclass(frozen=True)
class HeartNet:
    """The network with its weights. facts: content of weights.json: training command, seed, seconds, scores."""

    model: UNet
    facts: dict[str, object]

    @classmethod
    def load(cls, path: Path | None = None) -> HeartNet:
        """Load the packaged weights, or those at ``path``. Raises DamagedError if their checksum is wrong."""
        from safetensors.torch import load_file

        from eccl_lib.data.segmentation.unet.model import UNet, extended
        from eccl_lib.io.files import read_json, verify

        path = WEIGHTS if path is None else Path(path)
        facts = read_json(path.with_suffix(".json")) if path.with_suffix(".json").is_file() else {}
        if "sha256" in facts:
            verify(path, facts["sha256"])
        model = UNet()
        model.load_state_dict(extended(load_file(path)))
        return cls(model.eval(), facts)

    def segment(
        self, images: np.ndarray, spacing_mm: tuple[float, float], frames: Sequence[int] | None = None
    ) -> np.ndarray:
        """Labels of a stack (S, F, H, W), uint8: see ``analyse``."""
        return self.analyse(images, spacing_mm, frames).labels

    def analyse(
        self,
        images: np.ndarray,
        spacing_mm: tuple[float, float],
        frames: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
    ) -> Segmentation:
        """Labels of a stack (S, F, H, W), and how sure they are. spacing_mm: between rows, between columns.

        frames, slices: numbers of those to label; None: all. The input of each uses all frames and its neighbouring
        slices in ``images``. Raises ValueError for another shape.
        """
        images = np.asarray(images)
        if images.ndim != 4 or not images.size:
            raise ValueError(f"the images must have the shape (S, F, H, W), not {images.shape}")
        chosen = list(range(len(images))) if slices is None else list(slices)
        rows, columns = self.region(images, spacing_mm)
        part = images[:, :, rows, columns]
        probability = self.probabilities(part, spacing_mm, frames, chosen)
        labels = np.zeros((len(chosen), probability.shape[1], *images.shape[2:]), dtype=np.uint8)
        whole_beat = images.shape[1] >= FEWEST_FRAMES
        change = part[chosen].astype(np.float32).std(axis=1) if whole_beat else None
        found = postprocess.labels(probability, spacing_mm, change, cyclic=whole_beat and frames is None)
        labels[:, :, rows, columns] = found
        return Segmentation(labels, np.array([expected_dice(p, k) for p, k in zip(probability, found, strict=True)]))

    def region(self, images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
        """Rows and columns of the region for the second pass, centred on the LV; the whole image if it is small."""
        whole = slice(0, images.shape[2]), slice(0, images.shape[3])
        sizes = [n * step / PIXEL_MM for n, step in zip(images.shape[2:], spacing_mm, strict=True)]
        if max(sizes) <= WIDEST:
            return whole
        frames = np.unique(np.linspace(0, images.shape[1], FIRST_FRAMES, endpoint=False).astype(int))
        slices = np.unique(np.linspace(0, len(images) - 1, FIRST_SLICES).round().astype(int))
        maps = self.probabilities(images, spacing_mm, frames, slices)
        center = postprocess.center(maps, spacing_mm)
        axes = zip(center, images.shape[2:], spacing_mm, strict=True)
        return tuple(cmr.window(middle, FIELD * PIXEL_MM, n, step) for middle, n, step in axes)

    def probabilities(
        self,
        images: np.ndarray,
        spacing_mm: tuple[float, float],
        frames: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Label probabilities of some slices and frames of a stack (S, F, H, W), at its own pixels.

        Returns (slices, frames, 4, H, W) float32.
        """
        import torch

        count, shape = images.shape[1], images.shape[2:]
        frames = list(range(count)) if frames is None else [int(f) for f in frames]
        slices = list(range(len(images))) if slices is None else [int(s) for s in slices]
        with torch.inference_mode():
            scaled, size = _scaled(images, spacing_mm)
            if count >= FEWEST_FRAMES:
                clips = planes.of_beat(scaled)
            else:
                clips = planes.of_images(scaled)
                if count > 1:
                    first = torch.stack([self._label(clips, s, list(range(count)), size) for s in range(len(images))])
                    area = first[:, :, postprocess.LV].sum((0, 2, 3))
                    clips = planes.of_stills(scaled, int(area.argmax()), int(area.argmin()))
            out = np.empty((len(slices), len(frames), CLASSES, *shape), dtype=np.float32)
            for k, s in enumerate(slices):
                found = self._label(clips, s, frames, size)
                out[k] = torch.nn.functional.interpolate(found, shape, mode="bilinear").numpy()
        return out

    def _label(self, clips: torch.Tensor, number: int, frames: list[int], size: tuple[int, int]) -> torch.Tensor:
        """Probabilities (frames, 4, h, w) of a slice of clips (S, F, 3, h, w), without padding. size: h, w."""
        import torch

        inputs = _padded(planes.with_neighbours(clips, number)[frames])
        found = torch.cat([self.model(batch).softmax(1) for batch in inputs.split(BATCH)])
        return found[..., : size[0], : size[1]]


def _scaled(images: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[torch.Tensor, tuple[int, int]]:
    """A stack (S, F, H, W) at 2 mm pixels, (S, F, h, w), and h, w.

    Each slice is normalised like the training images: its quantiles 0.01 and 0.98 map to 0 and 1.
    """
    import torch
    from torch.nn import functional

    size = tuple(max(round(n * step / PIXEL_MM), 1) for n, step in zip(images.shape[2:], spacing_mm, strict=True))
    out = torch.empty((*images.shape[:2], *size))
    for clip, target in zip(images, out, strict=True):
        pixels = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
        small = functional.interpolate(pixels[:, None], size, mode="bilinear", antialias=True)[:, 0]
        low, high = (float(q) for q in np.quantile(small.numpy(), (DARK, WHITE)))
        target.copy_(((small - low) / max(high - low, 1e-6)).clamp(0, 1))
    return out, (size[0], size[1])


def _padded(inputs: torch.Tensor) -> torch.Tensor:
    """Inputs (F, P, h, w) padded with black to multiples of 16 pixels; planes of harmonics with 0."""
    from torch.nn import functional

    from eccl_lib.data.segmentation.unet.model import STRIDE

    pad = (0, -inputs.shape[3] % STRIDE, 0, -inputs.shape[2] % STRIDE)
    levels = inputs.amin((0, 2, 3), keepdim=True)
    levels[:, planes.HARMONICS] = 0.0
    return functional.pad(inputs - levels, pad) + levels
