"""TODO."""

from __future__ import annotations

DOWNLOAD_AGAIN = "Download or make the file again; if it stays so, leave the participant out."


class UnreadableError(ValueError):
    """A file cannot be used. The message names the fault and the cure; the caller adds the file."""

    def __init__(self, reason: str, cure: str = DOWNLOAD_AGAIN) -> None:
        self.reason, self.cure = reason, cure
        super().__init__(f"{reason}. {cure}".rstrip() if cure else reason)


class MissingError(FileNotFoundError):
    """Something upstream has not been built; the message holds the command that builds it."""


class DamagedError(RuntimeError):
    """A file's content is not what its manifest says; the message names the file and the cure."""


class ConfigError(ValueError):
    """A parameter has a wrong name, type or value; the message names the right ones."""
