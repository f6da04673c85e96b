"""Segmentation by a user's ONNX network: one short-axis image in, one score for each of four labels out."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import cmr
from eccl_lib.data.segmentation import masks
from eccl_lib.data.segmentation.confidence import Segmentation

SCALINGS = ("range", "zscore", "none")
WINDOW = (0.01, 0.99)  # quantiles of a slice's cine to which grey values are clipped; common practice
BATCH = 8  # images per run, if the network's batch size is free
MULTIPLE = 32  # free image sides are padded to multiples of it; networks halve them up to five times
TRIAL_SIDE = 128  # image side in the trial run of a network with a free size
UNSEEN = -1e4  # score of the heart's labels outside of the part that the network sees
INSTALL = "Install it (pip install onnxruntime), or choose another --segmenter."
REQUIRED = "Export it with one float32 input (N, 1, H, W) and one output (N, 4, H, W) (docs/data.md)."


@dataclass(frozen=True)
class OnnxNet:
    """An ONNX network and the preprocessing with which it was trained.

    labels: order of its outputs 0 to 3, one of ``masks.ORDERS``. scaling: ``range`` (0 to 1) or ``zscore`` (mean 0, SD
    1), both after clipping to WINDOW; or ``none``. pixel_mm: pixel size of its training images; 0: the image is resized
    to the network's input, or not resized if the input size is free.
    """

    path: str
    labels: str = "acdc"
    scaling: str = "range"
    pixel_mm: float = 0.0

    def segment(
        self, images: np.ndarray, spacing_mm: tuple[float, float], frames: Sequence[int] | None = None
    ) -> np.ndarray:
        """Labels of a cine or of some of its frames: (S, F, H, W) uint8, 0 background, 1 LV cavity, 2 LV wall, 3 RV.

        Only the largest component that is connected over slices is kept. Raises UnreadableError if the file is not a
        suitable network or if ``labels`` is the wrong order.
        """
        session, required = load_session(self.path)
        images = images if frames is None else images[:, list(frames)]
        slices, count, height, width = images.shape
        size = self._size((height, width), spacing_mm, required)
        out = np.empty(images.shape, dtype=np.uint8)
        batch = _batch_size(session) or BATCH
        for s in range(slices):
            scaled = self._scale(images[s])
            for first in range(0, count, batch):
                inputs = _to_size(scaled[first : first + batch], size, required)
                scores = _run(session, inputs[:, None])
                out[s, first : first + batch] = _to_labels(scores, size, (height, width))
        labels = masks.to_standard_order(out.transpose(3, 2, 0, 1), self.labels, "--onnx-labels").transpose(2, 3, 1, 0)
        return largest_component(labels)

    def analyse(
        self,
        images: np.ndarray,
        spacing_mm: tuple[float, float],
        frames: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
    ) -> Segmentation:
        """``segment`` for some slices (None: all); the confidence is not known, since scores have any scale."""
        labels = self.segment(images if slices is None else images[list(slices)], spacing_mm, frames)
        return Segmentation(labels, np.full(len(labels), np.nan))

    def _size(
        self, shape: tuple[int, int], spacing_mm: tuple[float, float], required: tuple[int | None, ...]
    ) -> tuple[int, int]:
        """Rows and columns of the resized image, before padding or cropping to the network's input."""
        if self.pixel_mm:
            return tuple(max(1, round(n * mm / self.pixel_mm)) for n, mm in zip(shape, spacing_mm, strict=True))
        if None in required:
            return shape
        zoom = min(side / (n * mm) for side, n, mm in zip(required, shape, spacing_mm, strict=True))  # square pixels
        return tuple(max(1, round(n * mm * zoom)) for n, mm in zip(shape, spacing_mm, strict=True))

    def _scale(self, images: np.ndarray) -> np.ndarray:
        if self.scaling == "none":
            return images.astype(np.float32)
        low, high = np.quantile(images, WINDOW)
        clipped = np.clip(images.astype(np.float32), low, max(high, low + 1e-6))
        if self.scaling == "range":
            return (clipped - low) / max(high - low, 1e-6)
        return (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6)


@functools.lru_cache(maxsize=2)
def load_session(path: str) -> tuple[Any, tuple[int | None, int | None]]:
    """The network, loaded once per process, and its input's rows and columns (None: free). Raises UnreadableError."""
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
        raise UnreadableError(f"{Path(path).name} is not an ONNX network that runs here", REQUIRED) from error
    return session, input_size(session)


def check(path: str) -> None:
    """Run the network on one empty image. Raises UnreadableError if it does not run or has the wrong output."""
    session, required = load_session(path)
    _run(session, np.zeros((1, 1, *(side or TRIAL_SIDE for side in required)), dtype=np.float32))


def _batch_size(session: Any) -> int | None:
    """The network's batch size, None if it is free."""
    count = session.get_inputs()[0].shape[0]
    return count if isinstance(count, int) and count > 0 else None


def input_size(session: Any) -> tuple[int | None, int | None]:
    """Rows and columns of a network's input, None if free. Raises UnreadableError if its input is not one image."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(shape) != 4 or (shape[1] not in (1, None) and not isinstance(shape[1], str)):
        raise UnreadableError(f"the ONNX network has the inputs {[list(i.shape) for i in inputs]}", REQUIRED)
    return tuple(side if isinstance(side, int) else None for side in shape[2:])


def _to_size(images: np.ndarray, size: tuple[int, int], required: tuple[int | None, ...]) -> np.ndarray:
    """Images resized to ``size``, then centrally padded with the minimum or cropped: (F, h, w) float32."""
    out = cmr.resize(cmr.resize(images, size[0], 1), size[1], 2)
    for axis, (side, required_side) in enumerate(zip(size, required, strict=True), start=1):
        target = required_side or -(-side // MULTIPLE) * MULTIPLE
        before = (target - side) // 2
        if target >= side:
            pad = [(0, 0)] * 3
            pad[axis] = (before, target - side - before)
            out = np.pad(out, pad, constant_values=float(out.min()))
        else:
            out = np.take(out, np.arange(-before, target - before), axis=axis)
    return np.ascontiguousarray(out, dtype=np.float32)


def _to_labels(scores: np.ndarray, size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Labels from scores (F, 4, h, w), by the inverse of ``_to_size``: (F, H, W), 0 where the network saw nothing."""
    full = np.full((*scores.shape[:2], *size), UNSEEN, dtype=np.float32)
    full[:, 0] = 0
    target, source = [], []
    for side, seen in zip(size, scores.shape[2:], strict=True):
        before = (seen - side) // 2
        source.append(slice(max(before, 0), max(before, 0) + min(side, seen)))
        target.append(slice(max(-before, 0), max(-before, 0) + min(side, seen)))
    full[:, :, target[0], target[1]] = scores[:, :, source[0], source[1]]
    return np.argmax(cmr.resize(cmr.resize(full, shape[0], 2), shape[1], 3), axis=1).astype(np.uint8)


def _run(session: Any, images: np.ndarray) -> np.ndarray:
    """Scores (N, 4, h, w) of N images, padded to a fixed batch size with empty images. Raises UnreadableError."""
    missing = max((_batch_size(session) or 0) - len(images), 0)
    batch = np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])
    try:
        scores = session.run(None, {session.get_inputs()[0].name: batch})[0]
    except Exception as error:
        message = str(error).split("\n")[0][:160]
        reason = f"the ONNX network does not run on images {list(batch.shape)} ({message})"
        raise UnreadableError(reason, REQUIRED) from error
    if scores.shape != (len(batch), 4, *batch.shape[2:]):
        raise UnreadableError(f"the ONNX network has the output {list(scores.shape)}", REQUIRED)
    return scores[: len(images)]


def largest_component(labels: np.ndarray) -> np.ndarray:
    """Labels (S, F, H, W) of the largest component of the union over frames, connected over slices; others become 0."""
    from scipy.ndimage import label

    parts, count = label((labels > 0).any(axis=1), structure=np.ones((3, 3, 3)))
    if count < 2:
        return labels
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.where((parts == largest)[:, None], labels, 0).astype(np.uint8)
