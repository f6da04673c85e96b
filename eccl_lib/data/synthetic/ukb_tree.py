"""Write synthetic participants as UK Biobank's files: ECG XML, DICOM zip and table, and segmentations of the cines."""

import gzip
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
from eccl_lib.io.files import write_atomically

TABLE = "participants.csv"


def ecg_path(folder: Path, eid: int) -> Path:
    return folder / "Bulk" / "Electrocardiogram" / "Resting" / str(eid)[:2] / f"{eid}_20205_2_0.xml"


def cine_path(folder: Path, eid: int) -> Path:
    return folder / "Bulk" / "Heart MRI" / "Short axis" / str(eid)[:2] / f"{eid}_20209_2_0.zip"


def segmentation_path(folder: Path, eid: int) -> Path:
    return folder / "segmentations" / str(eid) / "seg_sa.nii.gz"


def write_participant(config: SyntheticConfig, index: int, folder: Path) -> None:
    """Write one participant's ECG, cine and segmentation; existing files are complete and are kept."""
    eid = FIRST_EID + index
    ecg_file, cine_file, mask_file = ecg_path(folder, eid), cine_path(folder, eid), segmentation_path(folder, eid)
    if all(path.exists() for path in (ecg_file, cine_file, mask_file)):
        return
    heart = draw(config, [index])
    if not ecg_file.exists():
        patient = {"age": int(heart.age[0]), "male": bool(heart.male[0])}
        _write(ecg_file, xml(strip(config, heart), height=heart.height[0], weight=heart.weight[0], **patient))
    if not (cine_file.exists() and mask_file.exists()):
        record = cine(config, heart)
        _write(cine_file, dicom_zip(record, eid))
        _write(mask_file, segmentation_nifti(record))


def write_table(config: SyntheticConfig, folder: Path) -> Path:
    """Write the table of the whole cohort and return its path."""
    path = folder / TABLE
    table = render_table(config, range(config.participants))
    _write(path, table.to_csv(index=False, lineterminator="\n").encode())
    return path


def segmentation_nifti(record: CineRecord) -> bytes:
    """Labels as a NIfTI in ukbb_cardiac's form: (x, y, slice, frame), RAS affine, time step in seconds."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: beside.write_bytes(content))
