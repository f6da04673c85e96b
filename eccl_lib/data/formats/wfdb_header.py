"""The text of a WFDB header (.hea), before the wfdb package reads it: encoding, odd forms, uncalibrated channels."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats.leads import lead_name, millivolts
from eccl_lib.io.regular import read_bytes

LARGEST_HEADER = 2**20
SUFFIXES = ("", ".hea", ".dat", ".mat")
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_RECORD = re.compile(r"[-\w]+(?:/(?P<segments>\d+))?\Z")
_FORMAT = re.compile(
    r"(?P<format>\d{1,9})(?:x(?P<per_frame>\d{1,9}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,18}))?\Z"
)
# Time and date of the record line: those that the wfdb package reads, and the Challenge's 05-May-2020, which it skips.
_WHEN = re.compile(r"(?:\d{1,2}(?::\d{2}){1,2}(?:\.\d{1,6})?(?: \d{1,2}/\d{1,2}/\d{4})?|\d{2}-[A-Za-z]{3}-\d{4}.*)?\Z")
_COUNT = re.compile(r"[0-9]{1,100}")
_GAIN = re.compile(r"(?P<gain>[-+.\deE]*)(?P<baseline>\(-?\d+\))?(?:/(?P<unit>\S*))?\Z")


class Channel(NamedTuple):
    """How one channel is stored. skew: frames by which it is shifted; offset: bytes before the samples."""

    kind: str
    per_frame: int
    skew: int
    offset: int


@dataclass(frozen=True)
class HeaderText:
    """A header's lines without comments, as fields: the record line, then the signal or segment lines."""

    path: Path
    record: list[str]
    lines: list[list[str]]
    regular: bool  # False if the wfdb package would refuse or misread it

    @property
    def segments(self) -> int:
        """Number of segments of a multi-segment record; 0 for other records."""
        count = self.record[0].rpartition("/")[2]
        return int(count) if "/" in self.record[0] and _COUNT.fullmatch(count) else 0

    @property
    def rate(self) -> float:
        """Frames per second."""
        return float(re.match(_NUMBER, self.record[2])[0])

    @property
    def frames(self) -> int:
        """Number of frames; 0 if it is not stated."""
        return int(self.record[3]) if len(self.record) > 3 and _COUNT.fullmatch(self.record[3]) else 0

    @property
    def channels(self) -> int:
        """Number of channels that is stated."""
        return int(self.record[1])

    def signal_files(self) -> dict[str, list[Channel]]:
        """The channels in each signal file. Raises UnreadableError if they are not as many as the header states."""
        if len(self.lines) < self.channels:
            reason = f"the WFDB header describes {len(self.lines)} of the {self.channels:,} channels that it states"
            raise UnreadableError(reason, DOWNLOAD_AGAIN)
        files: dict[str, list[Channel]] = {}
        for line in self.lines:
            match = _FORMAT.match(line[1]) if len(line) > 1 else None
            if match is None:
                raise UnreadableError("a line of the WFDB header states no format of the samples", DOWNLOAD_AGAIN)
            numbers = (int(match[name] or usual) for name, usual in (("per_frame", 1), ("skew", 0), ("offset", 0)))
            channel = Channel(match["format"], *numbers)
            files.setdefault(line[0], []).append(channel)
        return files

    @property
    def names(self) -> list[str]:
        """Names of the channels as written, in any encoding; empty for a multi-segment record."""
        return [] if self.segments else [" ".join(line[8:]) for line in self.lines]

    @property
    def uncalibrated(self) -> list[str]:
        """Names of the leads without a gain, or with the gain 0."""
        return [n for n, line in zip(self.names, self.lines, strict=False) if lead_name(n) and not _gain(line)]


def header_of(path: Path) -> Path | None:
    """The header beside a file of a WFDB record (any of its files, or its name without a suffix), None if absent."""
    if path.suffix.lower() not in SUFFIXES:
        return None
    stem = path.name[: len(path.name) - len(path.suffix)]
    candidates = (path.with_name(stem + suffix) for suffix in (".hea", ".HEA", ".Hea"))
    return path if path.suffix.lower() == ".hea" else next((p for p in candidates if p.is_file()), None)


def read_text(path: Path) -> HeaderText:
    """The fields of a header. Raises UnreadableError if it is no header, or states no sampling rate."""
    data = read_bytes(path, LARGEST_HEADER)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not rows or len(rows[0]) < 2 or not _COUNT.fullmatch(rows[0][1]):
        raise UnreadableError("the first line of the WFDB header is not a record line", DOWNLOAD_AGAIN)
    rate = re.match(_NUMBER, rows[0][2]) if len(rows[0]) > 2 else None
    if rate is None or not rate[0].strip("0."):
        cure = "Write the rate into line 1 of the header, after the number of signals: name 12 500 5000."
        raise UnreadableError("the WFDB header states no sampling rate", cure)
    named = "/" in rows[0][0] or all(in_folder(path, line[0]) for line in rows[1:])
    plain = bool(_RECORD.match(rows[0][0]) and _WHEN.match(" ".join(rows[0][4:])))
    regular = path.suffix == ".hea" and data.isascii() and plain and named
    return HeaderText(path, rows[0], rows[1:], regular)


def segment_names(path: Path) -> list[str]:
    """Names of the segments in a header; empty if it is not one of a multi-segment record, or cannot be read."""
    try:
        text = read_text(path)
    except UnreadableError:
        return []
    return [line[0] for line in text.lines] if text.segments else []


def in_folder(header: Path, name: str | None) -> Path | None:
    """Path of the file that a header names; None if the header's folder has no such file."""
    is_plain = name and name != "~" and not re.search(r"[/\\\0]", name) and Path(name).name == name
    return path if is_plain and (path := header.with_name(name)).is_file() else None


def _gain(line: list[str]) -> float:
    """Units per mV of a signal line, 0 if it is not stated."""
    match = _GAIN.match(line[2]) if len(line) > 2 else None
    try:
        return float(match["gain"]) if match else 0.0
    except ValueError:
        return 0.0


@contextlib.contextmanager
def readable(header: HeaderText, frames: int) -> Iterator[str]:
    """Path without suffix of a record that the wfdb package can read. frames: number of its frames.

    For a header that is not regular, or states no length, this is a repaired copy in a temporary folder, with links to
    the signal files.
    """
    if (header.regular and header.frames) or header.segments:
        yield str(header.path.with_suffix(""))
        return
    with tempfile.TemporaryDirectory() as folder:
        # Time and date are not used and often malformed.
        lines = [" ".join(["record", *header.record[1:3], str(frames)])]
        for k, line in enumerate(header.lines):
            source, name = signal_file(header.path, line[0]), f"signal{k}.dat"
            first = next(j for j, other in enumerate(header.lines) if other[0] == line[0])
            if first == k:
                _link(source, Path(folder) / name)
            lines.append(" ".join([f"signal{first}.dat", line[1] if len(line) > 1 else "16", *_repaired(line)]))
        (Path(folder) / "record.hea").write_text("\n".join(lines) + "\n", encoding="ascii", errors="replace")
        yield str(Path(folder) / "record")


def _repaired(line: list[str]) -> list[str]:
    """The fields of a signal line after the format, with an ASCII unit."""
    if len(line) < 3:
        return []
    match = _GAIN.match(line[2])
    if match is None or not match["unit"]:
        gain = line[2]
    else:
        unit = {1e-3: "uV", 1.0: "mV", 1e3: "V"}.get(millivolts(match["unit"]), match["unit"])
        gain = f"{match['gain']}{match['baseline'] or ''}/{unit}"
    return [gain, *line[3:]]


def signal_file(header: Path, name: str) -> Path:
    """A header's signal file in its own folder, in any case. Raises UnreadableError if it is not there."""
    if path := in_folder(header, name):
        return path
    others = (path for path in header.parent.iterdir() if path.name.lower() == name.lower() and path.is_file())
    if path := next(others, None):
        return path
    raise not_in_folder(name)


def not_in_folder(name: str | None) -> UnreadableError:
    """The error for a signal file that is not in the folder of its header."""
    if name == "~":
        reason = "this is the layout header of a multi-segment record, which has no signals of its own"
        return UnreadableError(reason, "Read the record's main header.")
    cure = "Copy the record's .dat or .mat file into the folder of its header, or download it again."
    return UnreadableError(f"the header's file {str(name)[:60]!r} is not in its folder", cure)


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.absolute())
    except OSError:  # links need a permission on Windows
        shutil.copyfile(source, target)
