"""Errors that a user can correct; each message names the fault and the cure."""

import traceback
from pathlib import Path

from eccl_lib.config.escape import one_line, printable

DOWNLOAD_AGAIN = "Download or export the file again; if the fault remains, leave the participant out."


def install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml. The library is not on PyPI."""
    return f"pip install '.[{extra}]' in the folder with pyproject.toml"


class ShortInNotebooks(Exception):
    """An error whose message is enough: Jupyter and papermill show it without the lines of code that raised it."""

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {printable(str(self))}"]


class UnreadableError(ShortInNotebooks, ValueError):
    """A file cannot be used. The message names the fault and the cure; the caller adds the file.

    Both may quote the file; characters that control a terminal, such as line breaks, are escaped.
    """

    def __init__(self, reason: str, cure: str = DOWNLOAD_AGAIN) -> None:
        self.reason, self.cure = one_line(reason), one_line(cure)
        super().__init__(f"{self.reason}. {self.cure}".rstrip() if cure else self.reason)


def unexpected(error: Exception) -> UnreadableError:
    """An error that no reader foresees, as the fault of one file. Its text may quote the file, so it is not shown."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"unexpected error ({type(error).__name__} in {Path(place.filename).name}, line {place.lineno})"
    return UnreadableError(reason, "Report this message to the developers.")


class MissingError(ShortInNotebooks, FileNotFoundError):
    """A prerequisite does not exist; the message holds the command that makes it."""


class DamagedError(ShortInNotebooks, RuntimeError):
    """A file does not match its checksum. path: the file; fault: what is wrong, as a predicate; cure: what to do."""

    def __init__(self, path: object, fault: str, cure: str) -> None:
        self.path, self.fault, self.cure = path, fault, cure
        super().__init__(path, fault, cure)

    def __str__(self) -> str:
        return f"{self.path} {self.fault}. {self.cure}"


class ConfigError(ShortInNotebooks, ValueError):
    """A parameter has a wrong name, type or value; the message names the valid ones."""
