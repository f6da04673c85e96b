"""Where progress goes: a log is any function of one line."""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[str], None]


def aloud(line: str) -> None:
    """Print it, seen at once where the output goes to a file."""
    print(line, flush=True)


def silent(line: str) -> None:
    """For calls that have nothing to say."""
