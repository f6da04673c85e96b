"""Reader of PhysioNet's WFDB records: PTB-XL, the Challenges, PTB and others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.files import reading
from eccl_lib.data.formats import wfdb_header
from eccl_lib.data.formats.leads import LONGEST_SECONDS, at_one_rate, by_lead
from eccl_lib.data.formats.wfdb_header import HeaderText
from eccl_lib.data.records import EcgRecord

LARGEST_FILE = 256 * 2**20
# Bytes per sample of each format; compressed formats are not listed.
BYTES = {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "24": 3, "32": 4, "212": 1.5, "310": 4 / 3, "311": 4 / 3}
SIGNALS = (".dat", ".mat")  # suffixes of signal files
DEFAULT_GAIN = 200  # units per mV of an uncalibrated channel; WFDB's rule


def read(header: Path) -> EcgRecord:
    """Read a record, also one of several segments. header: path of its .hea file. Raises UnreadableError."""
    text = wfdb_header.read_text(header)
    notes = []
    if text.uncalibrated:
        named = ", ".join(text.uncalibrated)
        notes.append(f"uncalibrated (gain 0): {named}; WFDB's {DEFAULT_GAIN} units per mV are assumed")
    if text.segments:
        notes.append("segments of a multi-segment record are joined")
    with wfdb_header.readable(text) as name:
        names, channels, units, rate = _read(name, text)
    signal, more = by_lead(text.names or names, channels, units)
    return EcgRecord(signal, rate, notes=(*notes, *more))


def _read(name: str, text: HeaderText) -> tuple[list[str], Sequence[np.ndarray], list[str], float]:
    """Names, channels in their units, units and sampling rate of a record. name: path without suffix."""
    import wfdb

    several = _check_segments(text) if text.segments else _check_files(text)
    last = min(text.frames, int(LONGEST_SECONDS * text.rate)) or None
    with reading("the WFDB record is damaged"):
        record = wfdb.rdrecord(name, sampto=last, smooth_frames=not several)
    if not record.sig_name:
        raise UnreadableError("the WFDB record has no signals", DOWNLOAD_AGAIN)
    names, units = ([str(text or "") for text in texts] for texts in (record.sig_name, record.units))
    if not several:
        return names, record.p_signal.T, units, float(record.fs)
    # Several samples per frame: the mean over a frame would lose the leads' own rate.
    rates = [float(record.fs) * samples for samples in record.samps_per_frame]
    channels, rate = at_one_rate(names, record.e_p_signal, rates)
    return names, channels, units, rate


def _check_files(text: HeaderText) -> bool:
    """Check the signal files of a record; True if its channels have several sampling rates. Raises UnreadableError."""
    files = text.signal_files()
    for file, channels in files.items():
        size = wfdb_header.signal_file(text.path, file).stat().st_size
        if size > LARGEST_FILE:
            cure = "Cut a part of at most two minutes out of it."
            raise UnreadableError(f"the signal file has more than {LARGEST_FILE / 2**20:.0f} MB", cure)
        kind, _, offset = channels[0]
        per_frame = BYTES.get(kind, 0) * sum(samples for _, samples, _ in channels)
        if per_frame and (present := int((size - offset) / per_frame)) < text.frames:
            reason = f"the signal file holds {present:,} of the {text.frames:,} samples that the header states"
            raise UnreadableError(f"{reason}: it was cut short", DOWNLOAD_AGAIN)
    return any(samples > 1 for channels in files.values() for _, samples, _ in channels)


def _check_segments(text: HeaderText) -> bool:
    """Check the segments of a record. Returns False: they have one sampling rate. Raises UnreadableError."""
    for segment, length in (line[:2] for line in text.lines if len(line) > 1):
        if segment == "~":
            if text.lines[0][1:2] != ["0"]:
                reason = "this is a multi-segment record with a gap but without a layout header"
                raise UnreadableError(reason, "Convert it to a record of one segment (WFDB's xform).")
            continue
        header = wfdb_header.in_folder(text.path, f"{segment}.hea")
        if header is None:
            cure = "Copy all segments into the folder of the record's header, or download it again."
            raise UnreadableError(f"the segment {segment[:60]!r} is not in the folder of the header", cure)
        is_layout = length == "0"
        if not is_layout and _check_files(wfdb_header.read_text(header)):
            reason = "this is a multi-segment record whose channels have several sampling rates"
            raise UnreadableError(reason, "Convert it to a record of one segment (WFDB's xform).")
    return False
