"""Errors that a user can correct; each message names the fault and the cure."""

DOWNLOAD_AGAIN = "Download or export the file again; if the fault remains, leave the participant out."


class UnreadableError(ValueError):
    """A file cannot be used. The message names the fault and the cure; the caller adds the file."""

    def __init__(self, reason: str, cure: str = DOWNLOAD_AGAIN) -> None:
        self.reason, self.cure = reason, cure
        super().__init__(f"{reason}. {cure}".rstrip() if cure else reason)


class MissingError(FileNotFoundError):
    """A prerequisite does not exist; the message holds the command that makes it."""


class DamagedError(RuntimeError):
    """A file does not match its checksum; the message names the file and the cure."""


class ConfigError(ValueError):
    """A parameter has a wrong name, type or value; the message names the valid ones."""
