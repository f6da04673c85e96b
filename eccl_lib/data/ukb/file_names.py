"""Find UK Biobank's files by name under any folders, and choose one of several files of the same visit."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eccl_lib.data.listing import FileListing, walk
from eccl_lib.data.records import CINE_FIELD, ECG_FIELD, EXERCISE_FIELD
from eccl_lib.io.paths import expanded

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
