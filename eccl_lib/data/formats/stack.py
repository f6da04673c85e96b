"""Short-axis stacks out of DICOM headers: slices base to apex, frames in time, by geometry and clock alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats.dicom import Header

TOWARDS_APEX = np.array([1.0, -1.0, -1.0]) / np.sqrt(3)  # patient's left, front, feet, in DICOM's axes
SAME_PLACE_MM = 1.0
SAME_ANGLE = 2e-3  # of a direction's components
SAME_ZOOM = 1e-3
FEWEST_FRAMES = 10  # of a beat; ours: real cines have 12 to 100
FEWEST_OF_SLICE = 0.5  # of the other slices' frames; ours


@dataclass(frozen=True)
class Stack:
    """The headers of one short-axis stack: ``frames[s][f]``, slices base to apex, frames in time."""

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
        steps = np.diff(np.nan_to_num([header.trigger_ms for header in first]))
        return float(np.median(steps)) if len(steps) else float("nan")

    def pixel_axes(self) -> np.ndarray:
        """Per slice, the affine from (column, row, 1) to mm in DICOM axes: (S, 3, 3)."""
        axes = []
        for slice_ in self.frames:
            h = slice_[0]
            along_row, along_column = np.array(h.orientation[:3]), np.array(h.orientation[3:])
            axes.append(np.stack([along_row * h.spacing[1], along_column * h.spacing[0], np.array(h.position)], axis=1))
        return np.stack(axes)


def arrange(headers: Iterable[Header]) -> Stack:
    """Group headers into slices by place, order them base to apex and their frames in time.

    The place decides, not the name: series numbers and file order are not guaranteed. A slice acquired twice keeps its
    last complete series; images of another size or plan than most and derived ones are left out; all is noted.
    Raises UnreadableError where no cine is left.
    """
    notes: list[str] = []
    same = _same_plan(_originals(list(headers), notes), notes)
    if not same:
        raise UnreadableError("there is no short-axis image")
    slices = [_by_series(group) for group in _by_depth(same)]
    sizes = Counter(len(frames) for slice_ in slices for frames in slice_)
    count = max(sizes, key=lambda size: (sizes[size], size))
    if count < FEWEST_FRAMES:
        raise UnreadableError(f"the slices have {count} frames: no cine of a beat", DOWNLOAD_AGAIN)
    chosen = [_last_complete(slice_, count, notes) for slice_ in slices]
    kept = [frames for frames in chosen if len(frames) >= FEWEST_OF_SLICE * count]
    if len(kept) < len(chosen):
        notes.append(f"{len(chosen) - len(kept)} slices with less than half of the frames left out")
    clock = np.median([_clock(frames) for frames in kept if len(frames) == count], axis=0)
    stack = Stack(tuple(_on_clock(frames, clock, notes) for frames in kept), ())
    gaps = np.linalg.norm(np.diff(stack.positions, axis=0), axis=1)
    if len(gaps) and gaps.max() > 1.5 * gaps.min():
        notes.append(f"slices are {gaps.min():.0f} to {gaps.max():.0f} mm apart: one may be missing")
    return Stack(stack.frames, tuple(dict.fromkeys(notes)))


def _originals(headers: list[Header], notes: list[str]) -> list[Header]:
    """Without derived images, unless a scanner calls all of them derived."""
    originals = [header for header in headers if not header.derived]
    if originals and len(originals) < len(headers):
        notes.append(f"{len(headers) - len(originals)} derived images left out")
    return originals or headers


def _same_plan(headers: list[Header], notes: list[str]) -> list[Header]:
    """Images of the size, pixel spacing and orientation that most have; of two as frequent the later one."""
    plans: list[tuple[Header, list[Header]]] = []
    for header in headers:
        for first, members in plans:
            if _alike(first, header):
                members.append(header)
                break
        else:
            plans.append((header, [header]))
    most = max((members for _, members in plans), key=lambda m: (len(m), max(_age(h) for h in m)), default=[])
    if len(most) < len(headers):
        notes.append(f"{len(headers) - len(most)} images of another size or orientation left out")
    return most


def _alike(a: Header, b: Header) -> bool:
    if (a.rows, a.columns) != (b.rows, b.columns):
        return False
    if (a.orientation, a.spacing) == (b.orientation, b.spacing):
        return True
    turned = max(abs(x - y) for x, y in zip(a.orientation, b.orientation, strict=True))
    zoomed = max(abs(x - y) / x for x, y in zip(a.spacing, b.spacing, strict=True))
    return turned <= SAME_ANGLE and zoomed <= SAME_ZOOM


def _age(header: Header) -> tuple[int, str]:
    return header.series_number, header.series


def _by_depth(headers: list[Header]) -> list[list[Header]]:
    """Images of one place each, base to apex."""
    normal = np.cross(headers[0].orientation[:3], headers[0].orientation[3:])
    normal *= np.sign(normal @ TOWARDS_APEX) or 1
    depth = np.array([header.position for header in headers]) @ normal
    order = np.argsort(depth, kind="stable")
    starts = np.flatnonzero(np.diff(depth[order], prepend=-np.inf) > SAME_PLACE_MM)
    return [[headers[k] for k in part] for part in np.split(order, starts[1:])]


def _by_series(group: list[Header]) -> list[list[Header]]:
    """One slice's images by series, each in time; of two images of one moment in a series the later one counts."""
    series: dict[str, list[Header]] = defaultdict(list)
    for header in group:
        series[header.series].append(header)
    return [_in_time(images) for images in series.values()]


def _in_time(images: list[Header]) -> list[Header]:
    clocks = [[image.trigger_ms for image in images], [image.instance for image in images]]
    clock = next((c for c in clocks if len(set(c)) > 1 and np.isfinite(c).all()), [image.source for image in images])
    frames = {}
    for moment, image in sorted(zip(clock, images, strict=True), key=lambda pair: (pair[1].instance, pair[1].source)):
        frames[moment] = image
    return [frames[moment] for moment in sorted(frames)]


def _last_complete(slice_: list[list[Header]], count: int, notes: list[str]) -> list[Header]:
    if len(slice_) > 1:
        notes.append("a slice acquired twice: the last complete one is used")
    return max(slice_, key=lambda frames: (min(len(frames), count), _age(frames[0])))


def _clock(frames: list[Header]) -> list[float]:
    """When each frame was taken, ms; its number where the scanner does not say."""
    times = [frame.trigger_ms for frame in frames]
    said = all(math.isfinite(time) for time in times) and len(set(times)) == len(times)
    return times if said else [float(frame.instance) for frame in frames]


def _on_clock(frames: list[Header], clock: np.ndarray, notes: list[str]) -> tuple[Header, ...]:
    """As many frames as the other slices have, each the nearest in time to theirs."""
    if len(frames) == len(clock):
        return tuple(frames)
    notes.append(f"a slice has {len(frames)} frames where the others have {len(clock)}: the nearest in time are taken")
    times = np.array(_clock(frames))
    return tuple(frames[int(np.argmin(np.abs(times - moment)))] for moment in clock)
