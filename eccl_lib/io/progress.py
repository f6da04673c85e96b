"""Where progress goes: a log is any function of one line."""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[str], None]


def print_line(line: str) -> None:
    """Print it, seen at once where the output goes to a file."""
    print(line, flush=True)


def silent(line: str) -> None:
    """For calls that have nothing to say."""


def format_seconds(seconds: float) -> str:
    """A duration for a reader: 8 ms, 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
