"""Safe reader of zips: nothing is written to disk, unsafe archives are rejected, files are unpacked on demand."""

import bz2
import lzma
import os
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Self

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import foreign
from eccl_lib.io import regular

LARGEST_STACK = 2**29  # bytes unpacked; a full stack has 60 MB; with repeated slices and 100 frames 240 MB
LARGEST_MEMBER = 64 * 2**20
MOST_MEMBERS = 5000
LARGEST_RATIO = 200  # unpacked size / packed size
LARGEST_DIRECTORY = 2**20  # bytes of the list of files: MOST_MEMBERS with 200 bytes each
LARGEST_DICTIONARY = 2**26  # bytes of memory for LZMA, whose header asks for up to 4 GB
MORE_PACKED = 4096  # bytes by which the packed beginning of a file may be longer than its unpacked beginning

DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
DAMAGE += (lzma.LZMAError, struct.error, MemoryError, IndexError)  # the last: a file without a name
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
            size = regular.check(path)
        except UnreadableError:
            return cls(0, _raise, _raise, path.name)
        whole = _raise if size > LARGEST_MEMBER else lambda: _read(path, LARGEST_MEMBER)
        return cls(size, lambda count: _read(path, count), whole, path.name)


def _raise(*count: int) -> bytes:
    raise DamagedMemberError


def _read(path: Path, count: int) -> bytes:
    try:
        with regular.open_file(path) as file:
            return regular.read(file, count)
    except UnreadableError as error:
        raise DamagedMemberError from error


class Zip:
    """An open zip archive with checked entries. Raises UnreadableError if it is damaged or unsafe."""

    def __init__(self, path: Path) -> None:
        file = regular.open_file(path)
        weakref.finalize(self, file.close)
        self._descriptor = file.fileno()
        try:
            if (size := os.fstat(self._descriptor).st_size) > LARGEST_STACK:
                raise UnreadableError(f"the zip has {size / 2**20:.0f} MB, too much for a cine", DOWNLOAD_AGAIN)
            self.infos = _checked(zipfile.ZipFile(_Bounded(file)))
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
        """The first ``count`` bytes of an entry, and no more, whatever sizes the archive states.

        They are unpacked here, since zipfile unpacks some methods without limit, and takes longer to open an entry.
        """
        try:
            local = os.pread(self._descriptor, _LOCAL.size, info.header_offset)
            signature, *_, name_length, extra_length = _LOCAL.unpack(local)
            if signature != b"PK\x03\x04":
                raise DamagedMemberError
            start = info.header_offset + _LOCAL.size + name_length + extra_length
            in_blocks = info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # of up to a MB
            needed = info.compress_size if in_blocks else min(info.compress_size, count + MORE_PACKED)
            return _unpack(info.compress_type, os.pread(self._descriptor, needed, start), count)
        except DAMAGE as error:
            raise DamagedMemberError from error


class _Bounded:
    """A file for zipfile, which reads the list of an archive's files at once: a list that is too long is refused."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        if count > LARGEST_DIRECTORY:
            reason = f"the zip's list of files has {count / 2**20:.0f} MB: it has more than {MOST_MEMBERS:,} files"
            raise UnreadableError(reason, DOWNLOAD_AGAIN)
        return self._file.read(count if count >= 0 else LARGEST_DIRECTORY)


def _unpack(method: int, packed: bytes, count: int) -> bytes:
    """The first ``count`` bytes of a file packed by one of zip's methods; fewer if it is shorter."""
    if method == zipfile.ZIP_STORED:
        return packed[:count]
    most = max(count, 1)  # 0 means no limit to these libraries
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)[:count]
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, most)[:count]
    if method != zipfile.ZIP_LZMA:
        raise NotImplementedError
    # A version and the length of the properties, then these: with an unknown size they are the header of a .lzma file.
    properties, data = packed[4:9], packed[9:]
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LARGEST_DICTIONARY)
    return unpacker.decompress(properties + b"\xff" * 8 + data, most)[:count]


def _not_a_zip(path: Path) -> tuple[str, str]:
    """Reason and cure for a file that cannot be opened as a zip."""
    with regular.open_file(path) as file:
        start = regular.read(file, foreign.START)
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
        if max(info.file_size, info.compress_size) > LARGEST_MEMBER:
            raise UnreadableError("the zip has a file larger than any image", DOWNLOAD_AGAIN)
        if info.flag_bits & 1:
            raise UnreadableError("the zip is encrypted", "Unpack it with its password and zip it again.")
    # Thousands of names for one slow block would take minutes to unpack.
    for one, following in pairwise(sorted(infos, key=lambda info: info.header_offset)):
        if one.header_offset + _LOCAL.size + one.compress_size > following.header_offset:
            raise UnreadableError("files of the zip overlap", DOWNLOAD_AGAIN)
    return infos
