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

SEAL = "sha256_of_this_file"  # key of the checksum inside a sealed JSON file
REPEAT = "Remove its folder and run the same command again."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


MODE = 0o666 & ~_umask()  # of new files; some libraries write files that only their owner can read


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a temporary file with ``write``, then rename it to ``path``: readers see either the old or the new file.

    Raises OSError if the disk is full or read-only; ``path`` is then unchanged.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(beside)
        beside.chmod(MODE)
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


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """``write_json`` with a checksum of the content inside the file, which ``read_json`` verifies."""
    write_json(path, content | {SEAL: _seal_of(content)})


def _seal_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    """Content of a JSON file, without its seal. Raises DamagedError if it is not JSON or differs from its seal."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(f"{path} is not readable JSON. {REPEAT}") from error
    if isinstance(content, dict) and (key := _seal_key(content)):
        seal = content.pop(key)
        if key != SEAL or seal != _seal_of(content):
            raise DamagedError(f"{path} has changed since it was written. {REPEAT}")
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
        raise DamagedError(f"{path} is missing. {REPEAT}")
    if sha256(path) != expected:
        raise DamagedError(f"{path} has changed since it was written. {REPEAT}")


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
