"""Any ONNX network that labels short-axis pictures, by its file: a picture in, a score for each of four labels out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import cmr
from eccl_lib.data.segmentation import masks

SCALINGS = ("range", "zscore", "none")
WINDOW = (0.01, 0.99)  # quantiles of a slice's cine that are clipped, as most recipes do
AT_ONCE = 8  # pictures, where the network leaves it free
MULTIPLE = 32  # of a side that the network leaves free: five halvings
TRIAL_SIDE = 128  # of the picture that a network of any size is tried with
UNSEEN = -1e4  # the heart's scores where a picture is larger than what the network takes
INSTALL = "Install it (pip install onnxruntime), or choose another --segmenter."
WANTED = "Wanted is one float32 input (N, 1, H, W) and one output (N, 4, H, W): export it so (docs/data.md)."


@dataclass(frozen=True)
class OnnxNet:
    """A network by its file, and what it was trained to see.

    labels: what its outputs 0 to 3 mean, one of ``masks.ORDERS``. scaling: of grey values, ``range`` (0 to 1 between
    quantiles), ``zscore`` (mean 0, SD 1 between quantiles) or ``none``. pixel_mm: the pixel size it wants; 0: the
    picture is stretched to the network's own size, or taken as it is where that is free.
    """

    path: str
    labels: str = "acdc"
    scaling: str = "range"
    pixel_mm: float = 0.0

    def segment(
        self,
        images: np.ndarray,
        spacing_mm: tuple[float, float],
        slice_step_mm: float | None = None,
        frames: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Labels of a cine, or of some of its frames: (S, F, H, W) to uint8, 0 background, 1 LV, 2 LV wall, 3 RV.

        Parts that hang together with nothing of the largest heart, from slice to slice, are dropped. Raises
        UnreadableError where the file is no such network or its labels mean something else than ``labels`` says.
        """
        session, wanted = session_of(self.path)
        images = images if frames is None else images[:, list(frames)]
        slices, count, height, width = images.shape
        size = self._size((height, width), spacing_mm, wanted)
        out = np.empty(images.shape, dtype=np.uint8)
        at_once = _batch(session) or AT_ONCE
        for s in range(slices):
            scaled = self._scaled(images[s])
            for first in range(0, count, at_once):
                some = _to_size(scaled[first : first + at_once], size, wanted)
                scores = _run(session, some[:, None])
                out[s, first : first + at_once] = _to_labels(scores, size, (height, width))
        laid = masks.relabelled(out.transpose(3, 2, 0, 1), self.labels, "--onnx-labels").transpose(2, 3, 1, 0)
        return together(laid)

    def _size(
        self, shape: tuple[int, int], spacing_mm: tuple[float, float], wanted: tuple[int | None, ...]
    ) -> tuple[int, int]:
        """Rows and columns of a picture as the network gets it, before it is padded or cut."""
        if self.pixel_mm:
            return tuple(max(1, round(n * mm / self.pixel_mm)) for n, mm in zip(shape, spacing_mm, strict=True))
        if None in wanted:
            return shape
        zoom = min(side / (n * mm) for side, n, mm in zip(wanted, shape, spacing_mm, strict=True))  # square pixels
        return tuple(max(1, round(n * mm * zoom)) for n, mm in zip(shape, spacing_mm, strict=True))

    def _scaled(self, images: np.ndarray) -> np.ndarray:
        if self.scaling == "none":
            return images.astype(np.float32)
        low, high = np.quantile(images, WINDOW)
        clipped = np.clip(images.astype(np.float32), low, max(high, low + 1e-6))
        if self.scaling == "range":
            return (clipped - low) / max(high - low, 1e-6)
        return (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6)


@functools.lru_cache(maxsize=2)
def session_of(path: str) -> tuple[Any, tuple[int | None, int | None]]:
    """The network, loaded once in a process, and the rows and columns it takes, None: any. Raises UnreadableError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UnreadableError("onnxruntime is not installed", INSTALL) from error
    if not Path(path).is_file():
        raise UnreadableError(f"there is no file {path}", "Correct the path after --onnx.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UnreadableError(f"{Path(path).name} is no ONNX network that can be run here", WANTED) from error
    return session, shape_wanted(session)


def check(path: str) -> None:
    """Run the network on one empty picture. Raises UnreadableError where it could label nobody's."""
    session, wanted = session_of(path)
    _run(session, np.zeros((1, 1, *(side or TRIAL_SIDE for side in wanted)), dtype=np.float32))


def _batch(session: Any) -> int | None:
    """How many pictures the network takes at once, None where any number."""
    count = session.get_inputs()[0].shape[0]
    return count if isinstance(count, int) and count > 0 else None


def shape_wanted(session: Any) -> tuple[int | None, int | None]:
    """Rows and columns of the pictures that a network takes, None where any. Raises UnreadableError on other inputs."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(shape) != 4 or (shape[1] not in (1, None) and not isinstance(shape[1], str)):
        raise UnreadableError(f"the ONNX network takes {[list(i.shape) for i in inputs]}", WANTED)
    return tuple(side if isinstance(side, int) else None for side in shape[2:])


def _to_size(images: np.ndarray, size: tuple[int, int], wanted: tuple[int | None, ...]) -> np.ndarray:
    """Resampled to ``size``, then padded with the darkest value, or cut, evenly on both sides: (F, h, w) float32."""
    out = cmr.resize(cmr.resize(images, size[0], 1), size[1], 2)
    for axis, (side, side_wanted) in enumerate(zip(size, wanted, strict=True), start=1):
        goal = side_wanted or -(-side // MULTIPLE) * MULTIPLE
        before = (goal - side) // 2
        if goal >= side:
            pad = [(0, 0)] * 3
            pad[axis] = (before, goal - side - before)
            out = np.pad(out, pad, constant_values=float(out.min()))
        else:
            out = np.take(out, np.arange(-before, goal - before), axis=axis)
    return np.ascontiguousarray(out, dtype=np.float32)


def _to_labels(scores: np.ndarray, size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """The inverse of ``_to_size`` on scores (F, 4, h, w), then the highest: (F, H, W), 0 where nothing was seen."""
    laid = np.full((*scores.shape[:2], *size), UNSEEN, dtype=np.float32)
    laid[:, 0] = 0
    place, part = [], []
    for side, goal in zip(size, scores.shape[2:], strict=True):
        before = (goal - side) // 2
        part.append(slice(max(before, 0), max(before, 0) + min(side, goal)))
        place.append(slice(max(-before, 0), max(-before, 0) + min(side, goal)))
    laid[:, :, place[0], place[1]] = scores[:, :, part[0], part[1]]
    return np.argmax(cmr.resize(cmr.resize(laid, shape[0], 2), shape[1], 3), axis=1).astype(np.uint8)


def _run(session: Any, pictures: np.ndarray) -> np.ndarray:
    """Scores (N, 4, h, w), with empty pictures behind where the network takes more than N. Raises UnreadableError."""
    behind = max((_batch(session) or 0) - len(pictures), 0)
    shown = np.pad(pictures, [(0, behind), (0, 0), (0, 0), (0, 0)])
    try:
        scores = session.run(None, {session.get_inputs()[0].name: shown})[0]
    except Exception as error:
        said = str(error).split("\n")[0][:160]
        raise UnreadableError(
            f"the ONNX network does not run on pictures {list(shown.shape)} ({said})", WANTED
        ) from error
    if scores.shape != (len(shown), 4, *shown.shape[2:]):
        raise UnreadableError(f"the ONNX network gives {list(scores.shape)}", WANTED)
    return scores[: len(pictures)]


def together(labels: np.ndarray) -> np.ndarray:
    """Without what does not hang together with the largest part, over frames and from slice to slice. (S, F, H, W)."""
    from scipy.ndimage import label

    parts, count = label((labels > 0).any(axis=1), structure=np.ones((3, 3, 3)))
    if count < 2:
        return labels
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.where((parts == largest)[:, None], labels, 0).astype(np.uint8)
