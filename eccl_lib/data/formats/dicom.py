"""Reader of single-frame DICOM images: the header without identifying tags, and the pixels."""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from itertools import count

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import reading
from eccl_lib.data.formats import dicom_objects

LARGEST_MATRIX = 1024  # rows or columns; a cardiac cine has about 200, an interpolated one 512
PIXEL_MM = (0.1, 20.0)  # plausible sizes of a cine's pixels; ours
LARGEST_FIELD_MM = 1000.0  # side of an image; a scanner's bore has 600 to 700
LARGEST_SCALE = 1e9  # of slope and intercept, so that scaled 16-bit values are far from the end of float32; ours
MOST_ELEMENTS = 10_000  # before the pixels; headers of scanners have up to some hundreds
DECODERS = "Compressed DICOM needs a decoder: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
PERPENDICULAR = 0.01  # largest deviation of two directions from unit length and a right angle
RECOGNISED = 512  # bytes in which a file without a preamble is recognised; ours
EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
DEFLATED = b"1.2.840.10008.1.2.1.99"  # pydicom decompresses it without a size limit

# The tags that are read; none of them identifies a person.
TAGS = {
    (0x0002, 0x0002): "MediaStorageSOPClassUID",
    (0x0008, 0x0008): "ImageType",
    (0x0008, 0x0016): "SOPClassUID",
    (0x0008, 0x0018): "SOPInstanceUID",
    (0x0008, 0x0032): "AcquisitionTime",
    (0x0008, 0x0033): "ContentTime",
    (0x0008, 0x0060): "Modality",
    (0x0008, 0x103E): "SeriesDescription",
    (0x0018, 0x0021): "SequenceVariant",
    (0x0018, 0x0024): "SequenceName",
    (0x0018, 0x0050): "SliceThickness",
    (0x0018, 0x0082): "InversionTime",
    (0x0018, 0x1030): "ProtocolName",
    (0x0018, 0x1060): "TriggerTime",
    (0x0018, 0x1062): "NominalInterval",
    (0x0020, 0x000D): "StudyInstanceUID",
    (0x0020, 0x000E): "SeriesInstanceUID",
    (0x0020, 0x0011): "SeriesNumber",
    (0x0020, 0x0013): "InstanceNumber",
    (0x0020, 0x0032): "ImagePositionPatient",
    (0x0020, 0x0037): "ImageOrientationPatient",
    (0x0020, 0x0100): "TemporalPositionIdentifier",
    (0x0028, 0x0002): "SamplesPerPixel",
    (0x0028, 0x0008): "NumberOfFrames",
    (0x0028, 0x0010): "Rows",
    (0x0028, 0x0011): "Columns",
    (0x0028, 0x0030): "PixelSpacing",
    (0x0028, 0x0100): "BitsAllocated",
    (0x0028, 0x0103): "PixelRepresentation",
    (0x0028, 0x1052): "RescaleIntercept",
    (0x0028, 0x1053): "RescaleSlope",
}
# Values that are rarely needed: they stay bytes until they are asked for.
_RARE = {"MediaStorageSOPClassUID", "SOPClassUID", "SOPInstanceUID", "AcquisitionTime", "ContentTime", "Modality"}
_RARE |= {"SequenceVariant", "SequenceName", "InversionTime", "ProtocolName", "TemporalPositionIdentifier"}
_UINT16 = {"SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "PixelRepresentation"}
_NAMES = {struct.pack("<HH", *tag): name for tag, name in TAGS.items()}
_LONG_FORM = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_ELEMENT = struct.Struct("<4s2sH")  # tag, value representation, length in the short form
_SHORT_FORM = set(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_START = struct.Struct("<HH2sH")  # group, element, value representation, length in the short form
_CHARACTER_SET = (0x0008, 0x0005)
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_SYNTAX, _PIXELS = "TransferSyntaxUID", "PixelData"
_NAMES |= {struct.pack("<HH", 0x0002, 0x0010): _SYNTAX, struct.pack("<HH", 0x7FE0, 0x0010): _PIXELS}
NO_PIXELS = -2


@dataclass(frozen=True)
class Header:
    """Header of one image. pixel_start: offset of the raw pixels in the file, -1 if they need a decoder."""

    series: str
    description: str
    derived: bool
    series_number: int
    instance: float  # NaN if missing
    trigger_ms: float
    interval_ms: float
    position: tuple[float, ...]  # mm, DICOM axes
    orientation: tuple[float, ...]  # along a row, along a column
    spacing: tuple[float, float]  # between rows, between columns
    thickness: float
    rows: int
    columns: int
    bits: int
    signed: bool
    slope: float
    intercept: float
    pixel_start: int
    source: int = -1  # the caller's number of the file
    study: str = ""  # StudyInstanceUID: one person at one visit
    tags: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)  # all values of TAGS

    def text(self, name: str) -> str:
        """A value of TAGS as text; "" if it is missing."""
        return dicom_objects.text(self.tags.get(name))


class OtherObjectError(UnreadableError):
    """The file is intact DICOM, but not a single greyscale image. kind: plural noun for counts."""

    def __init__(self, kind: str, reason: str, cure: str = "Give the folder or zip of a short-axis cine.") -> None:
        self.kind = kind
        super().__init__(reason, cure)


class ShortError(UnreadableError):
    """The header is longer than the beginning of a file that was given."""

    def __init__(self) -> None:
        super().__init__("the DICOM file is truncated")


def read_header(data: bytes, source: int = -1, size: int | None = None) -> Header:
    """Read the header of a DICOM file. Raises UnreadableError if the file is not a single-frame image.

    size: bytes of the whole file, if ``data`` is only its beginning. Raises ShortError if this is too short, and
    OtherObjectError for reports, colour images, multi-frame objects and the like.
    """
    first = first_element(data)
    if first < 0:
        raise UnreadableError("the file is not DICOM")
    size = len(data) if size is None else size
    with reading("the DICOM header is damaged"):
        values, start = _walk(data, first)
        if values is None or (start == NO_PIXELS and size > len(data)):
            if size > len(data):
                raise ShortError
            values, start = _read_with_pydicom(data), -1
        if other := dicom_objects.not_an_image(values):
            raise OtherObjectError(*other)
        if start == NO_PIXELS:
            raise UnreadableError("the DICOM file has no pixels")
        header = _to_header(values, start, source)
    if start + header.rows * header.columns * header.bits // 8 > size and start >= 0:
        raise UnreadableError("the DICOM file is truncated")
    return header


def is_dicom(data: bytes) -> bool:
    """True if the first RECOGNISED bytes of a file are DICOM's, with or without the preamble."""
    return first_element(data) >= 0


def first_element(data: bytes) -> int:
    """Offset of the first element, 132 after the preamble and its mark; -1 if the file is not DICOM.

    Old exports have no preamble, or one without its mark: then two elements of the first groups must follow each other.
    """
    if data[128:132] == b"DICM":
        return 132
    starts = (0, 128, 132) if not any(data[:128]) else (0,)
    return next((at for at in starts if _begins_with_elements(data, at)), -1)


def _begins_with_elements(data: bytes, at: int) -> bool:
    """True if two elements of the groups 2 and 8, in ascending order, begin at an offset; little-endian."""
    before = (0, -1)
    for _ in range(2):
        if at + 8 > len(data):
            return False
        group, element, vr, length = _START.unpack_from(data, at)
        if group not in (0x0002, 0x0008) or (group, element) <= before:
            return False
        before = group, element
        if vr in _LONG_FORM:
            length, at = int.from_bytes(data[at + 8 : at + 12], "little"), at + 4
        elif vr not in _SHORT_FORM:
            length = int.from_bytes(data[at + 4 : at + 8], "little")  # implicit value representation
        at += 8 + length
    return True


def _walk(data: bytes, at: int) -> tuple[dict | None, int]:
    """Values of TAGS and the offset of the pixels in an uncompressed explicit little-endian file.

    at: offset of the first element. The offset of the pixels is NO_PIXELS if there are none. The values are None if the
    file needs a full parser. A full parser takes ten times as long, almost a millisecond per file; a study has hundreds
    of files.
    """
    values: dict = {}
    syntax = b""
    end, marked = len(data), data[128:132] == b"DICM"
    element, name_of, long_form = _ELEMENT.unpack_from, _NAMES.get, _LONG_FORM
    for _ in range(MOST_ELEMENTS):
        if at + 12 > end:
            return values, NO_PIXELS
        tag, vr, length = element(data, at)
        at += 8
        if vr in long_form:
            length = int.from_bytes(data[at : at + 4], "little")
            at += 4
        if length == 0xFFFFFFFF or not vr.isalpha():
            return _needs_full_parser(syntax, marked)
        name = name_of(tag)
        if name == _PIXELS:
            return values, at
        if at + length > end:
            raise ShortError
        if name is None:
            pass
        elif name in _RARE:
            values[name] = data[at : at + length]
        elif name == _SYNTAX:
            syntax = data[at : at + length].rstrip(b"\0 ")
            if syntax != EXPLICIT_LITTLE_ENDIAN:
                return _needs_full_parser(syntax, marked)
        elif name not in _UINT16:
            values[name] = data[at : at + length].rstrip(b"\0 ").decode("latin-1").strip()
        elif length == 2:
            values[name] = int.from_bytes(data[at : at + 2], "little")
        at += length
    raise _too_many_elements()


def _too_many_elements() -> UnreadableError:
    return UnreadableError(f"the DICOM header has more than {MOST_ELEMENTS:,} elements")


def _needs_full_parser(syntax: bytes, marked: bool) -> tuple[None, int]:
    """The result of ``_walk`` for a file that pydicom must read. Raises UnreadableError for a deflated file.

    marked: the file has DICOM's mark and therefore must name its syntax.
    """
    if syntax == DEFLATED or (marked and not syntax):
        reason = "the DICOM file is deflated; its unpacked size is unknown" if syntax else "the DICOM header is damaged"
        raise UnreadableError(reason, "Convert it to an uncompressed transfer syntax." if syntax else "")
    return None, -1


def dataset(data: bytes, tags: Iterable[tuple[int, int]] | None = None, pixels: bool = True):
    """pydicom's dataset of a file with or without a preamble. tags: only these are read; pixels: also the pixels.

    Raises UnreadableError if it has too many elements, each of which costs memory and time.
    """
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    counter = count(1)

    def stop(tag: int, vr: str | None, length: int) -> bool:
        if next(counter) > MOST_ELEMENTS:
            raise _too_many_elements()
        return not pixels and tag in _PIXEL_DATA

    start = 0 if data[128:132] == b"DICM" else max(first_element(data), 0)
    wanted = None if tags is None else [Tag(tag) for tag in (_CHARACTER_SET, *tags)]
    file = BytesIO(data[start:] if start else data)
    read = read_partial(file, stop_when=stop, force=True, specific_tags=wanted)
    if "TransferSyntaxUID" not in read.file_meta:
        implicit, _ = read.original_encoding
        read.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return read


def _read_with_pydicom(data: bytes) -> dict:
    of_dataset = {tag: name for tag, name in TAGS.items() if name != "MediaStorageSOPClassUID"}
    read = dataset(data, of_dataset, pixels=False)
    values = {name: value for name in of_dataset.values() if (value := read.get(name)) not in (None, "")}
    if stored := read.file_meta.get("MediaStorageSOPClassUID"):
        values["MediaStorageSOPClassUID"] = str(stored)
    lists = {name: value for name, value in values.items() if not isinstance(value, str | int | float)}
    return values | {name: "\\".join(map(str, value)) for name, value in lists.items()}


@lru_cache(maxsize=4096)
def _floats(text: str) -> tuple[float, ...]:
    """Finite decimals separated by backslashes; empty if one is not a number. Cached, since frames repeat values."""
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


@lru_cache(maxsize=4096)
def _perpendicular(orientation: tuple[float, ...]) -> bool:
    """True if six numbers are two perpendicular directions of unit length."""
    axes = np.array(orientation).reshape(2, 3)
    return bool(np.abs(axes @ axes.T - np.eye(2)).max() <= PERPENDICULAR)


def _to_header(values: dict, pixel_start: int, source: int = -1) -> Header:
    def numbers(name: str, count: int) -> tuple[float, ...]:
        decimals = _floats(str(values.get(name, "")))
        if len(decimals) != count:
            raise UnreadableError(f"the DICOM header has no valid {name}")
        return decimals

    def number(name: str, default: float) -> float:
        return float(default if values.get(name) in (None, "") else values[name])

    rows, columns, bits = (int(values.get(name, 0)) for name in ("Rows", "Columns", "BitsAllocated"))
    if not (0 < rows <= LARGEST_MATRIX and 0 < columns <= LARGEST_MATRIX):
        raise UnreadableError(f"the image has {rows} x {columns} pixels, which is not plausible for a cine")
    spacing = numbers("PixelSpacing", 2)
    field_mm = max(rows * spacing[0], columns * spacing[1])
    if not all(PIXEL_MM[0] <= size <= PIXEL_MM[1] for size in spacing) or field_mm > LARGEST_FIELD_MM:
        size = " x ".join(f"{size:g}" for size in spacing)
        fault = "positive" if min(spacing) <= 0 else f"plausible for {rows} x {columns} pixels"
        reason = f"the PixelSpacing, the size of a pixel in mm, is {size}, which is not {fault}"
        raise UnreadableError(reason, "Export the images again without changing their geometry.")
    slope, intercept = number("RescaleSlope", 1), number("RescaleIntercept", 0)
    if not (0 < abs(slope) <= LARGEST_SCALE and abs(intercept) <= LARGEST_SCALE):
        reason = f"the image's RescaleSlope {slope:g} and RescaleIntercept {intercept:g} are not plausible"
        raise UnreadableError(reason, "Export the images again with their stored values.")
    orientation = numbers("ImageOrientationPatient", 6)
    if not _perpendicular(orientation):
        raise UnreadableError("the image's orientation is not a pair of perpendicular directions")
    return Header(
        series=str(values.get("SeriesInstanceUID", "")),
        description=str(values.get("SeriesDescription", "")),
        derived="DERIVED" in str(values.get("ImageType", "")),
        series_number=int(values.get("SeriesNumber") or 0),
        instance=number("InstanceNumber", np.nan),
        trigger_ms=number("TriggerTime", np.nan),
        interval_ms=number("NominalInterval", np.nan),
        position=numbers("ImagePositionPatient", 3),
        orientation=orientation,
        spacing=spacing,
        thickness=number("SliceThickness", np.nan),
        rows=rows,
        columns=columns,
        bits=bits,
        signed=bool(int(values.get("PixelRepresentation") or 0)),
        slope=slope,
        intercept=intercept,
        pixel_start=pixel_start,
        source=source,
        study=str(values.get("StudyInstanceUID", "")),
        tags=values,
    )


def read_pixels(data: bytes, header: Header) -> np.ndarray:
    """Pixels of one image: (rows, columns) in the scanner's units. Raises UnreadableError."""
    if header.pixel_start >= 0:
        kind = np.dtype(f"<{'i' if header.signed else 'u'}{header.bits // 8}")
        count = header.rows * header.columns
        if header.pixel_start + count * kind.itemsize > len(data):
            raise UnreadableError("the DICOM file is truncated")
        pixels = np.frombuffer(data, kind, count, header.pixel_start).reshape(header.rows, header.columns)
    else:
        with reading("the pixels cannot be decoded", DECODERS):
            pixels = dataset(data).pixel_array
        if pixels.shape != (header.rows, header.columns):
            raise UnreadableError(f"pixels of shape {pixels.shape} do not match the header")
    if header.slope != 1 or header.intercept != 0:
        return pixels.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    return pixels
