"""Integrity of a store's files: verified once by content, afterwards recognised by size and modification time."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from eccl_lib.config.errors import DamagedError
from eccl_lib.io.files import read_json, write_json

NOTES = "verified.json"


def changed(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Files that have changed since their last verification; all files if none is recorded."""
    known = _notes(folder)
    return [path for path in files if known.get(_name(folder, path)) != look(path)]


def note(folder: Path, files: Iterable[Path]) -> None:
    """Record that these files have just been verified. If the folder is read-only, they are verified every time."""
    known = _notes(folder) | {_name(folder, path): look(path) for path in files}
    with contextlib.suppress(OSError):
        write_json(folder / NOTES, known)


def damaged(path: Path, cure: str) -> DamagedError:
    """Error for a file whose content has changed since it was written. cure: what to do."""
    return DamagedError(path, "has changed since it was built", cure)


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def look(path: Path) -> list[int] | None:
    try:
        fact = path.stat()
    except FileNotFoundError:
        return None
    return [fact.st_size, fact.st_mtime_ns]


def _notes(folder: Path) -> dict[str, list[int]]:
    try:
        return dict(read_json(folder / NOTES))
    except (OSError, DamagedError, TypeError, ValueError):
        return {}
