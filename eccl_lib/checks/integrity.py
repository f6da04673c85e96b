"""Read every file of runs and stores and compare its checksum: ``eccl verify``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eccl_lib.config.errors import DamagedError
from eccl_lib.data.store import sharded
from eccl_lib.io import checksums
from eccl_lib.io.files import REPEAT, read_json, sha256

MANIFEST = "manifest.json"
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
    for manifest in sorted(place.rglob(MANIFEST)):
        yield from _current(manifest)
    for digest in sorted(place.rglob("*.json")):
        if digest.name != MANIFEST:
            yield from _sealed(digest)


def _current(manifest: Path) -> list[Damage | None]:
    """The manifest and its files. If a running training replaces them during the check, they are checked again."""
    while before := checksums.look(manifest):
        found = list(_listed(manifest))
        if not any(found) or checksums.look(manifest) == before:
            return found
    return []


def _listed(manifest: Path) -> Iterator[Damage | None]:
    try:
        content = read_json(manifest)
    except DamagedError:
        yield Damage(manifest, "it has changed since it was written", REPEAT)
        return
    yield None
    folder = manifest.parent / "store" if (manifest.parent / "store").is_dir() else manifest.parent
    for name, expected in content.get("files", {}).items():
        expected = expected["sha256"] if isinstance(expected, dict) else expected
        yield _compared(folder / name, expected, REPEAT)
    if (manifest.parent / "store" / "shards").is_dir():
        yield _rows(manifest.parent)


def _compared(path: Path, expected: str, cure: str) -> Damage | None:
    if not path.is_file():
        return Damage(path, "it is missing", cure)
    return None if sha256(path) == expected else Damage(path, "it has changed since it was written", cure)


def _sealed(path: Path) -> Iterator[Damage | None]:
    """The file itself and the array that it belongs to, if there is one."""
    array = path.with_suffix(".npy")
    try:
        content = read_json(path)
    except DamagedError:
        yield Damage(path, "it has changed since it was written", COMPUTE if array.is_file() else REPEAT)
        return
    if array.is_file() and isinstance(content, dict) and "sha256" in content:
        yield _compared(array, content["sha256"], COMPUTE)


def _rows(folder: Path) -> Damage | None:
    """Damage of the shards of a store of files. folder: of the store."""
    try:
        sharded.verify(folder)
    except DamagedError as error:
        return Damage(error.path, f"it {error.fault}", error.cure)
    return None
