"""Reader of resting ECGs in the XML format of GE MUSE (RestingECG).

A file has Waveform elements of the types Median (one mean beat) and Rhythm (ten seconds). Each has one LeadData element
per recorded lead, usually I, II and V1 to V6, with int16 little-endian counts in base64. One count is
LeadAmplitudeUnitsPerBit times LeadAmplitudeUnits. The sampling rate is SampleBase times 10^SampleExponent.
"""

import base64
import binascii
import zlib

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.ecg import check_rate
from eccl_lib.data.formats import cardiosoft, xml_tree
from eccl_lib.data.formats.leads import GAP, by_lead, lead_name
from eccl_lib.data.records import EcgRecord

ROOT = "RestingECG"
LARGEST_EXPONENT = 100  # of the sampling rate, as a power of ten; usual is 0
# MUSE's names of measurements to CardioSoft's: rates per minute, intervals in ms, axes in degrees.
_NAMES = {name: name for name in ("VentricularRate", "QRSDuration", "QTInterval", "PAxis", "RAxis", "TAxis")}
_NAMES |= {"PRInterval": "PQInterval", "QTCorrected": "QTCInterval"}
TAGS = (
    *(ROOT, "Waveform", "WaveformType", "SampleBase", "SampleExponent", "LeadData", "LeadID", "LeadAmplitudeUnits"),
    *("LeadAmplitudeUnitsPerBit", "WaveFormData", "LeadSampleSize", "LeadSampleCountTotal", "LeadDataCRC32"),
    *("RestingECGMeasurements", *_NAMES),
)


def read(root) -> EcgRecord:
    """Read the rhythm strip; limb leads that were not recorded are NaN. Raises UnreadableError."""
    root = xml_tree.renamed(root, TAGS)
    strip = _rhythm(root)
    exponent = _number(strip, "SampleExponent", 0.0)
    rate = _number(strip, "SampleBase") * (10**exponent if abs(exponent) < LARGEST_EXPONENT else np.inf)
    check_rate(rate)
    notes: list[str] = []
    names, channels, units = [], [], []
    for lead in strip.findall("LeadData"):
        name = (lead.findtext("LeadID") or "").strip()
        if lead_name(name) in map(lead_name, names):
            notes.append(f"lead {name[:20]!r} occurs twice: the first is used")
            continue
        names.append(name)
        channels.append(_counts(lead, name, notes) * _per_count(lead, name))
        units.append((lead.findtext("LeadAmplitudeUnits") or "MICROVOLTS").strip())
    if not channels:
        raise UnreadableError("the rhythm strip has no LeadData", DOWNLOAD_AGAIN)
    longest = max(len(channel) for channel in channels)
    padded = np.full((len(channels), longest), np.nan)
    for k, (name, channel) in enumerate(zip(names, channels, strict=True)):
        padded[k, : len(channel)] = channel
        if len(channel) < longest:
            notes.append(f"lead {name[:20]!r} has {len(channel)} samples, others have {longest}")
    signal, lead_notes = by_lead(names, padded, units)
    parts = [part for part in root.findall("RestingECGMeasurements[1]/*") if part.tag in _NAMES]
    measured = cardiosoft.measurements((_NAMES[part.tag], part.text) for part in parts)
    return EcgRecord(signal, rate, measured.get("VentricularRate"), measured, (*notes, *lead_notes))


def _rhythm(root):
    """The Waveform element of the ten seconds (type Rhythm). Raises UnreadableError."""
    if root.tag != ROOT:
        reason = f"the root element of the XML is {root.tag[:40]!r}, not {ROOT}"
        raise UnreadableError(reason, "Export it from MUSE again.")
    kinds = [((w.findtext("WaveformType") or "").strip(), w) for w in root.findall("Waveform")]
    strips = [waveform for kind, waveform in kinds if kind.lower() == "rhythm"]
    if not strips:
        types = ", ".join(repr(kind[:20]) if kind else "unnamed" for kind, _ in kinds) or "none"
        raise UnreadableError(f"the XML has no Waveform of the type Rhythm; its types are: {types}", DOWNLOAD_AGAIN)
    return strips[0]


def _number(parent, name: str, default: float | None = None) -> float:
    """The finite number in a child element. Raises UnreadableError if there is none and no default."""
    text = (parent.findtext(name) or "").strip()
    if not text and default is not None:
        return default
    value = xml_tree.to_number(text)
    if not np.isfinite(value) or abs(value) > 1e6:
        raise UnreadableError(f"the XML has no valid {name} ({text[:20]!r})", DOWNLOAD_AGAIN)
    return value


def _per_count(lead, name: str) -> float:
    """Units per count of a lead. Raises UnreadableError."""
    per_bit = _number(lead, "LeadAmplitudeUnitsPerBit")
    if not per_bit > 0:
        raise UnreadableError(f"lead {name[:20]!r} has {per_bit:g} units per bit", DOWNLOAD_AGAIN)
    return per_bit


def _counts(lead, name: str, notes: list[str]) -> np.ndarray:
    """Counts of a lead, NaN for gaps. A wrong length raises UnreadableError; a wrong checksum adds a note."""
    text = "".join((lead.findtext("WaveFormData") or "").split())
    try:
        payload = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableError(f"the samples of lead {name[:20]!r} are not base64", DOWNLOAD_AGAIN) from error
    size = _number(lead, "LeadSampleSize", 2.0)
    if size != 2 or len(payload) % 2:
        reason = f"lead {name[:20]!r} has {size:g} bytes per sample and {len(payload)} bytes in total"
        raise UnreadableError(reason, DOWNLOAD_AGAIN)
    expected = _number(lead, "LeadSampleCountTotal", len(payload) / 2)
    if expected != len(payload) // 2:
        reason = f"lead {name[:20]!r} is truncated: it has {len(payload) // 2} of {expected:.0f} samples"
        raise UnreadableError(reason, DOWNLOAD_AGAIN)
    checksum = (lead.findtext("LeadDataCRC32") or "").strip()
    if checksum.isdecimal() and int(checksum) not in (0, zlib.crc32(payload)):
        notes.append(f"the checksum of lead {name[:20]!r} is wrong")
    counts = np.frombuffer(payload, dtype="<i2").astype(np.float64)
    counts[counts == GAP] = np.nan
    return counts
