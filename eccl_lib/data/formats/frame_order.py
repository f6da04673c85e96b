"""Order the images of one slice in time: by trigger times, else by the next best evidence, which a note names."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats.dicom import Header

FEWEST_TO_ORDER = 5  # images of a slice; fewer cannot be a cine, so their order does not matter; ours
SHORTEST_REPEAT = 3  # frames; a repeated time stamp alone is no second acquisition; ours
RESTART = 0.25  # of the time span: an acquisition that begins later is not a repeated one; ours
DAY_S = 86_400
EVEN_STEPS = 4  # largest ratio of the steps between the numbers in names of consecutive files; ours
SMOOTHER = 0.9  # largest ratio of the frame differences of the right and of the wrong order; ours
NO_ORDER = "Export the images again with TriggerTime or InstanceNumber, or name the files in the order of the frames."


@dataclass(frozen=True)
class Files:
    """What is known of the files beside their headers. names: by ``Header.source``. pixels: of one image, (H, W)."""

    names: Sequence[str] = ()
    pixels: Callable[[Header], np.ndarray] | None = None


NO_FILES = Files()


def in_time(images: Sequence[Header], files: Files, notes: list[str]) -> list[Header]:
    """One series' images of one slice in time.

    Trigger times come first; images with equal trigger times are all kept, unless the times run through the beat
    several times: then the last complete acquisition is used. Without trigger times: InstanceNumber,
    TemporalPositionIdentifier, AcquisitionTime, ContentTime, the numbers in the names of the files. ContentTime may be
    the time of reconstruction: if the names contradict it, the order with smaller differences between neighbouring
    frames is used. Adds a note for each order other than by trigger time. Raises UnreadableError if nothing orders the
    images.
    """
    triggers = [image.trigger_ms for image in images]
    if len(images) < FEWEST_TO_ORDER:
        return sorted(images, key=lambda image: (_or(image.trigger_ms, 0), _or(image.instance, 0), image.source))
    if len(set(triggers)) == len(images) and all(map(math.isfinite, triggers)):
        return sorted(images, key=lambda image: image.trigger_ms)
    what, ordered = _without_triggers(images, files)
    if all(map(math.isfinite, triggers)) and len(set(triggers)) > 1:
        if ordered and (last := _last_pass(ordered)):
            notes.append("a slice was acquired several times in one series: the last complete acquisition is used")
            return last
        notes.append(f"several frames have the same trigger time: these are ordered by {what or 'file name'}")
        return sorted(ordered or images, key=lambda image: image.trigger_ms)
    if ordered is None:
        raise UnreadableError("nothing in the images or in their names gives the order of the frames", NO_ORDER)
    notes.append(f"without different trigger times the frames are ordered by {what}")
    return ordered


def _or(value: float, default: float) -> float:
    return value if math.isfinite(value) else default


def _without_triggers(images: Sequence[Header], files: Files) -> tuple[str, list[Header] | None]:
    """What orders the images, and the images in this order; None if nothing does."""
    by_name = [files.names[image.source] for image in images] if files.names else []
    clocks = {
        "InstanceNumber": [image.instance for image in images],
        "TemporalPositionIdentifier": [_number(image.text("TemporalPositionIdentifier")) for image in images],
        "AcquisitionTime": _times(images, "AcquisitionTime"),
        "ContentTime": _times(images, "ContentTime"),
        "the numbers in the names of the files": _numbers_in_names(by_name),
    }
    orders: dict[str, list[Header]] = {}
    for what, clock in clocks.items():
        if len(set(clock)) == len(images) and all(map(math.isfinite, clock)):
            orders[what] = [image for _, image in sorted(zip(clock, images, strict=True), key=lambda pair: pair[0])]
    what = next(iter(orders), "")
    if what == "ContentTime" and len(orders) == 2 and len({tuple(map(id, order)) for order in orders.values()}) == 2:
        return _smoother(orders, files)
    return what, orders.get(what)


def _smoother(orders: dict[str, list[Header]], files: Files) -> tuple[str, list[Header] | None]:
    """Of two orders the one with smaller differences between neighbouring frames; None if neither is clearly better."""
    if files.pixels is None:
        return "", None
    ranked = sorted(orders, key=lambda what: _roughness(orders[what], files))
    if _roughness(orders[ranked[0]], files) > SMOOTHER * _roughness(orders[ranked[1]], files):
        return "", None
    return f"{ranked[0]}, since {ranked[1]} would give larger jumps between frames", orders[ranked[0]]


def _roughness(order: Sequence[Header], files: Files) -> float:
    """Mean absolute difference between neighbouring frames of the beat, which is a circle."""
    frames = [files.pixels(image).astype(np.float32) for image in order]
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]))


def _last_pass(ordered: Sequence[Header]) -> list[Header] | None:
    """The last complete acquisition if the trigger times run through the beat several times; None if not."""
    passes: list[list[Header]] = [[]]
    for image in ordered:
        if passes[-1] and image.trigger_ms <= passes[-1][-1].trigger_ms:
            passes.append([])
        passes[-1].append(image)
    times = [image.trigger_ms for image in ordered]
    latest_start = min(times) + RESTART * (max(times) - min(times))
    repeated = max(Counter(times).values()) <= len(passes) and len(passes) > 1
    if repeated and all(len(p) >= SHORTEST_REPEAT and p[0].trigger_ms <= latest_start for p in passes):
        return max(enumerate(passes), key=lambda item: (len(item[1]), item[0]))[1]
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _times(images: Sequence[Header], tag: str) -> list[float]:
    """Seconds of a tag; after midnight they go on."""
    times = [seconds(image.text(tag)) for image in images]
    return [time + DAY_S if max(times) - time > DAY_S / 2 else time for time in times]


def seconds(time: str) -> float:
    """Seconds since midnight of a DICOM time, HHMMSS.FFFFFF; NaN if it is none."""
    match = re.fullmatch(r"(\d\d):?(\d\d):?(\d\d(?:\.\d+)?)", time)
    return math.nan if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def _numbers_in_names(names: Sequence[str]) -> list[float]:
    """The one number in which the names differ, if it rises in even steps; else NaN: such names tell no order."""
    parts = [re.split(r"([0-9]+)", name) for name in names]
    unknown = [math.nan] * len(names)
    if not names or len({(len(p), *p[::2]) for p in parts}) != 1:
        return unknown
    differing = [k for k in range(1, len(parts[0]), 2) if len({p[k] for p in parts}) > 1]
    if len(differing) != 1:
        return unknown
    numbers = [float(p[differing[0]]) for p in parts]
    ordered = sorted(numbers)
    steps = [b - a for a, b in pairwise(ordered)]
    return numbers if min(steps) > 0 and max(steps) <= EVEN_STEPS * min(steps) else unknown
