"""Test whether pre-training on real ECGs helps: ``python -m bench.real_ecg FOLDER`` trains masked autoencoders.

One half of the recordings (every second one by its hashed id) is used for training; a fifth of this half selects the
epoch. The other half is the test set. Then the halves are swapped. In the test half, four fifths of the patches are
masked, DRAWS times, with the same masks for all predictions. The mean squared error over the masked samples (leads
scaled to [-1, 1]) is computed for

- the autoencoder trained on synthetic ECGs alone, on the real half alone, and on the real half starting from the
  weights of the synthetic one (``mae.start_from``);
- the mean beat of the real half at each R peak (``bench.mean_beat``), with all R peaks given;
- the same mean beat, shifted to the level of the test recording (each lead's mean over its visible samples);
- the mean beat of the test recording itself, from its visible samples, with its R peaks given;
- each lead's mean over the real half, and a flat line at the level of the test recording.

The settings were chosen on the training part of the first half alone. Runs are stored under ECCL_RUNS; a second call
reuses them. ``--save`` writes the table into docs/formats.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.mean_beat import lay, mean_beat, patched
from eccl_lib.config.load import digest, load
from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, ecg, open_cohort
from eccl_lib.data.ingest import unpaired
from eccl_lib.data.ingest.build import build
from eccl_lib.io.workers import Workers
from eccl_lib.models.build import new_autoencoder
from eccl_lib.models.ecg_vit import grid, unpatchify
from eccl_lib.models.mae import random_mask
from eccl_lib.pipeline import stages, trainer
from eccl_lib.pipeline.weights import frozen
from eccl_lib.training.datasets import EcgDataset
from eccl_lib.training.runs import Run

NAME = "real_ecg"
DRAWS = 8  # random masks per recording
PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats.md"
# The best of 1, 3 and 6 leads per token, with or without augmentation, on the validation recordings of the first half.
MODEL: dict[str, Any] = {
    "ecg.patch_leads": 3,
    "augment.ecg_crop_probability": 0.0,
    "augment.ecg_reverse_probability": 0.0,
    "augment.ecg_sign_probability": 0.0,
}
HERE = {"runtime.device": "cpu"}  # an epoch takes a few seconds; the baselines use numpy
SYNTHETIC = {"mae.epochs": 25, "mae.warmup_epochs": 3, "mae.batch": 8}
REAL = {"mae.epochs": 150, "mae.warmup_epochs": 10, "mae.batch": 4}


def halves(data: cohort.Cohort) -> list[cohort.Cohort]:
    """Two cohorts of all recordings: one half is train and val, the other test."""
    order = np.argsort([int(eid) for eid in data.table["eid"]])
    found = []
    for first in (0, 1):
        split = np.full(len(data), "test", dtype=object)
        learned = order[first::2]
        split[learned], split[learned[::5]] = "train", "val"
        table = data.table.assign(split=split)
        found.append(dataclasses.replace(data, table=table, fingerprint=digest(data.fingerprint, "half", first)))
    return found


def trained_on(config: Config, data: cohort.Cohort) -> Run:
    """Train the autoencoder on this half if it is missing; returns its run."""
    own = stages.spec(config, "pretrain_ecg")
    return trainer.train_if_missing(own.run(data), own.name, config, lambda: own.job(data), print)


def guesses(config: Config, half: cohort.Cohort, runs: dict[str, Run]) -> dict[str, float]:
    """Name of each prediction to its mean squared error over the masked samples of the test recordings."""
    signals, rate = EcgDataset(half, config), config.view.ecg_rate
    x = signals.of(np.arange(len(half))).numpy()
    peaks = [ecg.r_peaks(row / 1000, ecg.RATE) * rate // ecg.RATE for row in half.ecg]
    learned, test = np.flatnonzero(half.table["split"].isin(("train", "val"))), half.index("test")
    beat = mean_beat(x[learned], [peaks[k] for k in learned], rate)
    level = x[learned].mean(axis=(0, 2))[:, None]
    models = {name: frozen(new_autoencoder(config), run) for name, run in runs.items()}
    found: dict[str, list[float]] = {}

    def own(k: int, hidden: np.ndarray) -> np.ndarray:
        seen = ~hidden[k]
        means = (x[k] * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        return np.where(seen.any(axis=1), means, level[:, 0])[:, None]

    tokens = int(np.prod(grid(config.ecg, x.shape[2])))
    for draw in range(DRAWS):
        noise = torch.rand(len(half), tokens, generator=torch.Generator().manual_seed(draw))
        hidden = _hidden(noise, config, x)
        tried: dict[str, Callable[[int], np.ndarray]] = {
            "each lead's mean over the real half": lambda k: np.broadcast_to(level, x[k].shape),
            "flat line at the recording's level": lambda k, hidden=hidden: np.broadcast_to(own(k, hidden), x[k].shape),
            "mean beat of the real half": lambda k: lay(beat, peaks[k], x.shape[2], rate),
            "mean beat of the real half at the recording's level": lambda k, hidden=hidden: (
                lay(beat, peaks[k], x.shape[2], rate) - level + own(k, hidden)
            ),
            "the recording's own mean beat, from visible samples": lambda k, hidden=hidden: lay(
                patched(mean_beat(x[[k]], [peaks[k]], rate, ~hidden[[k]]), beat), peaks[k], x.shape[2], rate
            ),
        }
        for name, model in models.items():
            drawn = _reconstructed(model, x[test], noise[test], config)
            tried[name] = lambda k, drawn=drawn: drawn[int(np.flatnonzero(test == k)[0])]
        for name, guess in tried.items():
            errors = [float(((guess(k) - x[k])[hidden[k]] ** 2).mean()) for k in test]
            found.setdefault(name, []).append(float(np.mean(errors)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _hidden(noise: torch.Tensor, config: Config, x: np.ndarray) -> np.ndarray:
    """(N, 12, T) bool: the samples that the autoencoder does not see."""
    mask = random_mask(noise, config.mae.mask_ratio)[2]
    patch = config.ecg.patch_leads * config.ecg.patch_samples
    return unpatchify(mask[:, :, None].expand(-1, -1, patch), config.ecg).numpy().astype(bool)


def _reconstructed(model: torch.nn.Module, x: np.ndarray, noise: torch.Tensor, config: Config) -> np.ndarray:
    with torch.no_grad():
        return unpatchify(model(torch.from_numpy(x), noise)[0], config.ecg).numpy()


def compare(folder: Path, seeds: int) -> dict[str, list[float]]:
    """Name of each prediction to its errors on the test half, one per half and seed."""
    cohort = f"ecg-{NAME}"
    source = unpaired.Source(cohort, (str(folder.resolve()),))
    build(load("demo", cohort=cohort, overrides=HERE), source, Workers(jobs=1), retry=False)
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        made_up = stages.train(load("demo", seed=seed, overrides={**MODEL, **SYNTHETIC, **HERE}), "pretrain_ecg")
        config = load("demo", cohort=f"ecg-{NAME}", seed=seed, overrides={**MODEL, **REAL, **HERE})
        onwards = dataclasses.replace(config, mae=dataclasses.replace(config.mae, start_from=made_up.fingerprint[:8]))
        for half in halves(open_cohort.load(config, needs=("ecg",))):
            runs = {
                "autoencoder, synthetic": made_up,
                "autoencoder, real half": trained_on(config, half),
                "autoencoder, synthetic then real half": trained_on(onwards, half),
            }
            for name, error in guesses(config, half, runs).items():
                found.setdefault(name, []).append(error)
            print(table(found, len(half), seed + 1), flush=True)
    return found


def table(found: dict[str, list[float]], count: int, seeds: int) -> str:
    """Markdown, the largest error first."""
    lines = [
        f"{count} recordings, {seeds} seeds; each half is the test set once. Mean squared error over the masked",
        "samples (leads scaled to [-1, 1]): mean over halves and seeds, with the range in brackets.",
        "",
        "| prediction | error |",
        "|---|---|",
    ]
    for name, errors in sorted(found.items(), key=lambda item: -np.mean(item[1])):
        lines.append(f"| {name} | {np.mean(errors):.4f} ({min(errors):.4f} to {max(errors):.4f}) |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.real_ecg", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="ECGs of any known format")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write the table into docs/formats.md")
    given = parser.parse_args()
    found = compare(given.folder, given.seeds)
    count = len(open_cohort.load(load("demo", cohort=f"ecg-{NAME}"), needs=("ecg",)))
    text = table(found, count, given.seeds)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} CPU seconds of this call")
    if given.save:
        page = PAGE.read_text()
        PAGE.write_text(re.sub(r"(?s)(<!-- real ECGs -->\n).*?(\n<!-- end -->)", lambda m: m[1] + text + m[2], page))


if __name__ == "__main__":
    main()
