"""Pass log lines from many processes to one: each run appends to its own file, and the main process polls the files.

A file has one writer, so this works on a network file system too. The folder is removed when the follower ends. A run
that is still active then fails at its next log line, which follows a checkpoint, and ends.
"""

from __future__ import annotations

import os
import platform
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.3  # seconds between two polls


class LogFollower:
    """Context manager that passes each line that run k appends to ``path(k)`` on to ``read_line(k, line)``."""

    def __init__(self, root: Path, read_line: Callable[[int, str], None]) -> None:
        self.folder, self._read_line = root / f"{_prefix()}{os.getpid()}", read_line
        self._read: dict[int, int] = {}  # bytes read of each file
        self._over, self._polling = threading.Event(), threading.Lock()

    def __enter__(self) -> LogFollower:
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
        """The file of run ``number``."""
        return self.folder / str(number)

    def _follow(self) -> None:
        while not self._over.wait(INTERVAL):
            self.poll()
        self.poll()

    def poll(self) -> None:
        """Pass on every complete line since the last poll."""
        with self._polling:
            for path in sorted(self.folder.iterdir(), key=lambda path: int(path.name)):
                number = int(path.name)
                with path.open("rb") as file:
                    file.seek(self._read.get(number, 0))
                    whole = file.read().rpartition(b"\n")[0]
                if whole:
                    self._read[number] = self._read.get(number, 0) + len(whole) + 1
                    for line in whole.decode().splitlines():
                        self._read_line(number, line)


def append(path: Path, line: str) -> None:
    """Append a complete line. Raises FileNotFoundError where the follower has ended."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _prefix() -> str:
    return f".grid-{platform.node()}-"


def _remove_orphans(root: Path) -> None:
    """Remove folders of followers on this machine that were killed."""
    for folder in root.glob(f"{_prefix()}*"):
        try:
            os.kill(int(folder.name.removeprefix(_prefix())), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            pass  # the process exists and belongs to another user
