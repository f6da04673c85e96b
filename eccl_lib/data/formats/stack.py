"""Arrange DICOM headers into a short-axis stack: slices base to apex, frames in time, by position and trigger time."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import frame_order
from eccl_lib.data.formats.dicom import Header
from eccl_lib.data.formats.frame_order import NO_FILES, Files

TOWARDS_APEX = np.array([1.0, -1.0, -1.0]) / np.sqrt(3)  # patient's left, front, feet, in DICOM's axes
SAME_PLACE_MM = 1.0  # images closer along the normal are of one slice; ours
SAME_ANGLE = 2e-3  # largest difference of the components of equal directions; ours
SAME_SPACING = 1e-3  # largest relative difference of equal pixel spacings; ours
FEWEST_FRAMES = 10  # per beat; real cines have 12 to 100; ours
FEWEST_OF_SLICE = 0.5  # smallest share of the other slices' number of frames; ours


@dataclass(frozen=True)
class Stack:
    """Headers of one short-axis stack: ``frames[s][f]``, slices base to apex, frames in time."""

    frames: tuple[tuple[Header, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        first = self.frames[0][0]
        return len(self.frames), len(self.frames[0]), first.rows, first.columns

    @property
    def positions(self) -> np.ndarray:
        """Centre of each slice's first pixel, mm, DICOM axes: (S, 3)."""
        return np.array([slice_[0].position for slice_ in self.frames])

    @property
    def step_mm(self) -> float:
        gaps = np.linalg.norm(np.diff(self.positions, axis=0), axis=1)
        return float(np.median(gaps)) if len(gaps) else self.frames[0][0].thickness

    @property
    def frame_ms(self) -> float:
        first = self.frames[0]
        if np.isfinite(first[0].interval_ms):
            return first[0].interval_ms / len(first)
        steps = np.diff([header.trigger_ms for header in first])
        return float(np.median(steps)) if len(steps) and np.median(steps) > 0 else float("nan")

    def pixel_axes(self) -> np.ndarray:
        """One matrix per slice that maps (column, row, 1) to mm in DICOM axes: (S, 3, 3)."""
        axes = np.empty((len(self.frames), 3, 3))
        for matrix, (first, *_) in zip(axes, self.frames, strict=True):
            directions = np.array(first.orientation).reshape(2, 3) * np.array(first.spacing[::-1])[:, None]
            matrix[:, :2], matrix[:, 2] = directions.T, first.position
        return axes


def arrange(headers: Iterable[Header], files: Files = NO_FILES) -> Stack:
    """Group headers into slices by position, and order slices base to apex and frames in time.

    files: names and pixels, which are used if no tag orders the frames (``frame_order``). If a slice was acquired
    twice, the last complete series is used. Derived images and images that differ from the majority in size or
    orientation are skipped. A note reports each of these cases. Raises UnreadableError if no cine remains.
    """
    notes: list[str] = []
    parallel = _same_plan(_originals(list(headers), notes), notes)
    if not parallel:
        raise UnreadableError("there is no short-axis image")
    slices = [_by_series(group, files, notes) for group in by_depth(parallel)]
    sizes = Counter(len(frames) for slice_ in slices for frames in slice_)
    count = max(sizes, key=lambda size: (sizes[size], size))
    if count < FEWEST_FRAMES:
        raise UnreadableError(f"the slices have {count} frames; a cine has at least {FEWEST_FRAMES}", DOWNLOAD_AGAIN)
    chosen = [_last_complete(slice_, count, notes) for slice_ in slices]
    kept = [frames for frames in chosen if len(frames) >= FEWEST_OF_SLICE * count]
    if len(kept) < len(chosen):
        notes.append(f"skipped {len(chosen) - len(kept)} slices with less than half of the frames")
    if {len(frames) for frames in kept} != {count}:
        kept = _on_one_clock(kept, count, notes)
    stack = Stack(tuple(map(tuple, kept)))
    gaps = np.linalg.norm(np.diff(stack.positions, axis=0), axis=1)
    if len(gaps) and gaps.max() > 1.5 * gaps.min():
        notes.append(f"slices are {gaps.min():.0f} to {gaps.max():.0f} mm apart: one may be missing")
    return Stack(stack.frames, tuple(dict.fromkeys(notes)))


def _originals(headers: list[Header], notes: list[str]) -> list[Header]:
    """Headers without derived images; all headers if all images are marked as derived."""
    originals = [header for header in headers if not header.derived]
    if originals and len(originals) < len(headers):
        notes.append(f"skipped {len(headers) - len(originals)} derived images")
    return originals or headers


def _same_plan(headers: list[Header], notes: list[str]) -> list[Header]:
    """Headers of the size, pixel spacing and orientation with most slices, then with most images, then the latest."""
    plans: list[tuple[Header, list[Header]]] = []
    for header in headers:
        for first, members in plans:
            if _same_geometry(first, header):
                members.append(header)
                break
        else:
            plans.append((header, [header]))
    largest = max((members for _, members in plans), key=_extent, default=[])
    if len(largest) < len(headers):
        notes.append(f"skipped {len(headers) - len(largest)} images of another size or orientation")
    return largest


def _extent(headers: list[Header]) -> tuple[int, int, tuple[int, str]]:
    """Number of slices with the frames of a cine, number of images, and the latest series."""
    slices = sum(len(group) >= FEWEST_FRAMES for group in by_depth(headers))
    return slices, len(headers), max(_age(header) for header in headers)


def _same_geometry(a: Header, b: Header) -> bool:
    if (a.rows, a.columns) != (b.rows, b.columns):
        return False
    if (a.orientation, a.spacing) == (b.orientation, b.spacing):
        return True
    angle = max(abs(x - y) for x, y in zip(a.orientation, b.orientation, strict=True))
    spacing = max(abs(x - y) / x for x, y in zip(a.spacing, b.spacing, strict=True))
    return angle <= SAME_ANGLE and spacing <= SAME_SPACING


def _age(header: Header) -> tuple[int, str]:
    return header.series_number, header.series


def by_depth(headers: list[Header]) -> list[list[Header]]:
    """Headers grouped by slice position, base to apex."""
    normal = np.cross(headers[0].orientation[:3], headers[0].orientation[3:])
    normal *= np.sign(normal @ TOWARDS_APEX) or 1
    depth = np.array([header.position for header in headers]) @ normal
    order = np.argsort(depth, kind="stable")
    starts = np.flatnonzero(np.diff(depth[order], prepend=-np.inf) > SAME_PLACE_MM)
    return [[headers[k] for k in part] for part in np.split(order, starts[1:])]


def _by_series(group: list[Header], files: Files, notes: list[str]) -> list[list[Header]]:
    """One slice's headers by series, sorted by time."""
    series: dict[str, list[Header]] = defaultdict(list)
    for header in group:
        series[header.series].append(header)
    return [frame_order.in_time(images, files, notes) for images in series.values()]


def _last_complete(slice_: list[list[Header]], count: int, notes: list[str]) -> list[Header]:
    if len(slice_) > 1:
        notes.append("a slice was acquired twice: the last complete one is used")
    return max(slice_, key=lambda frames: (min(len(frames), count), _age(frames[0])))


def _on_one_clock(slices: list[list[Header]], count: int, notes: list[str]) -> list[list[Header]]:
    """Slices of ``count`` frames each: in a slice of another number, the frame nearest to each time of the others."""
    clocks = _clocks(slices, count)
    clock = np.median([times for times in clocks if len(times) == count], axis=0)
    out = []
    for frames, times in zip(slices, clocks, strict=True):
        if len(frames) != count:
            notes.append(f"a slice has {len(frames)} frames, the others {count}: the frames nearest in time are used")
            frames = [frames[int(np.argmin(np.abs(np.array(times) - moment)))] for moment in clock]
        out.append(frames)
    return out


def _clocks(slices: list[list[Header]], count: int) -> list[list[float]]:
    """Times of the frames of all slices, on one scale: trigger times in ms, else instance numbers, else the order.

    Instance numbers count only if those of all complete slices are equal; with numbers that run through the whole stack
    the first frame of an incomplete slice is unknown.
    """
    triggers = [[frame.trigger_ms for frame in frames] for frames in slices]
    if all(_valid(times) for times in triggers):
        return triggers
    numbers = [[frame.instance for frame in frames] for frames in slices]
    if all(_valid(times) for times in numbers) and len({tuple(n) for n in numbers if len(n) == count}) == 1:
        return numbers
    return [(np.arange(len(frames)) / len(frames)).tolist() for frames in slices]


def _valid(times: list[float]) -> bool:
    return all(map(math.isfinite, times)) and len(set(times)) == len(times)
