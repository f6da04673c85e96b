"""Atomic writes (a temporary file, fsync, rename), SHA-256 checksums and locks."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from eccl_lib.config.errors import DamagedError
from eccl_lib.io.disk import writing

SEAL = "sha256_of_this_file"  # key of the checksum inside a sealed JSON file
REPEAT = "Remove its folder and run the same command again."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


COMPLETE = "Everything written before is complete; the same command resumes."
FORGOTTEN = 86_400.0  # seconds after which another machine's temporary file counts as left behind; ours
MODE = 0o666 & ~_umask()  # of new files; some libraries write files that only their owner can read


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a temporary file with ``write``, then rename it to ``path``: readers see either the old or the new file.

    Raises WriteError if the disk is full or read-only; ``path`` is then unchanged.
    """
    beside = path.with_name(partial_name(path.name))
    with writing(path, COMPLETE):
        try:
            write(beside)
            with contextlib.suppress(PermissionError):  # some network disks have modes of their own
                beside.chmod(MODE)
            _sync(beside)
            beside.replace(path)
        finally:
            with contextlib.suppress(OSError):  # a read-only disk
                beside.unlink(missing_ok=True)
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file or folder is safely on disk (fsync); some network disks cannot do this for a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.EBADF, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)


def partial_name(name: str) -> str:
    """Name of a temporary file or folder, which ``remove_leftovers`` recognises after a kill."""
    return f".{name}.{_machine()}.{os.getpid()}.partial"


def _machine() -> str:
    return platform.node().replace(".", "-") or "unknown"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder and the folders below."""
    for path in folder.rglob(".*.partial"):
        _remove_if_left_behind(path)


def _remove_if_left_behind(path: Path) -> None:
    with contextlib.suppress(OSError):
        if _left_behind(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_left_folders(parent: Path, name: str) -> None:
    """Remove what killed processes have left of ``temporary_folder`` with this name."""
    for path in parent.glob(f".{name}.*.partial"):
        _remove_if_left_behind(path)


@contextlib.contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder that is removed at the end; one that a killed process has left in ``parent`` is removed first."""
    folder = parent / partial_name(name)
    remove_left_folders(parent, name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_behind(path: Path) -> bool:
    """Whether the process that wrote a temporary file has ended; on another machine, whether the file is old."""
    machine, pid = path.name.split(".")[-3:-1] if path.name.count(".") > 3 else ("", "")
    if machine != _machine() or not pid.isdigit():
        return time.time() - path.stat().st_mtime > FORGOTTEN
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # a process of another user
        return False
    return False


def write_text(path: Path, text: str) -> None:
    """Write text atomically, in UTF-8."""
    write_atomically(path, lambda beside: beside.write_bytes(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys: equal content gives equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """``write_json`` with a checksum of the content inside the file, which ``read_json`` verifies."""
    write_json(path, content | {SEAL: _seal_of(content)})


def _seal_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_array(path: Path, array: Any) -> None:
    """Write a numpy array as .npy, atomically and without pickle."""
    import numpy as np

    array = np.asarray(array, order="C")
    write_rows(path, [array], array.shape, array.dtype)


def write_rows(path: Path, rows: Iterable[Any], shape: tuple[int, ...], dtype: Any) -> None:
    """Write arrays one after the other as one .npy of ``shape``, atomically; missing rows are zeros.

    These are ordinary writes: on a full disk they raise WriteError, where a memory map would kill the process.
    """
    import numpy as np

    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            size = write_header(file, shape, dtype)
            for row in rows:
                file.write(row.astype(dtype, order="C", copy=False).reshape(-1).view(np.uint8))
            file.truncate(size)

    write_atomically(path, write)


def write_header(file: Any, shape: tuple[int, ...], dtype: Any) -> int:
    """Write the header of a .npy file. Returns the size of the whole file in bytes."""
    import numpy as np

    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell() + np.dtype(dtype).itemsize * math.prod(shape)


def write_frame(path: Path, frame: Any) -> None:
    """Write a pandas table as parquet, atomically and without its index."""
    write_atomically(path, lambda beside: frame.to_parquet(beside, index=False))


def read_json(path: Path) -> Any:
    """Content of a JSON file, without its seal. Raises DamagedError if it is not JSON or differs from its seal."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(path, "is not readable JSON", REPEAT) from error
    if isinstance(content, dict) and (key := _seal_key(content)):
        seal = content.pop(key)
        if key != SEAL or seal != _seal_of(content):
            raise DamagedError(path, "has changed since it was written", REPEAT)
    return content


def _seal_key(content: dict[str, Any]) -> str | None:
    """The key of the seal, also where a letter of it has changed; None in files without a seal."""
    if SEAL in content:
        return SEAL
    alike = (key for key in content if len(key) == len(SEAL))
    return next((key for key in alike if sum(a != b for a, b in zip(key, SEAL, strict=True)) < 3), None)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str) -> None:
    """Raise DamagedError unless the file exists and has the expected checksum."""
    if not path.is_file():
        raise DamagedError(path, "is missing", REPEAT)
    if sha256(path) != expected:
        raise DamagedError(path, "has changed since it was written", REPEAT)


@contextlib.contextmanager
def exclusive_lock(folder: Path, log: Callable[[str], None] = print) -> Iterator[None]:
    """Lock a folder against other processes and remove what killed ones left in it; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"waiting for another process that uses {folder.name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        remove_leftovers(folder)
        yield
