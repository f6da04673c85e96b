"""Reader of short-axis cines in NIfTI: four axes (x, y, slice, frame), or one three-dimensional file a phase."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import nifti_header, stack
from eccl_lib.data.records import CineFile, pixels_in_memory
from eccl_lib.data.segmentation import masks

# Names of the files of one phase each: dcm2niix's sax_t324000, fslsplit's vol0007, sax_phase07, sax_frame07.
PHASE = re.compile(r"(?i)(?P<stem>.*?)[_-]?(?P<mark>t|ph|phase|frame|vol|time|cardiac)[_-]?(?P<number>\d+)\.nii(\.gz)?")
FEWEST_PHASES = stack.FEWEST_FRAMES
APART_MM = 8.0  # distance at which slices are compared with frames: a cine's slice step; ours
THINNEST_MM = 0.5  # between slices; ours
LIKER = 1.1  # ratio of the differences between frames and between slices above which the axes are wrong; ours
FEWEST_PIXELS = 32  # along x and y; ours
SAMPLE = 4  # every fourth pixel is compared
SAMPLED_FRAMES = 4  # the middle of these frames is compared first, and the whole beat only if it fails
AXES = ("first", "second", "third", "fourth")
GIVE_AXES = "Give a cine with the axes x, y, slice, frame."


def open_file(path: Path) -> CineFile:
    """Open a NIfTI as a cine: slices base to apex, frames in the order of the file. Raises UnreadableError.

    A file of one phase is joined with the other phases beside it (see ``phases``).
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableError(f"there is no file {path}", nifti_header.GIVE_CINE)
    notes: list[str] = []
    stated = nifti_header.read(path)
    image, affine, shape = masks.open_nifti(path, is_nifti1=getattr(stated, "sizeof_hdr", 0) == 348)
    notes += nifti_header.check_geometry(stated, affine)
    if shape[3] < 2:
        values, frame_ms = _joined(path, affine, shape, notes), float("nan")
    else:
        values, frame_ms = masks.voxels(image, shape), _frame_ms(image, shape)
        if len(image.shape) > 4:
            notes.append(f"the NIfTI has {len(image.shape)} axes: those of length 1 are left out")
    values = _finite(values, notes)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    _check_axes(values, float(spacing[2]))
    images = values.transpose(2, 3, 1, 0)  # (S, F, H, W)
    plane = masks.FLIP @ affine[:3]  # to DICOM's axes
    axes = np.tile(plane[:, [0, 1, 3]], (shape[2], 1, 1))
    axes[:, :, 2] += plane[:, 2] * np.arange(shape[2])[:, None]
    if plane[:, 2] @ stack.TOWARDS_APEX < 0:
        images, axes = images[::-1], axes[::-1]
    pixel_mm = float(spacing[1]), float(spacing[0])
    return CineFile(images.shape, axes, pixel_mm, float(spacing[2]), frame_ms, pixels_in_memory(images), notes)


def phases(names: Iterable[str]) -> list[list[str]]:
    """Groups of file names that differ only in the number of the phase, in its order; at least FEWEST_PHASES each."""
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        if match := PHASE.fullmatch(name):
            groups.setdefault((match["stem"], match["mark"].lower()), []).append((int(match["number"]), name))
    return [[name for _, name in sorted(group)] for group in groups.values() if len(group) >= FEWEST_PHASES]


def _joined(path: Path, affine: np.ndarray, shape: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """The phases beside a file of one phase, (X, Y, S, F). Raises UnreadableError if they are not a cine."""
    group = next((g for g in phases(p.name for p in path.parent.glob("*.nii*")) if path.name in g), None)
    if group is None:
        reason = f"the NIfTI has one frame: {' x '.join(map(str, shape[:3]))} voxels"
        cure = "Of one file a phase, merge the files (fslmerge -t); of one slice over time, insert the axis of slices."
        raise UnreadableError(reason, f"{GIVE_AXES} {cure}")
    volumes = []
    for name in group:
        image, its_affine, its_shape = masks.open_nifti(path.with_name(name))
        if its_shape != shape or not np.allclose(its_affine, affine, atol=1e-3):
            reason = f"the file is one phase of {len(group)}, and these differ in size or geometry"
            raise UnreadableError(reason, "Merge the files of one stack: fslmerge -t cine.nii.gz FILES.")
        volumes.append(masks.voxels(image, its_shape))
    notes.append(f"one file a phase: {len(group)} files are joined in the order of the numbers in their names")
    return np.concatenate(volumes, axis=3)


def _finite(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """The voxels with 0 in place of NaN and infinity, and a note on their share."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values
    invalid = ~np.isfinite(values)
    notes.append(f"{100 * invalid.mean():.2g} % of the voxels are NaN or infinite: they are set to 0")
    return np.where(invalid, values.dtype.type(0), values)


def _check_axes(values: np.ndarray, step_mm: float) -> None:
    """Raise UnreadableError if the axes are not x, y, slice, frame. values: (X, Y, S, F).

    In a cine two neighbouring frames are more alike than two slices APART_MM apart.
    """
    shown = " x ".join(map(str, values.shape))
    if min(values.shape[:2]) < FEWEST_PIXELS:
        raise UnreadableError(f"the NIfTI's axes {shown} are not x, y, slice, frame: an image is too small", GIVE_AXES)
    if values.shape[2] > 1 and step_mm < THINNEST_MM:
        reason = f"the NIfTI's third axis has steps of {step_mm:.3g} mm, too small for slices: it may be time"
        raise UnreadableError(reason, f"{GIVE_AXES} Reorder the axes, or correct the slice step in the header.")
    apart = max(1, round(APART_MM / step_mm))
    if apart >= values.shape[2]:
        return
    values = np.asarray(values)
    rows = slice(3 * values.shape[1] // 8, 5 * values.shape[1] // 8)
    if not (_frames_differ_more(values[:, rows, :, :SAMPLED_FRAMES], apart) and _frames_differ_more(values, apart)):
        return
    steadiest = min(range(3), key=lambda axis: np.abs(np.diff(values.astype(np.float32), axis=axis)).mean())
    reason = f"the NIfTI's axes {shown} are not x, y, slice, frame: neighbouring frames differ more than slices"
    cure = f"Reorder the axes; time is probably the {AXES[steadiest]}: numpy.moveaxis(data, {steadiest}, 3)."
    raise UnreadableError(reason, cure)


def _frames_differ_more(values: np.ndarray, apart: int) -> bool:
    """True if neighbouring frames differ more than slices that are ``apart`` slices apart. values: (X, Y, S, F)."""
    some = values[::SAMPLE, ::SAMPLE].astype(np.float32)
    between_slices = np.abs(some[:, :, apart:] - some[:, :, :-apart]).mean()
    return bool(np.abs(np.diff(some, axis=3)).mean() > LIKER * between_slices)


def _frame_ms(image: object, shape: tuple[int, ...]) -> float:
    """Time between frames in ms, NaN if unknown; headers have it in seconds, in milliseconds, or as 1 (unknown)."""
    axis = next(k for k in range(3, len(image.shape)) if image.shape[k] == shape[3])
    step = float(image.header.get_zooms()[axis])
    unit = image.header.get_xyzt_units()[1]
    if not step > 0 or step == 1:
        return float("nan")
    return step if unit == "msec" or (unit == "unknown" and step > 1) else 1000 * step
