"""The mean beat as a guess: equal to a slow literal reading of its definition, and the best of its kind."""

from __future__ import annotations

import numpy as np
import pytest

from bench.mean_beat import AFTER, BEFORE, lay, mean_beat, patched, places

RATE = 50.0


def literally(peaks: list[int], samples: int) -> list[int | None]:
    """The distance to the R peak of the beat that each sample belongs to, None between beats."""
    found: list[int | None] = []
    for t in range(samples):
        owner = [p for p in peaks if p - round(BEFORE * RATE) <= t]
        distance = t - max(owner) if owner else None
        found.append(distance if distance is not None and distance < round(AFTER * RATE) else None)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_every_sample_is_where_the_definition_puts_it(seed):
    rng = np.random.default_rng(seed)
    peaks = np.sort(rng.choice(300, size=rng.integers(0, 9), replace=False))
    found = places(peaks, 300, RATE)
    between = round(BEFORE * RATE) + round(AFTER * RATE)
    wanted = [between if d is None else d + round(BEFORE * RATE) for d in literally(peaks.tolist(), 300)]
    assert found.tolist() == wanted


def random_beats(seed: int = 0):
    rng = np.random.default_rng(seed)
    peaks = [np.sort(rng.choice(200, size=4, replace=False)) for _ in range(6)]
    return rng.normal(size=(6, 3, 200)), peaks, rng.random((6, 3, 200)) < 0.3


def test_its_values_are_means_over_all_samples_of_one_lead_and_distance():
    ecg, peaks, known = random_beats()
    for seen in (None, known):
        beat = mean_beat(ecg, peaks, RATE, seen)
        groups: dict[tuple[int, int | None], list[float]] = {}
        for n in range(6):
            for t, distance in enumerate(literally(peaks[n].tolist(), 200)):
                for lead in range(3):
                    if seen is None or seen[n, lead, t]:
                        groups.setdefault((lead, distance), []).append(ecg[n, lead, t])
        for (lead, distance), values in groups.items():
            column = -1 if distance is None else distance + beat.first
            assert beat.values[lead, column] == pytest.approx(np.mean(values))
            assert beat.counts[lead, column] == len(values)


def test_no_other_guess_by_lead_and_distance_errs_less():
    ecg, peaks, _ = random_beats(1)
    beat = mean_beat(ecg, peaks, RATE)

    def error(values: np.ndarray) -> float:
        laid = [values[:, places(p, 200, RATE)] for p in peaks]
        return float(np.mean((np.stack(laid) - ecg) ** 2))

    best = error(beat.values)
    rng = np.random.default_rng(2)
    assert all(error(beat.values + rng.normal(0, 0.01, beat.values.shape)) > best for _ in range(20))
    assert best < float(np.mean((ecg - ecg.mean(axis=(0, 2), keepdims=True)) ** 2))


def test_equal_beats_are_laid_back_exactly():
    shape = np.random.default_rng(3).normal(size=(3, round(BEFORE * RATE) + round(AFTER * RATE)))
    ecg, peaks = np.zeros((2, 3, 400)), [np.array([50, 130, 300]), np.array([40, 200])]
    for n, some in enumerate(peaks):
        for peak in some:
            start = peak - round(BEFORE * RATE)
            ecg[n, :, start : start + shape.shape[1]] = shape
    beat = mean_beat(ecg, peaks, RATE)
    for n in range(2):
        np.testing.assert_allclose(lay(beat, peaks[n], 400, RATE), ecg[n], atol=1e-12)


def test_what_one_recording_does_not_show_is_taken_from_the_others():
    ecg, peaks, known = random_beats(4)
    known[0, :, ::2] = False
    own, all_ = mean_beat(ecg[:1], peaks[:1], RATE, known[:1]), mean_beat(ecg, peaks, RATE)
    both = patched(own, all_)
    np.testing.assert_array_equal(both.values[own.counts > 0], own.values[own.counts > 0])
    np.testing.assert_array_equal(both.values[own.counts == 0], all_.values[own.counts == 0])
