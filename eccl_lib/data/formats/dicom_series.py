"""Reader of short-axis cines from a zip or folder of DICOM files: UK Biobank's field 20209, or other series."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import dicom, stack
from eccl_lib.data.formats.safe_zip import MOST_MEMBERS, DamagedMemberError, Member, Zip
from eccl_lib.data.records import CineFile

MOST_FILES = 50_000  # in a folder; an examination has some thousands; ours
MAX_DAMAGED_SHARE = 0.1  # of the files; with more the stack is rejected; ours
NOT_IMAGES = (".cvs", ".csv", ".txt", ".json", ".xml", ".nii", ".gz")

SHORT_AXIS = re.compile(r"(?i)^CINE_segmented_SAX(_b\d+)?$")  # not ..._InlineVF, whose images contain contours
LIKELY = re.compile(r"(?i)(^|[^a-z])(sax?|short[ _-]?axis)([^a-z]|$)")  # series descriptions of other sites

HEADER = 4096  # bytes of each image that are unpacked first; increased if a header is longer
LARGEST_HEADER = 2**20


def open_file(path: Path, any_name: bool = False) -> CineFile:
    """Open a short-axis stack: headers are read now, pixels are decoded on demand. Raises UnreadableError.

    any_name: accept any series name, but only one study; by default UK Biobank's series is required. Images are
    selected by their tags; a manifest is only used to count missing files. If an image of a zip is found to be damaged
    when it is decoded, the stack is arranged again without the damaged images.
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
    headers = _headers(members, notes, whole)
    arranged = stack.arrange(_likely(headers) if any_name else _short_axis(headers, notes))
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
    return [archive.member(info) for info in archive.infos if _may_be_image(info.filename)]


def _may_be_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not (name.lower().endswith(NOT_IMAGES) or base.startswith(".") or name.startswith("__MACOSX/"))


def _folder(path: Path) -> list[Member]:
    """The files of a folder that may be images. Raises UnreadableError if there are more than MOST_FILES."""
    folders = sorted(os.walk(path))
    files = [Path(folder) / name for folder, _, names in folders for name in sorted(names) if _may_be_image(name)]
    if len(files) > MOST_FILES:
        reason = f"the folder has {len(files):,} files; the limit is {MOST_FILES:,}"
        raise UnreadableError(reason, "Keep only one person's examination, or only its short-axis series, in it.")
    return [Member.at(file) for file in files]


def _manifest(manifests: list[Member]) -> Iterator[str]:
    """Yield the image names in the first column of the manifests."""
    for member in manifests:
        with contextlib.suppress(DamagedMemberError):
            for line in member.read().decode("latin-1").splitlines()[:MOST_MEMBERS]:
                name = line.split(",")[0].strip().strip('"')
                if name.lower().endswith(".dcm"):
                    yield name


def _headers(members: list[Member], notes: list[str], whole: bool) -> list[dicom.Header]:
    """Headers of all readable images. Raises UnreadableError if too many files are damaged, or if there is no image."""
    headers, damaged_files, damaged_images, other, length = [], 0, 0, 0, HEADER
    for k, member in enumerate(members):
        try:
            header = _header(member, k, member.size if whole else length)
        except DamagedMemberError:
            damaged_files += 1
        except UnreadableError as error:
            damaged_images += 1
            last_error = error
        else:
            if header is None:
                other += 1
                continue
            headers.append(header)
            length = max(length, min(header.pixel_start + HEADER // 4, LARGEST_HEADER))
    if damaged_files > MAX_DAMAGED_SHARE * len(members):
        raise UnreadableError(f"{damaged_files} of {len(members)} files of the stack are damaged", DOWNLOAD_AGAIN)
    if damaged_images > MAX_DAMAGED_SHARE * (images := damaged_images + len(headers)):
        raise UnreadableError(f"{damaged_images} of {images} images: {last_error.reason}", last_error.cure)
    if not headers:
        raise UnreadableError("there is no DICOM image in it", DOWNLOAD_AGAIN)
    skipped = {"damaged files": damaged_files, "damaged images": damaged_images, "files that are not DICOM": other}
    notes += [f"skipped {count} {kind}" for kind, count in skipped.items() if count]
    return headers


def _header(member: Member, source: int, length: int) -> dicom.Header | None:
    """Header from the file's first ``length`` bytes, or from the whole file if needed; None if it is not DICOM."""
    if member.size > length:
        start = member.start(length)
        if not dicom.is_dicom(start):
            return None
        with contextlib.suppress(UnreadableError):
            return dicom.read_header(start, source, member.size)
    data = member.read()
    return dicom.read_header(data, source) if dicom.is_dicom(data) else None


def _likely(headers: list[dicom.Header]) -> list[dicom.Header]:
    """Headers whose series description means short axis; all headers if there are none.

    Raises UnreadableError if the images are of several studies, i.e. of several people or visits.
    """
    studies = {header.study for header in headers} - {""}
    if len(studies) > 1:
        reason = f"the DICOM files are of {len(studies)} studies, i.e. of several people or visits"
        raise UnreadableError(reason, "Use a FOLDER one level deeper: each direct subfolder or zip is one study.")
    return [header for header in headers if LIKELY.search(header.description)] or headers


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
