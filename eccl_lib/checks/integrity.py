"""Read every file of runs and stores and compare its checksum: ``eccl verify``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eccl_lib.config.errors import DamagedError
from eccl_lib.data.store import sharded
from eccl_lib.io import checksums
from eccl_lib.io.files import REPEAT, read_json, sha256

MANIFEST = "manifest.json"
PUBLISH = "Run the command that built the store again; it writes the tables from the records."
COMPUTE = "Remove both files; they are computed again."


@dataclass(frozen=True)
class Damage:
    """A file that differs from its checksum. cure: what to delete or rebuild."""

    path: Path
    fault: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}. {self.cure}"


def check(place: Path) -> tuple[list[Damage], int]:
    """The damaged files below a run, a store or a folder of them, and the number of checked files."""
    found, count = [], 0
    for damage in _each(place):
        count += 1
        found += [damage] if damage else []
    return found, count


def _each(place: Path) -> Iterator[Damage | None]:
    """For every file with a checksum: its damage, or None."""
    files = [path for path in sorted(place.rglob("*.json")) if path.is_file()]  # no folder, pipe or device
    for manifest in (path for path in files if path.name == MANIFEST):
        yield from _current(manifest)
    for digest in (path for path in files if path.name != MANIFEST):
        yield from _sealed(digest)


def _current(manifest: Path) -> list[Damage | None]:
    """The manifest and its files. If a running training replaces them during the check, they are checked again."""
    while before := checksums.look(manifest):
        found = list(_listed(manifest))
        if not any(found) or checksums.look(manifest) == before:
            return found
    return []


def _listed(manifest: Path) -> Iterator[Damage | None]:
    cure = PUBLISH if (manifest.parent / "store" / "shards").is_dir() else REPEAT
    content = _content(manifest)
    if not isinstance(content, dict) or not isinstance(content.get("files", {}), dict):
        yield Damage(manifest, "it has changed since it was written", cure)
        return
    yield None
    folder = manifest.parent / "store" if (manifest.parent / "store").is_dir() else manifest.parent
    for name, expected in content.get("files", {}).items():
        expected = expected["sha256"] if isinstance(expected, dict) else expected
        yield _compared(folder / name, expected, cure)
    if (manifest.parent / "store" / "shards").is_dir():
        yield from _rows(manifest.parent)


def _content(path: Path) -> Any:
    """Content of a JSON file, None where it is damaged."""
    try:
        return read_json(path)
    except (DamagedError, RecursionError):
        return None


def _compared(path: Path, expected: str, cure: str) -> Damage | None:
    if not path.is_file():
        return Damage(path, "it is missing", cure)
    return None if sha256(path) == expected else Damage(path, "it has changed since it was written", cure)


def _sealed(path: Path) -> Iterator[Damage | None]:
    """The file itself and the array that it belongs to, if there is one."""
    array = path.with_suffix(".npy")
    content = _content(path)
    if content is None:
        yield Damage(path, "it has changed since it was written", COMPUTE if array.is_file() else REPEAT)
        return
    if array.is_file() and isinstance(content, dict) and "sha256" in content:
        yield _compared(array, content["sha256"], COMPUTE)


def _rows(folder: Path) -> Iterator[Damage | None]:
    """Damage of each shard of a store of files, None if there is none. folder: of the store."""
    try:
        found = list(sharded.damages(folder))
    except DamagedError:
        return  # of a table, which the manifest lists
    yield from [Damage(error.path, f"it {error.fault}", error.cure) for error in found] or [None]
