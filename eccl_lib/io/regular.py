"""Open files of unknown origin: only regular files, and no more bytes than a limit.

A pipe, socket or device among a user's files would block a program for ever, or never end. Every reader of foreign
files opens them here, or calls ``check`` before a library opens them by path.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.config.escape import one_line

CHECK_PATH = "Check its path."
GIVE_FILE = "Give a file with the data, or remove it from the folder."
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def not_a_file(mode: int) -> str:
    """Why a path is refused: it is a folder, a pipe, a socket or a device; "" for a regular file. mode: ``st_mode``."""
    if stat.S_ISREG(mode):
        return ""
    kind = next((name for matches, name in _KINDS if matches(mode)), "something else")
    return f"it is {kind}, not a file"


def check(path: Path | str, largest: int | None = None) -> int:
    """Size of a regular file in bytes. Raises UnreadableError if it is missing, of another kind, or too large."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _cannot_open(error) from error
    return _checked(status, largest)


def open_file(path: Path | str) -> BinaryIO:
    """Open a regular file for reading. Raises UnreadableError if it is missing or of another kind."""
    check(path)  # before it is opened: some devices act when they are opened
    try:
        # Without waiting for a writer, should a pipe have taken the file's place since the check.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _cannot_open(error) from error
    file = os.fdopen(descriptor, "rb")
    try:
        _checked(os.fstat(descriptor), None)
    except UnreadableError:
        file.close()
        raise
    return file


def read_bytes(path: Path | str, largest: int) -> bytes:
    """The content of a file. Raises UnreadableError if it is missing, empty or larger than ``largest`` bytes."""
    check(path, largest)
    with open_file(path) as file:
        content = read(file, largest + 1)
    if not content:
        raise UnreadableError("the file is empty", DOWNLOAD_AGAIN)
    if len(content) > largest:  # it has grown, or it is a file of the kernel, whose size is unknown
        raise _too_large(len(content), largest)
    return content


def read(file: BinaryIO, count: int) -> bytes:
    """The next ``count`` bytes of an open file. Raises UnreadableError if the disk or the connection fails."""
    try:
        return file.read(count) or b""  # None: a file of the kernel that has nothing to say yet
    except OSError as error:
        raise _cannot_open(error) from error


def _checked(status: os.stat_result, largest: int | None) -> int:
    if reason := not_a_file(status.st_mode):
        raise UnreadableError(reason, GIVE_FILE)
    if largest is not None and status.st_size > largest:
        raise _too_large(status.st_size, largest)
    return status.st_size


def _too_large(size: int, largest: int) -> UnreadableError:
    reason = f"the file has {size / 2**20:.0f} MB; the limit is {largest / 2**20:.0f} MB"
    return UnreadableError(reason, DOWNLOAD_AGAIN)


def _cannot_open(error: OSError) -> UnreadableError:
    if isinstance(error, FileNotFoundError):
        return UnreadableError("the file does not exist", CHECK_PATH)
    return UnreadableError(f"the file cannot be opened ({error.strerror})", CHECK_PATH)


@contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Context manager that puts a file's name before the reason of an UnreadableError that does not have it."""
    try:
        yield
    except UnreadableError as error:
        name = one_line(Path(path).name)
        if name in error.reason:
            raise
        raise UnreadableError(f"{name}: {error.reason}", error.cure) from error
