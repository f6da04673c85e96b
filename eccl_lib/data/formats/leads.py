"""Map the channels of an ECG file, by name and unit, to the twelve leads in mV, in the order of LEADS."""

import re
import unicodedata
import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.ecg import check_rate, resample

LONGEST_SECONDS = 120  # seconds that are read of a long recording; ten are used
ENOUGH_SECONDS = 15  # seconds that are read however many values they have
MOST_VALUES = 6_000_000  # of all channels, to limit memory; two minutes of twelve leads at 4 kHz have as many
MOST_CHANNELS = 256  # a polysomnography has about 60; an EEG of high density, which may include an ECG, 256
GAP = -(2**15)  # the most negative int16: devices and WFDB write it where there is no sample
LIMB_LEADS = LEADS[:6]
HIGHEST_MV = 50.0  # surface ECGs are smaller; larger values are in another unit; ours
HIGHEST_OFFSET_MV = 350.0  # of an electrode: amplifiers accept 300 mV (IEC 60601-2-25)
LOWEST_MV = 0.02  # peak to peak; if no lead reaches it, the unit is wrong or no electrode is on; a beat has 0.5; ours

_PER_VOLT = {"v": 1e3, "volt": 1e3, "volts": 1e3, "в": 1e3, "nv": 1e-6}
_PER_MILLIVOLT = dict.fromkeys(("mv", "millivolt", "millivolts", "мв"), 1.0)
_PER_MICROVOLT = dict.fromkeys(("uv", "μv", "microvolt", "microvolts", "мкв", "\ufffdv", "\ufffd\ufffdv"), 1e-3)
# Keys are in Unicode's form NFKC, which has one micro sign. U+FFFD stands for a byte that could not be decoded; of the
# prefixes of the volt only the micro sign is such a byte.
MILLIVOLTS = _PER_VOLT | _PER_MILLIVOLT | _PER_MICROVOLT

_CHEST_IEC = {f"c{k}": f"V{k}" for k in range(1, 7)}
_NAMES = {lead.lower(): lead for lead in LEADS} | _CHEST_IEC
_NAMES |= {"di": "I", "dii": "II", "diii": "III", "d1": "I", "d2": "II", "d3": "III"}
# Words that may stand beside a lead's name. Other words mean another signal: Resp II, PAP II, EEG C3.
_BESIDE = {
    "lead",
    "leads",
    "ecg",
    "ekg",
    "mdc",
    "elec",
    "potential",
    "channel",
    "ch",
    "signal",
    "raw",
    "filtered",
    "filt",
}
_BESIDE |= {"limb", "chest", "precordial", "standard", "augmented", "voltage", "right", "left", "foot", "einthoven"}
_BESIDE |= {"goldberger", "wilson", "minus", "neg", "negative", "inverted", "abl", "ableitung", "derivation"}
_BESIDE |= {"derivación", "derivacion", "derivação", "dérivation", "derivazione", "отведение"}
_BESIDE |= {unit for unit in MILLIVOLTS if unit.isalpha()}
_JOINED = re.compile("导联|導聯|誘導")  # "lead", written without a blank before or after the name
_BLANKS = ((re.compile(r"\ba ?v ?([rlf])\b"), r"av\1"), (re.compile(r"\b([vcd]) ([1-6]|i{1,3})\b"), r"\1\2"))
_EEG = {"fp1", "fp2", "fz", "cz", "pz", "oz", "f3", "f4", "p3", "p4", "o1", "o2"}  # with these, C3 is an EEG electrode

_LEAD, _MINUS = rf"\b({'|'.join(LEADS)})\b", "[-\u2212\u2013]"
# Inverted leads, such as -aVR of Cabrera: -aVR, Lead -aVR, aVR(-), aVR-, minus aVR, aVR inverted; but not ECG-aVR.
_INVERTED = re.compile(
    rf"(?i)(^|[\s(]){_MINUS}(?={_LEAD})|{_LEAD}\s*\(\s*{_MINUS}\s*\)|{_LEAD}{_MINUS}\s*$"
    r"|(^|[^a-z])(minus|neg|negative|inverted)([^a-z]|$)"
)
_UNIT = re.compile(r"(?i)[\s(\[_/]([munµμ]?v)[)\]]?\s*$")  # I (uV), I [µV], I_mV

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
ACCEPTED = (
    f"Accepted formats: UK Biobank's ECG XML; {MUSE}; HL7 aECG; {WFDB}; EDF and EDF+; a DICOM waveform (.dcm); {CSV}; "
    f"{NPY}."
)
KNOWN_NAMES = (
    "Known names are I, II, III, aVR, aVL, aVF, V1 to V6, also DI or D1, C1 to C6 and MDC_ECG_LEAD_I, with or without "
    "'Lead' or 'ECG'. Rename the channels."
)
FEWER_CHANNELS = "Write the leads of the ECG into a file of their own."
RIGHT_UNIT = "Write the correct unit into the file."


def samples_to_read(rate: float, channels: int) -> int:
    """Number of samples that are read of each channel. Raises UnreadableError if rate or channels are implausible."""
    check_rate(rate)
    if channels > MOST_CHANNELS:
        raise UnreadableError(f"the file has {channels:,} channels; an ECG has twelve leads", FEWER_CHANNELS)
    return int(min(LONGEST_SECONDS * rate, max(ENOUGH_SECONDS * rate, MOST_VALUES / max(channels, 1))))


@lru_cache(maxsize=4096)
def lead_name(text: str) -> str | None:
    """Lead of a channel name, or None: ``MDC_ECG_LEAD_AVR``, ``Lead I (Einthoven)``, ``DI`` and ``v 1`` are leads.

    All words must belong to the name of one lead: ``Resp II`` is not a lead.
    """
    plain = _JOINED.sub(" ", unicodedata.normalize("NFKC", text)).lower()  # NFKC: the Roman numeral character to II
    plain = " ".join(re.split(r"[\W_]+", plain))
    for pattern, joined in _BLANKS:
        plain = pattern.sub(joined, plain)
    words = [word for word in plain.split() if word not in _BESIDE]
    return _NAMES.get(words[0]) if len(words) == 1 else None


def lead_names(names: Sequence[str]) -> list[str | None]:
    """Lead of each channel of a file. C1 to C6 are V1 to V6 unless the file has V leads or electrodes of an EEG."""
    known = [lead_name(name) for name in names]
    iec = [_is_iec(name) for name in names]
    chest = {lead for lead, c in zip(known, iec, strict=True) if lead in LEADS[6:] and not c}
    if any(iec) and (chest or any(_words(name) & _EEG for name in names)):
        return [None if c else lead for lead, c in zip(known, iec, strict=True)]
    return known


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", name.lower()))


@lru_cache(maxsize=4096)
def _is_iec(name: str) -> bool:
    return lead_name(name) in LEADS[6:] and bool(re.search(r"(?i)(^|[\W_])c[\W_]?[1-6]([\W_]|$)", name))


def by_lead(
    names: Sequence[str], channels: Sequence[np.ndarray], units: Sequence[str], missing: float | None = None
) -> tuple[np.ndarray, list[str]]:
    """Channels (C, T) in file order as (12, T) mV in the order of LEADS, NaN for absent leads; and notes.

    units: of each channel; those of channels that are no leads are not used. missing: value of a missing sample, in
    the channels' units. The sign of inverted leads is changed. Raises UnreadableError if no lead is named, if the unit
    of a lead is not a voltage, or if the values are too large or too small for an ECG.
    """
    signal = np.full((len(LEADS), max(map(len, channels), default=0)), np.nan)
    seen: set[str] = set()
    notes: dict[str, list[str]] = {"channels skipped": [], "inverted leads corrected": [], "read as V1 to V6 (IEC)": []}
    skipped, inverted, iec = notes.values()
    for name, lead, channel, unit in zip(names, lead_names(names), channels, units, strict=True):
        if lead is None or lead in seen:
            skipped.append(repr(name.strip()[:20]))
            continue
        seen.add(lead)
        factor = _factor(lead, unit)
        if is_inverted(name):
            inverted.append(name.strip()[:20])
            factor = -factor
        if _is_iec(name):
            iec.append(name.strip()[:20])
        row = signal[LEADS.index(lead)]
        np.multiply(channel, factor, out=row)
        if missing is not None and (gap := np.asarray(channel) == missing).any():
            row[gap] = np.nan
    if not seen:  # the number of leads that is needed depends on the use (``ecg.first_ten_seconds``)
        listed = ", ".join(repr(name.strip()[:20]) if name.strip() else "unnamed" for name in names[:20]) or "none"
        raise UnreadableError(f"no lead is named; the channels are: {listed}", KNOWN_NAMES)
    _check_size(signal)
    return signal, [f"{note}: {', '.join(named)}" for note, named in notes.items() if named]


def _factor(lead: str, unit: str) -> float:
    """mV per unit of a lead. Raises UnreadableError if the unit is not a voltage."""
    factor = millivolts(unit)
    if factor is None:
        shown = f"the unit {unit[:20]!r} of lead {lead} is not a voltage" if unit else f"lead {lead} has no unit"
        raise UnreadableError(shown, f"Known units are mV, uV, V and nV. {RIGHT_UNIT}")
    return factor


def is_inverted(name: str) -> bool:
    """Whether the name is that of an inverted lead, such as -aVR."""
    return _INVERTED.search(name) is not None


def _check_size(signal: np.ndarray) -> None:
    """Raise UnreadableError if the values are too large or too small for an ECG in mV."""
    # fmax and fmin ignore NaN, without the copies that nanmax makes.
    high, low = np.fmax.reduce(signal, axis=1, initial=-np.inf), np.fmin.reduce(signal, axis=1, initial=np.inf)
    largest = max(high.max(), -low.min())
    if HIGHEST_MV < largest < HIGHEST_OFFSET_MV:  # the offset of an electrode is no part of the ECG
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            largest = np.nanmax(np.abs(signal - np.nanmedian(signal, axis=1, keepdims=True)))
    if largest > HIGHEST_MV:
        shown = f"{largest:,.0f}" if largest < 1e9 else f"{largest:.1e}"
        raise UnreadableError(f"values up to {shown} mV are too large for an ECG", RIGHT_UNIT)
    amplitude = (high - low).max()
    if 0 < amplitude < LOWEST_MV:
        reason = f"the largest amplitude is {amplitude:.1g} mV: the unit is wrong, or no electrode was connected"
        raise UnreadableError(reason, "Write the correct unit into the file, or exclude the participant.")


def units_of(names: Sequence[str], unit: str) -> list[str]:
    """Unit of each channel, from its name or else the file's unit."""
    matches = [_UNIT.search(name) for name in names]
    return [match[1] if match else unit for match in matches]


def millivolts(unit: str) -> float | None:
    """mV per unit; None if the unit is not a voltage. The micro sign is known in every encoding."""
    known = MILLIVOLTS.get(unicodedata.normalize("NFKC", unit).strip().lower())
    if known is None and not unit.isascii():
        try:
            repaired = unit.encode("cp1252").decode("utf-8")  # UTF-8 that was read as cp1252
        except UnicodeError:
            return None
        return MILLIVOLTS.get(unicodedata.normalize("NFKC", repaired).strip().lower())
    return known


def at_one_rate(
    names: Sequence[str], channels: Sequence[np.ndarray], rates: Sequence[float]
) -> tuple[list[np.ndarray], float]:
    """Channels with different sampling rates, (T_k,) each, at the highest rate of a lead; and this rate.

    Channels that are no leads are returned as they are, cut or filled with NaN to the same length. Raises
    UnreadableError if the rate of a lead is not plausible.
    """
    leads = [lead is not None for lead in lead_names(names)]
    for own in {own for own, lead in zip(rates, leads, strict=True) if lead}:
        check_rate(own)
    rate = max((rate for rate, lead in zip(rates, leads, strict=True) if lead), default=max(rates))
    out = []
    for channel, own, lead in zip(channels, rates, leads, strict=True):
        if lead and own != rate:
            known = ~np.isnan(channel)
            at = np.arange(len(channel))
            filled = np.interp(at, at[known], channel[known]) if known.any() else channel
            gaps = np.interp(np.arange(round(len(channel) * rate / own)) * own / rate, at, ~known) > 0
            resampled = resample(filled, own, rate)[: len(gaps)]
            channel = np.where(gaps[: len(resampled)], np.nan, resampled)
        out.append(channel)
    longest = max((len(channel) for channel, lead in zip(out, leads, strict=True) if lead), default=0)
    return [_of_length(channel, longest) for channel in out], rate


def _of_length(channel: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([channel[:length], np.full(max(0, length - len(channel)), np.nan)])
