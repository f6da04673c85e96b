"""Reader of short-axis cines from a zip or folder of DICOM files: UK Biobank's field 20209, or other series."""

import contextlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import dicom, dicom_elements, dicom_objects, foreign, series, stack
from eccl_lib.data.formats.frame_order import Files
from eccl_lib.data.formats.safe_zip import LARGEST_MEMBER, MOST_MEMBERS, DamagedMemberError, Member, Zip
from eccl_lib.data.records import CineFile

MOST_FILES = 50_000  # in a folder; an examination has some thousands; ours
MAX_DAMAGED_SHARE = 0.1  # of the files; with more the stack is rejected; ours
NOT_IMAGES = (".cvs", ".csv", ".txt", ".json", ".xml", ".nii", ".gz")
DIRECTORY = "DICOMDIR"
TOO_LARGE = f"files of more than {LARGEST_MEMBER // 2**20} MB"  # enhanced objects, mostly

SHORT_AXIS = re.compile(r"(?i)^CINE_segmented_SAX(_b\d+)?$")  # not ..._InlineVF, whose images contain contours

HEADER = 4096  # bytes of each image that are unpacked first; increased if a header is longer
LARGEST_HEADER = 2**20


def open_file(path: Path, any_name: bool = False) -> CineFile:
    """Open a short-axis stack: headers are read now, pixels are decoded on demand. Raises UnreadableError.

    any_name: accept any series name, but only one study, and choose the cine by what the series are
    (``series.choose``); by default UK Biobank's series is required. Images are selected by their tags; a manifest is
    only used to count missing files. If an image of a zip is found to be damaged when it is decoded, the stack is
    arranged again without the damaged images.
    """
    path = Path(path)
    notes: list[str] = []
    current = _arrange(path, any_name, notes)

    def pixels(slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
        nonlocal current
        try:
            return _decode(*current, slices, frames)
        except DamagedMemberError:
            new_notes: list[str] = []
            rearranged = _arrange(path, any_name, new_notes, whole=True)
            if rearranged[1].shape != current[1].shape:
                raise
            notes.extend(note for note in new_notes if note not in notes)
            current = rearranged
        return _decode(*current, slices, frames)

    arranged = current[1]
    facts = arranged.shape, arranged.pixel_axes(), arranged.frames[0][0].spacing, arranged.step_mm, arranged.frame_ms
    return CineFile(*facts, pixels, notes)


def _arrange(path: Path, any_name: bool, notes: list[str], whole: bool = False) -> tuple[list[Member], stack.Stack]:
    """The files and their stack. whole: check each file completely for damage, not only its header."""
    members = _folder(path) if path.is_dir() else _archive(path, notes)
    headers, enhanced = _headers(members, notes, whole)
    files = Files(
        [member.name for member in members], lambda header: dicom.read_pixels(members[header.source].read(), header)
    )
    try:
        chosen = _one_study(headers) if any_name else _short_axis(headers, notes)
        if any_name or not any(header.description.strip() for header in chosen):
            chosen = series.choose(chosen, files, notes)
        arranged = stack.arrange(_without_copies(chosen, files, notes), files)
    except UnreadableError as error:
        if not enhanced:
            raise
        reason = f"{error.reason}, apart from {enhanced} {dicom_objects.ENHANCED} or {TOO_LARGE}, which are not read"
        raise UnreadableError(reason, f"If these are the cine: {dicom_objects.SINGLE_FRAME}") from error
    notes.extend(arranged.notes)
    return members, arranged


def _decode(members: list[Member], arranged: stack.Stack, slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
    headers = [[arranged.frames[s][f] for f in frames] for s in slices]
    return np.stack([[dicom.read_pixels(members[h.source].read(), h) for h in row] for row in headers])


def _archive(path: Path, notes: list[str]) -> list[Member]:
    """The files of a zip that may be images. Raises UnreadableError if the archive is unsafe."""
    archive = Zip(path)
    present = {info.filename.rsplit("/", 1)[-1] for info in archive.infos}
    manifests = [archive.member(info) for info in archive.infos if info.filename.lower().endswith((".cvs", ".csv"))]
    if missing := sum(name not in present for name in _manifest(manifests)):
        notes.append(f"{missing} files of the manifest are missing in the zip")
    _check_for_nifti([info.filename for info in archive.infos])
    images = [info for info in archive.infos if _may_be_image(info.filename)]
    return [archive.member(info) for info in images]


def _check_for_nifti(names: Sequence[str]) -> None:
    """Raise UnreadableError if the files are NIfTI instead of DICOM."""
    if any(name.lower().endswith((".nii", ".nii.gz")) for name in names) and not any(map(_may_be_image, names)):
        raise UnreadableError(
            "there is no DICOM image in it, but NIfTI", "Unpack it and give the folder with the NIfTI."
        )


def _may_be_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not (name.lower().endswith(NOT_IMAGES) or base.startswith(".") or name.startswith("__MACOSX/"))


def _folder(path: Path) -> list[Member]:
    """The files of a folder that may be images. Raises UnreadableError if there are more than MOST_FILES."""
    found = ((folder, name) for folder, _, names in os.walk(path) for name in names if _may_be_image(name))
    files = list(islice(found, MOST_FILES + 1))
    if len(files) > MOST_FILES:
        reason = f"the folder has more than {MOST_FILES:,} files"
        raise UnreadableError(reason, "Keep only one person's examination, or only its short-axis series, in it.")
    return [Member.at(Path(folder) / name) for folder, name in sorted(files)]


def _manifest(manifests: list[Member]) -> Iterator[str]:
    """Yield the image names in the first column of the manifests."""
    for member in manifests:
        with contextlib.suppress(DamagedMemberError):
            for line in member.read().decode("latin-1").splitlines()[:MOST_MEMBERS]:
                name = line.split(",")[0].strip().strip('"')
                if name.lower().endswith(".dcm"):
                    yield name


def _headers(members: list[Member], notes: list[str], whole: bool) -> tuple[list[dicom.Header], int]:
    """Headers of all readable images, and the number of enhanced objects and files too large for an image.

    Other DICOM objects (reports, colour images, enhanced objects) are set aside and counted; they are no damage. Raises
    UnreadableError if too many files are damaged, or if there is no image.
    """
    headers, skipped, other, error = _read_all(members, whole)
    if (damaged := skipped["damaged files"]) > MAX_DAMAGED_SHARE * len(members):
        raise UnreadableError(f"{damaged} of {len(members)} files of the stack are damaged", DOWNLOAD_AGAIN)
    damaged, images = skipped["damaged images"], skipped["damaged images"] + len(headers)
    if damaged > MAX_DAMAGED_SHARE * images:
        raise UnreadableError(f"{damaged} of {images} images: {error.reason}", error.cure)
    if not headers and error:
        raise UnreadableError(f"{other.total()} of {other.total()} images: {error.reason}", error.cure)
    if not headers:
        raise UnreadableError(*_no_image(members))
    notes += [f"skipped {count} {kind}" for kind, count in skipped.items() if count]
    notes += [f"set aside {count} {kind}" for kind, count in other.items()]
    return headers, other[dicom_objects.ENHANCED] + other[TOO_LARGE]


def _read_all(
    members: list[Member], whole: bool
) -> tuple[list[dicom.Header], Counter[str], Counter[str], UnreadableError | None]:
    """Headers, counts of skipped files and of other objects by kind, and an error that stands for these."""
    headers, length = [], HEADER
    skipped: Counter[str] = Counter()
    other: Counter[str] = Counter()
    first_other, last_damage = None, None
    for k, member in enumerate(members):
        try:
            header = _header(member, k, member.size if whole else length)
        except DamagedMemberError:
            if member.size > LARGEST_MEMBER:
                other[TOO_LARGE] += 1
                first_other = first_other or UnreadableError(f"all are {TOO_LARGE}", dicom_objects.SINGLE_FRAME)
            else:
                skipped["damaged files"] += 1
        except dicom.OtherObjectError as error:
            other[error.kind] += 1
            first_other = first_other or error
        except UnreadableError as error:
            if member.name.upper() == DIRECTORY:
                other["DICOM directories"] += 1
            else:
                skipped["damaged images"] += 1
                last_damage = error
        else:
            if header is None:
                skipped["files that are not DICOM"] += 1
                continue
            headers.append(header)
            length = max(length, min(header.pixel_start + HEADER // 4, LARGEST_HEADER))
    return headers, skipped, other, last_damage or first_other


def _no_image(members: list[Member]) -> tuple[str, str]:
    """Reason and cure if none of the files is a DICOM image; the first file's format is named if it is known."""
    for member in members:
        with contextlib.suppress(DamagedMemberError):
            if known := foreign.recognise(member.start(foreign.START)):
                return f"there is no DICOM image in it, but {known[0]}", known[1]
    return "there is no DICOM image in it", DOWNLOAD_AGAIN


def _header(member: Member, source: int, length: int) -> dicom.Header | None:
    """Header from the file's first ``length`` bytes, or from the whole file if needed; None if it is not DICOM."""
    for part in (length, LARGEST_HEADER):
        if member.size > part:
            start = member.start(part)
            if not dicom_elements.is_dicom(start):
                return None
            with contextlib.suppress(dicom_elements.ShortError):
                return dicom.read_header(start, source, member.size)
    data = member.read()
    return dicom.read_header(data, source) if dicom_elements.is_dicom(data) else None


def _one_study(headers: list[dicom.Header]) -> list[dicom.Header]:
    """The headers. Raises UnreadableError if they are of several studies, i.e. of several people or visits."""
    studies = {header.study for header in headers} - {""}
    if len(studies) > 1:
        reason = f"the DICOM files are of {len(studies)} studies, i.e. of several people or visits"
        raise UnreadableError(reason, "Use a FOLDER one level deeper: each direct subfolder or zip is one study.")
    return headers


def _without_copies(headers: list[dicom.Header], files: Files, notes: list[str]) -> list[dicom.Header]:
    """The headers without copies of an image: equal in series, UID, number, trigger time, position and pixels."""
    if len({(h.series, h.text("SOPInstanceUID") or k) for k, h in enumerate(headers)}) == len(headers):
        return headers
    groups: dict[tuple, list[dicom.Header]] = defaultdict(list)
    for k, h in enumerate(headers):
        uid = h.text("SOPInstanceUID") or k  # without a UID nothing tells a copy from another frame
        groups[h.series, uid, str(h.instance), str(h.trigger_ms), h.position].append(h)
    kept = []
    for group in groups.values():
        copies = len(group) > 1 and all(np.array_equal(files.pixels(group[0]), files.pixels(h)) for h in group[1:])
        kept += group[:1] if copies else group
    if len(kept) < len(headers):
        notes.append(f"skipped {len(headers) - len(kept)} copies of images")
    return kept


def _short_axis(headers: list[dicom.Header], notes: list[str]) -> list[dicom.Header]:
    """Headers of UK Biobank's short-axis cine; all headers if no image has a series description.

    Raises UnreadableError if all descriptions are of other series.
    """
    selected = [header for header in headers if SHORT_AXIS.match(header.description.strip())]
    if not selected and not any(header.description.strip() for header in headers):
        notes.append("no image has a series description: all images count as short axis")
        selected = headers
    if not selected:
        raise UnreadableError("there is no series named CINE_segmented_SAX", "Use the file of field 20209.")
    return selected
