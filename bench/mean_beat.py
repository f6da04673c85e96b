"""The mean beat as a guess of an ECG: what an autoencoder has to beat before it can be said to know one person's heart.

A sample belongs to the beat with the last R peak of which it is at most BEFORE ahead, if it is less than AFTER behind
it; else to no beat. The mean over all training samples of one lead and one distance to the R peak is the guess that
errs least of all that know lead and distance alone (least squares); between beats it is the lead's mean there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEFORE, AFTER = 0.3, 0.6  # seconds around an R peak: P wave to the end of T; ours


@dataclass(frozen=True)
class MeanBeat:
    """values: (C, W + 1), lead by distance to the R peak in samples, from -first on; the last column is between beats.

    counts: (C, W + 1) samples that each is the mean of.
    """

    values: np.ndarray
    counts: np.ndarray
    first: int  # samples before the R peak


def places(peaks: np.ndarray, samples: int, rate: float) -> np.ndarray:
    """Which column of a mean beat each sample is in: (T,), W where it belongs to no beat. peaks: (n,) samples."""
    before, after = round(BEFORE * rate), round(AFTER * rate)
    found = np.full(samples, before + after)
    for peak in sorted(int(p) for p in peaks):  # the later beat takes what two of them reach
        for_beat = slice(max(peak - before, 0), max(min(peak + after, samples), 0))
        found[for_beat] = np.arange(for_beat.start, for_beat.stop) - peak + before
        found[for_beat.stop :] = before + after
    return found


def mean_beat(ecg: np.ndarray, peaks: Sequence[np.ndarray], rate: float, known: np.ndarray | None = None) -> MeanBeat:
    """Of all beats of all recordings. ecg: (N, C, T); peaks: of each. known: (N, C, T), which samples may be looked at.

    A column that no sample is in has the lead's mean of all.
    """
    leads, width = ecg.shape[1], round(BEFORE * rate) + round(AFTER * rate) + 1
    total, counts = np.zeros((leads, width)), np.zeros((leads, width))
    for k, recording in enumerate(ecg):
        column = places(peaks[k], ecg.shape[2], rate)
        for lead in range(leads):
            seen = np.ones(ecg.shape[2], bool) if known is None else known[k, lead].astype(bool)
            total[lead] += np.bincount(column[seen], recording[lead, seen], width)
            counts[lead] += np.bincount(column[seen], minlength=width)
    level = total.sum(axis=1, keepdims=True) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return MeanBeat(np.where(counts > 0, total / np.maximum(counts, 1), level), counts, round(BEFORE * rate))


def lay(beat: MeanBeat, peaks: np.ndarray, samples: int, rate: float) -> np.ndarray:
    """The mean beat at each R peak of a recording: (C, T)."""
    return beat.values[:, places(peaks, samples, rate)]


def patched(beat: MeanBeat, other: MeanBeat) -> MeanBeat:
    """The first one, with the second's values where the first has not seen a sample."""
    return MeanBeat(np.where(beat.counts > 0, beat.values, other.values), beat.counts, beat.first)
