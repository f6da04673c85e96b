"""Reader of resting ECGs in the XML format of GE CardioSoft (UK Biobank field 20205)."""

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.formats import xml_tree
from eccl_lib.data.formats.leads import GAP, is_inverted, lead_name
from eccl_lib.data.formats.xml_tree import LARGEST_XML, to_number
from eccl_lib.data.records import EXERCISE_FIELD, EcgRecord
from eccl_lib.io.regular import read_bytes

ROOT = "CardiologyXML"
USUAL_RATE, USUAL_SAMPLES = 500.0, 5000  # of the device: ten seconds
RESOLUTIONS = (0.1, 50.0)  # plausible range in uV per count; 5 is usual
LARGEST_COUNT = 2**15
LONGEST_LEAD = 2**21  # characters; two minutes at 1000 Hz have less than one million

# Device measurements that are read: ms, degrees, beats per minute, counts.
MEASUREMENTS = (
    *("VentricularRate", "PQInterval", "PDuration", "QRSDuration", "QTInterval", "QTCInterval", "RRInterval"),
    *("PPInterval", "PAxis", "RAxis", "TAxis", "QRSNum"),
)
TAGS = (
    *(ROOT, "StripData", "Strip", "Protocol", "FullDisclosure", "Resolution", "SampleRate", "ChannelSampleCountTotal"),
    *("WaveformData", "RestingECGMeasurements", "MedianSamples", "PatientInfo", "PaceMaker", *MEASUREMENTS),
)


def read(path: Path) -> EcgRecord:
    """Read the ten seconds of twelve leads from a CardioSoft file. Raises UnreadableError."""
    return read_tree(xml_tree.parse(read_bytes(path, LARGEST_XML)))


def read_tree(root: Element) -> EcgRecord:
    """Like ``read``, from the root element of the parsed file."""
    root = xml_tree.renamed(root, TAGS)
    if root.tag != ROOT:
        reason = f"the root element of the XML is {root.tag[:40]!r}, not {ROOT}"
        raise UnreadableError(reason, "Use the file of field 20205.")
    if root.find("./StripData/Strip") is not None or root.find("./Protocol") is not None:
        reason = f"this is an exercise ECG (UK Biobank's field {EXERCISE_FIELD})"
        raise UnreadableError(reason, "Use the resting ECG (UK Biobank's field 20205).")
    strip = root.find("./StripData")
    if strip is None:
        long = ", only FullDisclosure (a long recording)" if root.find("./FullDisclosure") is not None else ""
        raise UnreadableError(f"the XML has no StripData (ten seconds of twelve leads){long}", DOWNLOAD_AGAIN)
    resolution = _number(strip, "Resolution")  # uV per count
    if resolution is None:
        stated = (strip.findtext("./Resolution") or "").strip()[:20]
        raise UnreadableError(f"the XML has no valid Resolution{f' ({stated!r})' if stated else ''}", DOWNLOAD_AGAIN)
    if not RESOLUTIONS[0] <= resolution <= RESOLUTIONS[1]:
        raise UnreadableError(f"the Resolution of {resolution:g} uV per count is not plausible", DOWNLOAD_AGAIN)
    notes = [] if resolution == 5 else [f"resolution {resolution:g} uV per count; 5 is usual"]
    signal = _signal(strip, notes)
    signal *= resolution
    signal /= 1000
    rate = _rate(root, strip, signal.shape[1], notes)
    measured = measurements((name, root.findtext(f"./RestingECGMeasurements[1]/{name}")) for name in MEASUREMENTS)
    if (root.findtext("./PatientInfo/PaceMaker") or "").strip().lower() == "yes":
        notes.append("pacemaker")
    heart_rate = measured.get("VentricularRate") or 60_000 / (measured.get("RRInterval") or np.inf)
    return EcgRecord(signal, rate, heart_rate or None, measured, tuple(notes))


def _number(parent, name: str) -> float | None:
    """The positive finite number in a child element, None if there is none."""
    value = to_number(parent.findtext(f"./{name}"))
    return value if 0 < value < np.inf else None


def _rate(root, strip, samples: int, notes: list[str]) -> float:
    """Samples per second: from the strip, else from the median beat, else from the number of samples."""
    if (rate := _number(strip, "SampleRate")) is not None:
        return rate
    beat = root.find("./RestingECGMeasurements/MedianSamples")
    if beat is not None and (rate := _number(beat, "SampleRate")) is not None:
        notes.append(f"no sampling rate in StripData: the median beat's {rate:g} Hz is used")
        return rate
    if samples == USUAL_SAMPLES:
        notes.append(f"no sampling rate: {USUAL_SAMPLES} samples are assumed to be ten seconds")
        return USUAL_RATE
    raise UnreadableError(f"the XML has no SampleRate for its {samples} samples", DOWNLOAD_AGAIN)


def _signal(strip, notes: list[str]) -> np.ndarray:
    """Counts of all leads: (12, T) float64; NaN for absent leads and at the end of shorter leads."""
    leads: dict[str, np.ndarray] = {}
    for element in strip.findall("./WaveformData"):
        lead = lead_name(element.get("lead") or "")
        if lead is None:
            notes.append(f"skipped a lead named {(element.get('lead') or '')[:20]!r}")
        elif lead in leads:
            notes.append(f"lead {lead} occurs twice: the first is used")
        else:
            leads[lead] = _counts(element.text or "", _number(strip, "ChannelSampleCountTotal"))
            if (np.abs(leads[lead]) > LARGEST_COUNT).any():
                raise UnreadableError(f"lead {lead} has counts of more than 16 bits", DOWNLOAD_AGAIN)
            leads[lead][leads[lead] == GAP] = np.nan
            if is_inverted(element.get("lead") or ""):
                np.negative(leads[lead], out=leads[lead])
                notes.append(f"inverted lead {(element.get('lead') or '')[:20]!r}: its sign is changed")
    samples = max((len(counts) for counts in leads.values()), default=0)
    if not samples:
        raise UnreadableError("the XML has no WaveformData in StripData", DOWNLOAD_AGAIN)
    signal = np.full((len(LEADS), samples), np.nan)
    for k, lead in enumerate(LEADS):
        counts = leads.get(lead, np.empty(0))
        signal[k, : len(counts)] = counts
        if 0 < len(counts) < samples:
            notes.append(f"lead {lead} has {len(counts)} samples, others have {samples}")
    return signal


_JOINED = re.compile(rb"\d-")  # a minus sign without a separator before it
_OF_COUNTS = b"0123456789-, \t\r\n\v\f"


def _counts(text: str, expected: float | None) -> np.ndarray:
    """Counts of a lead. Empty tokens become NaN, unless this contradicts the stated number of samples."""
    counts = parse_counts(text)
    if len(counts) and ",," in re.sub(r"\s", "", text):
        tokens = [token.strip() for token in text.strip(" \t\r\n,").split(",")]
        if len(tokens) == (len(tokens) if expected is None else expected) and sum(map(bool, tokens)) == len(counts):
            filled = np.full(len(tokens), np.nan)
            filled[[bool(token) for token in tokens]] = counts
            return filled
    return counts


def parse_counts(text: str) -> np.ndarray:
    """Comma- or space-separated integers as float64; empty tokens are skipped. Raises UnreadableError.

    The last digits of all numbers are read together, then the digits before them, and so on. A loop with ``int`` over
    sixty thousand numbers would take longer than the rest of the preprocessing.
    """
    if len(text) > LONGEST_LEAD:
        size = len(text) / 2**20
        raise UnreadableError(f"a lead has {size:.1f} MB of samples; ten seconds have 0.02 MB", DOWNLOAD_AGAIN)
    try:
        data = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise UnreadableError("the samples have characters that are not digits", DOWNLOAD_AGAIN) from error
    if data.translate(None, _OF_COUNTS) or _JOINED.search(data):
        return _parse_slowly(text)
    byte = np.frombuffer(b" " + data + b" ", dtype=np.uint8)
    digit = byte - np.uint8(ord("0"))
    edges = np.flatnonzero(np.diff(digit < 10))
    before, at = edges[::2], edges[1::2].copy()  # positions before the first digit and of the last digit
    lengths, negative = at - before, byte.take(before) == ord("-")
    if negative.sum() != data.count(b"-") or (len(lengths) and lengths.max() > 9):
        return _parse_slowly(text)
    values = digit.take(at).astype(np.float64)
    for k in range(1, int(lengths.max(initial=0))):
        at -= 1
        values += digit.take(at) * (lengths > k) * 10.0**k
    return np.negative(values, out=values, where=negative)


def _parse_slowly(text: str) -> np.ndarray:
    try:
        if "_" in text:  # Python reads 1_000 as a number
            raise ValueError(text[:20])
        values = np.array([float(token) for token in re.split(r"[,\s]+", text) if token])
    except ValueError as error:
        raise UnreadableError("the samples have a token that is not a number", DOWNLOAD_AGAIN) from error
    if not np.isfinite(values).all():
        raise UnreadableError("the samples have a token that is not a number", DOWNLOAD_AGAIN)
    return values


def measurements(texts: Iterable[tuple[str, str | None]]) -> dict[str, float]:
    """The device's measurements from names and texts; empty ones (no P wave, a paced beat) are not included."""
    numbers = ((name, to_number(text)) for name, text in texts)
    return {name: value for name, value in numbers if np.isfinite(value)}
