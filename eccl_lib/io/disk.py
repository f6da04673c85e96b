"""Failed writes in one line: what the disk lacks, what to do about it, and what is still complete."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

# Fault and cure by error number. {disk}: the folder whose disk it is; {free}: its free space.
FAULTS = {
    errno.ENOSPC: ("the disk is full", "Free space on the disk of {disk} ({free} free)"),
    errno.EDQUOT: ("your disk quota is used up", "Delete files of yours on the disk of {disk}, or ask for more quota"),
    errno.EFBIG: ("the file is larger than allowed", "Raise the limit of file sizes (ulimit -f), or use another disk"),
    errno.EROFS: ("the disk is mounted read-only", "Mount the disk of {disk} for writing"),
    errno.EACCES: ("writing is not permitted", "Make {disk} writable for your account"),
    errno.EPERM: ("writing is not permitted", "Make {disk} writable for your account"),
    errno.ENOENT: ("its folder was deleted or its disk removed", "Keep the folder in place during a run"),
    errno.EIO: ("the disk reports a hardware error", "Copy what you need from the disk of {disk} and replace it"),
    errno.ESTALE: ("the network disk was disconnected", "Reconnect the disk of {disk}"),
}
# Only writing can fail with these; the others also come from reading, which has messages of its own.
WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
ELSEWHERE = "or set the variable ECCL_RUNS to a folder on another disk"


class WriteError(OSError):
    """A file could not be written. The message names the file, the fault, the cure and what is still complete."""

    def __str__(self) -> str:
        return self.args[1]


@contextlib.contextmanager
def writing(path: Path, kept: str) -> Iterator[None]:
    """Raise a WriteError where the block cannot write ``path``. kept: what remains complete, as a sentence.

    Errors that name a file elsewhere, such as one that the block reads, are raised as they are.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        number = number_of(error)
        if number not in FAULTS or _is_elsewhere(error, path):
            raise
        certain = kept if number not in (errno.ENOENT, errno.EIO) else ""
        raise WriteError(number, describe(path, number, certain), str(path)) from error


def _is_elsewhere(error: Exception, path: Path) -> bool:
    """Whether an error names a file that is neither in the folder of ``path`` nor that folder."""
    name = getattr(error, "filename", None)
    return name is not None and path.parent not in (Path(os.fsdecode(name)), Path(os.fsdecode(name)).parent)


def number_of(error: Exception) -> int | None:
    """The operating system's error number; safetensors and others state it only in the text of their errors."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    stated = re.search(r"\(os error (\d+)\)", str(error))
    return int(stated[1]) if stated else None


def describe(path: Path, number: int, kept: str) -> str:
    """One line about a file that could not be written. number: a key of FAULTS."""
    fault, cure = FAULTS[number]
    disk = next(folder for folder in path.absolute().parents if folder.is_dir())
    try:
        free = f"{shutil.disk_usage(disk).free / 1e6:,.0f} MB"
    except OSError:
        free = "unknown space"
    return f"{path} cannot be written: {fault}. {cure.format(disk=disk, free=free)}, {ELSEWHERE}. {kept}".rstrip()


def is_about_disk(error: Exception) -> bool:
    """Whether the disk is the cause, and not a missing file or permission."""
    return isinstance(error, OSError) and error.errno in WRITING


def explain(error: Exception) -> str:
    """The message of an error; for a write that failed outside of ``writing``, with fault and cure."""
    if isinstance(error, WriteError) or not is_about_disk(error):
        return str(error)
    return describe(Path(os.fsdecode(error.filename or Path.cwd() / "file")), error.errno, "")
