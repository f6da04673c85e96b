"""Errors that a user can correct; each message names the fault and the cure."""

from eccl_lib.config.escape import one_line

DOWNLOAD_AGAIN = "Download or export the file again; if the fault remains, leave the participant out."


class UnreadableError(ValueError):
    """A file cannot be used. The message names the fault and the cure; the caller adds the file.

    Both may quote the file; characters that control a terminal, such as line breaks, are escaped.
    """

    def __init__(self, reason: str, cure: str = DOWNLOAD_AGAIN) -> None:
        self.reason, self.cure = one_line(reason), one_line(cure)
        super().__init__(f"{self.reason}. {self.cure}".rstrip() if cure else self.reason)


class MissingError(FileNotFoundError):
    """A prerequisite does not exist; the message holds the command that makes it."""


class DamagedError(RuntimeError):
    """A file does not match its checksum; the message names the file and the cure."""


class ConfigError(ValueError):
    """A parameter has a wrong name, type or value; the message names the valid ones."""
