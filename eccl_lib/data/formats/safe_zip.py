"""Safe reader of zips: nothing is written to disk, unsafe archives are rejected, files are unpacked on demand."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import foreign

LARGEST_STACK = 2**29  # bytes unpacked; a full stack has 60 MB; with repeated slices and 100 frames 240 MB
LARGEST_MEMBER = 64 * 2**20
MOST_MEMBERS = 5000
LARGEST_RATIO = 200  # unpacked size / packed size

DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
_LOCAL = struct.Struct("<4s5H3L2H")  # local file header of a zip; the last two fields: lengths of name and extra


class DamagedMemberError(UnreadableError):
    """A file differs from the archive's checksum or cannot be read."""

    def __init__(self) -> None:
        super().__init__("a file of the stack is damaged", DOWNLOAD_AGAIN)


@dataclass(frozen=True)
class Member:
    """One file. start: returns the first bytes, unchecked; read: all bytes, checked. Both raise DamagedMemberError."""

    size: int
    start: Callable[[int], bytes]
    read: Callable[[], bytes]
    name: str = ""  # without folders

    @classmethod
    def at(cls, path: Path) -> Self:
        """A Member from a file on disk, of which only the requested bytes are read."""
        try:
            status = path.stat()
        except OSError:
            status = None
        if status is None or not stat.S_ISREG(status.st_mode):
            return cls(0, _raise, _raise, path.name)
        whole = _raise if status.st_size > LARGEST_MEMBER else lambda: _read(path, -1)
        return cls(status.st_size, lambda count: _read(path, count), whole, path.name)


def _raise(*count: int) -> bytes:
    raise DamagedMemberError


def _read(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(count)
    except OSError as error:
        raise DamagedMemberError from error


class Zip:
    """An open zip archive with checked entries. Raises UnreadableError if it is damaged or unsafe."""

    def __init__(self, path: Path) -> None:
        try:
            if path.stat().st_size > LARGEST_STACK:
                size = path.stat().st_size / 2**20
                raise UnreadableError(f"the zip has {size:.0f} MB, too much for a cine", DOWNLOAD_AGAIN)
            self.content = path.read_bytes()
            self.archive = zipfile.ZipFile(io.BytesIO(self.content))
            self.infos = _checked(self.archive)
        except UnreadableError:
            raise
        except DAMAGE as error:
            raise UnreadableError(*_not_a_zip(path)) from error

    def member(self, info: zipfile.ZipInfo) -> Member:
        """The Member of one entry."""
        name = info.filename.rsplit("/", 1)[-1]
        return Member(info.file_size, lambda count: self._start(info, count), lambda: self._whole(info), name)

    def _whole(self, info: zipfile.ZipInfo) -> bytes:
        content = self._start(info, info.file_size)
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise DamagedMemberError
        return content

    def _start(self, info: zipfile.ZipInfo, count: int) -> bytes:
        """The first ``count`` bytes of an entry, unpacked directly, since zipfile takes longer to open an entry."""
        try:
            signature, *_, name_length, extra_length = _LOCAL.unpack_from(self.content, info.header_offset)
            start = info.header_offset + _LOCAL.size + name_length + extra_length
            if signature != b"PK\x03\x04" or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                with self.archive.open(info) as member:
                    return member.read(count)
            packed = memoryview(self.content)[start : start + info.compress_size]
            if info.compress_type == zipfile.ZIP_STORED:
                return bytes(packed[:count])
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max(count, 1))[:count]
        except (struct.error, *DAMAGE) as error:
            raise DamagedMemberError from error


def _not_a_zip(path: Path) -> tuple[str, str]:
    """Reason and cure for a file that cannot be opened as a zip."""
    try:
        with path.open("rb") as handle:
            start = handle.read(foreign.START)
    except OSError as error:
        return f"the zip is missing or cannot be opened ({error.strerror})", "Check its path."
    known = foreign.recognise(start)
    if not start:
        return "the zip is empty", DOWNLOAD_AGAIN
    if known is None or known[0] == "a zip":
        return "the zip is damaged or incomplete", DOWNLOAD_AGAIN
    return f"the zip is damaged: its content is {known[0]}", known[1]


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The archive's files. Raises UnreadableError if unpacking is unsafe: size, number, paths, links, encryption."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise UnreadableError(f"the zip has {len(infos)} files; a stack has some hundreds", DOWNLOAD_AGAIN)
    total = sum(info.file_size for info in infos)
    if total > LARGEST_STACK:
        raise UnreadableError(f"the zip would unpack to {total / 2**20:.0f} MB, too much for a cine", DOWNLOAD_AGAIN)
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or (info.external_attr >> 28) == 0xA:
            raise UnreadableError("the zip has a link, or a file with a path outside the archive", DOWNLOAD_AGAIN)
        if info.file_size > LARGEST_RATIO * max(info.compress_size, 1) + 2**20:
            raise UnreadableError("the zip has a file that would unpack to an implausible size", DOWNLOAD_AGAIN)
        if info.file_size > LARGEST_MEMBER:
            raise UnreadableError("the zip has a file larger than any image", DOWNLOAD_AGAIN)
        if info.flag_bits & 1:
            raise UnreadableError("the zip is encrypted", "Unpack it with its password and zip it again.")
    return infos
