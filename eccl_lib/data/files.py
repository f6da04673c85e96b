"""Find UK Biobank's files by name under any folders, and choose one of several files of the same visit."""

import contextlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.records import CineRecord, EcgRecord
from eccl_lib.io import regular
from eccl_lib.io.paths import expanded

ECG_FIELD, CINE_FIELD, EXERCISE_FIELD = 20205, 20209, 6025
SUFFIX = {ECG_FIELD: ".xml", CINE_FIELD: ".zip"}
KIND = {ECG_FIELD: "ecg", CINE_FIELD: "cine"}

_EID = r"(?P<eid>\d{1,19})"
# A prefix word is allowed, as in example_9000001_20205_2_0.xml.
_BULK = re.compile(rf"(?i)(?:[a-z]+_)?{_EID}_(?P<field>\d+)_(?P<instance>\d+)_(?P<array>\d+)(?P<suffix>\.xml|\.zip|)")
_ALMOST = re.compile(rf"(?<!\d)({ECG_FIELD}|{CINE_FIELD}|{EXERCISE_FIELD})_\d+_\d+")
# ukbb_cardiac's files: the stack and its segmentation, of all frames or of end diastole and end systole only.
_NIFTI = re.compile(
    r"(?i)(?:(?P<eid>\d{7})_(?:\d+_(?P<instance>\d+)_(?P<array>\d+)_)?)?(?P<seg>seg_)?sa(?P<phase>_ED|_ES|)\.nii(?:\.gz)?"
)
_DOWNLOAD, _VALID = "Download the file again.", "eid_field_instance_array with .xml or .zip"
_NIFTI_FOLDER = re.compile(r"(?P<eid>\d{7})(?:_\d+_(?P<instance>\d+)_(?P<array>\d+))?")

RENAME = "Rename it with ASCII letters."
Record = TypeVar("Record", EcgRecord, CineRecord)


@dataclass(frozen=True)
class RejectedFile:
    """A file or folder that cannot be used although its name is similar to a valid one. eid: "" if unknown."""

    eid: str
    file: str
    reason: str
    cure: str


@dataclass
class FileListing:
    """The files under the given folders.

    participants: by eid and kind (``ecg``, ``cine``, ``segmentation``), the paths in the order in which they are tried.
    skipped: number of skipped files by reason, for the report. facts: by participant, what the dataset's files state.
    """

    participants: dict[str, dict[str, tuple[Path, ...]]] = field(default_factory=dict)
    rejected: list[RejectedFile] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)  # the skipped files with a suffix that is not read

    def add(self, name: str, kinds: dict[str, tuple[Path, ...]], what: str) -> None:
        """Add a recording with its files by kind, or reject it if its name is taken. what: noun for the message."""
        if name in self.participants:
            reason = f"another {what} has the same name apart from its suffix or FOLDER"
            self.reject("", next(iter(kinds.values()))[0].name, reason, "Rename or remove one of them.")
        else:
            self.participants[name] = kinds

    def reject(self, eid: str, file: str, reason: str, cure: str) -> None:
        """Add a file that cannot be used."""
        self.rejected.append(RejectedFile(eid, file, reason, cure))

    def skip(self, path: Path) -> None:
        """Count a file with a suffix that is not read."""
        self.skipped[f"files {path.suffix.lower() or 'without a suffix'}"] += 1
        self.others.append(path)


@dataclass(frozen=True, order=True)
class _Candidate:
    """Sort key of a file: the highest array number first (a repeated measurement), then form, folder and path."""

    minus_array: int
    form: int  # 0 for UK Biobank's original file, larger for converted files
    folder: int
    path: Path


def find(folders: Path | Sequence[Path], visit: int = 2, segmentations: Sequence[Path] = ()) -> FileListing:
    """List the files of one imaging visit (UK Biobank's instance) by name, at any depth of the folders.

    Accepted: ``eid_20205_visit_array.xml``; ``eid_20209_visit_array.zip`` or a folder of that name with DICOM files;
    ukbb_cardiac's ``sa.nii.gz`` and ``seg_sa.nii.gz`` (or ``seg_sa_ED`` and ``seg_sa_ES``), below a folder named
    after the participant. The file with the highest array number comes first; the others are used if it cannot be read.
    segmentations: folders that are searched for segmentations only. Raises UnreadableError if a path does not exist.
    """
    listing = FileListing()
    candidates: dict[tuple[str, str], set[_Candidate]] = {}
    roots = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    for order, root in enumerate((*roots, *segmentations)):
        masks_only = order >= len(roots)
        for path in walk(expanded(root).absolute(), listing):
            parsed = _parse_name(path, visit, listing)
            if parsed is None or (masks_only and parsed[1] != "segmentation"):
                continue
            eid, kind, array, form, source = parsed
            candidates.setdefault((eid, kind), set()).add(_Candidate(-array, form, order, source))
    for (eid, kind), group in sorted(candidates.items()):
        unique = {os.path.realpath(c.path): c for c in sorted(group, reverse=True)}  # keeps the first link to a file
        ordered = sorted(unique.values())
        listing.participants.setdefault(eid, {})[kind] = tuple(c.path for c in ordered)
        arrays = Counter((c.minus_array, c.form) for c in ordered)
        listing.skipped["the same file name again"] += len(ordered) - len(arrays)
        listing.skipped["an earlier or converted file of the same visit"] += len(arrays) - 1
    listing.skipped = Counter({reason: n for reason, n in listing.skipped.items() if n})
    return listing


def walk(root: Path, listing: FileListing) -> Iterator[Path]:
    """All files under a folder, sorted. Linked folders are followed; each folder is visited once.

    Folders that cannot be opened, names that are not UTF-8, pipes, sockets and devices are added to
    ``listing.rejected``. Raises UnreadableError if the folder is missing, or its own path is not UTF-8.
    """
    if not _is_utf8(str(root)):
        raise UnreadableError(f"the path {_shown(str(root))} is not UTF-8", RENAME)
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        if root.exists():
            regular.check(root)
        raise UnreadableError(f"there is no folder {root}", "Correct the path.")
    seen: set[tuple[int, int]] = set()
    todo = [root]
    while todo:
        folder = todo.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"the folder cannot be opened ({error.strerror})"
            listing.reject("", folder.name, reason, "Give yourself permission to read it.")
            continue
        for entry in (entry for entry in entries if not _is_utf8(entry.name)):
            kind = "folder" if _is(entry.is_dir) else "file"
            listing.reject("", _shown(entry.name), f"the name of the {kind} is not UTF-8", RENAME)
        entries = [entry for entry in entries if _is_utf8(entry.name)]
        todo += [Path(entry.path) for entry in reversed(entries) if _is(entry.is_dir)]
        for entry in (entry for entry in entries if not _is(entry.is_dir)):
            is_broken_link = entry.is_symlink() and not _is(Path(entry.path).exists)
            if is_broken_link or _is(entry.is_file):  # the link is reported where a file of its name is needed
                yield Path(entry.path)
            else:
                with contextlib.suppress(OSError):
                    listing.reject("", entry.name, regular.not_a_file(entry.stat().st_mode), regular.GIVE_FILE)


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; False for a link to itself, or to a place that may not be read."""
    try:
        return kind()
    except OSError:
        return False


def _is_utf8(name: str) -> bool:
    """False for a name with other bytes, such as one of a zip from Windows that was unpacked on Linux."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _shown(name: str) -> str:
    """A name with its other bytes as escapes, so that it can be printed and stored."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _parse_name(path: Path, visit: int, listing: FileListing) -> tuple[str, str, int, int, Path] | None:
    """(eid, kind, array, form, path) from a file's name; None if it is ignored, skipped or rejected."""
    name = path.name
    if name.startswith("."):
        return None
    if match := _BULK.fullmatch(name):
        return _bulk(match, path, visit, listing)
    if path.suffix.lower() == ".dcm":
        return _unpacked(path, visit)
    if match := _NIFTI.fullmatch(name):
        return _nifti(match, path, visit, listing)
    if match := _ALMOST.search(name):
        eid = re.match(r"\d{7}(?=_)", name)
        reason, cure = f"the file's name is not {_VALID}", "Finish the download, or unpack or rename the file."
        listing.reject(eid[0] if eid else "", name, reason, cure)
    return None


def _bulk(match: re.Match, path: Path, visit: int, listing: FileListing) -> tuple[str, str, int, int, Path] | None:
    eid, number, suffix = match["eid"], int(match["field"][:9]), match["suffix"].lower()
    if number == EXERCISE_FIELD:
        reason, cure = f"this is an exercise ECG (field {EXERCISE_FIELD})", f"Use the resting ECG, field {ECG_FIELD}."
    elif number not in KIND:
        listing.skipped[f"field {number}"] += 1
        return None
    elif int(match["instance"][:9]) != visit:
        listing.skipped[f"another visit than instance {visit}"] += 1
        return None
    elif suffix != SUFFIX[number]:
        reason, cure = f"field {number} is a {SUFFIX[number]} file, this has {suffix or 'no suffix'}", _DOWNLOAD
    elif not path.is_file():
        reason, cure = "the file is a broken link", "Correct the link."
    else:
        return eid, KIND[number], int(match["array"][:9]), 0, path
    listing.reject(eid, path.name, reason, cure)
    return None


def _unpacked(path: Path, visit: int) -> tuple[str, str, int, int, Path] | None:
    """Like ``_parse_name`` for a DICOM file below a folder ``eid_20209_visit_array``."""
    for folder in path.parents:
        match = _BULK.fullmatch(folder.name)
        if match and not match["suffix"]:
            wanted = int(match["field"][:9]) == CINE_FIELD and int(match["instance"][:9]) == visit
            return (match["eid"], "cine", int(match["array"][:9]), 1, folder) if wanted else None
    return None


def _nifti(match: re.Match, path: Path, visit: int, listing: FileListing) -> tuple[str, str, int, int, Path] | None:
    segmentation, phase = bool(match["seg"]), match["phase"].upper()
    if phase == "_ES" or (phase and not segmentation):
        return None  # seg_sa_ES is read together with seg_sa_ED; sa_ED and sa_ES are single frames, not cines
    place = match if match["eid"] else next(filter(None, (_NIFTI_FOLDER.fullmatch(p.name) for p in path.parents)), None)
    if place is None:
        reason = "neither the file's name nor a parent folder's name is a participant id"
        listing.reject("", path.name, reason, "Move it to a folder named after the participant's id.")
        return None
    if place["instance"] and int(place["instance"][:9]) != visit:
        listing.skipped[f"another visit than instance {visit}"] += 1
        return None
    array = int((place["array"] or "0")[:9])
    return place["eid"], "segmentation" if segmentation else "cine", array, 3 if phase else 2, path


@contextlib.contextmanager
def reading(fault: str, cure: str = DOWNLOAD_AGAIN) -> Iterator[None]:
    """Context manager that turns any error into an UnreadableError with its type.

    Warnings of the library that parses the file are dropped: they quote its content, and go past all logs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"{fault} ({type(error).__name__})", cure) from error


def first_readable(paths: Sequence[Path], read: Callable[[Path], Record]) -> Record:
    """Record of the first readable file, with a note if an earlier file failed. Raises the first error if all fail."""
    first: UnreadableError | None = None
    for path in paths:
        try:
            record = read(path)
        except UnreadableError as error:
            first = first or error
            continue
        if first is None:
            return record
        note = f"the first file of this visit cannot be read ({first.reason}); another one is used"
        return replace(record, notes=(*record.notes, note))
    raise first or UnreadableError("there is no file")
