"""The elements of a DICOM file, read within limits: the wanted tags, and the place of the pixels."""

import struct
from collections.abc import Iterable
from io import BytesIO
from itertools import count

from eccl_lib.config.errors import UnreadableError

MOST_ELEMENTS = 10_000  # before the pixels; headers of scanners have up to some hundreds
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


class ShortError(UnreadableError):
    """The header is longer than the beginning of a file that was given."""

    def __init__(self) -> None:
        super().__init__("the DICOM file is truncated")


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


def walk(data: bytes, at: int) -> tuple[dict | None, int]:
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


def read_with_pydicom(data: bytes) -> dict:
    of_dataset = {tag: name for tag, name in TAGS.items() if name != "MediaStorageSOPClassUID"}
    read = dataset(data, of_dataset, pixels=False)
    values = {name: value for name in of_dataset.values() if (value := read.get(name)) not in (None, "")}
    if stored := read.file_meta.get("MediaStorageSOPClassUID"):
        values["MediaStorageSOPClassUID"] = str(stored)
    lists = {name: value for name, value in values.items() if not isinstance(value, str | int | float)}
    return values | {name: "\\".join(map(str, value)) for name, value in lists.items()}
