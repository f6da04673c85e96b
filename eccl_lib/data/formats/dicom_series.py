"""A short-axis cine out of a zip or a folder of DICOM files: UK Biobank's field 20209, or any other by its geometry."""

from __future__ import annotations

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

MOST_FILES = 50_000  # of a folder; ours: an examination has some thousands, a tenth of a millisecond each
MOST_DAMAGED = 0.1  # of the files; ours: more is another download
NOT_IMAGES = (".cvs", ".csv", ".txt", ".json", ".xml", ".nii", ".gz")

SHORT_AXIS = re.compile(r"(?i)^CINE_segmented_SAX(_b\d+)?$")  # not ..._InlineVF, which has contours drawn in
LIKELY = re.compile(r"(?i)(^|[^a-z])(sax?|short[ _-]?axis)([^a-z]|$)")  # in what other sites call such a series

HEADER = 4096  # bytes unpacked of each image at first; where its header is longer, more of the next
LARGEST_HEADER = 2**20


def open_file(path: Path, any_name: bool = False) -> CineFile:
    """A short-axis stack by its headers; its pixels are unpacked when they are asked for. Raises UnreadableError.

    any_name: whatever its series is called, but of one study; else it is UK Biobank's. The manifest, if there is one,
    only tells whether files are missing: tags decide what an image is. A damaged image of a zip is noticed when it is
    asked for; the stack is then arranged once more without all that are damaged.
    """
    path = Path(path)
    notes: list[str] = []
    opened = _arranged(path, any_name, notes)

    def pixels(slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
        nonlocal opened
        try:
            return _decoded(*opened, slices, frames)
        except DamagedMemberError:
            more: list[str] = []
            again = _arranged(path, any_name, more, whole=True)
            if again[1].shape != opened[1].shape:
                raise
            notes.extend(note for note in more if note not in notes)
            opened = again
        return _decoded(*opened, slices, frames)

    found = opened[1]
    facts = found.shape, found.pixel_axes(), found.frames[0][0].spacing, found.step_mm, found.frame_ms
    return CineFile(*facts, pixels, notes)


def _arranged(path: Path, any_name: bool, notes: list[str], whole: bool = False) -> tuple[list[Member], stack.Stack]:
    """The files and the stack that they make. whole: look for damage in all of each file, not in its header alone."""
    members = _folder(path) if path.is_dir() else _archive(path, notes)
    headers = _headers(members, notes, whole)
    if any_name:
        _one_study(headers)
    found = stack.arrange(_likely(headers) if any_name else _short_axis(headers, notes))
    notes.extend(found.notes)
    return members, found


def _decoded(members: list[Member], found: stack.Stack, slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
    headers = [[found.frames[s][f] for f in frames] for s in slices]
    return np.stack([[dicom.read_pixels(members[h.source].read(), h) for h in some] for some in headers])


def _archive(path: Path, notes: list[str]) -> list[Member]:
    """The zip's files; a harmful archive is refused."""
    opened = Zip(path)
    there = {info.filename.rsplit("/", 1)[-1] for info in opened.infos}
    lists = [opened.member(info) for info in opened.infos if info.filename.lower().endswith((".cvs", ".csv"))]
    lost = sum(1 for name in _manifest(lists) if name not in there)
    if lost:
        notes.append(f"{lost} files of the manifest are not in the zip")
    return [opened.member(info) for info in opened.infos if _may_be_image(info.filename)]


def _may_be_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not (name.lower().endswith(NOT_IMAGES) or base.startswith(".") or name.startswith("__MACOSX/"))


def _folder(path: Path) -> list[Member]:
    """The files of a folder: a whole examination may be in it, of which the stack's pixels alone are read."""
    found = []
    for folder, _, names in sorted(os.walk(path)):
        found += [Path(folder) / name for name in sorted(names) if _may_be_image(name)]
    if len(found) > MOST_FILES:
        reason = f"the folder has {len(found):,} files; at most {MOST_FILES:,} are looked through"
        raise UnreadableError(reason, "Leave one person's examination in it, or its short-axis series alone.")
    return [Member.at(file) for file in found]


def _manifest(lists: list[Member]) -> Iterator[str]:
    """Names of the images that a manifest lists: its first column, in either spelling of its dates."""
    for member in lists:
        with contextlib.suppress(DamagedMemberError):
            for line in member.read().decode("latin-1").splitlines()[:MOST_MEMBERS]:
                name = line.split(",")[0].strip().strip('"')
                if name.lower().endswith(".dcm"):
                    yield name


def _headers(members: list[Member], notes: list[str], whole: bool) -> list[dicom.Header]:
    """Headers of all images that can be read."""
    headers, lost, damaged, other, reach = [], 0, 0, 0, HEADER
    for k, member in enumerate(members):
        try:
            header = _header(member, k, member.size if whole else reach)
        except DamagedMemberError:
            lost += 1
        except UnreadableError as error:
            damaged += 1
            fault = error
        else:
            if header is None:
                other += 1
                continue
            headers.append(header)
            reach = max(reach, min(header.pixel_start + HEADER // 4, LARGEST_HEADER))
    if lost > MOST_DAMAGED * len(members):
        raise UnreadableError(f"{lost} of {len(members)} files of the stack are damaged", DOWNLOAD_AGAIN)
    if damaged > MOST_DAMAGED * (damaged + len(headers)):
        raise UnreadableError(f"{damaged} of {damaged + len(headers)} images: {fault.reason}", fault.cure)
    if not headers:
        raise UnreadableError("there is no DICOM image in it", DOWNLOAD_AGAIN)
    if lost:
        notes.append(f"{lost} damaged files left out")
    if damaged:
        notes.append(f"{damaged} damaged images left out")
    if other:
        notes.append(f"{other} files that are no DICOM left out")
    return headers


def _header(member: Member, source: int, reach: int) -> dicom.Header | None:
    """A file's header out of its first ``reach`` bytes, or of all where these are too few; None: it is no DICOM."""
    if member.size > reach:
        start = member.start(reach)
        if not dicom.is_dicom(start):
            return None
        with contextlib.suppress(UnreadableError):
            return dicom.read_header(start, source, member.size)
    data = member.read()
    return dicom.read_header(data, source) if dicom.is_dicom(data) else None


def _one_study(headers: list[dicom.Header]) -> None:
    """Raises UnreadableError where the images are of several people, or of several visits of one."""
    studies = {header.study for header in headers} - {""}
    if len(studies) > 1:
        reason = f"the DICOM files are of {len(studies)} studies, so of several people or visits"
        raise UnreadableError(
            reason, "Point FOLDER one level deeper: each folder right below it, or zip, is one study."
        )


def _likely(headers: list[dicom.Header]) -> list[dicom.Header]:
    """Those whose series is called short axis if there are such, else all: the stack is then told by its geometry."""
    return [header for header in headers if LIKELY.search(header.description)] or headers


def _short_axis(headers: list[dicom.Header], notes: list[str]) -> list[dicom.Header]:
    """Headers of UK Biobank's short-axis cine; of everything where no image says what it is."""
    named = [header for header in headers if SHORT_AXIS.match(header.description.strip())]
    if not named and not any(header.description.strip() for header in headers):
        notes.append("no image names its series: all are taken for short-axis cines")
        named = headers
    if not named:
        raise UnreadableError("there is no series named CINE_segmented_SAX", "Field 20209 is what is read.")
    return named
