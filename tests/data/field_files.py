"""Builders of ECG files with the faults of real exports, for the tests of field cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from eccl_lib.config.schema import LEADS
from eccl_lib.io import paths

FOLDER = paths.ROOT.parent / "shared" / "data" / "field_cases"


def case(name: str) -> Path:
    """A file or folder of the field cases; skips the test where they are not there."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"the field cases are not there: {FOLDER}")
    return path


def write_wfdb(
    header: Path,
    mv: np.ndarray,
    names: Sequence[str] = LEADS,
    gains: Sequence[str] | str = "1000/mV",
    line: str = "{stem} {n} 500 {samples}",
    counts_per_mv: float = 1000,
    encoding: str = "utf-8",
) -> Path:
    """A record in format 16 with one .dat. gains: third field of each signal line; line: the record line."""
    counts = np.rint(mv * counts_per_mv)
    counts[np.isnan(counts)] = -(2**15)
    data = header.with_name(f"{header.stem}.dat")
    data.write_bytes(counts.astype("<i2").T.tobytes())
    gains = [gains] * len(mv) if isinstance(gains, str) else gains
    lines = [line.format(stem=header.stem, n=len(mv), samples=mv.shape[1])]
    lines += [f"{data.name} 16 {gain} 16 0 0 0 0 {name}" for gain, name in zip(gains, names, strict=True)]
    header.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return header


def group(leads: Sequence[str], counts: np.ndarray, start_ms: float | None = 0, rate: float = 500, **options: object):
    """One DICOM multiplex group of 2.5 uV per count. counts: (C, T) int16, or uint16 with interpretation="US".

    options: unit, sensitivity (None leaves the tag out), label (name in ChannelLabel only), code (name in CodeValue
    only), padding (WaveformPaddingValue).
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    item = Dataset()
    if start_ms is not None:
        item.MultiplexGroupTimeOffset = start_ms
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = counts.shape
    item.SamplingFrequency = rate
    item.WaveformBitsAllocated = 16
    item.WaveformSampleInterpretation = options.get("interpretation", "SS")
    channels = []
    for lead in leads:
        channel, source = Dataset(), Dataset()
        source.CodeValue = lead if options.get("code") else "x"
        source.CodingSchemeDesignator = "MDC"
        if options.get("label"):
            channel.ChannelLabel = lead
        elif not options.get("code"):
            source.CodeMeaning = f"Lead {lead}"
        channel.ChannelSourceSequence = Items([source])
        if (sensitivity := options.get("sensitivity", 2.5)) is not None:
            channel.ChannelSensitivity = sensitivity
        if (unit := options.get("unit", "uV")) is not None:
            coded = Dataset()
            coded.CodeValue = unit
            channel.ChannelSensitivityUnitsSequence = Items([coded])
        channel.WaveformBitsStored = 16
        channels.append(channel)
    item.ChannelDefinitionSequence = Items(channels)
    if "padding" in options:
        item.add_new((0x5400, 0x100A), "OW", np.array([options["padding"]]).astype(counts.dtype).tobytes())
    item.add_new((0x5400, 0x1010), "OW", np.ascontiguousarray(counts.T).tobytes())
    return item


def write_dicom(path: Path, *groups: object) -> Path:
    """A 12-lead ECG object with these multiplex groups."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "ECG"
    dataset.WaveformSequence = Items(list(groups))
    dataset.save_as(path, enforce_file_format=True)
    return path


def sequence_set(names: Sequence[str], counts: np.ndarray, head: str = "20200102030405.000", **options: str) -> str:
    """One sequence set of an HL7 aECG, 5 uV per count unless options say otherwise (scale, unit, increment)."""
    scale, unit = options.get("scale", "5"), options.get("unit", "uV")
    step, origin = options.get("increment", "0.002"), options.get("origin", "0")
    clock = f'<head value="{head}"/><increment value="{step}" unit="{options.get("step_unit", "s")}"/>'
    parts = [f'<code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">{clock}</value>']
    for name, lead in zip(names, counts, strict=True):
        quantities = f'<origin value="{origin}" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>'
        digits = " ".join(map(str, np.rint(lead).astype(int)))
        value = f'<value xsi:type="SLIST_PQ">{quantities}<digits>{digits}</digits></value>'
        parts.append(f'<code code="{name}" codeSystem="2.16.840.1.113883.6.24"/>{value}')
    return (
        "<sequenceSet>" + "".join(f"<component><sequence>{p}</sequence></component>" for p in parts) + "</sequenceSet>"
    )


def write_aecg(path: Path, *sets: str, encoding: str = "utf-8") -> Path:
    """An HL7 aECG with one series, and a derived series with a mean beat."""
    beat = sequence_set(["MDC_ECG_LEAD_I"], np.ones((1, 300)))
    derived = f"<derivation><derivedSeries><component>{beat}</component></derivedSeries></derivation>"
    series = "".join(f"<component>{one}</component>" for one in sets) + derived
    spaces = 'xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    body = (
        f'<AnnotatedECG {spaces}><component><series><code code="RHYTHM"/>{series}</series></component></AnnotatedECG>'
    )
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>\n{body}'.encode(encoding))
    return path


def write_edf(path: Path, mv: np.ndarray, names: Sequence[str] = LEADS, unit: str = "uV", rate: float = 500) -> Path:
    """An EDF with one signal per lead, in records of one second."""
    import edfio

    per_mv = {"uV": 1000, "mV": 1, "V": 1e-3}[unit]
    scale = 3.2767 * per_mv  # 0.1 uV per count
    signals = [
        edfio.EdfSignal(
            np.clip(row * per_mv, -scale, scale),
            rate,
            label=name,
            physical_dimension=unit,
            physical_range=(-scale, scale),
            digital_range=(-32767, 32767),
        )
        for row, name in zip(mv, names, strict=True)
    ]
    edfio.Edf(signals, data_record_duration=1).write(path)
    return path
