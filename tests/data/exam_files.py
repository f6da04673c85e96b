"""A small examination as DICOM files: moving discs, whose radius tells the frame; and series that are no cine."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

SLICES, FRAMES, SIZE = 3, 12, 48
STEP_MS, INTERVAL_MS = 60.0, 720
PLAN = [0.707107, 0.707107, 0.0, 0.408248, -0.408248, 0.816497]  # short axis: normal to the left, front and feet
NORMAL = np.cross(PLAN[:3], PLAN[3:])


def disc(s: int, f: int) -> np.ndarray:
    """One frame, (H, W): a bright disc that shrinks and grows over the beat, smaller from slice to slice."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    radius = 14 - 2 * s + 4 * np.cos(2 * np.pi * f / FRAMES) + 0.02 * f
    return np.rint(100 + 300 / (1 + np.exp(np.hypot(x, y) - radius))).astype(np.uint16)


def clock(seconds: float) -> str:
    return f"12{int(seconds // 60):02d}{seconds % 60:05.2f}"


def dicom(s: int, f: int, pixels: np.ndarray | None = None, **tags) -> bytes:
    """One image of slice s and frame f. tags: changed values; None removes a tag."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": f"1.2.{tags.get('SeriesNumber', 1)}.{s}.{f}",
        "AcquisitionTime": clock(10 * s + f * STEP_MS / 1000),
        "ContentTime": clock(10 * s + f * STEP_MS / 1000),
        "Modality": "MR",
        "SeriesDescription": "cine_sax",
        "SliceThickness": "8",
        "TriggerTime": f"{f * STEP_MS:.1f}",
        "NominalInterval": INTERVAL_MS,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": f"1.2.3.{tags.get('SeriesNumber', 1)}",
        "SeriesNumber": 1,
        "InstanceNumber": s * FRAMES + f + 1,
        "ImagePositionPatient": [f"{x:.4f}" for x in 8 * s * NORMAL],
        "ImageOrientationPatient": PLAN,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": 0,
        "PixelSpacing": [1.5, 1.5],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
    }
    image = disc(s, f) if pixels is None else np.asarray(pixels)
    values |= {"Rows": image.shape[0], "Columns": image.shape[1], "PixelData": image.astype("<u2").tobytes()} | tags
    dataset = Dataset()
    dataset.file_meta = meta
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def write(
    folder: Path, name: str = "IM{:04d}", changed=lambda s, f: {}, frames: int = FRAMES, slices: int = SLICES
) -> Path:
    """Write one series. name: format of the file's number from 1; changed: tags (and ``pixels``) by slice and frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (s, f) in enumerate(np.ndindex(slices, frames)):
        (folder / name.format(k + 1)).write_bytes(dicom(s, f, **changed(s, f)))
    return folder


def stack() -> np.ndarray:
    """The pixels that a reader must return: (S, F, H, W), base to apex."""
    return np.array([[disc(s, f) for f in range(FRAMES)] for s in range(SLICES)])


def by_time(folder: Path, tag: str, series: str | None = None) -> np.ndarray:
    """Pixels of a folder by pydicom, (S, F, H, W): slices along the normal, frames by a tag."""
    images = [pydicom.dcmread(path, force=True) for path in folder.iterdir()]
    images = [image for image in images if series is None or image.get("SeriesDescription") == series]
    places: dict[float, list] = {}
    for image in images:
        depth = np.cross(image.ImageOrientationPatient[:3], image.ImageOrientationPatient[3:]) @ np.array(
            image.ImagePositionPatient, float
        )
        places.setdefault(round(float(depth), 1), []).append(image)
    rows = [sorted(places[depth], key=lambda image: float(image.get(tag))) for depth in sorted(places)]
    apex = np.array([1, -1, -1]) @ np.cross(
        images[0].ImageOrientationPatient[:3], images[0].ImageOrientationPatient[3:]
    )
    return np.array([[image.pixel_array for image in row] for row in (rows if apex > 0 else rows[::-1])])
