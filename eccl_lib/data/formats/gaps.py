"""Samples of an ECG that hold no signal: padding at either end, a repeated value, an amplifier at its limit."""

from dataclasses import replace

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.ecg import SHORTEST_SECONDS
from eccl_lib.data.records import EcgRecord

# Zeros, or another value, in all leads for this long at either end are padding. CODE has 0.12 s of zeros around ten
# seconds; PTB-XL holds the last value for 0.11 s.
ZEROS_SECONDS, HELD_SECONDS = 0.115, 0.2  # ours
REPEATED_SECONDS = 1.0  # one value for this long in a lead; a connected electrode has noise; ours
LIMIT_SECONDS, LIMIT_MV = 0.2, 1.0  # the lowest or highest value for this long, this far from the median; ours


def mark(record: EcgRecord) -> EcgRecord:
    """The recording without padding at its ends, with NaN for samples without a signal, and notes that count them.

    Leads that are constant or absent throughout are kept as they are. Raises UnreadableError if the padding leaves less
    than ten seconds.
    """
    signal = record.signal
    live = np.fmax.reduce(signal, axis=1, initial=-np.inf) > np.fmin.reduce(signal, axis=1, initial=np.inf)
    if not live.any() or not 0 < record.rate < np.inf:
        return record  # refused later, with its own message
    signal, notes = _without_padding(signal, live, record.rate)
    return _without_runs(replace(record, signal=signal, notes=(*record.notes, *notes)), live)


def _without_padding(signal: np.ndarray, live: np.ndarray, rate: float) -> tuple[np.ndarray, list[str]]:
    """The samples between the padding at both ends, and a note."""
    start, end = _padding(signal, live, rate)
    if not start and not end:
        return signal, []
    total = signal.shape[1]
    seconds, left = total / rate, max(0, total - start - end) / rate
    padding = f"{(start + end) / rate:.1f} s at the ends hold one value in all leads (padding)"
    if left < SHORTEST_SECONDS <= seconds:
        reason = f"only {left:.1f} of {seconds:.1f} s hold a signal; {padding}"
        raise UnreadableError(reason, "Ten seconds are needed. Leave the recording out.")
    return signal[:, start : total - end], [f"{padding}: left out"]


def _padding(signal: np.ndarray, live: np.ndarray, rate: float) -> tuple[int, int]:
    """Number of padding samples at the start and the end: one value, or none, in each lead.

    Padding lasts longer than any such time inside: a signal without noise is constant between the beats, too.
    """
    fewest = min(max(2, int(ZEROS_SECONDS * rate)), signal.shape[1])
    ends = signal[:, [0, fewest - 1, -fewest, -1]][live]
    if _differ(ends[:, 0], ends[:, 1]).any() and _differ(ends[:, 2], ends[:, 3]).any():
        return 0, 0
    signal = signal[live]
    changes = np.flatnonzero(_differ(signal[:, 1:], signal[:, :-1]).any(axis=0))
    inside = np.diff(changes).max(initial=1)
    lengths = (int(changes[0]) + 1, signal.shape[1] - 1 - int(changes[-1]))
    least = [rate * (HELD_SECONDS if np.nan_to_num(signal[:, k]).any() else ZEROS_SECONDS) for k in (0, -1)]
    start, end = (n if n >= enough and n > inside else 0 for n, enough in zip(lengths, least, strict=True))
    return start, end


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """True where two values differ; two missing ones do not."""
    return (a != b) & ~(np.isnan(a) & np.isnan(b))


def _without_runs(record: EcgRecord, live: np.ndarray) -> EcgRecord:
    """The recording with NaN where a lead repeats one value for too long; a note names the leads and seconds."""
    signal, rate, named = record.signal, record.rate, []
    shortest = max(2, int(LIMIT_SECONDS * rate))
    # A run of n values contains five samples that are n // 6 apart: most leads are excluded without a search.
    sampled = signal[:, :: max(1, shortest // 6)]
    same = sampled[:, 1:] == sampled[:, :-1]
    candidates = np.flatnonzero((same[:, :-3] & same[:, 1:-2] & same[:, 2:-1] & same[:, 3:]).any(axis=1) & live)
    marked = signal.copy() if len(candidates) else signal
    for k in candidates:
        runs = _runs(signal[k], rate)
        for first, end in runs:
            marked[k, first:end] = np.nan
        if runs:
            named.append(f"{LEADS[k]} {sum(end - first for first, end in runs) / rate:.1f} s")
    notes = (f"one repeated value counts as missing: {', '.join(named)}",) if named else ()
    return replace(record, signal=marked, notes=(*record.notes, *notes))


def _runs(lead: np.ndarray, rate: float) -> list[tuple[int, int]]:
    """First sample and end of each run of one value that holds no signal. lead: (T,) mV."""
    edges = np.concatenate([[0], np.flatnonzero(lead[1:] != lead[:-1]) + 1, [len(lead)]])
    first, length = edges[:-1], np.diff(edges)
    chosen = length >= REPEATED_SECONDS * rate
    short = np.flatnonzero((length >= LIMIT_SECONDS * rate) & ~chosen)
    at_limit = short[(lead[first[short]] == np.nanmin(lead)) | (lead[first[short]] == np.nanmax(lead))]
    if len(at_limit):
        chosen[at_limit] = np.abs(lead[first[at_limit]] - np.nanmedian(lead)) >= LIMIT_MV
    return [(int(first[k]), int(first[k] + length[k])) for k in np.flatnonzero(chosen)]
