"""Augmentation of stored clips, from uint8 to the encoder's input; reference: torchvision, one clip at a time."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least

BATCH, SIZE, FRAMES = {"cpu": 8, "cuda": 128}, 224, 50  # on a GPU the paper's batch
WAVES = 8  # number of distinct clips


def prepare(folder: Path, device: str = "cpu") -> Pair:
    """Rotation, crop, mirroring and scaling of smooth moving images; the mean difference is below 0.05 (range 2).

    torchvision rotates, then crops, with two interpolations and a black edge. Ours uses one map with one interpolation
    and repeats the border.
    """
    import math

    import torch

    from eccl_lib.data import cmr
    from eccl_lib.models.torchvision_ops import declare_missing_operators

    declare_missing_operators()  # needed for a CPU build of torchvision
    batch = BATCH[device]
    pixels = clips(torch).repeat(batch // WAVES, 1, 1, 1).to(device)
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(4, batch, generator=generator)
    angle, side = (2 * draw[0] - 1) * math.radians(15), torch.sqrt(0.8 + 0.2 * draw[1])
    mirror = draw[2] < 0.5
    move = [part.to(device) for part in (angle, side, torch.zeros(batch, 2), mirror)]

    def ours():
        return cmr.transform(pixels.permute(0, 3, 1, 2), *move)

    def same(one, other):
        edge = SIZE // 5  # one of the two is black here
        inner = (slice(None), slice(None), slice(edge, -edge), slice(edge, -edge))
        assert one.shape == other.shape == (batch, FRAMES, SIZE, SIZE)
        assert (one[inner] - other[inner]).abs().mean() < 0.05

    return Pair(ours, lambda: peer(torch, pixels, angle, side, mirror), same, batch, device=device)


def clips(torch):
    """(WAVES, H, W, F) uint8: moving waves."""
    y, x, frame = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (SIZE, SIZE, FRAMES)), indexing="ij")
    waves = [torch.sin(9 * x + k) * torch.cos(7 * y) * torch.cos(6 * frame + k) for k in range(WAVES)]
    return ((torch.stack(waves) + 1) * 127.5).to(torch.uint8)


def peer(torch, pixels, angle, side, mirror):
    """Apply torchvision's functions to float frames, one clip at a time."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    out = []
    for clip, turn, share, flip in zip(pixels, angle, side, mirror, strict=True):
        frames = clip.permute(2, 0, 1).to(torch.float32).div(255)
        frames = tv.horizontal_flip(frames) if flip else frames
        degrees = float(turn) * 180 / torch.pi * (-1 if flip else 1)
        frames = tv.rotate(frames, degrees, interpolation=InterpolationMode.BILINEAR)
        kept = round(float(share) * SIZE)
        corner = (SIZE - kept) // 2
        frames = tv.resized_crop(frames, corner, corner, kept, kept, [SIZE, SIZE])
        out.append(tv.normalize(frames, [0.5], [0.5]))
    return torch.stack(out)


CASE = Case(
    "CMR augmentation per clip of 50 x 224 x 224, from uint8",
    "torchvision: rotate, flip, resized crop, normalize, one clip at a time",
    prepare,
    (at_least("ratio", 3),),
    memory=True,
    place=4,
    on_gpu=(at_least("ratio", 3),),
)
