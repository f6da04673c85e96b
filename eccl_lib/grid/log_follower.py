"""Lines from many processes to the one that waits for them: each job appends to a file of its own, which is followed.

A file has one writer, so this holds on a network file system too. The folder goes when the listener ends: a job that
can no longer append ends there as well, right after the checkpoint that the line speaks of.
"""

from __future__ import annotations

import os
import platform
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.3  # seconds between two looks at the files


class Relay:
    """``with Relay(root, hear) as relay``: what a job appends to ``relay.path(k)`` reaches ``hear(k, line)`` here."""

    def __init__(self, root: Path, hear: Callable[[int, str], None]) -> None:
        self.folder, self._hear = root / f"{_prefix()}{os.getpid()}", hear
        self._read: dict[int, int] = {}  # bytes heard of each file
        self._over, self._looking = threading.Event(), threading.Lock()

    def __enter__(self) -> Relay:
        _remove_orphans(self.folder.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, number: int) -> Path:
        """Where job ``number`` appends."""
        return self.folder / str(number)

    def _follow(self) -> None:
        while not self._over.wait(INTERVAL):
            self.look()
        self.look()

    def look(self) -> None:
        """Hear every whole line that has come since the last look."""
        with self._looking:
            for path in sorted(self.folder.iterdir(), key=lambda path: int(path.name)):
                number = int(path.name)
                with path.open("rb") as file:
                    file.seek(self._read.get(number, 0))
                    whole = file.read().rpartition(b"\n")[0]
                if whole:
                    self._read[number] = self._read.get(number, 0) + len(whole) + 1
                    for line in whole.decode().splitlines():
                        self._hear(number, line)


def append(path: Path, line: str) -> None:
    """One whole line. Raises FileNotFoundError where nobody listens any more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _prefix() -> str:
    return f".grid-{platform.node()}-"


def _remove_orphans(root: Path) -> None:
    """Folders that listeners of this machine left when they were killed."""
    for folder in root.glob(f"{_prefix()}*"):
        try:
            os.kill(int(folder.name.removeprefix(_prefix())), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            pass  # another user's, alive
