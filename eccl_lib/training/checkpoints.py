"""The state of a training on disk: one file of tensors and the manifest that makes it count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from eccl_lib.io.files import read_json, sha256, verify, write_json
from eccl_lib.training.runs import MANIFEST, save_tensors


def write(folder: Path, fingerprint: str, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Replace the state that is there; the new one counts once its manifest is renamed. state: plain JSON types."""
    path = folder / f"state-{state['epoch']:04d}-{state['step']:06d}.safetensors"
    save_tensors(path, tensors)
    manifest = {"status": "training", "fingerprint": fingerprint, "files": {path.name: sha256(path)}, "state": state}
    write_json(folder / MANIFEST, manifest)
    for old in folder.glob("state-*.safetensors"):
        if old != path:
            old.unlink()


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What ``write`` left, None where it left nothing. Raises DamagedError where its sum does not fit."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_json(folder / MANIFEST)
    ((name, digest),) = manifest["files"].items()
    verify(folder / name, digest)
    return manifest["state"], load_file(folder / name)


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those below ``prefix.``, with it cut off."""
    return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
