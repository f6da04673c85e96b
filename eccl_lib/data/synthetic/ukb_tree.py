"""The tree that UK Biobank would send: ECG XML, DICOM zip, table; beside it the segmentation that users make of it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.records import CineRecord
from eccl_lib.data.synthetic.cardiosoft import xml
from eccl_lib.data.synthetic.cine import cine
from eccl_lib.data.synthetic.dicom_zip import axes, dicom_zip, origin
from eccl_lib.data.synthetic.ecg import strip
from eccl_lib.data.synthetic.population import FIRST_EID, draw
from eccl_lib.data.synthetic.table import render_table

TABLE = "participants.csv"


def ecg_path(folder: Path, eid: int) -> Path:
    return folder / "Bulk" / "Electrocardiogram" / "Resting" / str(eid)[:2] / f"{eid}_20205_2_0.xml"


def cine_path(folder: Path, eid: int) -> Path:
    return folder / "Bulk" / "Heart MRI" / "Short axis" / str(eid)[:2] / f"{eid}_20209_2_0.zip"


def segmentation_path(folder: Path, eid: int) -> Path:
    return folder / "segmentations" / str(eid) / "seg_sa.nii.gz"


def write_participant(config: SyntheticConfig, index: int, folder: Path) -> None:
    """Write one participant's ECG, cine and segmentation; files that are there are complete and stay."""
    eid = FIRST_EID + index
    wanted = (ecg_path(folder, eid), cine_path(folder, eid), segmentation_path(folder, eid))
    if all(path.exists() for path in wanted):
        return
    heart = draw(config, [index])
    if not wanted[0].exists():
        about = {"age": int(heart.age[0]), "male": bool(heart.male[0])}
        content = xml(strip(config, heart), height=heart.height[0], weight=heart.weight[0], **about)
        _write(wanted[0], content)
    if not (wanted[1].exists() and wanted[2].exists()):
        record = cine(config, heart)
        _write(wanted[1], dicom_zip(record, eid))
        _write(wanted[2], segmentation_nifti(record))


def write_table(config: SyntheticConfig, folder: Path) -> Path:
    """Write the whole cohort's table; returns its path."""
    path = folder / TABLE
    table = render_table(config, range(config.participants))
    _write(path, table.to_csv(index=False, lineterminator="\n").encode())
    return path


def segmentation_nifti(record: CineRecord) -> bytes:
    """Labels as ukbb_cardiac writes them: (x, y, slice, frame), RAS affine, time step in seconds."""
    import nibabel as nib

    along, down, apex = axes()
    affine = np.eye(4)
    sign = np.array([-1.0, -1.0, 1.0])  # DICOM is left-posterior-superior
    affine[:3, 0] = sign * along * record.spacing_mm[1]
    affine[:3, 1] = sign * down * record.spacing_mm[0]
    affine[:3, 2] = sign * apex * record.slice_step_mm
    affine[:3, 3] = sign * origin(record, 0)
    image = nib.Nifti1Image(np.ascontiguousarray(record.labels.transpose(3, 2, 0, 1)), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = record.frame_ms / 1000
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _write(path: Path, content: bytes) -> None:
    """Beside it first, then renamed: a file that exists is whole, even if the writer was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.write_bytes(content)
    beside.replace(path)
