"""Start of a disease run until its first batches: reading the labels of 24,908 training participants.

The reference is a training script that takes the labels from its dataset, which also reads and augments each recording.
It reads a hundredth of the same participants.
"""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least, at_most
from eccl_lib.training.sampling import task_batches

PARTICIPANTS = 24_908  # in training, Sec. 3.1
HUNDREDTH = 100


def prepare(folder: Path) -> Pair:
    """Both return the same cases in the same order; the reference's time is scaled to all participants."""
    import numpy as np
    import torch

    from eccl_lib import tasks
    from eccl_lib.config.load import load
    from eccl_lib.data import ecg

    config = load("paper", disease="I21")
    rng = np.random.default_rng(0)
    labels = rng.random((PARTICIPANTS, 4)) < 0.022  # of myocardial infarction, Sec. 3.1
    traits = np.full((PARTICIPANTS, 82), np.nan, np.float32)
    train = np.arange(PARTICIPANTS)
    few = PARTICIPANTS // HUNDREDTH
    signals = rng.integers(-500, 500, (few, 12, ecg.SAMPLES), np.int16)
    generator = torch.Generator().manual_seed(0)

    def ours():
        goal = tasks.build_targets(tasks.TASKS["I21"], labels, traits, train)
        task_batches(goal, train, config.align, 0)(0)
        return np.flatnonzero(goal.values[:, 0])

    def item(k: int):
        signal = ecg.scale(torch.from_numpy(signals[k : k + 1]), config.view)
        return ecg.augment(signal, config.augment, torch.rand(ecg.AUGMENT_DRAWS, 1, generator=generator)), labels[k, 0]

    def reference():
        return np.flatnonzero([item(k)[1] for k in range(few)])

    def same(one, other):
        np.testing.assert_array_equal(one[one < few], other)

    return Pair(ours, reference, same, reference_per=1 / HUNDREDTH)


CASE = Case(
    "start of a disease run until its first batches, 24,908 labels",
    "labels read through the augmenting dataset (a hundredth of it, times 100)",
    prepare,
    (at_most("seconds", 1.0), at_least("ratio", 1)),
    place=9,
)
