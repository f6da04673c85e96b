"""Does pre-training on real ECGs help? ``python -m bench.real_ecg FOLDER``: a masked autoencoder on half of them.

Half of the recordings (every second one by its hashed id) are learned from, a fifth of these choose the epoch, and the
others are held out; then the halves change places. On the held-out half the same four fifths of the patches are hidden
for everyone, DRAWS times, and the mean squared error over hidden samples (leads scaled to [-1, 1]) is that of

- the autoencoder trained on synthetic ECGs alone, on the real half alone, and on the real half from the synthetic one's
  weights on (``mae.start_from``);
- the mean beat of the real half at each R peak (``eccl_lib.mean_beat``), which is told where all R peaks are;
- the held-out recording's own mean beat, of its visible samples alone, told the same;
- the lead's mean over the real half, and a flat line at the hidden recording's own level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from eccl_lib import course, stages, trained
from eccl_lib.config import Config, digest
from eccl_lib.data import cohort, ecg
from eccl_lib.inputs import Signals
from eccl_lib.lineage import ecg_run
from eccl_lib.mean_beat import lay, mean_beat, patched
from eccl_lib.models.mae import random_mask
from eccl_lib.models.vit import grid, unpatchify
from eccl_lib.runs import Run

NAME = "real_ecg"
DRAWS = 8  # of the hidden patches, of each recording
# One lead a token, so that what is hidden in one lead may be seen in another; chosen on the learning half alone.
MODEL: dict[str, Any] = {
    "ecg.patch_leads": 1,
    "ecg.patch_samples": 20,
    "ecg.width": 64,
    "ecg.depth": 2,
    "mae.decoder_width": 64,
    "mae.decoder_depth": 1,
    "mae.batch": 8,
    "mae.lr": 2e-3,
}
SYNTHETIC = {"mae.epochs": 12, "mae.warmup_epochs": 2}
REAL = {"mae.epochs": 150, "mae.warmup_epochs": 10}


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
    """The finished autoencoder of this half."""
    return course.once(ecg_run(config, data), config, lambda: stages.ecg_course(config, data), print)


def guesses(config: Config, half: cohort.Cohort, runs: dict[str, Run]) -> dict[str, float]:
    """Mean squared error over hidden samples of the test recordings, by who guesses."""
    signals, rate = Signals(half, config), config.view.ecg_rate
    x = signals.of(np.arange(len(half))).numpy()
    peaks = [ecg.r_peaks(row / 1000, ecg.RATE) * rate // ecg.RATE for row in half.ecg]
    learned, test = np.flatnonzero(half.table["split"].isin(("train", "val"))), half.index("test")
    beat = mean_beat(x[learned], [peaks[k] for k in learned], rate)
    level = x[learned].mean(axis=(0, 2))[:, None]
    models = {name: trained.frozen(trained.new_autoencoder(config), run) for name, run in runs.items()}
    found: dict[str, list[float]] = {}
    tokens = int(np.prod(grid(config.ecg, x.shape[2])))
    for draw in range(DRAWS):
        noise = torch.rand(len(half), tokens, generator=torch.Generator().manual_seed(draw))
        hidden = _hidden(noise, config, x)
        tried: dict[str, Callable[[int], np.ndarray]] = {
            "lead's mean over the real half": lambda k: np.broadcast_to(level, x[k].shape),
            "flat line at its own level": lambda k: np.broadcast_to(x[k].mean(axis=1, keepdims=True), x[k].shape),
            "mean beat of the real half": lambda k: lay(beat, peaks[k], x.shape[2], rate),
            "own mean beat, of what is visible": lambda k, hidden=hidden: lay(
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
        return unpatchify(model(torch.from_numpy(x), noise)[1], config.ecg).numpy()
