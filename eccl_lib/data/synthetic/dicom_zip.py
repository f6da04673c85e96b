"""Writer of a cine as the DICOM zip of UK Biobank field 20209: one file per frame, one series per slice, a manifest."""

import io
import re
import struct
import zlib

import numpy as np

from eccl_lib.data.records import CineRecord

_ROOT = "1.2.826.0.1.3680043.8.498"  # UID root for generated data
# Patient coordinates (left, back, up). Image columns point to the left and back, rows downwards, so the direction from
# base to apex is opposite to the image normal, as in scanner files.
COLUMN_AXIS = np.array([0.655422, 0.750891, 0.081147])
APEX_AXIS = np.array([0.674199, -0.533719, -0.510514])
_DOS_DATE, _DOS_TIME = 20 << 9 | 1 << 5 | 1, 10 << 11 | 30 << 5  # 2000-01-01 10:30


def axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors in patient coordinates: along a row of pixels, down a column, and from base to apex."""
    apex = APEX_AXIS / np.linalg.norm(APEX_AXIS)
    along = COLUMN_AXIS - (COLUMN_AXIS @ apex) * apex
    along /= np.linalg.norm(along)
    return np.round(along, 8), np.round(np.cross(along, apex), 8), apex


def origin(record: CineRecord, k: int) -> np.ndarray:
    """Position (mm, patient coordinates) of the first pixel of slice ``k``; the stack is left of the midline."""
    along, down, apex = axes()
    slices, _, rows, columns = record.images.shape
    half = (columns - 1) / 2 * record.spacing_mm[1] * along + (rows - 1) / 2 * record.spacing_mm[0] * down
    return np.round(np.array([32.0, -28.0, 12.0]) - half + (k - (slices - 1) / 2) * record.slice_step_mm * apex, 4)


def dicom_zip(record: CineRecord, eid: int) -> bytes:
    """Content of the zip; identical on every call."""
    members = []
    lines = ["filename,patientid,studyid,study discription,date,seriesid,series discription,modality,aet,host"]
    for k in range(record.images.shape[0]):
        template = _Template(record, eid, k)
        for frame, pixels in enumerate(record.images[k]):
            name = f"{template.uid(frame)}.dcm"
            members.append((name, template.file(frame, pixels)))
            lines.append(
                f"{name},SYNTHETIC,{template.study},Cardiac_Biobank,Jan 1, 2000 10:30:00 AM,"
                f"{template.series},{template.description},MR,SYN,SYN"
            )
    members.append(("manifest.cvs", ("\n".join(lines) + "\n").encode()))
    return _archive(members)


def _archive(members: list[tuple[str, bytes]]) -> bytes:
    """Content of a zip that uses Huffman coding only: noisy pixels contain no repeated strings to search for."""
    body, directory, offset = [], [], 0
    for name, content in members:
        packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        packed = packer.compress(content) + packer.flush()
        title = name.encode()
        about = struct.pack(
            "<HHHHHIIIHH", 20, 0, 8, _DOS_TIME, _DOS_DATE, zlib.crc32(content), len(packed), len(content), len(title), 0
        )
        body += [b"PK\3\4", about, title, packed]
        directory += [b"PK\1\2", struct.pack("<H", 20), about, struct.pack("<HHHII", 0, 0, 0, 0, offset), title]
        offset += 30 + len(title) + len(packed)
    listing = b"".join(directory)
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(listing), offset, 0)
    return b"".join([*body, listing, b"PK\5\6", end])


class _Template:
    """DICOM file of one slice, encoded once by pydicom; fields of fixed length are replaced for each frame."""

    def __init__(self, record: CineRecord, eid: int, k: int) -> None:
        self.study = f"{_ROOT}.{eid}"
        self.series = f"{self.study}.{1001 + k}"
        self.description = f"CINE_segmented_SAX_b{k + 1}"
        self.frame_ms = record.frame_ms
        marks = {"uid": self.uid(8888), "time": "77777.77", "number": "9998"}
        buffer = io.BytesIO()
        _dataset(record, eid, k, self, marks).save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
        head, self.pixel_bytes = data[: -record.images[0, 0].nbytes], record.images[0, 0].nbytes
        names = {mark.encode(): name for name, mark in marks.items()}
        parts = re.split(b"(" + b"|".join(map(re.escape, names)) + b")", head)
        self.parts = [names.get(part, part) for part in parts]  # a placeholder becomes the name of its field

    def uid(self, frame: int) -> str:
        return f"{self.series}.{1001 + frame}"

    def file(self, frame: int, pixels: np.ndarray) -> bytes:
        values = {"uid": self.uid(frame), "time": f"{frame * self.frame_ms:8.2f}", "number": f"{frame + 1:<4d}"}
        header = b"".join(values[p].encode() if isinstance(p, str) else p for p in self.parts)
        return header + pixels.astype("<u2").tobytes()


def _dataset(record: CineRecord, eid: int, k: int, names: _Template, marks: dict[str, str]):
    """DICOM attributes of a slice, with placeholders for those that differ between frames."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    along, down, _ = axes()
    position = origin(record, k)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, marks["uid"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = Dataset()
    d.file_meta = meta
    d.ImageType = ["ORIGINAL", "PRIMARY", "M", "RETRO", "NORM", "DIS2D"]
    d.SOPClassUID, d.SOPInstanceUID = MRImageStorage, marks["uid"]
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = "20000101"
    d.StudyTime = d.SeriesTime = "103000"
    d.Modality, d.Manufacturer, d.ManufacturerModelName = "MR", "SIEMENS", "Aera"
    d.StudyDescription, d.SeriesDescription = "Cardiac_Biobank", names.description
    d.PatientName = d.PatientID = "SYNTHETIC"
    d.SliceThickness, d.RepetitionTime, d.EchoTime = "8.0", "31.92", "1.11"
    d.MagneticFieldStrength, d.FlipAngle = "1.5", "80.0"
    d.SpacingBetweenSlices = f"{record.slice_step_mm:.3f}"
    d.ProtocolName = names.description
    d.TriggerTime, d.InstanceNumber = marks["time"], marks["number"]
    d.NominalInterval = round(record.frame_ms * record.images.shape[1])
    d.CardiacNumberOfImages = record.images.shape[1]
    d.StudyInstanceUID, d.SeriesInstanceUID = names.study, names.series
    d.FrameOfReferenceUID = f"{names.study}.1"
    d.StudyID, d.SeriesNumber, d.AcquisitionNumber = "1", 10 + k, 1
    d.ImagePositionPatient = [f"{v:.4f}" for v in position]
    d.ImageOrientationPatient = [f"{v:.8f}" for v in (*along, *down)]
    d.SliceLocation = f"{position @ np.cross(along, down):.4f}"
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 0
    d.Rows, d.Columns = record.images.shape[2:]
    d.PixelSpacing = [f"{v:.10f}" for v in record.spacing_mm]
    d.BitsAllocated, d.BitsStored, d.HighBit = 16, 12, 11
    d.WindowCenter, d.WindowWidth = "150.0", "300.0"
    d.PixelData = np.zeros(record.images.shape[2:], "<u2").tobytes()
    return d
