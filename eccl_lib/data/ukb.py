"""UK Biobank's raw files: the resting ECG XML (field 20205) and the short-axis DICOM zip (field 20209)."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from eccl_lib.data import cmr, dicom, files, segment
from eccl_lib.data.records import LEADS, CineRecord, EcgRecord, UnreadableError

LARGEST_XML = 8 * 2**20  # bytes; a real one has 0.3 to 1.5 MB
LARGEST_ZIP = 2 * 2**30  # bytes unpacked; a full stack has 40 MB
LARGEST_MEMBER = 64 * 2**20
MOST_MEMBERS = 5000
LARGEST_RATIO = 200  # unpacked to packed
DOWNLOAD_AGAIN = "Download the file again; if it stays so, leave the participant out."

SHORT_AXIS = re.compile(r"(?i)^CINE_segmented_SAX(_b\d+)?$")  # not ..._InlineVF, which has contours drawn in

# Device measurements kept: ms, degrees, beats per minute, counts.
MEASUREMENTS = (
    *("VentricularRate", "PQInterval", "PDuration", "QRSDuration", "QTInterval", "QTCInterval", "RRInterval"),
    *("PPInterval", "PAxis", "RAxis", "TAxis", "QRSNum"),
)


def read_bytes(path: Path, largest: int) -> bytes:
    """A whole file. Raises UnreadableError where it is absent, empty or larger than it can honestly be."""
    try:
        size = Path(path).stat().st_size
        if size == 0:
            raise UnreadableError("the file is empty", DOWNLOAD_AGAIN)
        if size > largest:
            raise UnreadableError(f"the file has {size / 2**20:.0f} MB; at most {largest / 2**20:.0f} MB are read")
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableError(f"the file cannot be opened ({error.strerror})") from error


def read_ecg(path: Path) -> EcgRecord:
    """A resting ECG in CardioSoft's XML: leads by name, counts times Resolution. Raises UnreadableError."""
    root = _parse_xml(read_bytes(path, LARGEST_XML))
    if root.tag != "CardiologyXML":
        raise UnreadableError(f"the XML is a {root.tag[:40]}, not a CardiologyXML", "Field 20205 is what is read.")
    if root.find("./StripData/Strip") is not None or root.find("./Protocol") is not None:
        raise UnreadableError(
            f"this is an exercise ECG (field {files.EXERCISE_FIELD})", "Use the resting ECG, field 20205."
        )
    strip = root.find("./StripData")
    if strip is None:
        raise UnreadableError("the XML has no StripData, the ten seconds of twelve leads", DOWNLOAD_AGAIN)
    rate = _positive(strip, "SampleRate")
    resolution = _positive(strip, "Resolution")  # uV per count
    notes = [] if resolution == 5 else [f"resolution {resolution:g} uV per count, where 5 is usual"]
    signal = _signal(strip, notes) * resolution / 1000
    measured = _measurements(root.find("./RestingECGMeasurements"))
    if (root.findtext("./PatientInfo/PaceMaker") or "").strip().lower() == "yes":
        notes.append("pacemaker")
    stated = measured.get("VentricularRate") or 60_000 / (measured.get("RRInterval") or np.inf)
    return EcgRecord(signal, rate, stated or None, measured, tuple(notes))


def _parse_xml(data: bytes):
    import xml.etree.ElementTree

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        try:
            return fromstring(data, forbid_dtd=True)
        except (xml.etree.ElementTree.ParseError, LookupError):
            # A declaration that does not fit its bytes (a mark of another encoding, a wrong name of one).
            text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
            return fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text), forbid_dtd=True)
    except DefusedXmlException as error:
        raise UnreadableError("the XML declares a document type or entities, which an ECG never needs") from error
    except (xml.etree.ElementTree.ParseError, ValueError) as error:
        raise UnreadableError(f"the XML is damaged or cut short ({error})", DOWNLOAD_AGAIN) from error


def _positive(parent, name: str) -> float:
    try:
        value = float(parent.findtext(f"./{name}") or 0)
    except ValueError:
        value = 0.0
    if not value > 0 or not np.isfinite(value):
        raise UnreadableError(f"the XML states no {name}", DOWNLOAD_AGAIN)
    return value


def _signal(strip, notes: list[str]) -> np.ndarray:
    """Counts of all leads by name: (12, T) float64, NaN where a lead is absent or shorter than the others."""
    leads: dict[str, np.ndarray] = {}
    known = {lead.lower(): lead for lead in LEADS}
    for element in strip.findall("./WaveformData"):
        lead = known.get((element.get("lead") or "").strip().lower())
        if lead is None:
            notes.append(f"a lead named {(element.get('lead') or '')[:20]!r} left out")
        elif lead in leads:
            notes.append(f"lead {lead} is there twice: the first is used")
        else:
            leads[lead] = parse_counts(element.text or "")
    samples = max((len(counts) for counts in leads.values()), default=0)
    if not samples:
        raise UnreadableError("the XML has no WaveformData in StripData", DOWNLOAD_AGAIN)
    signal = np.full((len(LEADS), samples), np.nan)
    for k, lead in enumerate(LEADS):
        counts = leads.get(lead, np.empty(0))
        signal[k, : len(counts)] = counts
        if 0 < len(counts) < samples:
            notes.append(f"lead {lead} has {len(counts)} samples, others {samples}")
    return signal


_DIGIT, _BLANK, _MINUS, _OTHER = range(4)
_KINDS = np.full(256, _OTHER, dtype=np.uint8)
_KINDS[list(b"0123456789")] = _DIGIT
_KINDS[list(b", \t\r\n\v\f")] = _BLANK
_KINDS[list(b"-")] = _MINUS


def parse_counts(text: str) -> np.ndarray:
    """Comma- or space-separated integers as float64; empty tokens are skipped. Raises UnreadableError.

    All digits at once: a digit counts ten to the power of its distance from its number's end. Plain ``int`` on sixty
    thousand numbers would take longer than all the rest of an ECG.
    """
    try:
        byte = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise UnreadableError("WaveformData has characters that are no numbers", DOWNLOAD_AGAIN) from error
    kind = _KINDS[byte]
    is_digit, minus = kind == _DIGIT, kind == _MINUS
    if (kind == _OTHER).any():
        return _parse_slowly(text)
    edges = np.flatnonzero(np.diff(is_digit, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    signed = minus[starts - 1] & (starts > 0)
    if signed.sum() != minus.sum() or (len(lengths) and lengths.max() > 9):
        return _parse_slowly(text)
    values = np.zeros(len(starts))
    for k in range(int(lengths.max()) if len(lengths) else 0):
        has = lengths > k
        values[has] += (byte[ends[has] - 1 - k] - 48.0) * 10.0**k
    return np.where(signed, -values, values)


def _parse_slowly(text: str) -> np.ndarray:
    try:
        return np.array([float(int(float(token))) for token in re.split(r"[,\s]+", text) if token])
    except (ValueError, OverflowError) as error:
        raise UnreadableError("WaveformData has a token that is no number", DOWNLOAD_AGAIN) from error


def _measurements(element) -> dict[str, float]:
    """What the device measured; what it left empty (no P wave, a paced beat) is absent, which is information."""
    found = {}
    for name in MEASUREMENTS if element is not None else ():
        try:
            value = float(element.findtext(f"./{name}") or "nan")
        except ValueError:
            continue
        if np.isfinite(value):
            found[name] = value
    return found


def read_cine(path: Path, segmentation: Path | None = None, choice: str | None = None) -> CineRecord:
    """A short-axis stack from UK Biobank's zip, labels laid over it by geometry. Raises UnreadableError.

    choice: ``StoreConfig.slice_choice`` to decode that one slice alone (needs the labels); None decodes all.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        empty = path.is_file() and path.stat().st_size == 0
        reason = "the zip is empty" if empty else f"the zip is damaged or not there ({type(error).__name__})"
        raise UnreadableError(reason, DOWNLOAD_AGAIN) from error
    stack = dicom.arrange(_short_axis(members))
    labels = segment.given(segmentation, stack.pixel_axes(), stack.shape) if segmentation or choice else None
    chosen = range(stack.shape[0])
    if choice is not None:
        chosen = [cmr.choose_slice(labels, stack.shape[0], choice)]
    images = np.stack([[dicom.read_pixels(members[h.source], h) for h in stack.frames[s]] for s in chosen])
    return CineRecord(
        images,
        stack.frames[0][0].spacing,
        stack.step_mm,
        stack.frame_ms,
        None if labels is None else labels[list(chosen)],
        stack.notes,
    )


def _members(archive: zipfile.ZipFile) -> list[bytes]:
    """The archive's DICOM files, in memory and nowhere else; refused where it could do harm."""
    members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) > MOST_MEMBERS:
        raise UnreadableError(f"the zip has {len(members)} files; a stack has some hundreds")
    total = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if total > LARGEST_ZIP or total > LARGEST_RATIO * max(packed, 1) + 2**20:
        raise UnreadableError(f"the zip would unpack to {total / 2**20:.0f} MB: no cine does")
    for info in members:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or (info.external_attr >> 28) == 0xA:
            raise UnreadableError("the zip has a file with a path that leads outside of it, or a link")
        if info.file_size > LARGEST_MEMBER:
            raise UnreadableError("the zip has a file larger than any image")
    wanted = [info for info in members if not info.filename.lower().endswith((".cvs", ".csv", ".txt"))]
    contents = []
    for info in wanted:
        with archive.open(info) as member:
            contents.append(member.read(LARGEST_MEMBER + 1))
    return contents


def _short_axis(members: list[bytes]) -> list[dicom.Header]:
    headers = []
    for k, data in enumerate(members):
        header = dicom.read_header(data)
        if SHORT_AXIS.match(header.description.strip()):
            headers.append(dicom.with_source(header, k))
    if not headers:
        raise UnreadableError("the zip has no series named CINE_segmented_SAX", "Field 20209 is what is read.")
    return headers


def find_files(root: Path, visit: int = 2) -> dict[str, dict[str, Path]]:
    """Of ``files.find`` the first path per eid and kind."""
    found = files.find(root, visit).participants
    return {eid: {kind: paths[0] for kind, paths in kinds.items()} for eid, kinds in found.items()}
