"""Generated GE MUSE exports with the elements of the public descriptions of RestingECG."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

RECORDED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
HEAD = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
TAIL = (
    "<RestingECGMeasurements><VentricularRate>61</VentricularRate><PRInterval>158</PRInterval>"
    "<QRSDuration>94</QRSDuration><QTInterval>412</QTInterval><QTCorrected>415</QTCorrected>"
    "<PAxis>50</PAxis><RAxis>-7</RAxis><TAxis>31</TAxis></RestingECGMeasurements>"
)


def write(
    path: Path,
    counts: Mapping[str, np.ndarray],
    rate: tuple[int, int] = (500, 0),
    per_bit: float = 4.88,
    head: str = HEAD,
    **changed: str,
) -> Path:
    """Write one export: a constant Median of 1.2 s, then the Rhythm. counts: lead to int16.

    changed: elements of each rhythm lead with another text; None omits the element.
    """
    median = {name: np.full(600, 1000, dtype="<i2") for name in counts}
    waves = _waveform("Median", median, rate, per_bit, {}) + _waveform("Rhythm", counts, rate, per_bit, changed)
    patient = "<PatientDemographics></PatientDemographics>"
    path.write_text(f"{head}<RestingECG>{patient}{TAIL}{waves}</RestingECG>\n", encoding="latin-1")
    return path


def _waveform(kind: str, counts: Mapping, rate: tuple[int, int], per_bit: float, changed: Mapping) -> str:
    leads = "".join(_lead(name, np.asarray(values, dtype="<i2"), per_bit, changed) for name, values in counts.items())
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><WaveformStartTime>0</WaveformStartTime>"
        f"<NumberofLeads>{len(counts)}</NumberofLeads><SampleType>CONTINUOUS_SAMPLES</SampleType>"
        f"<SampleBase>{rate[0]}</SampleBase><SampleExponent>{rate[1]}</SampleExponent>"
        f"<HighPassFilter>16</HighPassFilter><LowPassFilter>150</LowPassFilter>{leads}</Waveform>\n"
    )


def _lead(name: str, values: np.ndarray, per_bit: float, changed: Mapping) -> str:
    payload = values.tobytes()
    text = base64.b64encode(payload).decode()
    lines = "\n".join(text[k : k + 76] for k in range(0, len(text), 76))
    parts = {
        "LeadByteCountTotal": len(payload),
        "LeadTimeOffset": 0,
        "LeadSampleCountTotal": len(values),
        "LeadAmplitudeUnitsPerBit": per_bit,
        "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadHighLimit": 32767,
        "LeadLowLimit": -32768,
        "LeadID": name,
        "LeadOffsetFirstSample": 0,
        "FirstSampleBaseline": 0,
        "LeadSampleSize": 2,
        "LeadOff": "FALSE",
        "BaselineSway": "FALSE",
        "LeadDataCRC32": zlib.crc32(payload),
        "WaveFormData": f"\n{lines}\n",
    }
    shown = {key: value for key, value in {**parts, **changed}.items() if value is not None}
    return "<LeadData>" + "".join(f"<{key}>{value}</{key}>" for key, value in shown.items()) + "</LeadData>"
