"""Choose the short-axis cine among the series of an examination, by what the series are and not by their size."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import stack
from eccl_lib.data.formats.dicom import Header
from eccl_lib.data.formats.frame_order import Files, seconds

SHORTEST_BEAT_MS, LONGEST_STEP_MS = 150.0, 250.0  # of a cine's trigger times: whole span, time between frames; ours
MOST_BEATS = 1.5  # span of the trigger times in beats; a real-time series has more; ours
A_BEAT_S = 0.4  # median time between acquisitions from which they are in different beats: 150 per minute; ours
CHANGE = 1.3  # ratio of two series' scores from which the steadier is the cine; real cines have 1.1, tagging 1.6; ours
GIVE_CINE = "Give the folder of the short-axis cine; if it is one of these series, correct its description."
LIKELY = re.compile(r"(?i)(^|[^a-z])(sax?|short[ _-]?axis)([^a-z]|$)")  # descriptions of short-axis series

# Words of a series' description or of its sequence's name, by the kind of a series that is no cine.
WORDS = {
    "tagging": r"tag(s|ged|ging)?|c?spamm|grid",
    "perfusion": r"perf\w*|first[ _-]?pass|aif",
    "mapping": r"sh?molli|molli|sasha|t[12]s?[ *_-]*map\w*|ecv|ti[ _-]?scout|look[ _-]?locker",
    "late enhancement": r"lge|psir|delayed|late[ _-]?(gad\w*|enh\w*)|viability|mde",
    "localizer": r"scout\w*|locali[sz]er|loc|survey|plan",
    "flow": r"flow|venc\d*|phase[ _-]?contrast|pc[ _-]?(cine|mri)|cine[ _-]?pc|qflow|[0-9]d[ _-]?flow",
    "dark blood": r"haste|dark[ _-]?blood|black[ _-]?blood|stir",
    "result": r"inline\w*|results?",
}
_WORDS = {kind: re.compile(rf"(?i)(?<![a-z])({words})(?![a-z])") for kind, words in WORDS.items()}
# Values of ImageType of images that are not magnitude images.
TYPES = {"flow": {"P", "PHASE", "PHASE MAP", "VELOCITY", "VELOCITY MAP", "PHASE CONTRAST"}}
TYPES |= {"mapping": {"T1", "T2", "T1 MAP", "T2 MAP", "T2_STAR", "ECV"}, "localizer": {"LOCALIZER"}}
BSSFP = re.compile(r"(?i)tfi|trufi|fiesta|ssfp|b-?[tf]fe|(?<![a-z])cine(?![a-z])")


@dataclass(frozen=True)
class Series:
    """Images of one series and one kind of image. sure: the trigger times are those of a beat. other: "" or a kind."""

    images: tuple[Header, ...]
    other: str
    sure: bool

    @property
    def name(self) -> str:
        """The description, else the number of the series."""
        first = self.images[0]
        stated = first.description.strip()[:40]
        return repr(stated) if stated else f"series {first.series_number} without a description"

    @property
    def signature(self) -> tuple[str, str]:
        """What is equal in the series of one stack: description and sequence without digits."""
        first = self.images[0]
        return re.sub(r"\d+", "", first.description.strip().lower()), re.sub(r"\d+", "", first.text("SequenceName"))


def choose(headers: Sequence[Header], files: Files, notes: list[str]) -> list[Header]:
    """Images of the short-axis cine; the other series are named in a note with what they are.

    Series with few frames a slice, one trigger time, long steps, phase images, or names of other techniques are no
    cines. Of the others, series named short axis come first, then series with the trigger times of a beat. Two of these
    that show the same slices are compared by sequence and by contrast over the beat; else the later one is used.
    Raises UnreadableError if no series can be a cine.
    """
    series = _split(headers)
    left = [s for s in series if not s.other]
    if not left:
        found = ", ".join(f"{s.name} ({len(s.images)} images: {s.other})" for s in series[:4])
        raise UnreadableError(f"no series can be a short-axis cine: {found}", GIVE_CINE)
    reasons = {id(s): s.other for s in series if s.other}
    for what, test in (("not named short axis", _named), ("no trigger times of a beat", lambda s: s.sure)):
        if passed := [s for s in left if test(s)]:
            reasons |= {id(s): what for s in left if s not in passed}
            left = passed
    left = _one_of_each_slice(left, files, reasons, notes)
    if reasons:
        notes.append(_summary(series, left, reasons))
    if any(not s.sure and _in_different_beats(max(_slices(s.images), key=len)) for s in left):
        notes.append("no trigger times, and AcquisitionTime differs by a beat or more: check that this is no perfusion")
    return [image for s in left for image in s.images]


def _named(series: Series) -> bool:
    return LIKELY.search(series.images[0].description) is not None


def _summary(series: Sequence[Series], used: Sequence[Series], reasons: dict[int, str]) -> str:
    """Names and image counts of the used series and of the others, with the reason, equal ones counted together."""
    kept = Counter({s.name: 0 for s in used})
    others: Counter[tuple[str, str]] = Counter()
    for s in series:
        if id(s) in reasons:
            others[s.name, reasons[id(s)]] += len(s.images)
        else:
            kept[s.name] += len(s.images)
    taken = ", ".join(f"{name} ({n} images)" for name, n in kept.items())
    return f"cine: {taken}, set aside: " + ", ".join(f"{name} ({n} images: {why})" for (name, why), n in others.items())


def _split(headers: Sequence[Header]) -> list[Series]:
    """The series, in the order of their numbers; phase images count as a series of their own."""
    groups: dict[tuple[int, str, str, str], list[Header]] = defaultdict(list)
    for header in headers:
        # An anonymiser may have removed the UIDs or made them equal.
        kind = _by_type(header.text("ImageType"))
        groups[header.series_number, header.series, header.description, kind].append(header)
    return [_classified(images, key[-1]) for key, images in sorted(groups.items())]


@lru_cache(maxsize=256)
def _by_type(image_type: str) -> str:
    values = {value.strip() for value in image_type.upper().split("\\")[2:]}
    return next((kind for kind, types in TYPES.items() if types & values), "")


def _classified(images: list[Header], by_type: str) -> Series:
    """A series with its kind: by ImageType, words, frames a slice, and trigger times."""
    slices = _slices(images)
    largest = max(slices, key=len)
    other = by_type or _by_words(images[0])
    if not other and len(largest) < stack.FEWEST_FRAMES:
        other = f"{len(largest)} images a slice"
    times = sorted(image.trigger_ms for image in largest)
    sure = all(map(math.isfinite, times)) and len(times) > 1
    if sure and not other:
        other = _by_times(times, largest)
    if not other and any(image.text("InversionTime").strip("0. ") for image in images):
        sure = False  # mapping and late enhancement have it; a cine hardly ever
    return Series(tuple(images), other, sure and len(set(times)) > 1)


def _slices(images: Sequence[Header]) -> list[list[Header]]:
    """Images by orientation and by position to a millimetre."""
    places: dict[tuple, list[Header]] = defaultdict(list)
    for image in images:
        places[image.orientation, image.position].append(image)
    slices: dict[tuple, list[Header]] = defaultdict(list)
    for (orientation, position), same in places.items():
        slices[tuple(round(x, 2) for x in orientation), tuple(map(round, position))] += same
    return list(slices.values())


def _by_words(header: Header) -> str:
    text = f"{header.description or header.text('ProtocolName')} {header.text('SequenceName')}"
    return next((kind for kind, words in _WORDS.items() if words.search(text)), "")


def _by_times(times: Sequence[float], slice_: Sequence[Header]) -> str:
    """Why sorted trigger times of a slice are not those of a beat; "" if they may be."""
    different = sorted(set(times))
    if different == [0.0] and not _in_different_beats(slice_):
        return ""  # an anonymiser may have written the zeros
    if different[-1] - different[0] < SHORTEST_BEAT_MS:
        return "one trigger time for all images of a slice, as in perfusion and mapping"
    beats = (different[-1] - different[0]) / slice_[0].interval_ms if slice_[0].interval_ms > 0 else 0.0
    if beats > MOST_BEATS:
        return f"{beats:.1f} beats long, as in real-time imaging"
    step = float(np.median(np.diff(different)))
    return f"{step:.0f} ms between images, more than in a cine" if step > LONGEST_STEP_MS else ""


def _in_different_beats(slice_: Sequence[Header]) -> bool:
    times = np.array(sorted(seconds(image.text("AcquisitionTime")) for image in slice_))
    return bool(np.isfinite(times).all() and np.median(np.diff(times)) >= A_BEAT_S)


def _one_of_each_slice(left: list[Series], files: Files, reasons: dict[int, str], notes: list[str]) -> list[Series]:
    """The series without those that show the same slices as another series of another name or sequence."""
    groups: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for s in left:
        groups[s.signature].append(s)
    kept: list[list[Series]] = []
    for group in groups.values():
        rival = next((k for k, other in enumerate(kept) if _same_slices(group, other)), None)
        if rival is None:
            kept.append(group)
            continue
        why = _first_is_cine(kept[rival], group, files)
        loser, kept[rival] = (group, kept[rival]) if why[0] else (kept[rival], group)
        reasons |= {id(s): why[1] for s in loser}
    return [s for group in kept for s in group]


def _same_slices(a: Sequence[Series], b: Sequence[Series]) -> bool:
    """True if at least half of the slices of the smaller group are at places of the other, in the same orientation."""
    places = [{_place(slice_[0]) for s in group for slice_ in _slices(s.images)} for group in (a, b)]
    return 2 * len(places[0] & places[1]) >= min(map(len, places))


def _place(image: Header) -> tuple[float, ...]:
    """Orientation and depth of an image, rounded; independent of its matrix."""
    normal = np.cross(image.orientation[:3], image.orientation[3:])
    depth = float(normal @ np.array(image.position))
    return (*(round(float(x), 1) for x in normal), round(depth / 2))


def _first_is_cine(a: Sequence[Series], b: Sequence[Series], files: Files) -> tuple[bool, str]:
    """True if group ``a`` is the cine rather than ``b``, which shows the same slices, and the reason."""
    known = [_is_bssfp(group) for group in (a, b)]
    if known[0] != known[1]:
        return known[0], "the other series of these slices is named or encoded as a balanced SSFP cine"
    if files.pixels is not None:
        scores = [_unsteady(group, files) for group in (a, b)]
        if max(scores) > CHANGE * min(scores):
            return scores[0] < scores[1], "its contrast changes more over the beat than that of the other series"
    latest = [max((s.images[0].series_number, s.images[0].series) for s in group) for group in (a, b)]
    return latest[0] > latest[1], "an earlier series of the same slices"


def _is_bssfp(group: Sequence[Series]) -> bool:
    """True if the description or the sequence says balanced SSFP or cine."""
    first = group[0].images[0]
    variant = set(first.text("SequenceVariant").upper().split("\\"))
    return bool(BSSFP.search(f"{first.description} {first.text('SequenceName')}")) or (
        "SS" in variant and not variant & {"SP", "MP"}
    )


def _unsteady(group: Sequence[Series], files: Files) -> float:
    """How much contrast and brightness change over the beat in the middle slice; 1 if not at all.

    The larger of two ratios between the frames: of the mean brightness, and of the share of fine detail, which fades
    with the lines of a tagged series.
    """
    slices = sorted((s for series in group for s in _slices(series.images)), key=lambda s: _place(s[0]))
    images = sorted(slices[len(slices) // 2], key=lambda image: (image.trigger_ms, image.instance, image.source))
    frames = np.stack([files.pixels(image).astype(np.float32) for image in images])
    brightness = frames.mean(axis=(1, 2))
    detail = np.abs(np.diff(frames, n=2, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(frames, n=2)).mean(axis=(1, 2))
    share = detail / np.maximum(brightness, 1e-6)
    return max(float(x.max() / max(x.min(), 1e-6)) for x in (brightness, share))
