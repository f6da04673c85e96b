"""The mean beat as a prediction of an ECG: a baseline that an autoencoder must exceed to describe an individual heart.

A sample belongs to a beat if it is at most BEFORE before the R peak or less than AFTER after it. If this holds for two
beats, the later beat counts. For each lead and each distance to the R peak, the prediction is the mean over all
training samples. No other prediction from lead and distance alone has a smaller squared error. Between beats, the
prediction is the lead's mean over the samples between beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEFORE, AFTER = 0.3, 0.6  # seconds around an R peak: P wave to the end of T; ours


@dataclass(frozen=True)
class MeanBeat:
    """values: (C, W + 1), lead by distance to the R peak in samples, from -first on; the last column is between beats.

    counts: (C, W + 1), number of samples in each mean.
    """

    values: np.ndarray
    counts: np.ndarray
    first: int  # samples before the R peak


def places(peaks: np.ndarray, samples: int, rate: float) -> np.ndarray:
    """Column of the mean beat for each sample: (T,); W if it belongs to no beat. peaks: (n,) in samples."""
    before, after = round(BEFORE * rate), round(AFTER * rate)
    found = np.full(samples, before + after)
    for peak in sorted(int(p) for p in peaks):  # the later beat overwrites the earlier one
        for_beat = slice(max(peak - before, 0), max(min(peak + after, samples), 0))
        found[for_beat] = np.arange(for_beat.start, for_beat.stop) - peak + before
        found[for_beat.stop :] = before + after
    return found


def mean_beat(ecg: np.ndarray, peaks: Sequence[np.ndarray], rate: float, known: np.ndarray | None = None) -> MeanBeat:
    """The mean over all beats. ecg: (N, C, T); peaks: one array per recording; known: (N, C, T), samples in use.

    A column without samples has the lead's mean over all samples.
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
    """``beat``, with the values of ``other`` in columns without samples."""
    return MeanBeat(np.where(beat.counts > 0, beat.values, other.values), beat.counts, beat.first)
