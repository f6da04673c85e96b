"""List the files under any folders, with those that cannot be used and those that are skipped."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.io import regular

RENAME = "Rename it with ASCII letters."


@dataclass(frozen=True)
class RejectedFile:
    """A file or folder that cannot be used although its name is similar to a valid one. eid: "" if unknown."""

    eid: str
    file: str
    reason: str
    cure: str


@dataclass
class FileListing:
    """The files under the given folders.

    participants: by eid and kind (``ecg``, ``cine``, ``segmentation``), the paths in the order in which they are tried.
    skipped: number of skipped files by reason, for the report. facts: by participant, what the dataset's files state.
    """

    participants: dict[str, dict[str, tuple[Path, ...]]] = field(default_factory=dict)
    rejected: list[RejectedFile] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)  # the skipped files with a suffix that is not read

    def add(self, name: str, kinds: dict[str, tuple[Path, ...]], what: str) -> None:
        """Add a recording with its files by kind, or reject it if its name is taken. what: noun for the message."""
        if name in self.participants:
            reason = f"another {what} has the same name apart from its suffix or FOLDER"
            self.reject("", next(iter(kinds.values()))[0].name, reason, "Rename or remove one of them.")
        else:
            self.participants[name] = kinds

    def reject(self, eid: str, file: str, reason: str, cure: str) -> None:
        """Add a file that cannot be used."""
        self.rejected.append(RejectedFile(eid, file, reason, cure))

    def skip(self, path: Path) -> None:
        """Count a file with a suffix that is not read."""
        self.skipped[f"files {path.suffix.lower() or 'without a suffix'}"] += 1
        self.others.append(path)


def walk(root: Path, listing: FileListing) -> Iterator[Path]:
    """All files under a folder, sorted. Linked folders are followed; each folder is visited once.

    Folders that cannot be opened, names that are not UTF-8, pipes, sockets and devices are added to
    ``listing.rejected``. Raises UnreadableError if the folder is missing, or its own path is not UTF-8.
    """
    if not _is_utf8(str(root)):
        raise UnreadableError(f"the path {_shown(str(root))} is not UTF-8", RENAME)
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        if root.exists():
            regular.check(root)
        raise UnreadableError(f"there is no folder {root}", "Correct the path.")
    seen: set[tuple[int, int]] = set()
    todo = [root]
    while todo:
        folder = todo.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"the folder cannot be opened ({error.strerror})"
            listing.reject("", folder.name, reason, "Give yourself permission to read it.")
            continue
        for entry in (entry for entry in entries if not _is_utf8(entry.name)):
            kind = "folder" if _is(entry.is_dir) else "file"
            listing.reject("", _shown(entry.name), f"the name of the {kind} is not UTF-8", RENAME)
        entries = [entry for entry in entries if _is_utf8(entry.name)]
        todo += [Path(entry.path) for entry in reversed(entries) if _is(entry.is_dir)]
        for entry in (entry for entry in entries if not _is(entry.is_dir)):
            is_broken_link = entry.is_symlink() and not _is(Path(entry.path).exists)
            if is_broken_link or _is(entry.is_file):  # the link is reported where a file of its name is needed
                yield Path(entry.path)
            else:
                with contextlib.suppress(OSError):
                    listing.reject("", entry.name, regular.not_a_file(entry.stat().st_mode), regular.GIVE_FILE)


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; False for a link to itself, or to a place that may not be read."""
    try:
        return kind()
    except OSError:
        return False


def _is_utf8(name: str) -> bool:
    """False for a name with other bytes, such as one of a zip from Windows that was unpacked on Linux."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _shown(name: str) -> str:
    """A name with its other bytes as escapes, so that it can be printed and stored."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
