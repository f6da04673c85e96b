"""A resting ECG in the XML that GE MUSE exports (RestingECG).

Waveform elements of the types Median (one mean beat) and Rhythm (ten seconds); in each a LeadData for every lead that
was recorded, as a rule I, II and V1 to V6: base64 of little-endian int16 counts, LeadAmplitudeUnitsPerBit of
LeadAmplitudeUnits each. Samples per second are SampleBase times ten to the power of SampleExponent.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import cardiosoft
from eccl_lib.data.formats.leads import by_lead, lead_name
from eccl_lib.data.records import EcgRecord

ROOT = "RestingECG"
UNITS = {"MICROVOLTS": 1e-3, "MICROVOLT": 1e-3, "UV": 1e-3, "MILLIVOLTS": 1.0, "MILLIVOLT": 1.0, "MV": 1.0}
# Every export names restecg.dtd; one without declarations of its own can do no harm and is not fetched.
_DOCTYPE = re.compile(rb"<!DOCTYPE\s+RestingECG(\s+SYSTEM\s+(\"[^\"<>\[\]]*\"|'[^'<>\[\]]*'))?\s*>")
_ENDED = re.compile(r"[\s]+")


def parse(data: bytes):
    """The tree of an export, without its line that names a document type. Raises UnreadableError."""
    return cardiosoft.parse_xml(_DOCTYPE.sub(b"", data, count=1))


def read(root) -> EcgRecord:
    """The rhythm strip: leads by name, limb leads that were not recorded derived later. Raises UnreadableError."""
    strip = _rhythm(root)
    rate = _number(strip, "SampleBase") * 10 ** _number(strip, "SampleExponent", 0.0)
    notes: list[str] = []
    names, channels, factors = [], [], []
    for lead in strip.findall("LeadData"):
        name = (lead.findtext("LeadID") or "").strip()
        if lead_name(name) in map(lead_name, names):
            notes.append(f"lead {name[:20]} is there twice: the first is used")
            continue
        names.append(name)
        channels.append(_counts(lead, name, notes))
        factors.append(_factor(lead, name))
    if not channels:
        raise UnreadableError("the rhythm strip has no LeadData", DOWNLOAD_AGAIN)
    longest = max(len(channel) for channel in channels)
    padded = np.full((len(channels), longest), np.nan)
    for k, (name, channel) in enumerate(zip(names, channels, strict=True)):
        padded[k, : len(channel)] = channel
        if len(channel) < longest:
            notes.append(f"lead {name} has {len(channel)} samples, others {longest}")
    signal, remarks = by_lead(names, padded, factors)
    measured = _measurements(root)
    return EcgRecord(signal, rate, measured.get("VentricularRate"), measured, (*notes, *remarks))


def _rhythm(root):
    """The strip of ten seconds; the mean beat of a Median waveform is no recording."""
    if root.tag != ROOT:
        raise UnreadableError(f"the XML is a {root.tag[:40]}, not a {ROOT}", "Export it from MUSE again.")
    kinds = [((w.findtext("WaveformType") or "").strip(), w) for w in root.findall("Waveform")]
    strips = [waveform for kind, waveform in kinds if kind.lower() == "rhythm"]
    if not strips:
        found = ", ".join(kind[:20] or "unnamed" for kind, _ in kinds) or "none"
        raise UnreadableError(f"the XML has no Waveform of the type Rhythm; there are: {found}", DOWNLOAD_AGAIN)
    return strips[0]


def _number(parent, name: str, default: float | None = None) -> float:
    """A finite number of an element. Raises UnreadableError where there is none and no default."""
    text = (parent.findtext(name) or "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value) or abs(value) > 1e6:
        raise UnreadableError(f"the XML states no {name} that can be ({text[:20]!r})", DOWNLOAD_AGAIN)
    return value


def _factor(lead, name: str) -> float:
    """mV per count."""
    unit = (lead.findtext("LeadAmplitudeUnits") or "MICROVOLTS").strip().upper()
    if unit not in UNITS:
        raise UnreadableError(f"lead {name[:20]} is in {unit[:20]!r}: no voltage", "Export it in microvolts.")
    per_bit = _number(lead, "LeadAmplitudeUnitsPerBit")
    if not per_bit > 0:
        raise UnreadableError(f"lead {name[:20]} has {per_bit:g} units per bit", DOWNLOAD_AGAIN)
    return per_bit * UNITS[unit]


def _counts(lead, name: str, notes: list[str]) -> np.ndarray:
    """int16 counts of a lead. A stated length or sum that does not fit is damage, and is said."""
    text = _ENDED.sub("", lead.findtext("WaveFormData") or "")
    try:
        payload = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableError(f"lead {name[:20]} is no base64 ({str(error)[:40]})", DOWNLOAD_AGAIN) from error
    size = _number(lead, "LeadSampleSize", 2.0)
    if size != 2 or len(payload) % 2:
        raise UnreadableError(f"lead {name[:20]} has {size:g} bytes a sample and {len(payload)} in all", DOWNLOAD_AGAIN)
    stated = _number(lead, "LeadSampleCountTotal", len(payload) / 2)
    if stated != len(payload) // 2:
        reason = f"lead {name[:20]} has {len(payload) // 2} samples where it states {stated:.0f}: it was cut"
        raise UnreadableError(reason, DOWNLOAD_AGAIN)
    total = (lead.findtext("LeadDataCRC32") or "").strip()
    if total.isdecimal() and int(total) not in (0, zlib.crc32(payload)):
        notes.append(f"lead {name[:20]} does not have the check sum that the file states")
    return np.frombuffer(payload, dtype="<i2").astype(np.float64)


def _measurements(root) -> dict[str, float]:
    """What the device measured, by MUSE's own names: rates per minute, intervals in ms, axes in degrees."""
    element = root.find("RestingECGMeasurements")
    found = {}
    for part in element if element is not None else ():
        if part.tag in _KEPT:
            try:
                value = float(part.text or "nan")
            except ValueError:
                continue
            if np.isfinite(value):
                found[_KEPT[part.tag]] = value
    return found


# MUSE's names to those that ``ecg_xml`` uses for the same things.
_KEPT = {
    "VentricularRate": "VentricularRate",
    "PRInterval": "PQInterval",
    "QRSDuration": "QRSDuration",
    "QTInterval": "QTInterval",
    "QTCorrected": "QTCInterval",
    "PAxis": "PAxis",
    "RAxis": "RAxis",
    "TAxis": "TAxis",
}
