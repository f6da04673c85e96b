"""A short-axis cine out of a zip or a folder of DICOM files: UK Biobank's field 20209, or any other by its geometry."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eccl_lib.data import dicom, stack
from eccl_lib.data.records import DOWNLOAD_AGAIN, CineFile, UnreadableError

LARGEST_STACK = 2**29  # bytes unpacked; a full stack has 60 MB, one with every slice twice and 100 frames 240 MB
LARGEST_MEMBER = 64 * 2**20
MOST_MEMBERS = 5000
LARGEST_RATIO = 200  # unpacked to packed
MOST_DAMAGED = 0.1  # of the files; ours: more is another download
NOT_IMAGES = (".cvs", ".csv", ".txt", ".json", ".xml", ".nii", ".gz")

SHORT_AXIS = re.compile(r"(?i)^CINE_segmented_SAX(_b\d+)?$")  # not ..._InlineVF, which has contours drawn in

LIKELY = re.compile(r"(?i)(^|[^a-z])(sax?|short[ _-]?axis)([^a-z]|$)")  # in what other sites call such a series

_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)


def open_file(path: Path, any_name: bool = False) -> CineFile:
    """A short-axis stack by its headers; its pixels are decoded when they are asked for. Raises UnreadableError.

    any_name: whatever its series is called; else it is UK Biobank's. The manifest, if there is one, only tells whether
    files are missing: tags decide what an image is.
    """
    path = Path(path)
    notes: list[str] = []
    members = list(_folder(path, notes) if path.is_dir() else _archive(path, notes))
    headers = _headers(members, notes)
    found = stack.arrange(_likely(headers) if any_name else _short_axis(headers, notes))

    def pixels(slices: Sequence[int], frames: Sequence[int]) -> np.ndarray:
        headers = [[found.frames[s][f] for f in frames] for s in slices]
        return np.stack([[dicom.read_pixels(members[h.source], h) for h in some] for some in headers])

    spacing, notes_ = found.frames[0][0].spacing, (*notes, *found.notes)
    return CineFile(found.shape, found.pixel_axes(), spacing, found.step_mm, found.frame_ms, pixels, notes_)


def _archive(path: Path, notes: list[str]) -> list[bytes]:
    """The zip's files, in memory and nowhere else; a damaged one is left out, a harmful archive refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = _checked(archive)
            contents = [_member(archive, info) for info in infos if _may_be_image(info.filename)]
            listed = [_member(archive, info) for info in infos if info.filename.lower().endswith((".cvs", ".csv"))]
    except _DAMAGE as error:
        if isinstance(error, UnreadableError):
            raise
        empty = path.is_file() and path.stat().st_size == 0
        reason = "the zip is empty" if empty else f"the zip is damaged or not there ({type(error).__name__})"
        raise UnreadableError(reason, DOWNLOAD_AGAIN) from error
    _refuse_if_mostly_damaged(contents, notes)
    there = {info.filename.rsplit("/", 1)[-1] for info in infos}
    lost = sum(1 for name in _manifest(listed) if name not in there)
    if lost:
        notes.append(f"{lost} files of the manifest are not in the zip")
    return [content for content in contents if content is not None]


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The archive's entries; refused where unpacking could do harm."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise UnreadableError(f"the zip has {len(infos)} files; a stack has some hundreds", DOWNLOAD_AGAIN)
    total = sum(info.file_size for info in infos)
    if total > LARGEST_STACK:
        raise UnreadableError(f"the zip would unpack to {total / 2**20:.0f} MB: no cine does", DOWNLOAD_AGAIN)
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or (info.external_attr >> 28) == 0xA:
            raise UnreadableError("the zip has a file with a path that leads outside of it, or a link", DOWNLOAD_AGAIN)
        if info.file_size > LARGEST_RATIO * max(info.compress_size, 1) + 2**20:
            raise UnreadableError("the zip has a file that would unpack without end: no cine does", DOWNLOAD_AGAIN)
        if info.file_size > LARGEST_MEMBER:
            raise UnreadableError("the zip has a file larger than any image", DOWNLOAD_AGAIN)
        if info.flag_bits & 1:
            raise UnreadableError("the zip is encrypted", "Unpack it with its password and zip it again.")
    return infos


def _may_be_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not (name.lower().endswith(NOT_IMAGES) or base.startswith(".") or name.startswith("__MACOSX/"))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    """One file's bytes, None where they are damaged."""
    try:
        with archive.open(info) as member:
            return member.read(LARGEST_MEMBER + 1)
    except _DAMAGE:
        return None


def _folder(path: Path, notes: list[str]) -> list[bytes]:
    """The files of an unpacked zip."""
    found, total = [], 0
    for folder, _, names in sorted(os.walk(path)):
        found += [Path(folder) / name for name in sorted(names) if _may_be_image(name)]
    if len(found) > MOST_MEMBERS:
        raise UnreadableError(f"the folder has {len(found)} files; a stack has some hundreds")
    contents: list[bytes | None] = []
    for file in found:
        size = file.stat().st_size if file.is_file() else LARGEST_MEMBER + 1
        total += size
        if total > LARGEST_STACK:
            raise UnreadableError("the folder holds more than any stack")
        contents.append(file.read_bytes() if size <= LARGEST_MEMBER else None)
    _refuse_if_mostly_damaged(contents, notes)
    return [content for content in contents if content is not None]


def _refuse_if_mostly_damaged(contents: list[bytes | None], notes: list[str]) -> None:
    lost = sum(content is None for content in contents)
    if lost > MOST_DAMAGED * len(contents):
        raise UnreadableError(f"{lost} of {len(contents)} files of the stack are damaged", DOWNLOAD_AGAIN)
    if lost:
        notes.append(f"{lost} damaged files left out")


def _manifest(listed: list[bytes | None]) -> Iterator[str]:
    """Names of the images that a manifest lists: its first column, in either spelling of its dates."""
    for content in listed:
        for line in (content or b"").decode("latin-1").splitlines()[:MOST_MEMBERS]:
            name = line.split(",")[0].strip().strip('"')
            if name.lower().endswith(".dcm"):
                yield name


def _headers(members: list[bytes], notes: list[str]) -> list[dicom.Header]:
    """Headers of all images that can be read."""
    headers, damaged, other = [], 0, 0
    for k, data in enumerate(members):
        if data[128:132] != b"DICM":
            other += 1
            continue
        try:
            headers.append(dicom.with_source(dicom.read_header(data), k))
        except UnreadableError as error:
            damaged += 1
            fault = error
    if damaged > MOST_DAMAGED * (damaged + len(headers)):
        raise UnreadableError(f"{damaged} of {damaged + len(headers)} images: {fault.reason}", fault.cure)
    if not headers:
        raise UnreadableError("there is no DICOM image in it", DOWNLOAD_AGAIN)
    if damaged:
        notes.append(f"{damaged} damaged images left out")
    if other:
        notes.append(f"{other} files that are no DICOM left out")
    return headers


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
