"""Reader of ECGs in EDF and EDF+ (continuous), as of Holter and sleep recorders; the edfio package parses the file."""

from pathlib import Path

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats.leads import GAP, at_one_rate, by_lead, lead_names, samples_to_read
from eccl_lib.data.reading import reading
from eccl_lib.data.records import EcgRecord
from eccl_lib.io import regular

MARK = b"0       "  # the version of EDF
HEADER_BYTES = 256
_RECORDS = slice(236, 244)  # of the header: number of data records, -1 while it is recorded
_RESERVED = slice(192, 236)  # of the header: EDF+C, EDF+D, or blank for EDF


def read(path: Path) -> EcgRecord:
    """Read the leads of the first two minutes. Raises UnreadableError."""
    import edfio

    with regular.open_file(path) as file:
        header = regular.read(file, HEADER_BYTES)
    if header[_RESERVED].strip().startswith(b"EDF+D"):
        reason = "the recording is EDF+D, i.e. it has interruptions"
        raise UnreadableError(reason, "Write a part without interruptions as EDF+C, for example with EDFbrowser.")
    with reading("the EDF file is damaged"):
        recording = edfio.read_edf(path, lazy_load_data=True)
        signals = recording.signals
    stated, held = header[_RECORDS].strip(), recording.num_data_records
    if stated.isdigit() and int(stated) > held:
        reason = f"the EDF file holds {held:,} of the {int(stated):,} data records that its header states"
        raise UnreadableError(f"{reason}: it was cut short", DOWNLOAD_AGAIN)
    names = [signal.label for signal in signals]
    leads = lead_names(names)
    rates = [signal.sampling_frequency for signal in signals]
    highest = max((rate for rate, lead in zip(rates, leads, strict=True) if lead), default=0.0)
    seconds = recording.duration
    if highest:
        seconds = min(seconds, samples_to_read(highest, len(signals)) / highest)
    channels = [_channel(s, seconds) if lead else np.empty(0) for s, lead in zip(signals, leads, strict=True)]
    used, rate = at_one_rate(names, channels, rates)
    signal, notes = by_lead(names, used, [signal.physical_dimension for signal in signals])
    return EcgRecord(signal, float(rate), notes=tuple(notes))


def _channel(signal, seconds: float) -> np.ndarray:
    """Physical values of the first two minutes, NaN where there is none. Raises UnreadableError."""
    with reading("the EDF file is damaged"):
        counts = signal.get_digital_slice(0, seconds)
        low, high = signal.digital_range
        gain = (signal.physical_max - signal.physical_min) / (high - low)
        values = signal.physical_min + (counts - float(low)) * gain
    if not np.isfinite(values).all() or not gain:
        raise UnreadableError(f"lead {signal.label!r} has no valid range of values in the EDF header", DOWNLOAD_AGAIN)
    return np.where(counts == GAP, np.nan, values)
