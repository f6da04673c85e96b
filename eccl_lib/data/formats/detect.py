"""Other people's files: an ECG in any known format, a cine from NIfTI or a zip; content decides, not names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import read_bytes
from eccl_lib.data.formats import cardiosoft, csv_npy, dicom_series, dicom_waveform, muse, nifti, wfdb_record
from eccl_lib.data.formats.leads import ACCEPTED
from eccl_lib.data.records import CineFile, CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers


def read_ecg(path: Path | str) -> EcgRecord:
    """One ECG from a file of any accepted kind. Raises UnreadableError with what is accepted."""
    path = Path(path).expanduser()
    header = path if path.suffix == ".hea" else path.with_name(f"{path.stem if path.suffix else path.name}.hea")
    if path.suffix.lower() in ("", ".hea", ".dat", ".mat") and header.is_file():
        return wfdb_record.read(header)
    if not path.is_file():
        raise UnreadableError(f"there is no file {path}", ACCEPTED)
    with path.open("rb") as handle:
        start = handle.read(1024)
    if start[128:132] == b"DICM":
        return dicom_waveform.read(path)
    if start.startswith(b"\x93NUMPY"):
        return csv_npy.read_npy(path)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _read_xml(read_bytes(path, cardiosoft.LARGEST_XML))
    if path.suffix.lower() in (".dat", ".mat"):
        raise UnreadableError(f"the header {header.name} is not beside {path.name}", ACCEPTED)
    if b"\0" in start or not start.strip():
        raise UnreadableError(f"{path.name} is {'binary' if start.strip() else 'empty'}: no known ECG format", ACCEPTED)
    return csv_npy.read_csv(path)


def _read_xml(data: bytes) -> EcgRecord:
    """By the root element: GE MUSE's export, else GE CardioSoft's, which is UK Biobank's."""
    start = data[:4096].replace(b"\0", b"")  # of UTF-16 too
    if re.search(rb"<(!DOCTYPE\s+)?RestingECG[\s>]", start):
        return muse.read(muse.parse(data))
    return cardiosoft.read_tree(cardiosoft.parse_xml(data))


def open_cine(path: Path | str) -> CineFile:
    """A short-axis cine: a 4-D NIfTI, or DICOM files in a folder or a zip, whatever their series are called."""
    path = Path(path).expanduser()
    if path.is_dir() or path.suffix.lower() == ".zip":
        return dicom_series.open_file(path, any_name=True)
    return nifti.open_file(path)


def read_cine(
    path: Path, segmentation: Path | None = None, frames: Sequence[int] | None = None, order: str = "ukb_cardiac"
) -> CineRecord:
    """A short-axis cine from a 4-D NIfTI (x, y, slice, frame), or from UK Biobank's zip; slices base to apex.

    frames: which of the cine's frames the segmentation's volumes are (ED and ES, say); None where it has all.
    order: of the segmentation's labels, one of ``masks.ORDERS``. Raises UnreadableError.
    """
    opened = open_cine(path)
    return providers.read(opened, segmentation, providers.Segmenter(mask_labels=order), frames=frames)
