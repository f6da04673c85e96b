"""Reader of ECGs stored as DICOM waveforms."""

from pathlib import Path

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import dicom_elements, strips
from eccl_lib.data.formats.leads import GAP, lead_name, millivolts
from eccl_lib.data.formats.strips import Strip
from eccl_lib.data.reading import reading
from eccl_lib.data.records import EcgRecord
from eccl_lib.io.regular import read_bytes

LARGEST_WAVEFORM = 4 * 2**20  # bytes; two minutes of fifteen leads at 1000 Hz have 3.6 MB
MOST_ITEMS = 10_000  # of all sequences; an ECG has about a hundred, with all measurements a thousand
WAVEFORMS, MODALITY = (0x5400, 0x0100), (0x0008, 0x0060)
ITEM = b"\xfe\xff\x00\xe0"
META_BYTES = 4096  # at the start of a file; they contain its transfer syntax
FILE_META, DATASET = b"\x02\x00\x00\x00UL", (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00")
# Last part of a lead's code in MDC (2:1) and in SCP-ECG (5.6.3-9-1), to the lead.
CODES = {1: "I", 2: "II", **{k + 2: f"V{k}" for k in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
CODE_FORMS = ("2:", "5.6.3-9-")
WRITE_UNIT = "Write the unit into the file, such as uV, or export it again with its calibration."


def matches(start: bytes) -> bool:
    """True for a DICOM file, also without a preamble. start: its first bytes."""
    return start[128:132] == b"DICM" or start.startswith((FILE_META, *DATASET))


def read(path: Path) -> EcgRecord:
    """Read a DICOM ECG: the longest waveform group (not the median beat) and the groups of the same time.

    Raises UnreadableError if the leads were recorded one after another, or a unit is missing.
    """
    data = read_bytes(path, LARGEST_WAVEFORM)
    if (items := data.count(ITEM)) > MOST_ITEMS:
        raise UnreadableError(f"the DICOM file has {items:,} items of sequences; an ECG has some hundreds")
    if dicom_elements.DEFLATED in data[:META_BYTES]:
        cure = "Convert it to an uncompressed transfer syntax."
        raise UnreadableError("the DICOM file is deflated; its unpacked size is unknown", cure)
    if data.startswith(FILE_META):
        data = bytes(128) + b"DICM" + data
    with reading("the DICOM waveform is damaged"):
        dataset = dicom_elements.dataset(data, (WAVEFORMS, MODALITY))
        groups = list(dataset.get("WaveformSequence") or [])
        if not groups:
            modality = f" (modality {str(dataset.get('Modality'))[:16]!r})" if dataset.get("Modality") else ""
            raise UnreadableError(f"the DICOM file has no waveform{modality}", "Give the file with the ECG's waveform.")
        return strips.record([_strip(dataset, k) for k in range(len(groups))])


def _strip(dataset, index: int) -> Strip:
    """One multiplex group. Raises UnreadableError."""
    group = dataset.WaveformSequence[index]
    if not group.get("SamplingFrequency"):
        reason = "the DICOM waveform has no SamplingFrequency (003A,001A)"
        raise UnreadableError(reason, "Write the rate into the file.")
    names = [_name(channel) for channel in group.ChannelDefinitionSequence]
    offset = group.get("MultiplexGroupTimeOffset")
    start = None if offset is None else float(offset) / 1000
    samples, rate = int(group.NumberOfWaveformSamples), float(group.SamplingFrequency)
    return Strip(names, samples, rate, lambda: _load(dataset, index, names), start)


def _load(dataset, index: int, names: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Channels of a group in their units, NaN for padding; and the units. Raises UnreadableError."""
    from pydicom.waveforms import multiplex_array

    group, channels, units = dataset.WaveformSequence[index], [], []
    raw = multiplex_array(dataset, index, as_raw=True).T
    big_endian = dataset.original_encoding[1] is False  # which pydicom reads as little-endian
    raw = raw.byteswap() if big_endian else raw
    for name, channel, counts in zip(names, group.ChannelDefinitionSequence, raw, strict=True):
        units.append(_unit(channel, name))
        values = counts * (float(channel.get("ChannelSensitivity") or 1) * _correction(channel)) + _baseline(channel)
        values[_is_gap(counts, group, big_endian)] = np.nan
        channels.append(values)
    return channels, units


def _correction(channel) -> float:
    value = channel.get("ChannelSensitivityCorrectionFactor")
    return 1.0 if value in (None, "") else float(value)


def _baseline(channel) -> float:
    return float(channel.get("ChannelBaseline") or 0)


def _is_gap(counts: np.ndarray, group, big_endian: bool) -> np.ndarray:
    """(T,) bool: the samples with the group's padding value, or with the most negative 16-bit integer."""
    padding = group.get("WaveformPaddingValue")
    gap = np.zeros(len(counts), dtype=bool)
    if counts.dtype == np.int16:
        gap |= counts == GAP
    if padding is not None:
        order = counts.dtype.newbyteorder(">" if big_endian else "<")
        value = np.frombuffer(padding, order, 1)[0] if isinstance(padding, bytes) else padding
        gap |= counts == value
    return gap


def _name(channel) -> str:
    """Name of a channel: the first of coded meaning, code and label that is a lead, else the first of them."""
    source = (channel.get("ChannelSourceSequence") or [{}])[0]
    code = str(source.get("CodeValue", ""))
    form = next((form for form in CODE_FORMS if code.startswith(form)), None)
    number = code.removeprefix(form) if form else ""
    coded = CODES.get(int(number), "") if number.isdecimal() else ""
    texts = [str(source.get("CodeMeaning", "")), coded, code, str(channel.get("ChannelLabel", ""))]
    return next((text for text in texts if lead_name(text)), next(filter(None, texts), ""))


def _unit(channel, name: str) -> str:
    """Unit of a channel. Raises UnreadableError if a lead has no unit, or no sensitivity."""
    coded = (channel.get("ChannelSensitivityUnitsSequence") or [{}])[0]
    texts = [text for key in ("CodeValue", "CodeMeaning") if (text := str(coded.get(key) or ""))]
    missing = [] if channel.get("ChannelSensitivity") else ["ChannelSensitivity (003A,0210)"]
    missing += [] if texts else ["ChannelSensitivityUnitsSequence (003A,0211)"]
    if missing and lead_name(name):
        reason = f"the unit of lead {lead_name(name)} is unknown: the DICOM file has no {' and no '.join(missing)}"
        raise UnreadableError(reason, WRITE_UNIT)
    return next((text for text in texts if millivolts(text)), next(iter(texts), ""))
