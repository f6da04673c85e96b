"""What an adapter of a public ECG model declares, and the encoder that its weights make.

Weights are read with ``weights_only``, so no code in the file runs. Every key and shape must fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import MissingError, UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.io.files import sha256

STORED = (len(LEADS), 5000)  # leads in the order of LEADS, and samples of ten seconds at 500 Hz
# Checkpoints often hold scores as numpy numbers beside the weights. These classes make numbers and run no code.
_SCALAR = np.float64(0).__reduce__()[0]
NUMPY_NUMBERS = [
    *((_SCALAR, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)),
]


@dataclass(frozen=True)
class Adapter:
    """One public model. source: repository, files and commit that it was compared with.

    entry: key of the state-dict in the published file; dropped: keys of the classifier, which is not used.
    seconds, rate, leads, scaling: the model's input; width: of its features.
    build: the encoder, from (B, leads, T) to (B, width), with the published keys.
    prepare: (B, 12, 5000) mV at 500 Hz, leads as in LEADS, to (B, K, leads, T); the features of K windows are averaged.
    """

    name: str
    licence: str
    source: str
    download: str
    entry: str
    dropped: tuple[str, ...]
    seconds: float
    rate: int
    leads: tuple[str, ...]
    scaling: str
    width: int
    build: Callable[[], nn.Module]
    prepare: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PublicEncoder:
    """A public model with its published weights, frozen. sha256: of the file."""

    adapter: Adapter
    module: nn.Module
    sha256: str
    device: torch.device

    @torch.no_grad()
    def features(self, ecg: Tensor) -> Tensor:
        """Features of ECGs. ecg: (B, 12, 5000) mV at 500 Hz. Returns (B, width) float32."""
        if ecg.shape[1:] != STORED:
            raise ValueError(f"the ECGs have shape {tuple(ecg.shape)}, not (B, {STORED[0]}, {STORED[1]})")
        windows = self.adapter.prepare(ecg).to(self.device, torch.float32)  # (B, K, leads, T)
        return self.module(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]).mean(dim=1)


def load(adapter: Adapter, path: Path, device: torch.device) -> PublicEncoder:
    """The encoder with the weights of a file. Raises MissingError or UnreadableError, with the file and the fault."""
    if not path.is_file():
        raise MissingError(f"{path} is not a file. Download the weights of {adapter.name} from {adapter.download}.")
    digest = sha256(path)
    weights = _state_dict(_content(path, adapter), path, adapter)
    with torch.device("meta"):  # without memory, so that no random weight can remain
        module = adapter.build()
    own = module.state_dict()
    _check(own, weights, path, adapter)
    # Copies, because the tensors of a file can share memory.
    copies = {key: weights[key].to(own[key].dtype, copy=True) for key in own}
    module.load_state_dict(copies, strict=True, assign=True)
    return PublicEncoder(adapter, module.requires_grad_(False).eval().to(device), digest, device)


def _content(path: Path, adapter: Adapter) -> Any:
    """What ``torch.save`` wrote, without running code."""
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind raises almost any error in the unpickler
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise _unreadable(
                path, adapter, "holds Python objects beside tensors; reading them could run code"
            ) from error
        raise _unreadable(path, adapter, "is not a file of torch.save, or it is damaged") from error


def _state_dict(content: Any, path: Path, adapter: Adapter) -> dict[str, Tensor]:
    """The tensors of the published entry, without the classifier."""
    weights = content.get(adapter.entry) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        keys = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
        fault = f"has no state-dict under {adapter.entry}; its content starts with: {keys}"
        raise _unreadable(path, adapter, fault)
    return {key: value for key, value in weights.items() if key not in adapter.dropped}


def _check(own: dict[str, Tensor], weights: dict[str, Tensor], path: Path, adapter: Adapter) -> None:
    """Raise UnreadableError unless keys and shapes are those of the model and all values are finite."""
    differences = {"missing": own.keys() - weights.keys(), "unexpected": weights.keys() - own.keys()}
    found = [f"{len(keys)} {what} (first: {min(keys)})" for what, keys in differences.items() if keys]
    if found:
        raise _unreadable(path, adapter, f"does not fit the model's {len(own)} keys: {', '.join(found)}")
    for key, wanted in own.items():
        if weights[key].shape != wanted.shape:
            shapes = f"{tuple(weights[key].shape)}, not {tuple(wanted.shape)}"
            raise _unreadable(path, adapter, f"does not fit the model: {key} has shape {shapes}")
        if not torch.isfinite(weights[key]).all():
            raise _unreadable(path, adapter, f"is damaged: {key} has values that are not finite")


def _unreadable(path: Path, adapter: Adapter, fault: str) -> UnreadableError:
    cure = f"Use the published weights of {adapter.name} from {adapter.download}."
    return UnreadableError(f"{path} {fault}", cure)
