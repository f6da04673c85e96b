"""Channels of an ECG that were recorded in several strips: joined if simultaneous, refused if one after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.ecg import SHORTEST_SECONDS, check_rate
from eccl_lib.data.formats.leads import LIMB_LEADS, at_one_rate, by_lead, lead_names
from eccl_lib.data.records import EcgRecord

SAME_LENGTH = 0.98  # share of a strip's duration that a strip of the same time has at least; ours
SAME_START = 0.01  # seconds; ours


@dataclass(frozen=True)
class Strip:
    """Channels that were sampled together. samples: of each channel; rate: per second; start: seconds, None if unknown.

    load: returns the channels, (samples,) each, and their units. It may raise UnreadableError.
    """

    names: Sequence[str]
    samples: int
    rate: float
    load: Callable[[], tuple[Sequence[np.ndarray], Sequence[str]]]
    start: float | None = None

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / self.rate

    @property
    def leads(self) -> set[str]:
        """The leads by name."""
        return {lead for lead in lead_names(self.names) if lead}


def record(strips: Sequence[Strip], notes: Sequence[str] = ()) -> EcgRecord:
    """One recording from the strips of ten seconds or more that, together, have the most leads at the same time.

    Raises UnreadableError if a lead is only in a strip of another time or length, and cannot be computed, or if a
    sampling rate is not plausible.
    """
    for strip in strips:
        check_rate(strip.rate)
    chosen = max(strips, key=lambda strip: (_leads_with(strip, strips), strip.seconds))
    together = [strip for strip in strips if _has_time_of(chosen, strip)]
    _check_all_there(strips, together, chosen.seconds)
    notes = list(notes)
    if len(together) > 1 and any(strip.start is None for strip in together):
        notes.append(f"{len(together)} groups of leads state no start: taken as simultaneous")
    names, channels, units, rates = [], [], [], []
    for strip in together:
        loaded, its_units = strip.load()
        names += strip.names
        channels += [channel[: round(chosen.seconds * strip.rate)] for channel in loaded]
        units += its_units
        rates += [strip.rate] * len(strip.names)
    rate = chosen.rate
    if len({(len(channel), rate) for channel, rate in zip(channels, rates, strict=True)}) > 1:
        channels, rate = at_one_rate(names, channels, rates)
    signal, more = by_lead(names, channels, units)
    return EcgRecord(signal, rate, notes=(*notes, *more))


def _leads_with(strip: Strip, strips: Sequence[Strip]) -> int:
    """Number of leads that were recorded together with a strip; 0 for a strip of less than ten seconds."""
    if strip.seconds < SHORTEST_SECONDS:
        return 0
    return len(set().union(*(other.leads for other in strips if _has_time_of(strip, other))))


def _has_time_of(strip: Strip, other: Strip) -> bool:
    """True if another strip starts with this one and lasts at least as long."""
    known = strip.start is not None and other.start is not None  # an unstated start is reported in a note
    starts_together = not known or abs(strip.start - other.start) <= SAME_START
    return starts_together and other.seconds >= SAME_LENGTH * strip.seconds


def _check_all_there(strips: Sequence[Strip], together: Sequence[Strip], seconds: float) -> None:
    """Raise UnreadableError that names the leads which are only in strips of another time or length."""
    joined, known = (set().union(*(strip.leads for strip in part)) for part in (together, strips))
    elsewhere = known - joined
    if len(joined & set(LIMB_LEADS)) >= 2:
        elsewhere -= set(LIMB_LEADS)  # computed from two others
    if elsewhere:
        those, these = (" ".join(lead for lead in LEADS if lead in part) for part in (elsewhere, joined))
        place = f"the {seconds:.1f} s of {these or 'the longest strip'}"
        reason = f"the leads were recorded one after another: {those} are not in {place}"
        raise UnreadableError(reason, "Export the ECG with ten seconds of all leads at the same time, or leave it out.")
