"""Detect a file's format from its content and read it: ECGs of all formats, cines from NIfTI or DICOM."""

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import (
    cardiosoft,
    csv_table,
    dicom_series,
    dicom_waveform,
    edf,
    gaps,
    hl7_aecg,
    muse,
    nifti,
    npy_array,
    signatures,
    wfdb_header,
    wfdb_record,
    xml_tree,
)
from eccl_lib.data.formats.leads import ACCEPTED
from eccl_lib.data.records import CineFile, CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers
from eccl_lib.io import regular


def read_ecg(path: Path | str) -> EcgRecord:
    """Read one ECG from a file of any accepted format; samples without a signal are NaN (``gaps.mark``).

    Raises UnreadableError with the cure.
    """
    return gaps.mark(_read(Path(path).expanduser()))


def _read(path: Path) -> EcgRecord:
    if header := wfdb_header.header_of(path):
        return wfdb_record.read(header)
    with regular.open_file(path) as file:
        start = regular.read(file, 1024)
    signatures.refuse(start)
    for matches, read in ECG_FORMATS:
        if matches(start):
            return read(path)
    if path.suffix.lower() in wfdb_record.SIGNALS:
        cure = "Copy the header of the WFDB record beside it, or download the record again."
        raise UnreadableError("the header with the same name and the suffix .hea is missing", cure)
    is_text = csv_table.is_text(start)
    if not is_text or not start.strip():
        content = "empty" if is_text else "binary, in no known ECG format"
        raise UnreadableError(f"the file is {content}", ACCEPTED if start.strip() else DOWNLOAD_AGAIN)
    return csv_table.read(path)


def _is_xml(start: bytes) -> bool:
    return xml_tree.start_of(start).lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<")


def _read_xml(path: Path) -> EcgRecord:
    """Read the XML of GE MUSE, GE CardioSoft or HL7 (aECG), depending on the root element."""
    data = regular.read_bytes(path, xml_tree.LARGEST_XML)
    root = signatures.root_of(xml_tree.start_of(data))
    read = XML_ROOTS.get(root.lower())
    if read is None:
        signatures.refuse_root(root)
    return read(xml_tree.parse(data, plain_doctype=True))


XML_ROOTS: dict[str, Callable[[Element], EcgRecord]] = {
    muse.ROOT.lower(): muse.read,
    cardiosoft.ROOT.lower(): cardiosoft.read_tree,
    hl7_aecg.ROOT.lower(): hl7_aecg.read,
}
# Test of a file's first 1,024 bytes, and reader, for each format. Other text files are read as CSV.
ECG_FORMATS: list[tuple[Callable[[bytes], bool], Callable[[Path], EcgRecord]]] = [
    (dicom_waveform.matches, dicom_waveform.read),
    (lambda start: start.startswith(b"\x93NUMPY"), npy_array.read),
    (lambda start: start.startswith(edf.MARK) and start[184:192].strip().isdigit(), edf.read),
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
