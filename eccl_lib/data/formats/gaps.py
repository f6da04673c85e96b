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
LIMIT_SECONDS, LIMIT_MV = 0.2, 1.0  # one value for this long, this far from the lead's median: at its limit; ours


def mark(record: EcgRecord) -> EcgRecord:
    """The recording without padding at its ends, with NaN for samples without a signal, and notes that count them.

    Leads that are constant or absent throughout are kept as they are. Raises UnreadableError if the padding leaves less
    than ten seconds.
    """
    signal = record.signal
    live = np.nanmax(signal, axis=1, initial=-np.inf) > np.nanmin(signal, axis=1, initial=np.inf)
    if not live.any() or not 0 < record.rate < np.inf:
        return record  # refused later, with its own message
    signal, notes = _without_padding(signal, live, record.rate)
    return replace(_without_runs(replace(record, signal=signal), live), notes=(*record.notes, *notes))


def _without_padding(signal: np.ndarray, live: np.ndarray, rate: float) -> tuple[np.ndarray, list[str]]:
    """The samples between the padding at both ends, and a note."""
    start, end = _padding(signal[live], rate)
    if not start and not end:
        return signal, []
    total = signal.shape[1]
    seconds, left = total / rate, max(0, total - start - end) / rate
    padding = f"{(start + end) / rate:.1f} s at the ends hold one value in all leads (padding)"
    if left < SHORTEST_SECONDS <= seconds:
        reason = f"only {left:.1f} of {seconds:.1f} s hold a signal; {padding}"
        raise UnreadableError(reason, "Ten seconds are needed. Leave the recording out.")
    return signal[:, start : total - end], [f"{padding}: left out"]


def _padding(signal: np.ndarray, rate: float) -> tuple[int, int]:
    """Number of padding samples at the start and the end: one value, or none, in each lead.

    Padding lasts longer than any such time inside: a signal without noise is constant between the beats, too.
    """
    fewest = max(2, int(ZEROS_SECONDS * rate))
    if _changes(signal[:, :fewest]).any() and _changes(signal[:, -fewest:]).any():
        return 0, 0
    changes = np.flatnonzero(_changes(signal))
    inside = np.diff(changes).max(initial=1)
    lengths = (int(changes[0]) + 1, signal.shape[1] - 1 - int(changes[-1]))
    least = [rate * (HELD_SECONDS if np.nan_to_num(signal[:, k]).any() else ZEROS_SECONDS) for k in (0, -1)]
    start, end = (n if n >= enough and n > inside else 0 for n, enough in zip(lengths, least, strict=True))
    return start, end


def _changes(signal: np.ndarray) -> np.ndarray:
    """(T - 1,) bool: the steps at which any lead changes, also from or to a missing sample."""
    missing = np.isnan(signal)
    either = missing[:, 1:] & missing[:, :-1]
    return ((signal[:, 1:] != signal[:, :-1]) & ~either).any(axis=0)


def _without_runs(record: EcgRecord, live: np.ndarray) -> EcgRecord:
    """The recording with NaN where a lead repeats one value for too long; a note names the leads and seconds."""
    signal, rate, named = record.signal, record.rate, []
    shortest = max(2, int(LIMIT_SECONDS * rate))
    same = signal[:, 1:] == signal[:, :-1]
    # A run of n equal steps contains a whole block of n // 2: most leads are excluded without a search for runs.
    block = max(1, (shortest - 1) // 2)
    blocks = same[:, : same.shape[1] // block * block].reshape(len(same), -1, block)
    candidates = np.flatnonzero(blocks.all(axis=2).any(axis=1) & live)
    marked = signal.copy() if len(candidates) else signal
    for k in candidates:
        missing = 0
        for first, last in _runs(same[k], shortest - 1):
            at_limit = abs(signal[k, first] - np.nanmedian(signal[k])) >= LIMIT_MV
            if at_limit or last + 1 - first >= REPEATED_SECONDS * rate:
                marked[k, first : last + 1] = np.nan
                missing += last + 1 - first
        if missing:
            named.append(f"{LEADS[k]} {missing / rate:.1f} s")
    notes = (f"one repeated value counts as missing: {', '.join(named)}",) if named else ()
    return replace(record, signal=marked, notes=(*record.notes, *notes))


def _runs(same: np.ndarray, steps: int) -> list[tuple[int, int]]:
    """First and last sample of each run of at least ``steps`` equal steps. same: (T - 1,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= steps]
