"""Average the weights of several phases of one training: ``python -m tools.segmentation.averaging FILE... --out FILE``.

The mean of weights along one training is less noisy than its last weights. Writes the weights, and a .json file beside
them with their checksum, their scores on generated images, and the metadata of the averaged files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from eccl_lib.commands.cli import guard
from eccl_lib.data.segmentation.unet.model import UNet, extended
from eccl_lib.io.files import read_json, sha256, write_atomically, write_json
from tools.segmentation import training, validation


def mean(files: list[Path]) -> dict[str, Tensor]:
    """Mean of the weights in some files, tensor by tensor."""
    weights = [extended(load_file(file)) for file in files]
    return {name: sum(w[name] for w in weights) / len(weights) for name in weights[0]}


def export(files: list[Path], path: Path, draws: int) -> dict[str, object]:
    """Write the mean and its metadata; returns the metadata. draws: for the validation."""
    weights, model = mean(files), UNet()
    model.load_state_dict(weights)
    model.eval()
    write_atomically(path, lambda beside: save_file(weights, beside))
    names = " ".join(file.name for file in files)
    facts = {
        "command": f"python -m tools.segmentation.averaging {names} --out {path.name}",
        "parameters": sum(value.numel() for value in weights.values()),
        "sha256": sha256(path),
        "torch": torch.__version__,
        "generated": {
            name: validation.evaluate(model, training.VALIDATION_SEED, draws, mode)
            for name, mode in validation.MODES.items()
        },
        "averaged": {file.name: read_json(file.with_suffix(".json")) for file in files},
    }
    write_json(path.with_suffix(".json"), facts)
    return facts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.segmentation.averaging", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="weights with their .json beside them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=20, help="number of validation draws of four hearts")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(json.dumps(export(given.files, given.out, given.draws)["generated"], indent=1))


if __name__ == "__main__":
    sys.exit(guard(main))
