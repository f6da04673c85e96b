"""TODO."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eccl_lib.config.schema import TrainingConfig
from eccl_lib.config.seeds import seed_of
from eccl_lib.tasks import Targets
from eccl_lib.training.optim import even_batches


def task_batches(
    targets: Targets, train: np.ndarray, training: TrainingConfig, seed: int
) -> Callable[[int], list[np.ndarray]]:
    """epoch -> batches of rows: balanced chunks for a disease (Sec. 3.1), one shuffled pass for the traits."""
    if not targets.task.is_disease:
        return passes(train, training, seed)
    cases = targets.values[train, 0] > 0.5

    def batches(epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng(seed_of(seed, epoch))
        cut = fixed_chunks if training.chunks == "fixed" else balanced_chunks
        chunks = cut(cases, training.negatives_per_positive, generator)
        return [batch for chunk in chunks for batch in even_batches(train[chunk], training.batch)]

    return batches


def passes(rows: np.ndarray, training: TrainingConfig, seed: int) -> Callable[[int], list[np.ndarray]]:
    """epoch -> batches of one shuffled pass over rows."""
    return lambda epoch: even_batches(np.random.default_rng(seed_of(seed, epoch)).permutation(rows), training.batch)


def balanced_chunks(
    positive: np.ndarray, negatives_per_positive: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """All positives beside a random share of the negatives, K times: every negative is seen once (Sec. 3.1).

    positive: (n,) bool. K = negatives / (ratio x positives), rounded, at least 1.
    Returns K shuffled arrays of positions.
    """
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    chunks = max(1, round(len(controls) / max(1, negatives_per_positive * len(cases))))
    shares = np.array_split(generator.permutation(controls), chunks)
    return [generator.permutation(np.concatenate([cases, share])) for share in shares]


def fixed_chunks(positive: np.ndarray, negatives_per_positive: int, generator: np.random.Generator) -> list[np.ndarray]:
    """The authors' code: the negatives cut in the order of the file, the same chunks in every epoch.

    positive: (n,) bool. K = floor(negatives / (ratio x positives)), at least 1 (theirs stops at 0).
    Returns K arrays of positions, each shuffled.
    """
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    chunks = max(1, len(controls) // max(1, negatives_per_positive * len(cases)))
    shares = np.array_split(controls, chunks)
    return [generator.permutation(np.concatenate([cases, share])) for share in shares]
