"""Channels by the name their file gives them, in whatever unit: to the twelve leads in mV, in the order of LEADS."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS

LARGEST_TEXT = 64 * 2**20  # bytes of a file that is read whole
LONGEST_SECONDS = 120  # read of a long recording; ten are used
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
_LEAD, _MINUS = rf"\b({'|'.join(LEADS)})\b", "[-\u2212\u2013]"
# Upside down, as Cabrera has aVR: -aVR or Lead -aVR; aVR(-); aVR-; minus aVR or aVR inverted. ECG-aVR is not.
_TURNED = re.compile(
    rf"(?i)(^|[\s(]){_MINUS}(?={_LEAD})|{_LEAD}\s*\(\s*{_MINUS}\s*\)|{_LEAD}{_MINUS}\s*$"
    r"|(^|[^a-z])(minus|neg|negative|inverted)([^a-z]|$)"
)
_UNIT = re.compile(r"(?i)[\s(\[_/]([munµμ]?v)[)\]]?\s*$")  # I (uV), I [µV], I_mV
HIGHEST_MV = 50.0  # no skin lead shows more; values above are in another unit
LOWEST_MV = 0.02  # nor do all leads move by less, save without electrodes; ours: a heartbeat has some 0.5

WFDB = "WFDB (name.hea with its .dat or .mat beside it)"
MUSE = "GE MUSE XML (RestingECG)"
CSV = (
    "CSV (first row: lead names such as I, II, V1; the sampling rate as a line '# rate=500' above it or as a column "
    "'time' in seconds; values in mV, or a line '# unit=uV', or names such as 'I (uV)')"
)
NPY = (
    ".npy (leads x samples or samples x leads; beside it name.json, or one ecg.json for all arrays of the folder: "
    '{"rate": 500, "leads": ["I", "II", ...], "unit": "mV"})'
)
ACCEPTED = f"Accepted are: UK Biobank's ECG XML; {MUSE}; {WFDB}; a DICOM waveform (.dcm); {CSV}; {NPY}."


def lead_name(text: str) -> str | None:
    """The lead that a file's channel name means: ``MDC_ECG_LEAD_AVR``, ``Lead I (Einthoven)``, ``v1`` to aVR, I, V1."""
    words = re.split(r"[^A-Za-z0-9]+", text)
    known = {lead.lower(): lead for lead in LEADS}
    return next((known[word.lower()] for word in words if word.lower() in known), None)


def is_turned(text: str) -> bool:
    """Whether a channel's name says that its lead is upside down."""
    return _TURNED.search(text) is not None


def by_lead(names: Sequence[str], channels: np.ndarray, factors: Sequence[float]) -> tuple[np.ndarray, list[str]]:
    """Channels (C, T) in file order to (12, T) mV in the order of LEADS, NaN where a lead is absent; and remarks.

    factors: mV per unit of each channel. A lead that is upside down by its name is turned. Raises UnreadableError where
    fewer than two limb leads are named.
    """
    signal = np.full((len(LEADS), channels.shape[1]), np.nan)
    seen: set[str] = set()
    other, turned = [], []
    for name, channel, factor in zip(names, channels, factors, strict=True):
        lead = lead_name(name)
        if lead is None or lead in seen:
            other.append(name.strip()[:20])
            continue
        seen.add(lead)
        if is_turned(name):
            turned.append(name.strip()[:20])
            factor = -factor
        signal[LEADS.index(lead)] = np.asarray(channel, dtype=np.float64) * factor
    if len(seen & set(LEADS[:6])) < 2:
        found = ", ".join(names[:20]) or "none"
        raise UnreadableError(f"fewer than two limb leads are named; the channels are: {found[:200]}", ACCEPTED)
    if np.nanmax(np.abs(signal), initial=0) > HIGHEST_MV:
        raise UnreadableError(f"values up to {np.nanmax(np.abs(signal)):.0f} mV are no ECG", "State the true unit.")
    present = signal[~np.isnan(signal).all(axis=1)]
    moved = np.max(np.nanmax(present, axis=1) - np.nanmin(present, axis=1), initial=0)
    if 0 < moved < LOWEST_MV:
        reason = f"no lead moves by more than {moved:.1g} mV: it is in another unit, or no electrode was on"
        raise UnreadableError(reason, "State the true unit, or leave the participant out.")
    remarks = {"channels left out": other, "leads upside down, turned": turned}
    return signal, [f"{what}: {', '.join(names)}" for what, names in remarks.items() if names]


def factors_of(names: Sequence[str], unit: str) -> list[float]:
    """mV per one of each channel: by the unit in its name, else by that of the file. Raises UnreadableError."""
    said = [_UNIT.search(name) for name in names]
    return [millivolts(match[1] if match else unit) for match in said]


def millivolts(unit: str) -> float:
    """mV per one of this unit. Raises UnreadableError where it is no voltage."""
    if unit.strip().lower() not in MILLIVOLTS:
        raise UnreadableError(f"the unit {unit[:20]!r} is no voltage", f"Known are {', '.join(MILLIVOLTS)}.")
    return MILLIVOLTS[unit.strip().lower()]
