"""Where the heart is: one function that asks the best provider at hand, and says which.

| provider | what | needs |
|---|---|---|
| masks | segmentations that are given | a file for each participant |
| network | the library's own U-Net | nothing |
| onnx | any short-axis network | its file, onnxruntime |
| voting | circle voting, a box of fixed size | nothing, not even weights |

To find the slice that is kept, a network sees two frames of every slice; of the slice that is kept it sees every frame.
Its heart is held against the voted one, and flagged where they are far apart.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import cmr
from eccl_lib.data.records import CineFile, CineRecord, pixels_in_memory
from eccl_lib.data.segmentation import circle_voting, masks, onnx_network

CHOICES = ("auto", "masks", "network", "onnx", "voting")
APART_MM = 25.0  # between a network's ventricle and the voted one, to be flagged; ours, from ACDC
END_SYSTOLE = 0.35  # of the beat; the frame that a network sees beside the first one
AROUND_END_SYSTOLE = (0.0, 0.25, 0.3, 0.35, 0.4, 0.45)  # of the beat; what rv_max is chosen from
MARGIN_MM = 25.0  # around the heart of two frames, for that of all frames; ours
FIELD_MM = 192.0  # what our network learned from
NO_HEART = "Look at the pictures; or give a mask, or choose another --segmenter."

# Pictures (S, F, H, W), spacing and slice step in mm, frames to label (None: all), to labels (S, frames, H, W).
Segment = Callable[[np.ndarray, tuple[float, float], float | None, Sequence[int] | None], np.ndarray]


@dataclass(frozen=True)
class Segmenter:
    """Who says where the heart is.

    provider: one of CHOICES; ``auto`` takes a mask where one is given, else the network, else voting.
    mask_labels: what the labels of given masks mean, one of ``masks.ORDERS``. onnx and what follows: see ``OnnxNet``.
    """

    provider: str = "auto"
    mask_labels: str = "ukb_cardiac"
    onnx: str = ""
    onnx_labels: str = "acdc"
    onnx_scaling: str = "range"
    onnx_pixel_mm: float = 0.0

    def chosen(self, mask_given: bool) -> str:
        """The provider for a cine with or without a given mask."""
        if self.provider != "auto":
            return self.provider
        if mask_given:
            return "masks"
        return "network" if network_weights() else "voting"

    def mark(self, mask_given: bool) -> list[str]:
        """What the heart's place hangs on beside the files; empty for masks in our own order of labels."""
        provider = self.chosen(mask_given)
        if provider == "masks":
            order = masks.ORDERS[self.mask_labels]
            return [] if order == masks.ORDERS["ukb_cardiac"] else [provider, str(order)]
        if provider == "onnx":
            return [provider, _sha256(self.onnx), self.onnx_labels, self.onnx_scaling, f"{self.onnx_pixel_mm:g}"]
        return [provider, _sha256(network_weights())] if provider == "network" else [provider]

    def check(self) -> None:
        """Raises UnreadableError where a provider that is asked for cannot work."""
        if (self.provider == "onnx") != bool(self.onnx):
            raise UnreadableError("--segmenter onnx and --onnx PATH belong together", "Give both, or neither.")
        if self.onnx_pixel_mm < 0:
            raise UnreadableError(f"--onnx-pixel-mm {self.onnx_pixel_mm:g} is no size", "Give mm, such as 1.5.")
        if self.provider == "onnx":
            onnx_network.check(self.onnx)
        if self.provider == "network" and not network_weights():
            raise UnreadableError("the network's weights are not there", "Install eccl_lib again, whole.")

    def asked(self) -> dict[str, object]:
        """The fields that are not as they are by default."""
        usual = asdict(Segmenter())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


AUTO = Segmenter()


def read(
    opened: CineFile,
    mask: Path | None = None,
    segmenter: Segmenter = AUTO,
    choice: str | None = None,
    frames: Sequence[int] | None = None,
) -> CineRecord:
    """A cine with the heart found in it. Raises UnreadableError.

    mask: a given segmentation. frames: which of the cine's frames its volumes are; None where it has all.
    choice: ``StoreConfig.slice_choice`` to keep that one slice alone, with the heart found by the segmenter's provider;
    None keeps all slices, with the labels of the mask if there is one.
    """
    provider = segmenter.chosen(mask is not None)
    labels = None
    if provider == "masks" and (mask is not None or choice is not None):
        labels = masks.given(mask, opened.pixel_axes, opened.shape, frames, segmenter.mask_labels)
    if choice is not None:
        return _kept(opened, labels, segmenter, choice)
    facts = opened.spacing_mm, opened.slice_step_mm, opened.frame_ms
    images = opened.pixels(range(opened.shape[0]), range(opened.shape[1]))
    return CineRecord(images, *facts, labels, tuple(opened.notes), segmenter="" if labels is None else "masks")


def locate(record: CineRecord, choice: str = "middle", segmenter: Segmenter = AUTO) -> CineRecord:
    """The slice that is kept of a cine in memory, with the heart found in it: by its labels if it has some.

    choice: ``StoreConfig.slice_choice``. Raises UnreadableError.
    """
    facts = record.spacing_mm, record.slice_step_mm, record.frame_ms
    pixels = pixels_in_memory(record.images)
    opened = CineFile(record.images.shape, np.empty((0, 3, 3)), *facts, pixels, record.notes)
    given = record.labels if segmenter.chosen(record.labels is not None) == "masks" else None
    return _kept(opened, given, segmenter, choice)


def by_provider(record: CineRecord, choice: str = "middle") -> dict[str, CineRecord]:
    """``locate`` by everyone who can: masks, network, voting. Who finds nothing is left out."""
    found = {}
    for name in ("masks", "network", "voting"):
        if (name == "masks" and record.labels is None) or (name == "network" and not network_weights()):
            continue
        with contextlib.suppress(UnreadableError):
            found[name] = locate(record, choice, Segmenter(name))
    return found


def _kept(opened: CineFile, labels: np.ndarray | None, segmenter: Segmenter, choice: str) -> CineRecord:
    """One slice of a cine. labels: (S, F, H, W) as given, None where another provider than masks is asked."""
    provider = segmenter.chosen(labels is not None)
    if labels is not None:
        chosen = cmr.choose_slice(labels, len(labels), choice)
        return _record(opened, chosen, labels[chosen], segmenter="masks")
    if provider == "masks":
        raise UnreadableError("no segmentation is given, so the heart's place is unknown", masks.GIVE_MASKS)
    if provider == "voting":
        return _voted(opened, choice)
    segment, window = _network(provider, segmenter)
    try:
        return _labelled(opened, segment, provider, choice, window)
    except _NoHeartError as error:
        if segmenter.provider != "auto":
            raise
        found = _voted(opened, choice)
        return replace(found, notes=(*found.notes, f"{error.reason}: circle voting is used"), flagged=True)


class _NoHeartError(UnreadableError):
    """A network sees no heart."""


def _record(
    opened: CineFile, chosen: int, labels: np.ndarray | None, notes: tuple[str, ...] = (), **heart
) -> CineRecord:
    images = opened.pixels([chosen], range(opened.shape[1]))
    facts = opened.spacing_mm, opened.slice_step_mm, opened.frame_ms
    return CineRecord(images, *facts, None if labels is None else labels[None], (*opened.notes, *notes), **heart)


def _voted(opened: CineFile, choice: str) -> CineRecord:
    """The middle slice, since without labels no other can be told, and a box of fixed size."""
    chosen = cmr.choose_slice(None, opened.shape[0], choice)
    box = circle_voting.box(voted_centre(opened), opened.spacing_mm)
    return _record(opened, chosen, None, box=box, segmenter="voting")


def voted_centre(opened: CineFile) -> tuple[float, float]:
    """Row and column of the left ventricle's centre by circle voting over the stack. Raises UnreadableError."""
    return circle_voting.centre(_thin(opened), opened.spacing_mm)


def _thin(opened: CineFile) -> np.ndarray:
    """Every slice at as many moments as tell what beats: (S, f, H, W)."""
    return opened.pixels(range(opened.shape[0]), circle_voting.some_frames(opened.shape[1]))


def _labelled(opened: CineFile, segment: Segment, provider: str, choice: str, window: bool) -> CineRecord:
    """By a network: a few frames of every slice tell which is kept and where to look, all frames of it the heart.

    window: the network may be shown a part of the picture.
    """
    slices, frames, height, width = opened.shape
    thin = _thin(opened)
    moments = AROUND_END_SYSTOLE if choice == "rv_max" else (0.0, END_SYSTOLE)
    few = sorted({round(moment * thin.shape[1]) for moment in moments})
    scouted = segment(thin, opened.spacing_mm, opened.slice_step_mm, few)
    if not (scouted == cmr.LV).any():
        raise _NoHeartError(f"the {NAMES[provider]} finds no heart", NO_HEART)
    chosen = cmr.choose_slice(scouted, slices, choice)
    part = _around(scouted.any(axis=(0, 1)), opened.spacing_mm) if window else (slice(0, height), slice(0, width))
    record = _record(opened, chosen, None)
    labels = np.zeros((frames, height, width), dtype=np.uint8)
    labels[:, *part] = segment(record.images[:, :, *part], opened.spacing_mm, None, None)[0]
    if not (labels == cmr.LV).any():
        raise _NoHeartError(f"the {NAMES[provider]} finds no heart in the slice that is kept", NO_HEART)
    note = _against_votes(scouted, thin, opened.spacing_mm, provider)
    notes = (*record.notes, note) if note else record.notes
    return replace(record, labels=labels[None], notes=notes, segmenter=provider, flagged=bool(note))


NAMES = {"network": "network", "onnx": "ONNX network"}


def _around(heart: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    """The part of a picture to look at around a heart (H, W) bool: with a margin, and never less than FIELD_MM."""
    part = []
    for axis, (count, step) in enumerate(zip(heart.shape, spacing_mm, strict=True)):
        there = np.flatnonzero(heart.any(axis=1 - axis))
        side = min(count, round(max((np.ptp(there) + 1) * step + 2 * MARGIN_MM, FIELD_MM) / step))
        first = round((there[0] + there[-1] + 1 - side) / 2)
        first = min(max(first, 0), count - side)
        part.append(slice(first, first + side))
    return part[0], part[1]


def _against_votes(labels: np.ndarray, images: np.ndarray, spacing_mm: tuple[float, float], provider: str) -> str:
    """A remark where the network's left ventricle lies elsewhere than the voted one. labels, images: (S, f, H, W)."""
    weight = (labels == cmr.LV).sum(axis=(0, 1))
    place = [np.average(np.arange(n), weights=weight.sum(axis=1 - k)) for k, n in enumerate(weight.shape)]
    try:
        voted = circle_voting.centre(images, spacing_mm)
    except UnreadableError:
        return f"the heart of the {NAMES[provider]} cannot be checked: nothing beats"
    apart = float(np.hypot(*((np.array(place) - voted) * spacing_mm)))
    return f"the heart of the {NAMES[provider]} is {apart:.0f} mm from the voted one" if apart > APART_MM else ""


def _network(provider: str, segmenter: Segmenter) -> tuple[Segment, bool]:
    """A function from pictures to labels, and whether it may be shown a part of the picture."""
    if provider == "onnx":
        fields = segmenter.onnx, segmenter.onnx_labels, segmenter.onnx_scaling, segmenter.onnx_pixel_mm
        return onnx_network.OnnxNet(*fields).segment, segmenter.onnx_pixel_mm > 0
    return _heart_net().segment, True


def network_weights() -> Path | None:
    """The weights of the library's own network, None where they are not there."""
    path = Path(__file__).with_name("unet") / "weights.safetensors"
    return path if path.is_file() else None


@functools.cache
def _heart_net():
    """Loaded once in a process."""
    from eccl_lib.data.segmentation.unet.network import HeartNet

    return HeartNet.load()


def _sha256(path: str | Path) -> str:
    look = Path(path).stat()
    return _sum_of(str(path), look.st_size, look.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _sum_of(path: str, size: int, changed: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
