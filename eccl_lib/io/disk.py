"""Failed writes in one line: what the disk lacks, what to do about it, and what is still complete."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from eccl_lib.io.paths import runs_root

# Fault and cure by error number. {disk}: the folder whose disk it is; {free}: its free space.
FAULTS = {
    errno.ENOSPC: ("the disk is full", "Free space on the disk of {disk} ({free} free)"),
    errno.EDQUOT: ("your disk quota is used up", "Delete files of yours on the disk of {disk}, or ask for more quota"),
    errno.EFBIG: ("the file is larger than allowed", "Raise the limit of file sizes (ulimit -f)"),
    errno.EROFS: ("the disk is mounted read-only", "Mount the disk of {disk} for writing"),
    errno.EACCES: ("writing is not permitted", "Make {disk} writable for your account"),
    errno.EPERM: ("writing is not permitted", "Make {disk} writable for your account"),
    errno.ENOENT: ("its folder was deleted or its disk removed", "Keep the folder in place during a run"),
    errno.EIO: ("the disk reports a hardware error", "Copy what you need from the disk of {disk} and replace it"),
    errno.ESTALE: ("the network disk was disconnected", "Reconnect the disk of {disk}"),
}
# Only writing can fail with these; the others also come from reading, which has messages of its own.
WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


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
    cure = f"{cure.format(disk=disk, free=free)}, or {_other_place(path)}"
    return f"{path} cannot be written: {fault}. {cure}. {kept}".rstrip()


def _other_place(path: Path) -> str:
    """How to write a file to another disk: results are under ECCL_RUNS, any other file is where the user wants it."""
    is_result = path.absolute().is_relative_to(runs_root())
    return "set the variable ECCL_RUNS to a folder on another disk" if is_result else "write to another disk"


def is_about_disk(error: Exception) -> bool:
    """Whether the disk is the cause, and not a missing file or permission."""
    return isinstance(error, OSError) and error.errno in WRITING


def explain(error: Exception) -> str:
    """The message of an error; where a disk or an unusable ECCL_RUNS is the cause, the fault and the cure."""
    if is_about_disk(error) and not isinstance(error, WriteError):  # a write that failed outside of ``writing``
        return describe(Path(os.fsdecode(error.filename or Path.cwd() / "file")), error.errno, "")
    root, path = runs_root(), Path(str(getattr(error, "filename", None) or "."))
    elsewhere = not (path.is_relative_to(root) or root.is_relative_to(path))
    if elsewhere or is_about_disk(error) or not os.environ.get("ECCL_RUNS"):
        return str(error)
    existing = next(folder for folder in (root, *root.parents) if os.access(folder, os.F_OK))
    if not existing.is_dir():
        fault = f"{existing} is a file"
    elif not os.access(existing, os.W_OK | os.X_OK):
        fault = f"{existing} is not writable"
    elif existing != root:
        fault = f"{root} does not exist and cannot be created in {existing}"
    else:
        return str(error)
    return f"ECCL_RUNS is set to {root}, but {fault}. Set the variable ECCL_RUNS to a writable folder, or unset it."
