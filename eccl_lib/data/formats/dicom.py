"""DICOM images, one frame a file: the header without what identifies a person, and the pixels."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np

from eccl_lib.config.errors import UnreadableError

LARGEST_MATRIX = 2048  # rows or columns; a cardiac cine has about 200
ONE_FRAME = "Convert it to one frame a file (dcm4che's emf2sf), or to a 4-D NIfTI (dcm2niix)."
SQUARE = 0.01  # how far two directions may be from unit length and a right angle
EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
DEFLATED = b"1.2.840.10008.1.2.1.99"  # expands without limit when read

# The tags a cine needs; whatever identifies a person is not among them and is never read.
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
_WORD = {"SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "PixelRepresentation"}
_WANTED = {struct.pack("<HH", *tag): name for tag, name in TAGS.items()}
_LONG_FORM = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
_ELEMENT = struct.Struct("<4s2sH")  # tag, kind of value, length of the short form
_SYNTAX = struct.pack("<HH", 0x0002, 0x0010)
_PIXELS = struct.pack("<HH", 0x7FE0, 0x0010)


@dataclass(frozen=True)
class Header:
    """One image's header. pixel_start: offset of raw pixels in the file, -1 where a decoder is needed."""

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
    source: int = -1  # which file of the caller's
    study: str = ""  # one person at one visit


def read_header(data: bytes, source: int = -1, size: int | None = None) -> Header:
    """A DICOM file's header. Raises UnreadableError where the file is no single-frame image.

    size: of the whole file, where ``data`` is only its beginning; raises UnreadableError also where that is too little.
    """
    if not is_dicom(data):
        raise UnreadableError("not a DICOM file")
    size = len(data) if size is None else size
    try:
        values, start = _walk(data)
        if values is None:
            if size > len(data):
                raise UnreadableError("a full parser needs the whole file")
            values, start = _read_with_pydicom(data), -1
        header = _to_header(values, start, source)
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"the DICOM header is damaged ({type(error).__name__})") from error
    if start + header.rows * header.columns * header.bits // 8 > size and start >= 0:
        raise UnreadableError("the DICOM file is cut short")
    return header


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM does."""
    return data[128:132] == b"DICM"


def _walk(data: bytes) -> tuple[dict | None, int]:
    """The wanted elements of an uncompressed explicit little endian file, or None where a full parser is needed.

    A study has hundreds of files and a general parser takes most of a millisecond for each; this takes a tenth.
    """
    values: dict = {}
    syntax = b""
    at, end = 132, len(data)
    element, wanted, long_form = _ELEMENT.unpack_from, _WANTED.get, _LONG_FORM
    while at + 12 <= end:
        tag, vr, length = element(data, at)
        at += 8
        if vr in long_form:
            length = int.from_bytes(data[at : at + 4], "little")
            at += 4
        if length == 0xFFFFFFFF or not vr.isalpha():
            return _for_a_full_parser(syntax)
        if tag == _PIXELS:
            return values, at
        if at + length > end:
            raise UnreadableError("the DICOM file is cut short")
        if tag == _SYNTAX:
            syntax = data[at : at + length].rstrip(b"\0 ")
            if syntax != EXPLICIT_LITTLE_ENDIAN:
                return _for_a_full_parser(syntax)
        name = wanted(tag)
        if name is not None:
            if name not in _WORD:
                values[name] = data[at : at + length].rstrip(b"\0 ").decode("latin-1").strip()
            elif length == 2:
                values[name] = int.from_bytes(data[at : at + 2], "little")
        at += length
    raise UnreadableError("the DICOM file has no pixels")


def _for_a_full_parser(syntax: bytes) -> tuple[None, int]:
    """Leave a file to pydicom, but not one that could expand without limit."""
    if syntax in (b"", DEFLATED):
        reason = "the DICOM file is deflated and can expand without limit" if syntax else "the DICOM header is damaged"
        raise UnreadableError(reason, "Store it uncompressed." if syntax else "")
    return None, -1


def _read_with_pydicom(data: bytes) -> dict:
    import pydicom

    dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=list(TAGS.values()))
    found = {name: dataset.get(name) for name in TAGS.values() if dataset.get(name) not in (None, "")}
    return {
        name: value if isinstance(value, str | int | float) else "\\".join(map(str, value))
        for name, value in found.items()
    }


@lru_cache(maxsize=4096)
def _floats(text: str) -> tuple[float, ...]:
    """Finite decimals divided by backslashes, nothing where one is none; the frames of a slice repeat the same text."""
    try:
        found = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
    return found if all(math.isfinite(value) for value in found) else ()


@lru_cache(maxsize=4096)
def _perpendicular(orientation: tuple[float, ...]) -> bool:
    """Whether six numbers are two directions of unit length at a right angle."""
    axes = np.array(orientation).reshape(2, 3)
    return bool(np.abs(axes @ axes.T - np.eye(2)).max() <= SQUARE)


def _to_header(values: dict, pixel_start: int, source: int = -1) -> Header:
    def numbers(name: str, count: int) -> tuple[float, ...]:
        found = _floats(str(values.get(name, "")))
        if len(found) != count:
            raise UnreadableError(f"the DICOM header lacks {name}")
        return found

    def number(name: str, default: float) -> float:
        return float(default if values.get(name) in (None, "") else values[name])

    rows, columns, bits = (int(values.get(name, 0)) for name in ("Rows", "Columns", "BitsAllocated"))
    if not (0 < rows <= LARGEST_MATRIX and 0 < columns <= LARGEST_MATRIX):
        raise UnreadableError(f"an image of {rows} x {columns} pixels cannot be a cine")
    if (frames := int(values.get("NumberOfFrames") or 1)) != 1:
        raise UnreadableError(
            f"the DICOM file has {frames} frames (enhanced, multi-frame); one a file is read", ONE_FRAME
        )
    if int(values.get("SamplesPerPixel") or 1) != 1 or bits not in (8, 16):
        raise UnreadableError("the DICOM file is no single-frame grey image of 8 or 16 bits")
    if min(numbers("PixelSpacing", 2)) <= 0:
        raise UnreadableError("the pixels have no size")
    orientation = numbers("ImageOrientationPatient", 6)
    if not _perpendicular(orientation):
        raise UnreadableError("the image's orientation is no pair of perpendicular directions")
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
    """(rows, columns) in the scanner's units."""
    if header.pixel_start >= 0:
        kind = np.dtype(f"<{'i' if header.signed else 'u'}{header.bits // 8}")
        count = header.rows * header.columns
        if header.pixel_start + count * kind.itemsize > len(data):
            raise UnreadableError("the DICOM file is cut short")
        pixels = np.frombuffer(data, kind, count, header.pixel_start).reshape(header.rows, header.columns)
    else:
        import pydicom

        try:
            pixels = pydicom.dcmread(BytesIO(data)).pixel_array
        except Exception as error:
            raise UnreadableError(
                f"the pixels cannot be decoded ({type(error).__name__})",
                "Compressed DICOM needs a decoder: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg",
            ) from error
        if pixels.shape != (header.rows, header.columns):
            raise UnreadableError(f"pixels of shape {pixels.shape} do not fit the header")
    if header.slope != 1 or header.intercept != 0:
        return pixels.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    return pixels
