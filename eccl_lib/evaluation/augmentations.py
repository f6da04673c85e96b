"""Each augmentation of the training (Sec. 3.1), applied alone and at its full strength to one participant."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eccl_lib.config.schema import Config
from eccl_lib.data import cmr, ecg
from eccl_lib.data.cohort import Cohort
from eccl_lib.training.datasets import CineDataset, EcgDataset

ORIGINAL, DRAWN = "original", "random draw"


@dataclass(frozen=True)
class Gallery:
    """Augmented model inputs by title, ORIGINAL first. ecgs: (12, T) at ``rate`` Hz. clips: (F, H, W) in [-1, 1]."""

    ecgs: dict[str, np.ndarray]
    clips: dict[str, np.ndarray]
    rate: int


def gallery(config: Config, data: Cohort, row: int, draw: int) -> Gallery:
    """All augmentations of one participant. draw: number of the random draw, which combines them as the training does.

    An augmentation with probability 0 in the config is shown with "off" in its title.
    """
    generator = torch.Generator().manual_seed(draw)
    signal = EcgDataset(data, config).of(np.array([row])).cpu()
    clip = CineDataset(data, config).of(np.array([row])).cpu().contiguous()
    own = config.augment
    ecgs = {title: _numpy(changed) for title, changed in _ecgs(config, signal).items()}
    drawn = ecg.augment(signal, own, torch.rand(ecg.AUGMENT_DRAWS, 1, generator=generator))
    ecgs[DRAWN + (" (unchanged)" if torch.equal(drawn, signal) else "")] = _numpy(drawn)
    clips = {title: _numpy(changed) for title, changed in _clips(config, clip).items()}
    clips[DRAWN] = _numpy(cmr.augment(clip, own, torch.rand(cmr.AUGMENT_DRAWS, 1, generator=generator)))
    return Gallery(ecgs, clips, config.view.ecg_rate)


def _numpy(batch: Tensor) -> np.ndarray:
    return batch[0].numpy()


def _off(probability: float) -> str:
    return "" if probability > 0 else " (off)"


def _ecgs(config: Config, signal: Tensor) -> dict[str, Tensor]:
    """Crop to the smallest share, reversal, sign flip. signal: (1, 12, T)."""
    own, samples = config.augment, signal.shape[-1]
    length = int(np.ceil(own.ecg_crop_min * samples))
    no, yes = torch.tensor([False]), torch.tensor([True])

    def changed(start: int = 0, kept: int = samples, reverse: Tensor = no, negate: Tensor = no) -> Tensor:
        return ecg.transform(signal, torch.tensor([start]), torch.tensor([kept]), reverse, negate)

    return {
        ORIGINAL: signal,
        f"cropped to {own.ecg_crop_min:.0%}{_off(own.ecg_crop_probability)}": changed((samples - length) // 2, length),
        f"reversed in time{_off(own.ecg_reverse_probability)}": changed(reverse=yes),
        f"sign flipped{_off(own.ecg_sign_probability)}": changed(negate=yes),
    }


def _clips(config: Config, clip: Tensor) -> dict[str, Tensor]:
    """Rotation both ways, the strongest scaling, mirroring. clip: (1, F, H, W)."""
    own = config.augment

    def changed(degrees: float = 0.0, area: float = 1.0, mirror: bool = False) -> Tensor:
        angle, side = torch.tensor([np.deg2rad(degrees)]).float(), torch.tensor([area**0.5])
        return cmr.transform(clip, angle, side, torch.zeros(1, 2), torch.tensor([mirror]))

    most = own.cmr_rotation_degrees
    return {
        ORIGINAL: clip,
        f"rotated {most:g}°": changed(most),
        f"rotated {-most:g}°".replace("-", "\N{MINUS SIGN}"): changed(-most),
        f"{own.cmr_scale_min:.0%} of the area": changed(area=own.cmr_scale_min),
        f"mirrored{_off(own.cmr_flip_probability)}": changed(mirror=True),
    }
