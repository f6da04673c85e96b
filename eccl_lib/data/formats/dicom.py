"""Reader of single-frame DICOM images: the header without identifying tags, and the pixels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import dicom_elements, dicom_objects
from eccl_lib.data.formats.dicom_elements import NO_PIXELS, ShortError
from eccl_lib.data.reading import reading

LARGEST_MATRIX = 1024  # rows or columns; a cardiac cine has about 200, an interpolated one 512
PIXEL_MM = (0.1, 20.0)  # plausible sizes of a cine's pixels; ours
LARGEST_FIELD_MM = 1000.0  # side of an image; a scanner's bore has 600 to 700
LARGEST_SCALE = 1e9  # of slope and intercept, so that scaled 16-bit values are far from the end of float32; ours
DECODERS = "Compressed DICOM needs a decoder: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
PERPENDICULAR = 0.01  # largest deviation of two directions from unit length and a right angle


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
    tags: Mapping[str, object] = field(
        default_factory=dict, compare=False, repr=False
    )  # all values of ``dicom_elements.TAGS``

    def text(self, name: str) -> str:
        """A value of ``tags`` as text; "" if it is missing."""
        return dicom_objects.text(self.tags.get(name))


class OtherObjectError(UnreadableError):
    """The file is intact DICOM, but not a single greyscale image. kind: plural noun for counts."""

    def __init__(self, kind: str, reason: str, cure: str = "Give the folder or zip of a short-axis cine.") -> None:
        self.kind = kind
        super().__init__(reason, cure)


def read_header(data: bytes, source: int = -1, size: int | None = None) -> Header:
    """Read the header of a DICOM file. Raises UnreadableError if the file is not a single-frame image.

    size: bytes of the whole file, if ``data`` is only its beginning. Raises ShortError if this is too short, and
    OtherObjectError for reports, colour images, multi-frame objects and the like.
    """
    first = dicom_elements.first_element(data)
    if first < 0:
        raise UnreadableError("the file is not DICOM")
    size = len(data) if size is None else size
    with reading("the DICOM header is damaged"):
        values, start = dicom_elements.walk(data, first)
        if values is None or (start == NO_PIXELS and size > len(data)):
            if size > len(data):
                raise ShortError
            values, start = dicom_elements.read_with_pydicom(data), -1
        if other := dicom_objects.not_an_image(values):
            raise OtherObjectError(*other)
        if start == NO_PIXELS:
            raise UnreadableError("the DICOM file has no pixels")
        header = _to_header(values, start, source)
    if start + header.rows * header.columns * header.bits // 8 > size and start >= 0:
        raise UnreadableError("the DICOM file is truncated")
    return header


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
            pixels = dicom_elements.dataset(data).pixel_array
        if pixels.shape != (header.rows, header.columns):
            raise UnreadableError(f"pixels of shape {pixels.shape} do not match the header")
    if header.slope != 1 or header.intercept != 0:
        return pixels.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    return pixels
