"""Reader of short-axis cines in NIfTI: four axes (x, y, slice, frame), or one three-dimensional file a phase."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import dicom, nifti_header, stack
from eccl_lib.data.records import CineFile
from eccl_lib.data.segmentation import masks

# Names of the files of one phase each: dcm2niix's sax_t324000, fslsplit's vol0007, sax_phase07, sax_frame07.
# The mark begins the name or follows a separator: patient001 is no phase.
PHASE = re.compile(
    r"(?i)(?:(?P<stem>.*?)[_-])?(?P<mark>t|ph|phase|frame|vol|time|cardiac)[_-]?(?P<number>\d+)\.nii(\.gz)?"
)
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
    notes: list[str] = []
    stated = nifti_header.read(path)
    image, affine, shape = masks.open_nifti(path, is_nifti1=getattr(stated, "sizeof_hdr", 0) == 348)
    notes += nifti_header.check_geometry(stated, affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    files, frame_ms = [(image, shape)], float("nan")
    if shape[3] < 2:
        files = _phase_files(path, affine, shape, notes)
    else:
        frame_ms = _frame_ms(image, shape)
        if len(image.shape) > 4:
            notes.append(f"the NIfTI has {len(image.shape)} axes: those of length 1 are left out")
    _check_size(shape, spacing)
    voxels = Voxels(files)
    if invalid := voxels.share_invalid():
        notes.append(f"{100 * invalid:.2g} % of the voxels are NaN or infinite: they are set to 0")
    _check_axes(voxels, float(spacing[2]))
    plane = masks.FLIP @ affine[:3]  # to DICOM's axes
    axes = np.tile(plane[:, [0, 1, 3]], (shape[2], 1, 1))
    axes[:, :, 2] += plane[:, 2] * np.arange(shape[2])[:, None]
    to_apex = np.arange(shape[2])
    if plane[:, 2] @ stack.TOWARDS_APEX < 0:
        to_apex, axes = to_apex[::-1], axes[::-1]

    def pixels(slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
        return voxels.read(frames, to_apex[list(slices)]).transpose(2, 3, 1, 0)  # (s, f, H, W)

    pixel_mm, counts = (float(spacing[1]), float(spacing[0])), (shape[2], voxels.frames, shape[1], shape[0])
    return CineFile(counts, axes, pixel_mm, float(spacing[2]), frame_ms, pixels, notes)


@dataclass(frozen=True)
class Voxels:
    """The voxels of a cine, read on demand. files: a NIfTI and its shape (X, Y, S, F); one, or a file a phase."""

    files: Sequence[tuple[object, tuple[int, ...]]]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(shape[3] for _, shape in self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(X, Y, S, F)."""
        return (*self.files[0][1][:3], self.frames)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first frame's number and the voxels of each block of frames (X, Y, S, f). Raises UnreadableError."""
        before = 0
        for image, shape in self.files:
            for first, block in masks.blocks(image, shape):
                yield before + first, block
            before += shape[3]

    def read(self, frames: Sequence[int], slices: Sequence[int] | slice = slice(None), step: int = 1) -> np.ndarray:
        """Voxels of frames and slices, (X, Y, s, f), 0 for NaN and infinity. step: every step-th one along X and Y.

        Raises UnreadableError if the file is damaged.
        """
        wanted, parts = np.asarray(list(frames)), {}
        for first, block in self.blocks():
            inside = wanted[(first <= wanted) & (wanted < first + block.shape[3])]
            parts |= {frame: block[::step, ::step, slices, frame - first].copy() for frame in inside.tolist()}
            if first + block.shape[3] > wanted.max():
                break
        values = np.stack([parts[frame] for frame in wanted.tolist()], axis=3)
        return values if values.dtype.kind != "f" else np.nan_to_num(values, copy=False, nan=0, posinf=0, neginf=0)

    def share_invalid(self) -> float:
        """Share of the voxels that are NaN or infinite. Only files of floating-point numbers are read for it."""
        if all(image.get_data_dtype().kind != "f" for image, _ in self.files):
            return 0.0
        return sum(int((~np.isfinite(block)).sum()) for _, block in self.blocks()) / math.prod(self.shape)


def phases(names: Iterable[str]) -> list[list[str]]:
    """Groups of file names that differ only in the number of the phase, in its order; at least FEWEST_PHASES each."""
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        if match := PHASE.fullmatch(name):
            groups.setdefault((match["stem"] or "", match["mark"].lower()), []).append((int(match["number"]), name))
    return [[name for _, name in sorted(group)] for group in groups.values() if len(group) >= FEWEST_PHASES]


def _phase_files(
    path: Path, affine: np.ndarray, shape: tuple[int, ...], notes: list[str]
) -> list[tuple[object, tuple[int, ...]]]:
    """The phases beside a file of one phase, with their shapes. Raises UnreadableError if they are not a cine."""
    group = next((g for g in phases(p.name for p in path.parent.glob("*.nii*")) if path.name in g), None)
    if group is None:
        reason = f"the NIfTI has one frame: {' x '.join(map(str, shape[:3]))} voxels"
        cure = "Of one file a phase, merge the files (fslmerge -t); of one slice over time, insert the axis of slices."
        raise UnreadableError(reason, f"{GIVE_AXES} {cure}")
    files = []
    for name in group:
        image, its_affine, its_shape = masks.open_nifti(path.with_name(name))
        if its_shape != shape or not np.allclose(its_affine, affine, atol=1e-3):
            reason = f"the file is one phase of {len(group)}, and these differ in size or geometry"
            raise UnreadableError(reason, "Merge the files of one stack: fslmerge -t cine.nii.gz FILES.")
        files.append((image, its_shape))
    notes.append(f"one file a phase: {len(group)} files are joined in the order of the numbers in their names")
    return files


def _check_size(shape: tuple[int, ...], spacing: np.ndarray) -> None:
    """Raise UnreadableError if the images are too small or too large for a cine. shape: (X, Y, ...)."""
    shown = " x ".join(map(str, shape))
    if min(shape[:2]) < FEWEST_PIXELS:
        raise UnreadableError(f"the NIfTI's axes {shown} are not x, y, slice, frame: an image is too small", GIVE_AXES)
    if max(shape[0] * spacing[0], shape[1] * spacing[1]) > dicom.LARGEST_FIELD_MM:
        reason = f"{shape[0]} x {shape[1]} pixels of {spacing[0]:.3g} x {spacing[1]:.3g} mm are wider than a scanner"
        raise UnreadableError(reason, nifti_header.WRITE_GEOMETRY)


def _check_axes(voxels: Voxels, step_mm: float) -> None:
    """Raise UnreadableError if the axes are not x, y, slice, frame, or if nothing is in the images.

    In a cine two neighbouring frames are more alike than two slices APART_MM apart.
    """
    shape, shown = voxels.shape, " x ".join(map(str, voxels.shape))
    if shape[2] > 1 and step_mm < THINNEST_MM:
        reason = f"the NIfTI's third axis has steps of {step_mm:.3g} mm, too small for slices: it may be time"
        raise UnreadableError(reason, f"{GIVE_AXES} Reorder the axes, or correct the slice step in the header.")
    first = voxels.read(range(min(SAMPLED_FRAMES, shape[3])))
    if (first == first.flat[0]).all():
        raise UnreadableError("the NIfTI's images are empty: all voxels have the same value", masks.MAKE_AGAIN)
    apart = max(1, round(APART_MM / step_mm))
    if apart >= shape[2]:
        return
    rows = slice(3 * shape[1] // 8, 5 * shape[1] // 8)
    if not _frames_differ_more(first[::SAMPLE, rows][:, ::SAMPLE], apart):
        return
    if not _frames_differ_more(voxels.read(range(shape[3]), step=SAMPLE), apart):
        return
    steadiest = min(range(3), key=lambda axis: np.abs(np.diff(first.astype(np.float32), axis=axis)).mean())
    reason = f"the NIfTI's axes {shown} are not x, y, slice, frame: neighbouring frames differ more than slices"
    cure = f"Reorder the axes; time is probably the {AXES[steadiest]}: numpy.moveaxis(data, {steadiest}, 3)."
    raise UnreadableError(reason, cure)


def _frames_differ_more(some: np.ndarray, apart: int) -> bool:
    """True if neighbouring frames differ more than slices that are ``apart`` slices apart. some: (X, Y, S, F)."""
    some = some.astype(np.float32)
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
