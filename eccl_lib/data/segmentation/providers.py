"""Locate the heart in a cine by one of several providers.

| provider | method | needs |
|---|---|---|
| masks | given segmentations | a file for each participant |
| network | the library's own U-Net | nothing |
| onnx | a user's short-axis network | its file, onnxruntime |
| voting | circle voting, a box of fixed size | nothing, no weights |

A network segments two frames of each slice to choose the slice, and then all frames of this slice. The library's own
network also sees the slices beside it. The LV centre is compared with that of circle voting. The cine is flagged if
they are far apart, or if the network is unsure of the slice.
"""

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import cmr
from eccl_lib.data.records import CineFile, CineRecord, pixels_in_memory
from eccl_lib.data.segmentation import circle_voting, masks, onnx_network
from eccl_lib.data.segmentation.confidence import LOW, Segmentation

CHOICES = ("auto", "masks", "network", "onnx", "voting")
APART_MM = 25.0  # distance between the LV centres of network and voting above which a cine is flagged; ours, from ACDC
AROUND_END_SYSTOLE = (0.0, 0.25, 0.3, 0.35, 0.4, 0.45)  # of the beat; frames for slice_choice rv_max
MARGIN_MM = 25.0  # margin around the heart of a few frames, so that the region contains it in all frames; ours
FIELD_MM = 192.0  # field of view in the training of the library's own network
# Increase when the own network's input or postprocessing changes: its participants are then read again.
NETWORK_FORMAT = "2"
NO_HEART = "Check the images, give a mask, or choose another --segmenter."


class Network(Protocol):
    """A network that labels some frames and slices (None: all) of images (S, F, H, W). spacing_mm: as in CineRecord."""

    def analyse(
        self,
        images: np.ndarray,
        spacing_mm: tuple[float, float],
        frames: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
    ) -> Segmentation: ...


@dataclass(frozen=True)
class Segmenter:
    """Settings of the method that locates the heart.

    provider: one of CHOICES; ``auto`` uses a mask if one is given, else the network, else voting. mask_labels: label
    order of given masks, one of ``masks.ORDERS``. onnx, onnx_labels, onnx_scaling, onnx_pixel_mm: see ``OnnxNet``.
    """

    provider: str = "auto"
    mask_labels: str = "ukb_cardiac"
    onnx: str = ""
    onnx_labels: str = "acdc"
    onnx_scaling: str = "range"
    onnx_pixel_mm: float = 0.0

    def chosen(self, mask_given: bool) -> str:
        """Name of the provider for a cine with or without a given mask."""
        if self.provider != "auto":
            return self.provider
        if mask_given:
            return "masks"
        return "network" if network_weights() else "voting"

    def mark(self, mask_given: bool) -> list[str]:
        """Settings and weights that the heart's location depends on; empty for masks in the standard label order."""
        provider = self.chosen(mask_given)
        if provider == "masks":
            order = masks.ORDERS[self.mask_labels]
            return [] if order == masks.ORDERS["ukb_cardiac"] else [provider, str(order)]
        if provider == "onnx":
            return [provider, _sha256(self.onnx), self.onnx_labels, self.onnx_scaling, f"{self.onnx_pixel_mm:g}"]
        return [provider, _sha256(network_weights()), NETWORK_FORMAT] if provider == "network" else [provider]

    def check(self) -> None:
        """Check that the provider can work with these settings. Raises UnreadableError if not."""
        if (self.provider == "onnx") != bool(self.onnx):
            raise UnreadableError("--segmenter onnx and --onnx PATH belong together", "Give both or neither.")
        if self.onnx_pixel_mm < 0:
            raise UnreadableError(f"--onnx-pixel-mm {self.onnx_pixel_mm:g} is negative", "Give mm, such as 1.5.")
        if self.provider == "onnx":
            onnx_network.check(self.onnx)
        if self.provider == "network" and not network_weights():
            raise UnreadableError("the network's weights are missing", "Install eccl_lib again completely.")

    def asked(self) -> dict[str, object]:
        """The fields that differ from their defaults."""
        defaults = asdict(Segmenter())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


AUTO = Segmenter()


def read(
    cine: CineFile,
    mask: Path | None = None,
    segmenter: Segmenter = AUTO,
    choice: str | None = None,
    frames: Sequence[int] | None = None,
) -> CineRecord:
    """Read a cine and locate its heart. Raises UnreadableError.

    mask: a given segmentation. frames: frame numbers of its volumes; None if it has all frames. choice:
    ``StoreConfig.slice_choice``: only the chosen slice is read, and the segmenter locates the heart; None: all slices
    are read, with the labels of the mask if one is given.
    """
    provider = segmenter.chosen(mask is not None)
    labels = None
    if provider == "masks" and (mask is not None or choice is not None):
        labels = masks.read_mask(mask, cine.pixel_axes, cine.shape, frames, segmenter.mask_labels)
    if choice is not None:
        return _locate(cine, labels, segmenter, choice)
    return _record(cine, range(cine.shape[0]), labels, segmenter="" if labels is None else "masks")


def locate(record: CineRecord, choice: str = "middle", segmenter: Segmenter = AUTO) -> CineRecord:
    """The chosen slice of a cine in memory, with the heart located by its labels or by the segmenter.

    choice: ``StoreConfig.slice_choice``. Raises UnreadableError.
    """
    facts = record.spacing_mm, record.slice_step_mm, record.frame_ms
    pixels = pixels_in_memory(record.images)
    cine = CineFile(record.images.shape, np.empty((0, 3, 3)), *facts, pixels, record.notes)
    labels = record.labels if segmenter.chosen(record.labels is not None) == "masks" else None
    return _locate(cine, labels, segmenter, choice)


def by_provider(record: CineRecord, choice: str = "middle") -> dict[str, CineRecord]:
    """The results of ``locate`` by provider name, for masks, network and voting; providers that fail are skipped."""
    results = {}
    for name in ("masks", "network", "voting"):
        if (name == "masks" and record.labels is None) or (name == "network" and not network_weights()):
            continue
        with contextlib.suppress(UnreadableError):
            results[name] = locate(record, choice, Segmenter(name))
    return results


def _locate(cine: CineFile, labels: np.ndarray | None, segmenter: Segmenter, choice: str) -> CineRecord:
    """The chosen slice of a cine with the heart located. labels: (S, F, H, W) of a mask; None for other providers."""
    provider = segmenter.chosen(labels is not None)
    if labels is not None:
        chosen = cmr.choose_slice(labels, len(labels), choice)
        return _record(cine, [chosen], labels[chosen][None], segmenter="masks")
    if provider == "masks":
        raise UnreadableError("no segmentation is given, so the location of the heart is unknown", masks.GIVE_MASKS)
    if provider == "voting":
        return _by_voting(cine, choice)
    network, window = _network(provider, segmenter)
    try:
        return _by_network(cine, network, provider, choice, window)
    except _NoHeartError as error:
        if segmenter.provider != "auto":
            raise
        record = _by_voting(cine, choice)
        return replace(record, notes=(*record.notes, f"{error.reason}: circle voting is used"), flagged=True)


class _NoHeartError(UnreadableError):
    """A network finds no heart."""


def _record(cine: CineFile, slices: Sequence[int], labels: np.ndarray | None, **heart) -> CineRecord:
    images = cine.pixels(slices, range(cine.shape[1]))
    return CineRecord(images, cine.spacing_mm, cine.slice_step_mm, cine.frame_ms, labels, tuple(cine.notes), **heart)


def _by_voting(cine: CineFile, choice: str) -> CineRecord:
    """The middle slice with a box of fixed size around the voted LV centre."""
    chosen = cmr.choose_slice(None, cine.shape[0], choice)
    box = circle_voting.box(circle_voting.centre(_sampled(cine), cine.spacing_mm), cine.spacing_mm)
    return _record(cine, [chosen], None, box=box, segmenter="voting")


def _sampled(cine: CineFile) -> np.ndarray:
    """All slices at the frames that circle voting uses: (S, f, H, W)."""
    return cine.pixels(range(cine.shape[0]), circle_voting.sampled_frames(cine.shape[1]))


def _by_network(cine: CineFile, network: Network, provider: str, choice: str, window: bool) -> CineRecord:
    """The chosen slice with the labels of a network.

    Labels of a few frames of all slices give the slice and the region of interest; then all frames of this slice are
    segmented. window: the network accepts a part of the image, and uses the neighbouring slices.
    """
    slices, frames, height, width = cine.shape
    sampled = _sampled(cine)
    times = AROUND_END_SYSTOLE if choice == "rv_max" else (0.0, masks.END_SYSTOLE)
    few = sorted({round(time * sampled.shape[1]) for time in times})
    preview = network.analyse(sampled, cine.spacing_mm, few).labels
    if not (preview == cmr.LV).any():
        raise _NoHeartError(f"the {NAMES[provider]} finds no heart", NO_HEART)
    chosen = cmr.choose_slice(preview, slices, choice)
    part = _region(preview.any(axis=(0, 1)), cine.spacing_mm) if window else (slice(0, height), slice(0, width))
    record = _record(cine, [chosen], None)
    stack, number = _with_neighbours(cine, record.images, chosen) if provider == "network" else (record.images, 0)
    found = network.analyse(stack[:, :, *part], cine.spacing_mm, None, [number])
    labels = np.zeros((frames, height, width), dtype=np.uint8)
    labels[:, *part] = found.labels[0]
    if not (labels == cmr.LV).any():
        raise _NoHeartError(f"the {NAMES[provider]} finds no heart in the chosen slice", NO_HEART)
    confidence = float(found.confidence[0])
    notes = [_compare_with_voting(preview, sampled, cine.spacing_mm, provider)]
    notes += [f"the {NAMES[provider]} is unsure of the heart: expected Dice {confidence:.2f}"] * (confidence < LOW)
    notes = [note for note in notes if note]
    known = None if np.isnan(confidence) else confidence
    facts = {"segmenter": provider, "flagged": bool(notes), "confidence": known}
    return replace(record, labels=labels[None], notes=(*record.notes, *notes), **facts)


def _with_neighbours(cine: CineFile, images: np.ndarray, chosen: int) -> tuple[np.ndarray, int]:
    """A slice (1, F, H, W) with the slices before and after it, where they exist and can be read, and its number."""
    before, after = [], []
    for side, number in ((before, chosen - 1), (after, chosen + 1)):
        if 0 <= number < cine.shape[0]:
            with contextlib.suppress(UnreadableError):
                side.append(cine.pixels([number], range(cine.shape[1])))
    return np.concatenate([*before, images, *after]), len(before)


NAMES = {"network": "network", "onnx": "ONNX network"}


def _region(heart: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the region around a heart, (H, W) bool: MARGIN_MM on each side, at least FIELD_MM wide."""
    part = []
    for axis, (count, step) in enumerate(zip(heart.shape, spacing_mm, strict=True)):
        inside = np.flatnonzero(heart.any(axis=1 - axis))
        side_mm = max((np.ptp(inside) + 1) * step + 2 * MARGIN_MM, FIELD_MM)
        part.append(cmr.window((inside[0] + inside[-1] + 1) / 2, side_mm, count, step))
    return part[0], part[1]


def _compare_with_voting(labels: np.ndarray, images: np.ndarray, spacing_mm: tuple[float, float], provider: str) -> str:
    """A note if network and voting place the LV more than APART_MM apart, else "". labels, images: (S, f, H, W)."""
    weight = (labels == cmr.LV).sum(axis=(0, 1))
    centre = [np.average(np.arange(n), weights=weight.sum(axis=1 - k)) for k, n in enumerate(weight.shape)]
    try:
        voted = circle_voting.centre(images, spacing_mm)
    except UnreadableError:
        return f"the location by the {NAMES[provider]} cannot be checked: nothing pulsates"
    apart = float(np.hypot(*((np.array(centre) - voted) * spacing_mm)))
    return f"the locations by the {NAMES[provider]} and by voting are {apart:.0f} mm apart" if apart > APART_MM else ""


def _network(provider: str, segmenter: Segmenter) -> tuple[Network, bool]:
    """The network, and True if it accepts a part of the image."""
    if provider == "onnx":
        fields = segmenter.onnx, segmenter.onnx_labels, segmenter.onnx_scaling, segmenter.onnx_pixel_mm
        return onnx_network.OnnxNet(*fields), segmenter.onnx_pixel_mm > 0
    return _heart_net(), True


def network_weights() -> Path | None:
    """Path of the weights of the library's own network, None if the file is missing."""
    path = Path(__file__).with_name("unet") / "weights.safetensors"
    return path if path.is_file() else None


@functools.cache
def _heart_net():
    """The library's own network, loaded once per process."""
    from eccl_lib.data.segmentation.unet.network import HeartNet

    return HeartNet.load()


def _sha256(path: str | Path) -> str:
    stat = Path(path).stat()
    return _cached_sha256(str(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _cached_sha256(path: str, size: int, changed: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
