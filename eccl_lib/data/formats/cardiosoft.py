"""Reader of resting ECGs in the XML format of GE CardioSoft (UK Biobank field 20205)."""

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.files import EXERCISE_FIELD, read_bytes
from eccl_lib.data.records import EcgRecord

LARGEST_XML = 8 * 2**20  # bytes; real files have 0.3 to 1.5 MB
MOST_TAGS = 150_000  # real files have some hundreds; each tag costs memory
USUAL_RATE, USUAL_SAMPLES = 500.0, 5000  # of the device: ten seconds
RESOLUTIONS = (0.1, 50.0)  # plausible range in uV per count; 5 is usual
LARGEST_COUNT = 2**15

# Device measurements that are read: ms, degrees, beats per minute, counts.
MEASUREMENTS = (
    *("VentricularRate", "PQInterval", "PDuration", "QRSDuration", "QTInterval", "QTCInterval", "RRInterval"),
    *("PPInterval", "PAxis", "RAxis", "TAxis", "QRSNum"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # characters that XML does not allow
_BARE_AMPERSAND = re.compile(r"&(?!#?\w{1,8};)")


def read(path: Path) -> EcgRecord:
    """Read the ten seconds of twelve leads from a CardioSoft file. Raises UnreadableError."""
    return read_tree(parse_xml(read_bytes(path, LARGEST_XML)))


def read_tree(root: Element) -> EcgRecord:
    """Like ``read``, from the root element of the parsed file."""
    if root.tag != "CardiologyXML":
        reason = f"the root element of the XML is {root.tag[:40]}, not CardiologyXML"
        raise UnreadableError(reason, "Use the file of field 20205.")
    if root.find("./StripData/Strip") is not None or root.find("./Protocol") is not None:
        raise UnreadableError(f"this is an exercise ECG (field {EXERCISE_FIELD})", "Use the resting ECG, field 20205.")
    strip = root.find("./StripData")
    if strip is None:
        long = ", only FullDisclosure (a long recording)" if root.find("./FullDisclosure") is not None else ""
        raise UnreadableError(f"the XML has no StripData (ten seconds of twelve leads){long}", DOWNLOAD_AGAIN)
    resolution = _number(strip, "Resolution")  # uV per count
    if resolution is None:
        raise UnreadableError("the XML has no valid Resolution", DOWNLOAD_AGAIN)
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


def parse_xml(data: bytes) -> Element:
    """Root element of an XML file. Raises UnreadableError if it is damaged or unsafe (entities, too many tags)."""
    if (tags := data.count(b"<")) > MOST_TAGS:
        raise UnreadableError(f"the XML has {tags} tags; an ECG has some hundreds", DOWNLOAD_AGAIN)
    try:
        try:
            return _tree(data)
        except (expat.ExpatError, LookupError):
            return _tree(_as_text(data))
    except UnreadableError:
        raise
    except (expat.ExpatError, ValueError) as error:
        raise UnreadableError(f"the XML is damaged or truncated ({error})", DOWNLOAD_AGAIN) from error


def _tree(data: bytes | str) -> Element:
    """Root element of the tree that ElementTree would give. Document types and entities raise UnreadableError.

    This takes a quarter of ElementTree's time, because text is buffered in large blocks, and a file with only ASCII
    bytes is read as UTF-8 instead of the declared encoding.
    """
    parser, builder = expat.ParserCreate("utf-8" if data.isascii() else None, "}"), TreeBuilder()
    parser.buffer_text, parser.buffer_size = True, 2**16
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        _qualified(tag), {_qualified(name): value for name, value in attributes.items()}
    )
    parser.EndElementHandler = lambda tag: builder.end(_qualified(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = _reject
    parser.ExternalEntityRefHandler = _reject
    parser.Parse(data, True)
    return builder.close()


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _reject(*declaration: object) -> None:
    reason = "the XML declares a document type or entities"
    raise UnreadableError(reason, "Use UK Biobank's original file, which has none.")


def _as_text(data: bytes) -> str:
    """Text of an XML file with a wrong encoding, without its declaration and without invalid characters.

    Latin-1 decodes any byte, and all values that are read are ASCII.
    """
    is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = data.decode("utf-16", errors="replace") if is_utf16 else data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    return _BARE_AMPERSAND.sub("&amp;", _CONTROL.sub("", re.sub(r"^\s*<\?xml[^>]*\?>", "", text)))


def to_number(text: str | None) -> float:
    """The number in a text, NaN if there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


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
    known = {lead.lower(): lead for lead in LEADS}
    for element in strip.findall("./WaveformData"):
        lead = known.get((element.get("lead") or "").strip().lower())
        if lead is None:
            notes.append(f"skipped a lead named {(element.get('lead') or '')[:20]!r}")
        elif lead in leads:
            notes.append(f"lead {lead} occurs twice: the first is used")
        else:
            leads[lead] = _counts(element.text or "", _number(strip, "ChannelSampleCountTotal"))
            if (np.abs(leads[lead]) > LARGEST_COUNT).any():
                raise UnreadableError(f"lead {lead} has counts of more than 16 bits", DOWNLOAD_AGAIN)
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


_OF_COUNTS = b"0123456789-, \t\r\n\v\f"


def _counts(text: str, expected: float | None) -> np.ndarray:
    """Counts of a lead. Empty tokens become NaN if this gives the expected number of samples, else they are skipped."""
    counts = parse_counts(text)
    if expected is not None and 0 < len(counts) < expected and ",," in re.sub(r"\s", "", text):
        tokens = [token.strip() for token in text.strip(" \t\r\n,").split(",")]
        if len(tokens) == expected:
            filled = np.full(len(tokens), np.nan)
            filled[[bool(token) for token in tokens]] = counts
            return filled
    return counts


def parse_counts(text: str) -> np.ndarray:
    """Comma- or space-separated integers as float64; empty tokens are skipped. Raises UnreadableError.

    The last digits of all numbers are read together, then the digits before them, and so on. A loop with ``int`` over
    sixty thousand numbers would take longer than the rest of the preprocessing.
    """
    try:
        data = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise UnreadableError("WaveformData has characters that are not digits", DOWNLOAD_AGAIN) from error
    if data.translate(None, _OF_COUNTS):
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
        return np.array([float(int(float(token))) for token in re.split(r"[,\s]+", text) if token])
    except (ValueError, OverflowError) as error:
        raise UnreadableError("WaveformData has a token that is not a number", DOWNLOAD_AGAIN) from error


def measurements(texts: Iterable[tuple[str, str | None]]) -> dict[str, float]:
    """The device's measurements from names and texts; empty ones (no P wave, a paced beat) are not included."""
    numbers = ((name, to_number(text)) for name, text in texts)
    return {name: value for name, value in numbers if np.isfinite(value)}
