"""The batches of an epoch: shuffled, or balanced between cases and controls (Sec. 3.1)."""

from collections.abc import Callable

import numpy as np

from eccl_lib.config.schema import TrainingConfig
from eccl_lib.config.seeds import seed_of
from eccl_lib.tasks import Targets
from eccl_lib.training.optim import even_batches

Batches = Callable[[int], list[np.ndarray]]  # epoch -> the rows of each step


def task_batches(targets: Targets, train: np.ndarray, schedule: TrainingConfig, seed: int) -> Batches:
    """Balanced batches for a disease (Sec. 3.1), shuffled ones for the traits. train: rows of the cohort."""
    if not targets.task.is_disease:
        return shuffled_batches(train, schedule, seed)
    cases = targets.values[train, 0] > 0.5

    def batches(epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng(seed_of(seed, epoch))
        cut = fixed_chunks if schedule.chunks == "fixed" else balanced_chunks
        chunks = cut(cases, schedule.negatives_per_positive, generator)
        return [batch for chunk in chunks for batch in even_batches(train[chunk], schedule.batch)]

    return batches


def shuffled_batches(rows: np.ndarray, schedule: TrainingConfig, seed: int) -> Batches:
    """One shuffled pass over the rows in each epoch."""
    return lambda epoch: even_batches(np.random.default_rng(seed_of(seed, epoch)).permutation(rows), schedule.batch)


def epoch_batches(passes: Batches, steps: int, epoch: int) -> list[np.ndarray]:
    """The batches of an epoch: one pass over the data or, if ``steps`` is not 0, the next ``steps`` batches.

    Passes follow one another, so every row is used once before any is used again. passes: number of the pass -> its
    batches, as many in every pass.
    """
    if not steps:
        return passes(epoch)
    first, length = epoch * steps, len(passes(0))
    whole = range(first // length, -(-(first + steps) // length))
    batches = [batch for number in whole for batch in passes(number)]
    return batches[first % length : first % length + steps]


def balanced_chunks(
    positive: np.ndarray, negatives_per_positive: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """K chunks, each with all cases and a random share of the controls; every control occurs once (Sec. 3.1).

    positive: (n,) bool. K = controls / (ratio x cases), rounded, at least 1. Returns K shuffled arrays of positions.
    """
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    chunks = max(1, round(len(controls) / max(1, negatives_per_positive * len(cases))))
    shares = np.array_split(generator.permutation(controls), chunks)
    return [generator.permutation(np.concatenate([cases, share])) for share in shares]


def fixed_chunks(positive: np.ndarray, negatives_per_positive: int, generator: np.random.Generator) -> list[np.ndarray]:
    """As the authors' code: controls are split in file order, with the same chunks in every epoch.

    positive: (n,) bool. K = floor(controls / (ratio x cases)), at least 1 (0 in the authors' code).
    Returns K arrays of positions, each shuffled.
    """
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    chunks = max(1, len(controls) // max(1, negatives_per_positive * len(cases)))
    shares = np.array_split(controls, chunks)
    return [generator.permutation(np.concatenate([cases, share])) for share in shares]
