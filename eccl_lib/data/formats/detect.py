"""Detect a file's format from its content and read it: ECGs of all formats, cines from NIfTI or DICOM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from eccl_lib.config import registry
from eccl_lib.config.errors import DOWNLOAD_AGAIN, ConfigError, UnreadableError
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
from eccl_lib.io.paths import expanded


@dataclass(frozen=True)
class EcgFormat:
    """A file format. matches: tests a file's first 1,024 bytes; read: reads a file, raises UnreadableError.

    suffixes: by which a search of folders finds the files, such as ".json".
    """

    matches: Callable[[bytes], bool]
    read: Callable[[Path], EcgRecord]
    suffixes: tuple[str, ...] = ()


def read_ecg(path: Path | str) -> EcgRecord:
    """Read one ECG from a file of any accepted format; samples without a signal are NaN (``gaps.mark``).

    Raises UnreadableError with the cure.
    """
    return gaps.mark(_read(expanded(path)))


def _read(path: Path) -> EcgRecord:
    if header := wfdb_header.header_of(path):
        return wfdb_record.read(header)
    with regular.open_file(path) as file:
        start = regular.read(file, 1024)
    name = next((name for name, form in ECG_FORMATS.items() if _matches(name, form, start)), None)
    if name is None or name in _BUILT_IN:
        signatures.refuse(start)
    if name:
        return _read_as(name, path)
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
ECG_FORMATS = registry.ECG_FORMATS.define(
    {
        "dicom": EcgFormat(dicom_waveform.matches, dicom_waveform.read),
        "npy": EcgFormat(lambda start: start.startswith(b"\x93NUMPY"), npy_array.read),
        "edf": EcgFormat(lambda start: start.startswith(edf.MARK) and start[184:192].strip().isdigit(), edf.read),
        "xml": EcgFormat(_is_xml, _read_xml),
    }
)
_BUILT_IN = ECG_FORMATS.built_in


def accepted(name: str, item: Any) -> EcgFormat:
    """A format to be registered: anything with the parts of ``EcgFormat``, such as a class with static methods.

    Raises ConfigError where one of them is missing.
    """
    for part in ("matches", "read"):
        if not callable(getattr(item, part, None)):
            raise ConfigError(f"the ECG file format {name} has no function {part} (docs/extending.md)")
    suffixes = getattr(item, "suffixes", None)
    if not isinstance(suffixes, tuple) or not all(isinstance(s, str) and s[:1] == "." for s in suffixes):
        raise ConfigError(f'the ECG file format {name} has no suffixes, a tuple such as (".json",)')
    return EcgFormat(item.matches, item.read, tuple(suffix.lower() for suffix in suffixes))


ECG_FORMATS.accept = accepted


def _matches(name: str, form: EcgFormat, start: bytes) -> bool:
    """Whether a file is of a format; a recogniser of another package that fails matches no file."""
    if name in _BUILT_IN:
        return form.matches(start)
    try:
        return bool(form.matches(start))
    except Exception:  # the file may be of another format
        return False


def _read_as(name: str, path: Path) -> EcgRecord:
    """Read a file of a format. Raises UnreadableError, also for every fault of another package's reader."""
    if name in _BUILT_IN:
        return ECG_FORMATS[name].read(path)
    author = ECG_FORMATS.package(name) or "this session"
    try:
        record = ECG_FORMATS[name].read(path)
    except (UnreadableError, OSError):
        raise
    except Exception as error:
        reason = f"the reader of the format {name}, of {author}, fails ({type(error).__name__})"
        raise UnreadableError(reason, "Check the file; if it is complete, report this to the authors.") from error
    if not isinstance(record, EcgRecord):
        raise UnreadableError(f"the reader of the format {name}, of {author}, returns no EcgRecord", "Mend the reader.")
    return record


def open_cine(path: Path | str) -> CineFile:
    """Open a short-axis cine: a 4-D NIfTI, or DICOM files in a folder or zip of any series. Raises UnreadableError."""
    path = expanded(path)
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
