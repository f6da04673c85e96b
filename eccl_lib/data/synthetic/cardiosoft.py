"""Writer of synthetic resting ECGs in GE CardioSoft's XML (UK Biobank field 20205)."""

import json

import numpy as np

from eccl_lib.config.schema import LEADS
from eccl_lib.data.synthetic.ecg import RATE, SAMPLES, STEP_UV, Strip

_BEAT_SAMPLES, _BEAT_R = 600, 235  # the median beat: 1200 ms, its R peak at 470 ms
_PER_LINE = 20
_MEASURED = """
    VentricularRate PQInterval PDuration QRSDuration QTInterval QTCInterval RRInterval PPInterval PAxis RAxis
    TAxis
""".split()  # noqa: SIM905
_UNITS = {"VentricularRate": "BPM", "PAxis": "degrees", "RAxis": "degrees", "TAxis": "degrees"}
_TABLE = """
    QDuration RDuration SDuration RpDuration PAmplitude QAmplitude RAmplitude SAmplitude R1Amplitude S1Amplitude
    JAmplitude JXAmplitude TAmplitude JXSlope R1Duration P1Amplitude JXEAmplitude T1Amplitude
""".split()  # noqa: SIM905

_HEAD = """<?xml version="1.0" encoding="ISO8859-1" ?>
<CardiologyXML>
<ObservationType>RestECG</ObservationType>
<ObservationDateTime><Hour>10</Hour><Minute>30</Minute><Second>0</Second><Day>1</Day><Month>1</Month><Year>2000</Year></ObservationDateTime>
<UID><DICOMStudyUID></DICOMStudyUID></UID>
<ClinicalInfo><ReasonForStudy></ReasonForStudy><Technician><FamilyName></FamilyName><GivenName></GivenName><PersonID></PersonID></Technician><ObservationComment></ObservationComment><DeviceInfo><Desc>CardioSoft</Desc><SoftwareVer>V6.73</SoftwareVer><AnalysisVer>12SL V21</AnalysisVer></DeviceInfo></ClinicalInfo>
<PatientVisit><PatientClass>O</PatientClass><AssignedPatientLocation><Facility></Facility><LocationNumber>0</LocationNumber><LocationName></LocationName></AssignedPatientLocation><PatientRoom></PatientRoom><AdmissionType>ROUT</AdmissionType><SysBP units="mmHg"></SysBP><DiaBP units="mmHg"></DiaBP></PatientVisit>
<PatientInfo><PID>SYNTHETIC</PID><Name><FamilyName></FamilyName><GivenName></GivenName></Name><Age units="years">{age}</Age><BirthDateTime><Day></Day><Month></Month><Year></Year></BirthDateTime><Gender>{sex}</Gender><Race>UNKNOWN</Race><Height units="cm">{height}</Height><Weight units="kg">{weight}</Weight><PaceMaker>no</PaceMaker></PatientInfo>
<FilterSetting><CubicSpline>No</CubicSpline><Filter50Hz>Yes</Filter50Hz><Filter60Hz>No</Filter60Hz><LowPass units="Hz">100</LowPass><HighPass units="Hz">0.01</HighPass></FilterSetting>
<Device-Type>2</Device-Type>
<Interpretation><Diagnosis>{diagnosis}</Diagnosis><Conclusion><ConclusionText>Synthetic recording, not a person</ConclusionText></Conclusion></Interpretation>
"""  # noqa: E501


def xml(recording: Strip, *, age: int, male: bool, height: float, weight: float) -> bytes:
    """Content of the XML file: measurements, median beat and 10 s strip of 12 leads. height: cm, weight: kg."""
    sex = "MALE" if male else "FEMALE"
    diagnosis = "".join(f"<DiagnosisText>{line}</DiagnosisText>" for line in _statements(recording))
    head = _HEAD.format(age=age, sex=sex, height=round(height), weight=f"{weight:.1f}", diagnosis=diagnosis)
    strip = (
        f'<StripData><NumberOfLeads>12</NumberOfLeads><SampleRate units="Hz">{RATE}</SampleRate>'
        f"<ChannelSampleCountTotal>{SAMPLES}</ChannelSampleCountTotal>"
        f'<Resolution units="uVperLsb">{STEP_UV}</Resolution>\n'
        f"{_waveforms(recording.counts)}</StripData>\n"
    )
    return (head + _measurements(recording) + strip + "</CardiologyXML>\n").encode("latin-1")


def _statements(recording: Strip) -> list[str]:
    m = recording.measurements
    rate = m["VentricularRate"]
    if "PQInterval" not in m:
        rhythm = "Atrial fibrillation"
    else:
        rhythm = "Sinus bradycardia" if rate < 60 else "Sinus tachycardia" if rate > 100 else "Normal sinus rhythm"
    extra = {1: "with premature ventricular complexes", 2: "with premature supraventricular complexes"}
    return [rhythm, *(extra[k] for k in sorted(set(recording.ectopic) - {0}))]


def _waveforms(counts: np.ndarray) -> str:
    """One WaveformData element per lead of (12, T) counts, comma-separated, with the device's line breaks."""
    parts = []
    for lead, row in zip(LEADS, counts, strict=True):
        lines = json.dumps(row.reshape(-1, _PER_LINE).tolist(), separators=(",", ":"))  # faster than str.join
        lines = lines[2:-2].replace("],[", ",\n\t\t")
        parts.append(f'<WaveformData lead="{lead}">\n\t\t{lines}\n\t\t</WaveformData>\n')
    return "".join(parts)


def _measurements(recording: Strip) -> str:
    """The RestingECGMeasurements element; missing measurements (P wave in atrial fibrillation) are empty."""
    m = recording.measurements
    lines = ["<RestingECGMeasurements><DiagnosisVersion>12SL V21</DiagnosisVersion>"]
    for name in _MEASURED:
        value = f"{m[name]:.0f}" if name in m else ""
        lines.append(f'<{name} units="{_UNITS.get(name, "ms")}">{value}</{name}>')
    lines.append(f'<SokolovLVHIndex units="uV"></SokolovLVHIndex><QRSNum>{m["QRSNum"]:.0f}</QRSNum>\n')
    beat = median_beat(recording)
    table = _table(beat, m)
    lines.append(f'<MeasurementTable Creation="12SL">\n<LeadOrder>{", ".join(LEADS)}</LeadOrder>\n')
    for name in _TABLE:
        cells = table.get(name, [""] * 12)
        lines.append(f'<{name} units="{"ms" if "Duration" in name else "uV"}">{", ".join(map(str, cells))}</{name}>\n')
    lines.append("</MeasurementTable>\n")
    lines += [f'<{name} units="ms">{value}</{name}>' for name, value in _marks(m).items()]
    lines.append(
        f'\n<MedianSamples><NumberOfLeads>12</NumberOfLeads><SampleRate units="Hz">{RATE}</SampleRate>'
        f"<ChannelSampleCountTotal>{_BEAT_SAMPLES}</ChannelSampleCountTotal>"
        f'<Resolution units="uVperLsb">{STEP_UV}</Resolution><FirstValid>0</FirstValid>'
        f"<LastValid>{_BEAT_SAMPLES - 1}</LastValid>\n{_waveforms(beat)}</MedianSamples></RestingECGMeasurements>\n"
    )
    return "".join(lines)


def median_beat(recording: Strip) -> np.ndarray:
    """Median of the normal beats that are completely inside the strip, minus the baseline: (12, 600) int16."""
    places = np.rint(recording.peaks_ms[recording.ectopic == 0] * RATE / 1000).astype(int)
    places = places[(places >= _BEAT_R) & (places <= SAMPLES - (_BEAT_SAMPLES - _BEAT_R))]
    starts = places - _BEAT_R
    beats = np.stack([recording.counts[:, k : k + _BEAT_SAMPLES] for k in starts]).astype(np.float32)
    beats -= beats[:, :, 100:400].mean(-1, keepdims=True)
    return np.rint(np.median(beats, axis=0)).astype(np.int16)


def _marks(m: dict[str, float]) -> dict[str, str]:
    """Onsets and offsets of P, QRS and T in ms from the start of the median beat; empty if there is no P wave."""
    q_on = 2 * _BEAT_R - round(m["QRSDuration"] * 0.42)
    p_on = q_on - m.get("PQInterval", np.nan)
    marks = {"POnset": p_on, "POffset": p_on + m.get("PDuration", np.nan)}
    marks |= {"QOnset": q_on, "QOffset": q_on + m["QRSDuration"], "TOffset": q_on + m["QTInterval"]}
    return {name: "" if np.isnan(value) else f"{value:.0f}" for name, value in marks.items()}


def _table(beat: np.ndarray, m: dict[str, float]) -> dict[str, list]:
    """Amplitudes per lead in uV; Q and S are positive magnitudes, empty if absent."""
    at = {name: int(float(value)) // 2 for name, value in _marks(m).items() if value != ""}
    uv = beat.astype(int) * STEP_UV
    qrs = uv[:, at["QOnset"] : at["QOffset"] + 1]
    top = qrs.argmax(1)
    columns: dict[str, list] = {"RAmplitude": [], "QAmplitude": [], "SAmplitude": []}
    for row, r in zip(qrs, top, strict=True):
        before, after = -int(row[: r + 1].min()), -int(row[r:].min())
        columns["RAmplitude"].append(int(row[r]) if row[r] > 20 else "")
        columns["QAmplitude"].append(before if before > 20 else "")
        columns["SAmplitude"].append(after if after > 20 else "")
    columns["TAmplitude"] = _largest(uv[:, at["QOffset"] + 20 : at["TOffset"]])
    columns["JAmplitude"] = uv[:, at["QOffset"]].tolist()
    if "POnset" in at:
        columns["PAmplitude"] = _largest(uv[:, max(at["POnset"], 0) : at["POffset"]])
    return columns


def _largest(part: np.ndarray) -> list[int]:
    return part[np.arange(len(part)), np.abs(part).argmax(1)].tolist()
