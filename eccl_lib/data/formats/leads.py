"""Map the channels of an ECG file, by name and unit, to the twelve leads in mV, in the order of LEADS."""

import re
from collections.abc import Sequence

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS

LARGEST_TEXT = 64 * 2**20  # bytes of a file that is read into memory
LONGEST_SECONDS = 120  # seconds that are read of a long recording; ten are used
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
_LEAD, _MINUS = rf"\b({'|'.join(LEADS)})\b", "[-\u2212\u2013]"
# Inverted leads, such as -aVR of Cabrera: -aVR, Lead -aVR, aVR(-), aVR-, minus aVR, aVR inverted; but not ECG-aVR.
_INVERTED = re.compile(
    rf"(?i)(^|[\s(]){_MINUS}(?={_LEAD})|{_LEAD}\s*\(\s*{_MINUS}\s*\)|{_LEAD}{_MINUS}\s*$"
    r"|(^|[^a-z])(minus|neg|negative|inverted)([^a-z]|$)"
)
_UNIT = re.compile(r"(?i)[\s(\[_/]([munµμ]?v)[)\]]?\s*$")  # I (uV), I [µV], I_mV
HIGHEST_MV = 50.0  # surface ECGs are smaller; larger values are in another unit; ours
LOWEST_MV = 0.02  # peak to peak; if no lead reaches it, the unit is wrong or no electrode is on; a beat has 0.5; ours

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
ACCEPTED = f"Accepted formats: UK Biobank's ECG XML; {MUSE}; {WFDB}; a DICOM waveform (.dcm); {CSV}; {NPY}."


def lead_name(text: str) -> str | None:
    """Lead of a channel name, or None: ``MDC_ECG_LEAD_AVR``, ``Lead I (Einthoven)`` and ``v1`` give aVR, I and V1."""
    words = re.split(r"[^A-Za-z0-9]+", text)
    known = {lead.lower(): lead for lead in LEADS}
    return next((known[word.lower()] for word in words if word.lower() in known), None)


def by_lead(names: Sequence[str], channels: np.ndarray, factors: Sequence[float]) -> tuple[np.ndarray, list[str]]:
    """Channels (C, T) in file order as (12, T) mV in the order of LEADS, NaN for absent leads; and notes.

    factors: mV per unit of each channel. The sign of inverted leads is changed. Raises UnreadableError if fewer than
    two limb leads are named, or if the values are too large or too small for an ECG.
    """
    signal = np.full((len(LEADS), channels.shape[1]), np.nan)
    seen: set[str] = set()
    other, inverted = [], []
    for name, channel, factor in zip(names, channels, factors, strict=True):
        lead = lead_name(name)
        if lead is None or lead in seen:
            other.append(name.strip()[:20])
            continue
        seen.add(lead)
        if _INVERTED.search(name):
            inverted.append(name.strip()[:20])
            factor = -factor
        signal[LEADS.index(lead)] = np.asarray(channel, dtype=np.float64) * factor
    if len(seen & set(LEADS[:6])) < 2:
        listed = ", ".join(names[:20]) or "none"
        raise UnreadableError(f"fewer than two limb leads are named; the channels are: {listed[:200]}", ACCEPTED)
    if np.nanmax(np.abs(signal), initial=0) > HIGHEST_MV:
        reason = f"values up to {np.nanmax(np.abs(signal)):.0f} mV are too large for an ECG"
        raise UnreadableError(reason, "Write the correct unit into the file.")
    present = signal[~np.isnan(signal).all(axis=1)]
    amplitude = np.max(np.nanmax(present, axis=1) - np.nanmin(present, axis=1), initial=0)
    if 0 < amplitude < LOWEST_MV:
        reason = f"the largest amplitude is {amplitude:.1g} mV: the unit is wrong, or no electrode was connected"
        raise UnreadableError(reason, "Write the correct unit into the file, or exclude the participant.")
    notes = {"channels skipped": other, "inverted leads corrected": inverted}
    return signal, [f"{note}: {', '.join(names)}" for note, names in notes.items() if names]


def factors_of(names: Sequence[str], unit: str) -> list[float]:
    """mV per unit of each channel, from the unit in its name or else the file's unit. Raises UnreadableError."""
    matches = [_UNIT.search(name) for name in names]
    return [millivolts(match[1] if match else unit) for match in matches]


def millivolts(unit: str) -> float:
    """mV per unit. Raises UnreadableError if the unit is not a voltage."""
    if unit.strip().lower() not in MILLIVOLTS:
        raise UnreadableError(f"the unit {unit[:20]!r} is not a voltage", f"Known units: {', '.join(MILLIVOLTS)}.")
    return MILLIVOLTS[unit.strip().lower()]
