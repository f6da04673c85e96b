"""Find UK Biobank's files by name under any folders, and choose among several of one visit."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.records import CineRecord, EcgRecord

ECG_FIELD, CINE_FIELD, EXERCISE_FIELD = 20205, 20209, 6025
SUFFIX = {ECG_FIELD: ".xml", CINE_FIELD: ".zip"}
KIND = {ECG_FIELD: "ecg", CINE_FIELD: "cine"}

_EID = r"(?P<eid>\d{1,19})"
# A word in front, as example_9000001_20205_2_0.xml has one, does no harm.
_BULK = re.compile(
    rf"(?:[a-z]+_)?{_EID}_(?P<field>\d+)_(?P<instance>\d+)_(?P<array>\d+)(?P<suffix>\.xml|\.zip|)", re.IGNORECASE
)
_ALMOST = re.compile(rf"(?<!\d)({ECG_FIELD}|{CINE_FIELD}|{EXERCISE_FIELD})_\d+_\d+")
# ukbb_cardiac's files: the stack and its segmentation, whole or at end diastole and end systole alone.
_NIFTI = re.compile(
    r"(?:(?P<eid>\d{7})_(?:\d+_(?P<instance>\d+)_(?P<array>\d+)_)?)?(?P<seg>seg_)?sa(?P<phase>_ED|_ES|)\.nii(?:\.gz)?",
    re.IGNORECASE,
)
_NIFTI_FOLDER = re.compile(r"(?P<eid>\d{7})(?:_\d+_(?P<instance>\d+)_(?P<array>\d+))?")

Record = TypeVar("Record", EcgRecord, CineRecord)


@dataclass(frozen=True)
class Refused:
    """A file or folder that looks as if it were wanted and cannot be used as it is. eid: "" where the name has none."""

    eid: str
    file: str
    reason: str
    cure: str


@dataclass
class Found:
    """What lies under the folders.

    participants: per eid and kind (``ecg``, ``cine``, ``segmentation``) the paths, the one to read first in front.
    passed_over: how many files were left aside, by reason; for a report. facts: what a layout says of a participant.
    """

    participants: dict[str, dict[str, tuple[Path, ...]]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class _Candidate:
    """Sorted: the last array first (it is the repeated measurement), the rawest form, the first folder, the path."""

    minus_array: int
    form: int  # 0 as UK Biobank sends it, then as somebody converted it
    folder: int
    path: Path


def find(folders: Path | Sequence[Path], visit: int = 2, segmentations: Sequence[Path] = ()) -> Found:
    """The files of one imaging visit (UK Biobank's instance), by name, however the folders are nested or linked.

    ``eid_20205_visit_array.xml``, ``eid_20209_visit_array.zip`` or a folder of that name with its DICOM files; of
    ukbb_cardiac's ``sa.nii.gz`` and ``seg_sa.nii.gz`` (or ``seg_sa_ED`` with ``seg_sa_ES``) the nearest folder that is
    named after an eid counts. Of several arrays the last comes first and the others stand by; other visits do not
    count. segmentations: folders that are searched for segmentations alone. Raises UnreadableError on a wrong path.
    """
    found = Found()
    candidates: dict[tuple[str, str], set[_Candidate]] = {}
    roots = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    for order, root in enumerate((*roots, *segmentations)):
        masks_alone = order >= len(roots)
        for path in walk(Path(root).expanduser().absolute(), found):
            named = _named(path, visit, found)
            if named is None or (masks_alone and named[1] != "segmentation"):
                continue
            eid, kind, array, form, source = named
            candidates.setdefault((eid, kind), set()).add(_Candidate(-array, form, order, source))
    for (eid, kind), some in sorted(candidates.items()):
        unique = {os.path.realpath(c.path): c for c in sorted(some, reverse=True)}  # of links to one file, the first
        ordered = sorted(unique.values())
        found.participants.setdefault(eid, {})[kind] = tuple(c.path for c in ordered)
        arrays = Counter((c.minus_array, c.form) for c in ordered)
        found.passed_over["the same file name again"] += len(ordered) - len(arrays)
        found.passed_over["an earlier or converted file of the same visit"] += len(arrays) - 1
    found.passed_over = Counter({reason: n for reason, n in found.passed_over.items() if n})
    return found


def walk(root: Path, found: Found) -> Iterator[Path]:
    """Every file under a folder, sorted; linked folders are entered, each folder once."""
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        raise UnreadableError(f"there is no folder {root}", "Correct the path.")
    seen: set[tuple[int, int]] = set()
    todo = [root]
    while todo:
        folder = todo.pop()
        try:
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"the folder cannot be opened ({error.strerror})"
            found.refused.append(Refused("", folder.name, reason, "Give yourself the right to read it."))
            continue
        todo += [Path(entry.path) for entry in reversed(entries) if entry.is_dir()]
        yield from (Path(entry.path) for entry in entries if not entry.is_dir())


def _named(path: Path, visit: int, found: Found) -> tuple[str, str, int, int, Path] | None:
    """(eid, kind, array, form, path) of a file that is wanted; otherwise a count or a refusal is added to ``found``."""
    name = path.name
    if name.startswith("."):
        return None
    if match := _BULK.fullmatch(name):
        return _bulk(match, path, visit, found)
    if path.suffix.lower() == ".dcm":
        return _unpacked(path, visit)
    if match := _NIFTI.fullmatch(name):
        return _nifti(match, path, visit, found)
    if match := _ALMOST.search(name):
        eid = re.match(r"\d{7}(?=_)", name)
        reason = "the file's name is not eid_field_instance_array with .xml or .zip"
        found.refused.append(Refused(eid[0] if eid else "", name, reason, "Finish the download, unpack or rename it."))
    return None


def _bulk(match: re.Match, path: Path, visit: int, found: Found) -> tuple[str, str, int, int, Path] | None:
    eid, number, suffix = match["eid"], int(match["field"][:9]), match["suffix"].lower()
    if number == EXERCISE_FIELD:
        reason, cure = f"this is an exercise ECG (field {EXERCISE_FIELD})", f"Use the resting ECG, field {ECG_FIELD}."
    elif number not in KIND:
        found.passed_over[f"field {number}"] += 1
        return None
    elif int(match["instance"][:9]) != visit:
        found.passed_over[f"another visit than instance {visit}"] += 1
        return None
    elif suffix != SUFFIX[number]:
        reason, cure = (
            f"field {number} comes as {SUFFIX[number]}, not as {suffix or 'this'}",
            "Download the file again.",
        )
    elif not path.is_file():
        reason, cure = "the file is a link to nothing", "Mend the link."
    else:
        return eid, KIND[number], int(match["array"][:9]), 0, path
    found.refused.append(Refused(eid, path.name, reason, cure))
    return None


def _unpacked(path: Path, visit: int) -> tuple[str, str, int, int, Path] | None:
    """The folder ``eid_20209_visit_array`` that a DICOM file lies under, at any depth."""
    for folder in path.parents:
        match = _BULK.fullmatch(folder.name)
        if match and not match["suffix"]:
            wanted = int(match["field"][:9]) == CINE_FIELD and int(match["instance"][:9]) == visit
            return (match["eid"], "cine", int(match["array"][:9]), 1, folder) if wanted else None
    return None


def _nifti(match: re.Match, path: Path, visit: int, found: Found) -> tuple[str, str, int, int, Path] | None:
    segmentation, phase = bool(match["seg"]), match["phase"].upper()
    if phase == "_ES" or (phase and not segmentation):
        return None  # the first goes with its _ED, the second is one frame and no cine
    place = match if match["eid"] else next(filter(None, (_NIFTI_FOLDER.fullmatch(p.name) for p in path.parents)), None)
    if place is None:
        cure = "Put it into a folder named after the participant's id."
        found.refused.append(Refused("", path.name, "neither the file nor a folder above it names a participant", cure))
        return None
    if place["instance"] and int(place["instance"][:9]) != visit:
        found.passed_over[f"another visit than instance {visit}"] += 1
        return None
    array = int((place["array"] or "0")[:9])
    return place["eid"], "segmentation" if segmentation else "cine", array, 3 if phase else 2, path


def read_bytes(path: Path, largest: int) -> bytes:
    """A whole file. Raises UnreadableError where it is absent, empty or larger than it can honestly be."""
    try:
        size = Path(path).stat().st_size
        if size == 0:
            raise UnreadableError("the file is empty", DOWNLOAD_AGAIN)
        if size > largest:
            reason = f"the file has {size / 2**20:.0f} MB; at most {largest / 2**20:.0f} MB are read"
            raise UnreadableError(reason, DOWNLOAD_AGAIN)
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableError(f"the file cannot be opened ({error.strerror})", "Check its path.") from error


def first_readable(paths: Sequence[Path], read: Callable[[Path], Record]) -> Record:
    """The first of several files of one visit that can be read, with a note where it is not the first of them.

    Raises the first file's UnreadableError where none can be read.
    """
    first: UnreadableError | None = None
    for path in paths:
        try:
            record = read(path)
        except UnreadableError as error:
            first = first or error
            continue
        if first is None:
            return record
        note = f"another file of this visit is used: in the one before it {first.reason}"
        return replace(record, notes=(*record.notes, note))
    raise first or UnreadableError("there is no file")
