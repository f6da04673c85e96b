"""Channels of an ECG that were recorded in several strips: joined if simultaneous, refused if one after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.formats.leads import LIMB_LEADS, at_one_rate, by_lead, lead_names
from eccl_lib.data.records import EcgRecord

SAME_LENGTH = 0.98  # share of the longest strip's duration that a simultaneous strip has at least; ours
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
    """One recording from the longest strip and those that were recorded at the same time.

    Raises UnreadableError if a lead is only in a strip of another time or length, and cannot be computed.
    """
    longest = max(strips, key=lambda strip: strip.seconds)
    together = [strip for strip in strips if _is_simultaneous(strip, longest)]
    joined = set().union(*(strip.leads for strip in together))
    elsewhere = set().union(*(strip.leads for strip in strips)) - joined
    if len(joined & set(LIMB_LEADS)) >= 2:
        elsewhere -= set(LIMB_LEADS)  # computed from two others
    if elsewhere:
        named = [" ".join(lead for lead in LEADS if lead in part) for part in (joined, elsewhere)]
        reason = f"the leads were recorded one after another: {named[1]} are not in the {longest.seconds:.1f} s of"
        reason = f"{reason} {named[0] or 'the longest strip'}"
        raise UnreadableError(reason, "Export the ECG with ten seconds of all leads at the same time, or leave it out.")
    notes = list(notes)
    if len(together) > 1 and any(strip.start is None for strip in together):
        notes.append(f"{len(together)} groups of leads state no start: taken as simultaneous")
    names, channels, units, rates = [], [], [], []
    for strip in together:
        loaded, its_units = strip.load()
        names += strip.names
        channels += list(loaded)
        units += its_units
        rates += [strip.rate] * len(strip.names)
    if len({(len(channel), rate) for channel, rate in zip(channels, rates, strict=True)}) > 1:
        channels, rate = at_one_rate(names, channels, rates)
    else:
        rate = longest.rate
    signal, more = by_lead(names, channels, units)
    return EcgRecord(signal, rate, notes=(*notes, *more))


def _is_simultaneous(strip: Strip, longest: Strip) -> bool:
    starts_together = abs((strip.start or 0.0) - (longest.start or 0.0)) <= SAME_START
    return starts_together and strip.seconds >= SAME_LENGTH * longest.seconds
