"""Detect a file's format from its content and read it: ECGs of all formats, cines from NIfTI or DICOM."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import read_bytes
from eccl_lib.data.formats import cardiosoft, csv_npy, dicom_series, dicom_waveform, muse, nifti, wfdb_record
from eccl_lib.data.formats.leads import ACCEPTED
from eccl_lib.data.records import CineFile, CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers


def read_ecg(path: Path | str) -> EcgRecord:
    """Read one ECG from a file of any accepted format. Raises UnreadableError with the cure."""
    path = Path(path).expanduser()
    header = path if path.suffix == ".hea" else path.with_name(f"{path.stem if path.suffix else path.name}.hea")
    if path.suffix.lower() in ("", ".hea", ".dat", ".mat") and header.is_file():
        return wfdb_record.read(header)
    if not path.is_file():
        fault = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise UnreadableError(f"{path} {fault}", "Check the path.")
    with path.open("rb") as handle:
        start = handle.read(1024)
    for matches, read in ECG_FORMATS:
        if matches(start):
            return read(path)
    if path.suffix.lower() in (".dat", ".mat"):
        raise UnreadableError(f"the header {header.name} is missing beside {path.name}", ACCEPTED)
    if b"\0" in start or not start.strip():
        content = "binary, in no known ECG format" if start.strip() else "empty"
        raise UnreadableError(f"{path.name} is {content}", ACCEPTED)
    return csv_npy.read_csv(path)


def _is_xml(start: bytes) -> bool:
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") or start[:2] in (b"\xff\xfe", b"\xfe\xff")


def _read_xml(path: Path) -> EcgRecord:
    """Read GE MUSE's or GE CardioSoft's XML, depending on the root element."""
    data = read_bytes(path, cardiosoft.LARGEST_XML)
    start = data[:4096].replace(b"\0", b"")  # also matches UTF-16
    if re.search(rb"<(!DOCTYPE\s+)?RestingECG[\s>]", start):
        return muse.read(muse.parse(data))
    return cardiosoft.read_tree(cardiosoft.parse_xml(data))


# Test of a file's first 1,024 bytes, and reader, for each format. Other text files are read as CSV.
ECG_FORMATS: list[tuple[Callable[[bytes], bool], Callable[[Path], EcgRecord]]] = [
    (lambda start: start[128:132] == b"DICM", dicom_waveform.read),
    (lambda start: start.startswith(b"\x93NUMPY"), csv_npy.read_npy),
    (_is_xml, _read_xml),
]


def open_cine(path: Path | str) -> CineFile:
    """Open a short-axis cine: a 4-D NIfTI, or DICOM files in a folder or zip of any series. Raises UnreadableError."""
    path = Path(path).expanduser()
    if path.is_dir() or path.suffix.lower() == ".zip":
        return dicom_series.open_file(path, any_name=True)
    return nifti.open_file(path)


def read_cine(
    path: Path, segmentation: Path | None = None, frames: Sequence[int] | None = None, order: str = "ukb_cardiac"
) -> CineRecord:
    """Read a short-axis cine, slices base to apex, and optionally its segmentation.

    frames: frame numbers of the segmentation's volumes, e.g. of ED and ES; None if it has all frames. order: label
    order of the segmentation, one of ``masks.ORDERS``. Raises UnreadableError.
    """
    cine = open_cine(path)
    return providers.read(cine, segmentation, providers.Segmenter(mask_labels=order), frames=frames)
