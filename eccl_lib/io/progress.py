"""Progress logs: a log is a function that receives one line; terminals and notebooks show steps as a bar."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from eccl_lib.config.escape import printable

Log = Callable[[str], None]
SECONDS_BETWEEN_LINES = 5.0


class OutputClosedError(BrokenPipeError):
    """The reader of standard output has closed it, as ``head`` does; the pipe of a worker process can break as well."""


def say(text: object = "", error: bool = False) -> None:
    """Print a text, to standard error if it is an error; characters that control a terminal are escaped.

    All output of the commands and the progress logs passes here, because it can quote names and content of files.
    Raises OutputClosedError if nobody reads standard output any more.
    """
    try:
        print(printable(str(text)), file=sys.stderr if error else sys.stdout, flush=True)
    except BrokenPipeError as broken:
        if error:
            raise
        raise OutputClosedError(broken.errno, broken.strerror) from broken


class StepLine(str):
    """A line about step ``done`` of ``total``, such as an epoch. A plain log prints it, a ``Console`` updates a bar."""

    done: int
    total: int

    def __new__(cls, text: str, done: int, total: int) -> StepLine:
        line = super().__new__(cls, text)
        line.done, line.total = done, total
        return line


def with_prefix(log: Log, prefix: str) -> Log:
    """A log that adds ``prefix`` to the start of each line; a StepLine stays a StepLine."""

    def prefixed(line: str) -> None:
        text = f"{prefix}  {line}"
        log(StepLine(text, line.done, line.total) if isinstance(line, StepLine) else text)

    return prefixed


class Console:
    """The log of a terminal or of a live notebook: one tqdm bar for steps, plain lines for the rest.

    Otherwise, as under papermill or with output to a file, it prints every line. error: to standard error, for a
    command whose results go to standard output.
    """

    def __init__(self, error: bool = False) -> None:
        self._bar: Any = None
        self._error = error

    def __call__(self, line: str) -> None:
        if not is_interactive(self._error):
            say(line, self._error)
        elif isinstance(line, StepLine):
            self._step(line)
        else:
            say(line, self._error) if self._bar is None else self._bar.write(printable(line), file=self._stream)

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._error else sys.stdout

    def _step(self, line: StepLine) -> None:
        from tqdm import tqdm  # imported here, because a plain ``import eccl_lib`` must not import it

        if self._bar is None or self._bar.total != line.total or line.done < self._bar.n:
            self.close()
            self._bar = tqdm(total=line.total, file=self._stream, bar_format="{percentage:3.0f}%|{bar:20}| {desc}")
        self._bar.set_description_str(printable(line))
        self._bar.update(line.done - self._bar.n)
        if line.done == line.total:
            self.close()

    def close(self) -> None:
        """Close the bar; its last state remains as a line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def is_interactive(error: bool = False) -> bool:
    """Whether standard output (or error) is shown live: in a terminal or a JupyterLab notebook, not under papermill."""
    stream = sys.stderr if error else sys.stdout
    return stream.isatty() or ("ipykernel" in sys.modules and "JPY_SESSION_NAME" in os.environ)


print_line = Console()


def silent(line: str) -> None:
    """A log that discards its lines."""


@dataclass
class Counter:
    """Counts finished participants and logs at most one line every few seconds, with the time left.

    what: the noun for what is counted.
    """

    label: str
    done: int
    total: int
    log: Log
    what: str = "participants"
    start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.before, self.last = self.done, 0.0
        if self.done and self.done < self.total:
            self.log(f"{self.label}: {self.done:,} of {self.total:,} {self.what} are finished already")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Not counted as time: work that is done once, such as loading models, and says nothing about the time left."""
        start = time.monotonic()
        yield
        self.start += time.monotonic() - start

    def add(self, count: int) -> None:
        """Add ``count`` finished participants."""
        self.done += count
        spent = time.monotonic() - self.start
        if spent - self.last > SECONDS_BETWEEN_LINES or self.done == self.total:
            self.last = spent
            left = spent * (self.total - self.done) / max(self.done - self.before, 1)
            text = f"{self.label}: {self.done:,} of {self.total:,} {self.what}"
            times = f"{format_seconds(spent)}, about {format_seconds(left)} left"
            self.log(StepLine(f"{text}, {times}", self.done, self.total))


def format_seconds(seconds: float) -> str:
    """A duration as text: 8 ms, 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds == 0 or seconds >= 1:
        if seconds < 90:
            return f"{seconds:.3g} s"
        return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
    return f"{1000 * seconds:.3g} ms"
