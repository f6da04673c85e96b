"""Whether a store's files still hold what was written: read through once, then known by size and time of change."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from eccl_lib.config.errors import DamagedError
from eccl_lib.io.files import read_json, write_json

NOTES = "verified.json"


def changed(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Those files that are not as they were when they were last found right; all of them without notes."""
    known = _notes(folder)
    return [path for path in files if known.get(_name(folder, path)) != _look(path)]


def note(folder: Path, files: Iterable[Path]) -> None:
    """Remember that these files have just been found right. A folder that cannot be written is checked every time."""
    known = _notes(folder) | {_name(folder, path): _look(path) for path in files}
    with contextlib.suppress(OSError):
        write_json(folder / NOTES, known)


def damaged(path: Path, cure: str) -> DamagedError:
    """The error for a file that does not hold what was written."""
    return DamagedError(f"{path} is not as it was built. {cure}")


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _look(path: Path) -> list[int] | None:
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
