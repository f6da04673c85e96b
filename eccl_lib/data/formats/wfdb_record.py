"""Reader of PhysioNet's WFDB records: PTB-XL, the Challenges, PTB and others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import wfdb_header
from eccl_lib.data.formats.leads import at_one_rate, by_lead, samples_to_read
from eccl_lib.data.formats.wfdb_header import HeaderText
from eccl_lib.data.reading import reading
from eccl_lib.data.records import EcgRecord

LARGEST_FILE = 256 * 2**20
# Bytes per sample of each format; compressed formats are not listed.
BYTES = {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "24": 3, "32": 4, "212": 1.5, "310": 4 / 3, "311": 4 / 3}
SIGNALS = (".dat", ".mat")  # suffixes of signal files
MOST_SEGMENTS = 10_000  # of a record; a week in an intensive care unit has some thousands; ours
MOST_SKEW = 1000  # frames; the channels of a tape recorder differ by some; ours
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
    frames, per_frame = _extent(text)
    with wfdb_header.readable(text, frames) as name:
        most = samples_to_read(text.rate * per_frame, text.channels) // per_frame
        names, channels, units, rate = _read(name, min(frames, most), several=per_frame > 1)
    signal, more = by_lead(text.names or names, channels, units)
    return EcgRecord(signal, rate, notes=(*notes, *more))


def _extent(text: HeaderText) -> tuple[int, int]:
    """Frames of a record, and the most samples of a channel in a frame. Raises UnreadableError if files do not fit."""
    if text.segments:
        _check_segments(text)
    frames, per_frame = (text.frames, 1) if text.segments else _check_files(text)
    if not frames:
        raise UnreadableError("the WFDB record has no samples", DOWNLOAD_AGAIN)
    return frames, per_frame


def _read(name: str, last: int, several: bool) -> tuple[list[str], Sequence[np.ndarray], list[str], float]:
    """Names, channels in their units, units and sampling rate of a record.

    name: path without suffix; last: number of frames; several: the channels have several sampling rates.
    """
    import wfdb

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


def _check_files(text: HeaderText) -> tuple[int, int]:
    """Check the signal files of a record. Returns its number of frames, and the most samples of a channel in a frame.

    Without a stated number, as many frames as all files hold. Raises UnreadableError.
    """
    files, held = text.signal_files(), []
    for file, channels in files.items():
        if (skew := max(channel.skew for channel in channels)) > MOST_SKEW:  # the wfdb package reserves memory for it
            reason = f"the WFDB header shifts a channel by {skew:,} samples"
            raise UnreadableError(reason, "Correct the skew, the number after ':' in the channel's format.")
        size = wfdb_header.signal_file(text.path, file).stat().st_size
        if size > LARGEST_FILE:
            cure = "Cut a part of at most two minutes out of it."
            raise UnreadableError(f"the signal file has more than {LARGEST_FILE / 2**20:.0f} MB", cure)
        per_frame = BYTES.get(channels[0].kind, 0) * sum(channel.per_frame for channel in channels)
        if not per_frame:
            if not text.frames:
                reason = "the header of a compressed WFDB record states no number of samples"
                raise UnreadableError(reason, "Write it into line 1 of the header: name 12 500 5000.")
            continue
        held.append(int(max(0, size - channels[0].offset) / per_frame))
        if held[-1] < text.frames:
            reason = f"the signal file holds {held[-1]:,} of the {text.frames:,} samples that the header states"
            raise UnreadableError(f"{reason}: it was cut short", DOWNLOAD_AGAIN)
    per_frame = max((channel.per_frame for channels in files.values() for channel in channels), default=1)
    return text.frames or min(held, default=0), max(per_frame, 1)


def _check_segments(text: HeaderText) -> None:
    """Check the segments of a record. Raises UnreadableError if one is missing, or has several sampling rates."""
    if max(text.segments, len(text.lines)) > MOST_SEGMENTS:
        reason = f"the WFDB record has {max(text.segments, len(text.lines)):,} segments"
        raise UnreadableError(reason, "Convert its first two minutes to a record of one segment (WFDB's xform).")
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
        if not is_layout and _check_files(wfdb_header.read_text(header))[1] > 1:
            reason = "this is a multi-segment record whose channels have several sampling rates"
            raise UnreadableError(reason, "Convert it to a record of one segment (WFDB's xform).")
