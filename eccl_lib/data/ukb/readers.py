"""Readers of UK Biobank's raw files: the resting ECG (field 20205) and the short-axis cine (field 20209)."""

from pathlib import Path

from eccl_lib.data.formats import cardiosoft, dicom_series, gaps, nifti
from eccl_lib.data.records import CineFile, CineRecord, EcgRecord
from eccl_lib.data.segmentation import providers


def read_ecg(path: Path) -> EcgRecord:
    """Read a resting ECG from CardioSoft's XML; samples without a signal are NaN. Raises UnreadableError."""
    return gaps.mark(cardiosoft.read(Path(path)))


def open_cine(path: Path) -> CineFile:
    """Open a short-axis stack: the zip, its unpacked folder, or ukbb_cardiac's sa.nii.gz. Raises UnreadableError."""
    path = Path(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return nifti.open_file(path)
    return dicom_series.open_file(path)


def read_cine(path: Path, segmentation: Path | None = None, choice: str | None = None) -> CineRecord:
    """Read a short-axis stack and, if given, the labels of its segmentation. Raises UnreadableError.

    choice: ``StoreConfig.slice_choice``: only the chosen slice is read, and its heart is located; None: all slices.
    """
    return providers.read(open_cine(path), segmentation, choice=choice)
