"""Lines from worker processes to the one that started them: each appends to a file, the parent follows it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.3  # seconds between two looks at the file


class Relay:
    """``with Relay(log) as relay``: hand ``relay.path`` to workers, whose ``append`` then reaches ``log`` here."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._over = log, threading.Event()

    def __enter__(self) -> Relay:
        self._folder = tempfile.TemporaryDirectory(prefix="eccl-")
        self.path = Path(self._folder.name) / "lines"
        self.path.touch()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._folder.cleanup()

    def _follow(self) -> None:
        with self.path.open(encoding="utf-8") as lines:
            over = False
            while not over:
                over = self._over.wait(INTERVAL)  # one more look after the end
                for line in lines:
                    self._log(line.rstrip("\n"))


def append(path: Path, line: str) -> None:
    """One whole line: short appends do not mix, whoever else writes."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
