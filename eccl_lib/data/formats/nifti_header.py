"""Check a NIfTI's first bytes and header, of which nibabel repairs much without a message."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import dicom, dicom_elements, dicom_objects, foreign
from eccl_lib.data.segmentation import masks
from eccl_lib.io import regular

SAME = 0.01  # largest relative difference of equal sizes and directions; ours
WRITE_GEOMETRY = "Convert the images again from DICOM (dcm2niix), or write sform and pixdim into the header."


def read(path: Path) -> object | None:
    """nibabel's header as it is in the file, without repairs; None for other formats that nibabel reads (Analyze).

    Raises UnreadableError, which names the format, if the file is none of a cine, and if its scaling is not a number.
    """
    from nibabel import Nifti1Header, Nifti2Header

    regular.check(path, masks.LARGEST_BYTES)
    start = _start(path)
    if known := foreign.recognise(start):
        raise UnreadableError(f"the file is {known[0]}, not a NIfTI", known[1])
    if dicom_elements.is_dicom(start):
        reason = "the file is one DICOM file, not a cine"
        cure = f"Give the folder or zip with all DICOM files. If it is enhanced: {dicom_objects.SINGLE_FRAME}"
        raise UnreadableError(reason, cure)
    for kind in (Nifti1Header, Nifti2Header):
        size = np.frombuffer(start[:4], "<i4")
        if len(start) < kind.sizeof_hdr or kind.sizeof_hdr not in (*size, *size.byteswap()):
            continue
        header = kind(start[: kind.sizeof_hdr], check=False)
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
        scaled = math.isfinite(slope) and slope != 0
        if scaled and not (abs(slope) <= dicom.LARGEST_SCALE and abs(intercept) <= dicom.LARGEST_SCALE):
            fault = "plausible" if math.isfinite(intercept) else "a number"
            reason = f"the NIfTI's scaling is not {fault} (scl_slope {slope:g}, scl_inter {intercept:g})"
            raise UnreadableError(reason, "Set scl_slope to 1 and scl_inter to 0, or convert the images again.")
        return header
    return None


def frames(path: Path) -> int:
    """Number of frames by the header: the product of the axes after the third; 1 if the header cannot be read."""
    try:
        header = read(path)
    except UnreadableError:
        return 1
    return 1 if header is None else math.prod(max(1, size) for size in header.get_data_shape()[3:])


def _start(path: Path) -> bytes:
    """The first bytes of a file, or of its content if it is a gzip file."""
    try:
        with regular.open_file(path) as handle:
            start = handle.read(foreign.START + 64)
            if not start:
                raise UnreadableError("the file is empty", DOWNLOAD_AGAIN)
            if start[:2] != b"\x1f\x8b":
                return start
            handle.seek(0)
            content = gzip.GzipFile(fileobj=handle).read(foreign.START + 64)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableError("the gzip file is damaged or incomplete", DOWNLOAD_AGAIN) from error
    except OSError as error:
        raise UnreadableError(f"the file cannot be opened ({error.strerror})", "Check its path.") from error
    if not content:
        raise UnreadableError("the gzip file is empty", DOWNLOAD_AGAIN)
    return content


def check_geometry(stated: object | None, affine: np.ndarray) -> list[str]:
    """Notes on a cine's geometry. Raises UnreadableError if a pixel size is zero or not plausible.

    stated: the header of ``read``. affine: (4, 4) that nibabel uses: the sform, else the qform, else one made from the
    pixel size alone.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (sizes > 0).all():
        raise UnreadableError("the NIfTI's geometry is empty: its sform is all zero", WRITE_GEOMETRY)
    notes = [] if stated is None else _compared(stated, sizes)
    if not all(dicom.PIXEL_MM[0] <= size <= dicom.PIXEL_MM[1] for size in sizes[:2]):
        reason = f"the NIfTI's pixels of {sizes[0]:g} x {sizes[1]:g} mm are not plausible for a cine"
        raise UnreadableError(reason, WRITE_GEOMETRY)
    return notes


def _compared(header: object, sizes: np.ndarray) -> list[str]:
    """Notes on what the header states twice, negatively or not at all. sizes: of the voxels, as used."""
    pixdim = np.asarray(header["pixdim"][1:4], dtype=float)
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not sform and not (np.isfinite(pixdim) & (pixdim != 0)).all():
        shown = " x ".join(f"{size:g}" for size in pixdim)
        reason = f"the NIfTI's header gives a pixel size of {shown} mm (pixdim) and no sform"
        raise UnreadableError(reason, WRITE_GEOMETRY)
    notes = []
    if not sform and (pixdim < 0).any():
        notes.append("the NIfTI's pixdim is negative: its absolute value is used")
    if not sform and not qform:
        notes.append("the NIfTI states no position (sform and qform codes 0): order of slices and place are a guess")
    if sform and not qform and not np.allclose(np.abs(pixdim), sizes, rtol=SAME):
        shown = " x ".join(f"{size:g}" for size in sizes)
        notes.append(f"the NIfTI's sform and pixdim contradict each other: {shown} mm of the sform are used")
    if sform and qform and _contradict(header, sizes):
        notes.append("the NIfTI's sform and qform contradict each other: the sform is used")
    return notes


def _contradict(header: object, sizes: np.ndarray) -> bool:
    """True if sform and qform differ; an invalid qform does not count."""
    try:
        return not np.allclose(header.get_sform(), header.get_qform(), rtol=SAME, atol=SAME * sizes.max())
    except ValueError:
        return False
