"""Other people's files: an ECG from WFDB, a DICOM waveform or CSV, a cine from NIfTI; content decides, not names."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eccl_lib.data import cine_nifti, dicom, segment, ukb
from eccl_lib.data.files import read_bytes
from eccl_lib.data.records import LEADS, CineRecord, EcgRecord, UnreadableError

LARGEST_FILE = 256 * 2**20
LARGEST_TEXT = 64 * 2**20
LONGEST_SECONDS = 120  # read of a long recording; ten are used
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
HIGHEST_MV = 50.0  # no skin lead shows more; values above are in another unit

WFDB = "WFDB (name.hea with its .dat or .mat beside it)"
CSV = (
    "CSV (first row: lead names such as I, II, V1; the sampling rate as a line '# rate=500' above it or as a column "
    "'time' in seconds; values in mV, or a line '# unit=uV')"
)
ACCEPTED = f"Accepted are: UK Biobank's ECG XML; {WFDB}; a DICOM waveform (.dcm); {CSV}."


def read_ecg(path: Path | str) -> EcgRecord:
    """One ECG from a file of any accepted kind. Raises UnreadableError with what is accepted."""
    path = Path(path).expanduser()
    header = path if path.suffix == ".hea" else path.with_name(f"{path.stem if path.suffix else path.name}.hea")
    if path.suffix.lower() in ("", ".hea", ".dat", ".mat") and header.is_file():
        return read_wfdb(header)
    if not path.is_file():
        raise UnreadableError(f"there is no file {path}", ACCEPTED)
    with path.open("rb") as handle:
        start = handle.read(1024)
    if start[128:132] == b"DICM":
        return read_dicom_waveform(path)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return ukb.read_ecg(path)
    if path.suffix.lower() in (".dat", ".mat"):
        raise UnreadableError(f"the header {header.name} is not beside {path.name}", ACCEPTED)
    if b"\0" in start or not start.strip():
        raise UnreadableError(f"{path.name} is {'binary' if start.strip() else 'empty'}: no known ECG format", ACCEPTED)
    return read_csv(path)


def lead_name(text: str) -> str | None:
    """The lead that a file's channel name means: ``MDC_ECG_LEAD_AVR``, ``Lead I (Einthoven)``, ``v1`` to aVR, I, V1."""
    words = re.split(r"[^A-Za-z0-9]+", text)
    known = {lead.lower(): lead for lead in LEADS}
    return next((known[word.lower()] for word in words if word.lower() in known), None)


def _by_lead(names: Sequence[str], channels: np.ndarray, factors: Sequence[float]) -> tuple[np.ndarray, list[str]]:
    """Channels (C, T) in file order to (12, T) mV in the order of LEADS; NaN where a lead is absent."""
    signal = np.full((len(LEADS), channels.shape[1]), np.nan)
    seen: set[str] = set()
    other = []
    for name, channel, factor in zip(names, channels, factors, strict=True):
        lead = lead_name(name)
        if lead is None or lead in seen:
            other.append(name.strip()[:20])
            continue
        seen.add(lead)
        signal[LEADS.index(lead)] = np.asarray(channel, dtype=np.float64) * factor
    if len(seen & set(LEADS[:6])) < 2:
        found = ", ".join(names[:20]) or "none"
        raise UnreadableError(f"fewer than two limb leads are named; the channels are: {found[:200]}", ACCEPTED)
    if np.nanmax(np.abs(signal)) > HIGHEST_MV:
        raise UnreadableError(f"values up to {np.nanmax(np.abs(signal)):.0f} mV are no ECG", "State the true unit.")
    return signal, [f"channels left out: {', '.join(other)}"] if other else []


def _factor(unit: str) -> float:
    if unit.strip().lower() not in MILLIVOLTS:
        raise UnreadableError(f"the unit {unit[:20]!r} is no voltage", f"Known are {', '.join(MILLIVOLTS)}.")
    return MILLIVOLTS[unit.strip().lower()]


def read_wfdb(header: Path) -> EcgRecord:
    """A PhysioNet record by its .hea. Raises UnreadableError."""
    import wfdb

    name = str(header.with_suffix(""))
    try:
        facts = wfdb.rdheader(name)
        # A header is free to name any file of the machine: only neighbours are opened.
        for file in facts.file_name or []:
            if file is None or Path(file).name != file or not header.with_name(file).is_file():
                raise UnreadableError(f"the header names a file {str(file)[:60]!r} that is not beside it", ACCEPTED)
            if header.with_name(file).stat().st_size > LARGEST_FILE:
                raise UnreadableError(f"{file} has more than {LARGEST_FILE / 2**20:.0f} MB")
        last = min(int(facts.sig_len), int(LONGEST_SECONDS * facts.fs)) if facts.sig_len else None
        record = wfdb.rdrecord(name, sampto=last)
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(
            f"the WFDB record is damaged ({type(error).__name__}: {str(error)[:80]})", ACCEPTED
        ) from error
    if record.p_signal is None or not record.sig_name:
        raise UnreadableError("the WFDB record has no signals", ACCEPTED)
    names, units = ([str(word or "") for word in words] for words in (record.sig_name, record.units))
    signal, notes = _by_lead(names, record.p_signal.T, [_factor(unit) for unit in units])
    return EcgRecord(signal, float(record.fs), notes=tuple(notes))


def read_dicom_waveform(path: Path) -> EcgRecord:
    """The longest group of leads in a DICOM ECG (the rhythm strip, not the median beat). Raises UnreadableError."""
    import pydicom

    read_bytes(path, LARGEST_TEXT)
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID")).encode() == dicom.DEFLATED:
            raise UnreadableError("the DICOM file is deflated and can expand without limit", "Store it uncompressed.")
        dataset = pydicom.dcmread(path)
        groups = list(dataset.get("WaveformSequence") or [])
        if not groups:
            raise UnreadableError("the DICOM file has no waveform", ACCEPTED)
        longest = max(range(len(groups)), key=lambda k: int(groups[k].NumberOfWaveformSamples))
        channels = groups[longest].ChannelDefinitionSequence
        values = dataset.waveform_array(longest).T
        names = [channel.ChannelSourceSequence[0].CodeMeaning for channel in channels]
        units = [channel.ChannelSensitivityUnitsSequence[0].CodeValue for channel in channels]
        rate = float(groups[longest].SamplingFrequency)
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"the DICOM waveform is damaged ({type(error).__name__}: {str(error)[:80]})") from error
    signal, notes = _by_lead(names, values, [_factor(unit) for unit in units])
    return EcgRecord(signal, rate, notes=tuple(notes))


def read_csv(path: Path) -> EcgRecord:
    """Columns of samples named by lead, comma, semicolon or tab separated; see CSV. Raises UnreadableError."""
    text = read_bytes(path, LARGEST_TEXT).decode("utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    settings = {}
    while lines and lines[0].lstrip().startswith("#"):
        for key, value in re.findall(r"(\w+)\s*[=:]\s*([^\s,;]+)", lines.pop(0)):
            settings[key.lower()] = value
    if len(lines) < 2:
        raise UnreadableError(f"{path.name} has no rows of numbers", ACCEPTED)
    separator = max(",;\t", key=lines[0].count)
    names = [name.strip() for name in next(csv.reader(lines[:1], delimiter=separator))]
    rows = lines[1 : 1 + 2_000_000]
    try:
        table = np.array([[float(x) if x.strip() else np.nan for x in row.split(separator)] for row in rows])
    except ValueError as error:
        raise UnreadableError(
            f"a row of {path.name} has another length or no numbers ({str(error)[:60]})", ACCEPTED
        ) from error
    if table.ndim != 2 or table.shape[1] != len(names):
        raise UnreadableError(f"{path.name} has {len(names)} names and {table.shape[-1]} columns", ACCEPTED)
    clock = [k for k, name in enumerate(names) if re.match(r"(?i)^(time|t|seconds|ms)\b|^(time|t)_", name)]
    rate = _csv_rate(settings, names[clock[0]] if clock else "", table[:, clock[0]] if clock else None)
    leads = [k for k in range(len(names)) if k not in clock]
    factor = _factor(settings.get("unit", settings.get("units", "mV")))
    signal, notes = _by_lead([names[k] for k in leads], table[:, leads].T, [factor] * len(leads))
    return EcgRecord(signal, rate, notes=tuple(notes))


def _csv_rate(settings: dict[str, str], clock_name: str, clock: np.ndarray | None) -> float:
    """Samples per second from '# rate=' or from the time column."""
    stated = settings.get("rate", settings.get("fs", settings.get("hz")))
    if stated is not None:
        try:
            return float(re.sub(r"(?i)hz$", "", stated))
        except ValueError as error:
            raise UnreadableError(f"the sampling rate is given as {stated[:20]!r}", ACCEPTED) from error
    if clock is None:
        raise UnreadableError("the sampling rate is not in the file", ACCEPTED)
    steps = np.diff(clock)
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > 0.5 * step:
        raise UnreadableError("the time column does not grow evenly", ACCEPTED)
    mean_step = (clock[-1] - clock[0]) / (len(clock) - 1)  # times are often rounded; their mean step is not
    return (1000.0 if re.search(r"(?i)ms\b|milli", clock_name) else 1.0) / mean_step


def read_cine(
    path: Path, segmentation: Path | None = None, frames: Sequence[int] | None = None, order: str = "ukb_cardiac"
) -> CineRecord:
    """A short-axis cine from a 4-D NIfTI (x, y, slice, frame), or from UK Biobank's zip; slices base to apex.

    frames: which of the cine's frames the segmentation's volumes are (ED and ES, say); None where it has all.
    order: of the segmentation's labels, one of ``masks.ORDERS``. Raises UnreadableError.
    """
    path = Path(path)
    opened = ukb.open_cine(path) if path.suffix.lower() == ".zip" else cine_nifti.open_file(path)
    return segment.read(opened, segmentation, segment.Segmenter(mask_labels=order), frames=frames)
