"""Formats that are not read, told by their first bytes or an XML's root element: name, and how to convert them."""

import re

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError

_BIOSIG = "BioSig (save2gdf, biosig.sourceforge.net)"
_OTHER_EXPORT = "Export the ECG from the device's software as DICOM, HL7 aECG or XML with its waveform."
_UNPACK = "Unpack it first."
_IMAGE = "an image, not a signal"
_SIGNALS = "Give the ECG's signals; an image or a document of them is not read."

# Name and how to convert it, by the bytes at an offset.
BYTES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xffBIOSEMI", "BDF (24 bits)", "Convert it to EDF, for example with EDFbrowser (menu Tools)."),
    (0, b"ISHNE1.0", "an ISHNE Holter file", f"Convert it to EDF or WFDB, for example with {_BIOSIG}."),
    (0, b"ANN  1.0", "an ISHNE annotation file", "Give the Holter's signals, as EDF or WFDB."),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5", "Write each ECG as a .npy array, as docs/formats.md shows for CODE-15 %."),
    (0, b"MATLAB 5.0", "a MATLAB 5 file", "Write the array as .npy, or the record as WFDB."),
    (0, b"%PDF", "a PDF", _SIGNALS),
    (0, b"\x89PNG", _IMAGE, _SIGNALS),
    (0, b"\xff\xd8\xff", _IMAGE, _SIGNALS),
    (0, b"GIF8", _IMAGE, _SIGNALS),
    (0, b"II*\0", _IMAGE, _SIGNALS),
    (0, b"MM\0*", _IMAGE, _SIGNALS),
    (0, b"BM", _IMAGE, _SIGNALS),
    (0, b"\x1f\x8b", "compressed (gzip)", _UNPACK),
    (0, b"BZh", "compressed (bzip2)", _UNPACK),
    (0, b"\xfd7zXZ", "compressed (xz)", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive (7z)", _UNPACK),
    (0, b"Rar!", "an archive (RAR)", _UNPACK),
    (0, b"PK\x03\x04", "an archive (zip) or an Excel workbook", "Unpack it, or save the sheet as CSV."),
    (0, b"\xd0\xcf\x11\xe0", "an Excel or Word file", "Save the sheet as CSV."),
    (0, b"PAR1", "Parquet", "Write each ECG as a .npy array or as CSV."),
    (0, b"\x80\x04", "a Python pickle, which can run code", "Write the array as .npy."),
    (16, b"SCPECG", "SCP-ECG", f"Convert it to HL7 aECG, for example with {_BIOSIG}, or export DICOM from the device."),
)
# Name and how to convert it, by the root element of an XML file.
ROOTS = {
    "restingecgdata": ("Philips XML (Sierra ECG), whose waveform is packed", _OTHER_EXPORT),
    "ecg": ("another maker's ECG XML (root element ECG, as of Mortara)", _OTHER_EXPORT),
    "sapphire": ("GE Sapphire XML", "Export the ECG from MUSE as XML with its waveform (RestingECG)."),
    "examdescript": ("Schiller XML", _OTHER_EXPORT),
    "clinicaldocument": ("an HL7 CDA document", _OTHER_EXPORT),
    "html": ("a web page (HTML), such as a login page", "Log in and download the file again."),
    "svg": ("an image (SVG), not a signal", _SIGNALS),
}
READ_ROOTS = "Known roots are RestingECG (GE MUSE), CardiologyXML (GE CardioSoft, UK Biobank) and AnnotatedECG (HL7)."
_HTML = re.compile(rb"(?i)<!doctype\s+html|<html[\s>]")
_ROOT = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")
_NOT_ROOT = re.compile(rb"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\])?[^>]*>", re.DOTALL)


def refuse(start: bytes) -> None:
    """Raise UnreadableError that names the format if the first 1,024 bytes are of one that is not read."""
    for offset, mark, name, cure in BYTES:
        if start[offset : offset + len(mark)] == mark and (mark != b"BM" or start[6:10] == bytes(4)):
            raise UnreadableError(f"the file is {name}", cure)
    if _HTML.search(start):
        name, cure = ROOTS["html"]
        raise UnreadableError(f"the file is {name}", cure)


def root_of(start: bytes) -> str:
    """Name of an XML's root element without its namespace. start: first characters, one byte each; "" if none."""
    match = _ROOT.search(_NOT_ROOT.sub(b"", start))
    return match[1].decode() if match else ""


def refuse_root(root: str) -> None:
    """Raise UnreadableError for an XML with a root element that is not read."""
    if root.lower() in ROOTS:
        name, cure = ROOTS[root.lower()]
        raise UnreadableError(f"the file is {name}", cure)
    if not root:
        raise UnreadableError("the XML has no root element", DOWNLOAD_AGAIN)
    reason = f"the XML's root element {root[:40]!r} is of no known ECG format"
    raise UnreadableError(reason, f"{READ_ROOTS} {_OTHER_EXPORT}")
