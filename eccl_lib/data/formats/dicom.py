"""Reader of single-frame DICOM images: the header without identifying tags, and the pixels."""

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import reading

LARGEST_MATRIX = 2048  # rows or columns; a cardiac cine has about 200
SINGLE_FRAME = "Convert it to single-frame files (dcm4che's emf2sf), or to a 4-D NIfTI (dcm2niix)."
DECODERS = "Compressed DICOM needs a decoder: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
PERPENDICULAR = 0.01  # largest deviation of two directions from unit length and a right angle
EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
DEFLATED = b"1.2.840.10008.1.2.1.99"  # pydicom decompresses it without a size limit

# The tags that are read; none of them identifies a person.
TAGS = {
    (0x0008, 0x0008): "ImageType",
    (0x0008, 0x103E): "SeriesDescription",
    (0x0018, 0x0050): "SliceThickness",
    (0x0018, 0x1060): "TriggerTime",
    (0x0018, 0x1062): "NominalInterval",
    (0x0020, 0x000D): "StudyInstanceUID",
    (0x0020, 0x000E): "SeriesInstanceUID",
    (0x0020, 0x0011): "SeriesNumber",
    (0x0020, 0x0013): "InstanceNumber",
    (0x0020, 0x0032): "ImagePositionPatient",
    (0x0020, 0x0037): "ImageOrientationPatient",
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
_UINT16 = {"SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "PixelRepresentation"}
_NAMES = {struct.pack("<HH", *tag): name for tag, name in TAGS.items()}
_LONG_FORM = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_ELEMENT = struct.Struct("<4s2sH")  # tag, value representation, length in the short form
_SYNTAX = struct.pack("<HH", 0x0002, 0x0010)
_PIXELS = struct.pack("<HH", 0x7FE0, 0x0010)


@dataclass(frozen=True)
class Header:
    """Header of one image. pixel_start: offset of the raw pixels in the file, -1 if they need a decoder."""

    series: str
    description: str
    derived: bool
    series_number: int
    instance: int
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


def read_header(data: bytes, source: int = -1, size: int | None = None) -> Header:
    """Read the header of a DICOM file. Raises UnreadableError if the file is not a single-frame image.

    size: bytes of the whole file, if ``data`` is only its beginning. Raises UnreadableError if this is too short.
    """
    if not is_dicom(data):
        raise UnreadableError("the file is not DICOM")
    size = len(data) if size is None else size
    with reading("the DICOM header is damaged"):
        values, start = _walk(data)
        if values is None:
            if size > len(data):
                raise UnreadableError("the beginning of the file is not enough to parse the header")
            values, start = _read_with_pydicom(data), -1
        header = _to_header(values, start, source)
    if start + header.rows * header.columns * header.bits // 8 > size and start >= 0:
        raise UnreadableError("the DICOM file is truncated")
    return header


def is_dicom(data: bytes) -> bool:
    """True if the file's first bytes are DICOM's preamble."""
    return data[128:132] == b"DICM"


def _walk(data: bytes) -> tuple[dict | None, int]:
    """Values of TAGS and the offset of the pixels in an uncompressed explicit little-endian file.

    The values are None if the file needs a full parser. A full parser takes ten times as long, almost a millisecond per
    file; a study has hundreds of files.
    """
    values: dict = {}
    syntax = b""
    at, end = 132, len(data)
    element, name_of, long_form = _ELEMENT.unpack_from, _NAMES.get, _LONG_FORM
    while at + 12 <= end:
        tag, vr, length = element(data, at)
        at += 8
        if vr in long_form:
            length = int.from_bytes(data[at : at + 4], "little")
            at += 4
        if length == 0xFFFFFFFF or not vr.isalpha():
            return _needs_full_parser(syntax)
        if tag == _PIXELS:
            return values, at
        if at + length > end:
            raise UnreadableError("the DICOM file is truncated")
        if tag == _SYNTAX:
            syntax = data[at : at + length].rstrip(b"\0 ")
            if syntax != EXPLICIT_LITTLE_ENDIAN:
                return _needs_full_parser(syntax)
        name = name_of(tag)
        if name is not None:
            if name not in _UINT16:
                values[name] = data[at : at + length].rstrip(b"\0 ").decode("latin-1").strip()
            elif length == 2:
                values[name] = int.from_bytes(data[at : at + 2], "little")
        at += length
    raise UnreadableError("the DICOM file has no pixels")


def _needs_full_parser(syntax: bytes) -> tuple[None, int]:
    """The result of ``_walk`` for a file that pydicom must read. Raises UnreadableError for a deflated file."""
    if syntax in (b"", DEFLATED):
        reason = "the DICOM file is deflated; its unpacked size is unknown" if syntax else "the DICOM header is damaged"
        raise UnreadableError(reason, "Convert it to an uncompressed transfer syntax." if syntax else "")
    return None, -1


def _read_with_pydicom(data: bytes) -> dict:
    import pydicom

    dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=list(TAGS.values()))
    values = {name: value for name in TAGS.values() if (value := dataset.get(name)) not in (None, "")}
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
    if (frames := int(values.get("NumberOfFrames") or 1)) != 1:
        reason = f"the DICOM file has {frames} frames (enhanced); only single-frame files are read"
        raise UnreadableError(reason, SINGLE_FRAME)
    if int(values.get("SamplesPerPixel") or 1) != 1 or bits not in (8, 16):
        raise UnreadableError("the DICOM file is not a single-frame greyscale image of 8 or 16 bits")
    if min(numbers("PixelSpacing", 2)) <= 0:
        raise UnreadableError("the PixelSpacing is not positive")
    orientation = numbers("ImageOrientationPatient", 6)
    if not _perpendicular(orientation):
        raise UnreadableError("the image's orientation is not a pair of perpendicular directions")
    return Header(
        series=str(values.get("SeriesInstanceUID", "")),
        description=str(values.get("SeriesDescription", "")),
        derived="DERIVED" in str(values.get("ImageType", "")),
        series_number=int(values.get("SeriesNumber") or 0),
        instance=int(values.get("InstanceNumber") or 0),
        trigger_ms=number("TriggerTime", np.nan),
        interval_ms=number("NominalInterval", np.nan),
        position=numbers("ImagePositionPatient", 3),
        orientation=orientation,
        spacing=numbers("PixelSpacing", 2),
        thickness=number("SliceThickness", np.nan),
        rows=rows,
        columns=columns,
        bits=bits,
        signed=bool(int(values.get("PixelRepresentation") or 0)),
        slope=number("RescaleSlope", 1),
        intercept=number("RescaleIntercept", 0),
        pixel_start=pixel_start,
        source=source,
        study=str(values.get("StudyInstanceUID", "")),
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
        import pydicom

        with reading("the pixels cannot be decoded", DECODERS):
            pixels = pydicom.dcmread(BytesIO(data)).pixel_array
        if pixels.shape != (header.rows, header.columns):
            raise UnreadableError(f"pixels of shape {pixels.shape} do not match the header")
    if header.slope != 1 or header.intercept != 0:
        return pixels.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    return pixels
