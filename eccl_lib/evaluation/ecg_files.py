"""ECG files and folders as a list of recordings; a file that cannot be read is an entry with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import ConfigError, UnreadableError, unexpected
from eccl_lib.config.escape import one_line
from eccl_lib.data import ecg
from eccl_lib.data.formats import detect
from eccl_lib.data.formats.wfdb_header import header_of
from eccl_lib.data.ingest import ecg_folders
from eccl_lib.data.listing import FileListing
from eccl_lib.data.records import EcgRecord
from eccl_lib.io.paths import expanded

SIDE_FILES = (".json",)  # beside an array or a record; they are no recordings of their own


@dataclass(frozen=True)
class NotRead:
    """A file that cannot be used. file: its path as the user gave it, or below the user's folder."""

    file: str
    reason: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}. {self.cure}".rstrip()

    def line(self, said: set[str]) -> str:
        """The same without a cure that is in ``said``; the cure is added to it. For a folder with many such files."""
        text = f"{self.file}: {self.reason}." if self.cure in said else str(self)
        said.add(self.cure)
        return text


@dataclass(frozen=True)
class Reading:
    """One ECG that was read. stored: (12, 5000) int16 uV at 500 Hz, baseline removed, as the store keeps it.

    signal: (12, 5000) mV as recorded, baseline kept. flags: those of ``ecg.quality``.
    """

    file: str
    signal: np.ndarray
    stored: np.ndarray
    heart_rate: float
    flags: dict[str, float | int | str]
    remarks: tuple[str, ...]

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads with a signal, recorded or computed."""
        return ecg.usable_leads(self.flags)


def find(paths: Sequence[Path | str]) -> list[Path | NotRead]:
    """The recordings of files and folders, each once, in the order of the paths; a WFDB record is its header.

    Folders are searched at any depth, with the rules of ``eccl ingest ecg``. Files of a folder that are no ECG are
    listed as well, since their reading gives the reason. Folders and names that cannot be opened are ``NotRead``.
    Raises ConfigError if there is no file at all.
    """
    found: dict[str, Path | NotRead] = {}
    for place in map(expanded, paths):
        for entry in _at(place):
            key = entry.file if isinstance(entry, NotRead) else str(entry.absolute())
            found.setdefault(key, entry)
    if not found:
        raise ConfigError(f"there is no file in {', '.join(map(str, paths))}")
    return list(found.values())


def _at(place: Path) -> list[Path | NotRead]:
    try:
        return _in_folder(place) if place.is_dir() else [header_of(place) or place]
    except OSError as error:  # such as a name that is too long
        return [NotRead(one_line(str(place)), f"the path cannot be used: {error.strerror}", "Correct the path.")]


def _in_folder(folder: Path) -> list[Path | NotRead]:
    listing = FileListing()
    try:
        files = [path for _, path in ecg_folders.recordings([folder], listing)]
    except UnreadableError as error:
        return [NotRead(one_line(str(folder)), error.reason, error.cure)]
    files = [path for path in files if path.name not in ecg_folders.PATIENT_TABLES]
    files += [path for path in listing.others if _counts(path)]
    refused = [NotRead(f"{folder}/.../{one_line(r.file)}", r.reason, r.cure) for r in listing.rejected]
    return [*sorted(files), *refused]


def _counts(path: Path) -> bool:
    """Whether a file that is no recording deserves a line of its own; a further file of a WFDB record does not."""
    is_side = path.suffix.lower() in SIDE_FILES or path.name in ecg_folders.PATIENT_TABLES
    return not is_side and not path.name.startswith(".") and not path.with_suffix(".hea").is_file()


def read(path: Path) -> Reading | NotRead:
    """Read and preprocess one file; whatever is wrong with it becomes the reason."""
    name = one_line(str(path))
    try:
        return reading_of(detect.read_ecg(path), name)
    except UnreadableError as error:
        return NotRead(name, error.reason, error.cure)
    except Exception as error:  # an unexpected error in one file must not stop the others
        fault = unexpected(error)
        return NotRead(name, fault.reason, fault.cure)


def reading_of(record: EcgRecord, name: str) -> Reading:
    """A recording in memory as a Reading; one lead is enough. Raises UnreadableError as ``ecg.preprocess`` does."""
    signal = ecg.first_ten_seconds(record, fewest_limb_leads=0)
    stored, heart_rate, flags = ecg.preprocess(record, signal)
    return Reading(name, signal, stored, heart_rate, flags, (*record.notes, *ecg.warnings(flags)))


def read_all(files: Sequence[Path | NotRead]) -> Iterator[Reading | NotRead]:
    """The recordings of ``find``, read one by one."""
    for entry in files:
        yield entry if isinstance(entry, NotRead) else read(entry)
