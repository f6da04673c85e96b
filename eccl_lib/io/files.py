"""Atomic writes (a temporary file, fsync, rename), SHA-256 checksums and locks."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eccl_lib.config.errors import DamagedError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a temporary file with ``write``, then rename it to ``path``: readers see either the old or the new file.

    Raises OSError if the disk is full or read-only; ``path`` is then unchanged.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, in UTF-8."""
    write_atomically(path, lambda beside: beside.write_bytes(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys: equal content gives equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_array(path: Path, array: Any) -> None:
    """Write a numpy array as .npy, atomically and without pickle."""
    import numpy as np

    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_atomically(path, write)


def write_frame(path: Path, frame: Any) -> None:
    """Write a pandas table as parquet, atomically and without its index."""
    write_atomically(path, lambda beside: frame.to_parquet(beside, index=False))


def read_json(path: Path) -> Any:
    """Content of a JSON file. Raises DamagedError if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(
            f"{path} is not readable JSON ({error}). Remove its folder and run the same command again."
        ) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str) -> None:
    """Raise DamagedError unless the file exists and has the expected checksum."""
    if not path.is_file():
        raise DamagedError(f"{path} is missing. Remove its folder and run the same command again.")
    if sha256(path) != expected:
        raise DamagedError(
            f"{path} has changed since it was written. Remove its folder and run the same command again."
        )


@contextlib.contextmanager
def exclusive_lock(folder: Path, log: Callable[[str], None] = print) -> Iterator[None]:
    """Lock a folder against other processes; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"waiting for another process that uses {folder.name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
