"""GE MUSE exports, NumPy arrays, WFDB and DICOM waveforms equal literal decoders; invalid files raise errors."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg
from eccl_lib.data.formats import csv_table, detect
from eccl_lib.data.ukb.masking import shareable
from eccl_lib.io import paths
from tests.data import muse_files
from tests.data.field_files import sequence_set, write_aecg
from tests.data.odd_inputs import plain_xml


@pytest.fixture(scope="module")
def strip() -> np.ndarray:
    """A real recording, (12, 5000) mV."""
    return ecg.first_ten_seconds(detect.read_ecg(Path(get_testdata_file("waveform_ecg.dcm", download=False))))


@pytest.fixture
def counts(strip) -> dict[str, np.ndarray]:
    """The eight recorded leads as counts of a MUSE system."""
    return {name: np.rint(1000 * strip[LEADS.index(name)] / 4.88).astype(np.int16) for name in muse_files.RECORDED}


def literally(path: Path) -> dict[str, list[float]]:
    """Lead to millivolts, decoded without an XML parser, number by number."""
    rhythm = path.read_text(encoding="latin-1").split("<WaveformType>Rhythm</WaveformType>")[1]
    found = {}
    for lead in rhythm.split("<LeadData>")[1:]:
        name = re.search(r"<LeadID>(.*?)</LeadID>", lead)[1]
        per_bit = float(re.search(r"<LeadAmplitudeUnitsPerBit>(.*?)<", lead)[1])
        data = base64.b64decode(re.search(r"<WaveFormData>(.*?)<", lead, re.DOTALL)[1])
        counted = [struct.unpack_from("<h", data, 2 * k)[0] for k in range(len(data) // 2)]
        found[name] = [count * per_bit / 1000 for count in counted]
    found["III"] = [b - a for a, b in zip(found["I"], found["II"], strict=True)]
    found["aVR"] = [-(a + b) / 2 for a, b in zip(found["I"], found["II"], strict=True)]
    found["aVL"] = [a - b / 2 for a, b in zip(found["I"], found["II"], strict=True)]
    found["aVF"] = [b - a / 2 for a, b in zip(found["I"], found["II"], strict=True)]
    return found


def test_a_muse_export_equals_its_literal_decoding_with_four_computed_limb_leads(counts, tmp_path):
    path = muse_files.write(tmp_path / "a.xml", counts)
    record = detect.read_ecg(path)
    expected = literally(path)
    assert record.rate == 500
    assert record.heart_rate == 61
    assert record.measurements["PQInterval"] == 158
    assert np.isnan(record.signal[2:6]).all()  # not in the file; computed by first_ten_seconds
    mv = ecg.first_ten_seconds(record)
    for k, lead in enumerate(LEADS):
        np.testing.assert_allclose(mv[k], expected[lead], atol=1e-8)
    assert ecg.preprocess(record)[2]["missing_leads"] == "III aVR aVL aVF"
    assert record.notes == ()


@pytest.mark.parametrize(("base", "exponent", "rate"), [(500, 0, 500), (250, 0, 250), (1, 3, 1000), (5, 2, 500)])
def test_the_muse_rate_is_base_times_ten_to_the_exponent(counts, tmp_path, base, exponent, rate):
    assert detect.read_ecg(muse_files.write(tmp_path / "a.xml", counts, (base, exponent))).rate == rate


def test_muse_at_250_hz_is_resampled_to_500_hz(strip, tmp_path):
    thin = ecg.resample(strip, 500, 250)
    counts = {name: np.rint(1000 * thin[LEADS.index(name)] / 4.88) for name in muse_files.RECORDED}
    mv = ecg.first_ten_seconds(detect.read_ecg(muse_files.write(tmp_path / "a.xml", counts, (250, 0))))
    assert np.corrcoef(mv[1, 100:-100], strip[1, 100:-100])[0, 1] > 0.99


@pytest.mark.parametrize("unit", ["MICROVOLTS", "MILLIVOLTS"])
def test_muse_units_are_applied(counts, tmp_path, unit):
    per_bit = 4.88 if unit == "MICROVOLTS" else 0.00488
    path = muse_files.write(tmp_path / "a.xml", counts, per_bit=per_bit, LeadAmplitudeUnits=unit)
    np.testing.assert_allclose(detect.read_ecg(path).signal[1], 4.88 * counts["II"] / 1000, atol=1e-9)


@pytest.mark.parametrize("head", ["", '<?xml version="1.0"?>', "<!DOCTYPE RestingECG>"])
def test_muse_is_detected_with_and_without_its_document_type(counts, tmp_path, head):
    assert detect.read_ecg(muse_files.write(tmp_path / "a.dat", counts, head=head)).heart_rate == 61


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"head": '<!DOCTYPE RestingECG [<!ENTITY a "b">]>'}, "document type"),
        ({"head": '<!DOCTYPE RestingECG SYSTEM "file:///etc/passwd" [<!ENTITY a "b">]>'}, "document type"),
        ({"WaveFormData": "!!!"}, "not base64"),
        ({"WaveFormData": "AAAA"}, "2 bytes per sample|truncated"),
        ({"LeadSampleCountTotal": "6000"}, "truncated"),
        ({"LeadAmplitudeUnitsPerBit": None}, "LeadAmplitudeUnitsPerBit"),
        ({"LeadAmplitudeUnitsPerBit": "-1"}, "units per bit"),
        ({"LeadAmplitudeUnits": "FURLONGS"}, "FURLONGS"),
        ({"LeadSampleSize": "4"}, "4 bytes per sample"),
        ({"LeadID": "X"}, "no lead is named"),
        ({"rate": (0, 0)}, "0.0 Hz"),
    ],
)
def test_invalid_muse_files_raise_errors_with_a_cure(counts, tmp_path, changed, reason):
    with pytest.raises(UnreadableError, match=reason) as caught:
        ecg.preprocess(detect.read_ecg(muse_files.write(tmp_path / "a.xml", counts, **changed)))
    assert caught.value.cure


def test_muse_without_a_rhythm_strip_raises_an_error_and_a_wrong_checksum_adds_a_note(counts, tmp_path):
    path = muse_files.write(tmp_path / "a.xml", counts)
    path.write_text(path.read_text().replace(">Rhythm<", ">Trend<"))
    with pytest.raises(UnreadableError, match="'Median', 'Trend'"):
        detect.read_ecg(path)
    record = detect.read_ecg(muse_files.write(path, counts, LeadDataCRC32="12345"))
    assert "checksum" in record.notes[0]


def test_uk_biobanks_xml_is_not_detected_as_muse(shared):
    assert detect.read_ecg(shared / "formats" / "example_9000001_20205_2_0.xml").heart_rate == 62


def saved(path: Path, array: np.ndarray, beside: str = "a.json", **stated) -> Path:
    np.save(path, array)
    path.with_name(beside).write_text(json.dumps({"rate": 500, "leads": list(LEADS), **stated}))
    return path


@pytest.mark.parametrize("beside", ["a.json", "ecg.json"])
def test_npy_is_read_in_both_orientations_and_any_order_of_leads(strip, tmp_path, beside):
    for array in (strip, strip.T, strip.astype(np.float32)):
        record = detect.read_ecg(saved(tmp_path / "a.npy", array, beside))
        assert record.rate == 500
        np.testing.assert_allclose(record.signal, strip, atol=1e-6)
    turned = saved(tmp_path / "a.npy", np.rint(1000 * strip[::-1]).astype(np.int16), leads=LEADS[::-1], unit="uV")
    np.testing.assert_allclose(detect.read_ecg(turned).signal, strip, atol=6e-4)


@pytest.mark.parametrize(
    ("array", "stated", "reason"),
    [
        (np.zeros((12, 5000)), {"leads": ["I", "II"]}, "neither axis"),
        (np.zeros((12, 12)), {}, "both axes"),
        (np.zeros((3, 12, 5000)), {}, "not one ECG"),
        (np.zeros((12, 5000), dtype=complex), {}, "not one ECG"),
        (np.zeros((12, 5000)), {"rate": 0}, "the rate 0"),
        (np.zeros((12, 5000)), {"rate": None}, "rate and leads"),
        (np.zeros((12, 5000)), {"leads": "I"}, "list of names"),
        (np.zeros((12, 5000)), {"leads": ["I"] * 12}, "twice"),
        (np.zeros((12, 5000)), {"unit": "furlong"}, "not a voltage"),
        (np.full((12, 5000), 800.0), {}, "correct unit"),
    ],
)
def test_npy_with_invalid_metadata_raises_an_error_with_a_cure(tmp_path, array, stated, reason):
    with pytest.raises(UnreadableError, match=reason) as caught:
        detect.read_ecg(saved(tmp_path / "a.npy", array, **stated))
    assert caught.value.cure


def test_npy_without_metadata_raises_an_error_and_pickles_are_not_opened(strip, tmp_path):
    np.save(tmp_path / "a.npy", strip)
    with pytest.raises(UnreadableError, match=r"no \.json of the same name and no ecg\.json") as caught:
        detect.read_ecg(tmp_path / "a.npy")
    assert '"rate": 500' in caught.value.cure
    with pytest.raises(UnreadableError, match="readable array"):
        detect.read_ecg(saved(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object)))


def wfdb_records() -> list:
    folder = paths.ROOT.parent / "shared" / "data" / "ecg"
    names = ("ptbxl/HR06000", "g12ec/E00001", "ningbo/JS20000", "cpsc2018/A0002", "ptbdb/s0010_re")
    found = [next(iter(sorted(folder.glob(f"{name.split('/')[0]}/*.hea"))), None) for name in names]
    missing = pytest.param(folder, marks=pytest.mark.skip(f"the real recordings are not there: {folder}"))
    return [path for path in found if path] or [missing]


def literal_wfdb(header: Path) -> dict[str, np.ndarray]:
    """Lead to mV of a record with interleaved int16 channels in one or more files, decoded without a library."""
    lines = [line.split() for line in header.read_text().splitlines() if line.strip() and not line.startswith("#")]
    count = int(lines[0][1])
    files: dict[str, list[list[str]]] = {}
    for words in lines[1 : 1 + count]:
        files.setdefault(words[0], []).append(words)
    found = {}
    for name, channels in files.items():
        offset = int(channels[0][1].partition("+")[2] or 0)
        raw = np.frombuffer(header.with_name(name).read_bytes()[offset:], "<i2").reshape(-1, len(channels))
        for k, words in enumerate(channels):
            gain, base = re.match(r"([\d.]+)(?:\((-?\d+)\))?", words[2]).groups()
            found[words[-1].lower()] = (raw[:, k].astype(float) - float(base or words[4])) / float(gain)
    return found


@pytest.mark.parametrize("header", wfdb_records(), ids=lambda path: path.stem)
def test_wfdb_equals_its_literal_decoding(header):
    record, expected = detect.read_ecg(header), literal_wfdb(header)
    for lead, signal in zip(LEADS, record.signal, strict=True):
        np.testing.assert_allclose(signal, expected[lead.lower()][: len(signal)], atol=1e-9)


def test_a_dicom_waveform_equals_its_bytes_times_the_sensitivity():
    path = Path(get_testdata_file("waveform_ecg.dcm", download=False))
    group = pydicom.dcmread(path).WaveformSequence[0]
    channels = group.ChannelDefinitionSequence
    raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, len(channels))
    record = detect.read_ecg(path)
    for k, channel in enumerate(channels):
        lead = channel.ChannelSourceSequence[0].CodeMeaning.split()[1]
        factor = float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor", 1))
        per_unit = {"uV": 1e-3, "mV": 1.0}[channel.ChannelSensitivityUnitsSequence[0].CodeValue]
        expected = (raw[:, k] * factor + float(channel.get("ChannelBaseline", 0))) * per_unit
        np.testing.assert_allclose(record.signal[LEADS.index(lead)], expected, atol=1e-9)


@pytest.mark.parametrize(
    "line",
    ["sampling_rate=500", "sample_rate: 500", "SamplingRate=500", "Sampling frequency (Hz): 500", "fs [Hz] = 500"],
)
def test_the_sampling_rate_of_a_table_is_read_under_its_usual_names(tmp_path, line):
    rows = "\n".join(f"{v:.4f},{-v:.4f}" for v in np.sin(np.arange(5000) / 30))
    (tmp_path / "a.csv").write_text(f"# {line}\nI,II\n{rows}\n")
    assert detect.read_ecg(tmp_path / "a.csv").rate == 500


def test_an_inverted_lead_of_a_cardiosoft_file_has_its_sign_changed(tmp_path):
    (tmp_path / "a.xml").write_bytes(plain_xml())
    (tmp_path / "b.xml").write_bytes(plain_xml().replace(b'<WaveformData lead="aVR">', b'<WaveformData lead="-aVR">'))
    plain, inverted = (detect.read_ecg(tmp_path / name) for name in ("a.xml", "b.xml"))
    k = LEADS.index("aVR")
    np.testing.assert_array_equal(inverted.signal[k], -plain.signal[k])
    np.testing.assert_array_equal(np.delete(inverted.signal, k, axis=0), np.delete(plain.signal, k, axis=0))
    assert "inverted lead '-aVR': its sign is changed" in inverted.notes


def test_a_big_endian_dicom_waveform_equals_the_little_endian_one(tmp_path):
    path = Path(get_testdata_file("waveform_ecg.dcm", download=False))
    dataset = pydicom.dcmread(path)
    for group in dataset.WaveformSequence:
        group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.filewriter.dcmwrite(tmp_path / "a.dcm", dataset, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(detect.read_ecg(tmp_path / "a.dcm").signal, detect.read_ecg(path).signal)


def test_the_offset_of_electrodes_is_no_wrong_unit(tmp_path):
    values = np.sin(np.arange(5000) / 30)
    rows = "\n".join(f"{v + 80:.4f},{v - 120:.4f}" for v in values)
    (tmp_path / "a.csv").write_text(f"# rate=500\n# unit=mV\nI,II\n{rows}\n")
    stored, _, _ = ecg.preprocess(detect.read_ecg(tmp_path / "a.csv"))
    assert np.abs(stored).max() < 3000
    rows = "\n".join(f"{80 * v:.4f},{80 * v:.4f}" for v in values)  # uV
    (tmp_path / "b.csv").write_text(f"# rate=500\n# unit=mV\nI,II\n{rows}\n")
    with pytest.raises(UnreadableError, match="too large for an ECG"):
        detect.read_ecg(tmp_path / "b.csv")


@pytest.mark.parametrize("separator", ["\t", ";"])
def test_separators_of_thousands_are_no_decimal_commas(tmp_path, separator):
    values = np.rint(1500 * np.sin(np.arange(5000) / 30)).astype(int)
    rows = "\n".join(separator.join([f"{v:,}", f"{-v:,}"]) for v in values)
    (tmp_path / "a.csv").write_text(f"# rate=500\n# unit=uV\nI{separator}II\n{rows}\n")
    with pytest.raises(UnreadableError, match="separators of thousands, as in '1,"):
        detect.read_ecg(tmp_path / "a.csv")
    rows = "\n".join(separator.join([f"{v / 1000:.3f}", f"{-v / 1000:.3f}"]) for v in values).replace(".", ",")
    (tmp_path / "b.csv").write_text(f"# rate=500\n# unit=mV\nI{separator}II\n{rows}\n")
    np.testing.assert_allclose(detect.read_ecg(tmp_path / "b.csv").signal[0], values / 1000, atol=1e-9)


def test_a_table_of_one_lead_is_an_ecg_if_it_states_its_times_or_its_rate(tmp_path):
    values = np.sin(np.arange(5000) / 30)
    lines = {
        "times.csv": ["time,I", *(f"{k / 500:.3f},{v:.4f}" for k, v in enumerate(values))],
        "frequency.csv": ["# frequency=500", "I", *(f"{v:.4f}" for v in values)],
        "rate.csv": ["# rate=500", "I", *(f"{v:.4f}" for v in values)],
        "neither.csv": ["I,x", *(f"{v:.4f},0" for v in values)],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("\n".join(rows))
        assert csv_table.names_leads((tmp_path / name).read_bytes()[:4096]) == (name != "neither.csv")
    for name in ("times.csv", "frequency.csv", "rate.csv"):
        record = detect.read_ecg(tmp_path / name)
        assert record.rate == 500
        np.testing.assert_allclose(record.signal[0], values, atol=1e-4)
        assert np.isnan(record.signal[1:]).all()
        with pytest.raises(UnreadableError, match="only limb leads are: I"):
            ecg.preprocess(record)  # as the store
    with pytest.raises(UnreadableError, match="fewer than two leads are named"):
        detect.read_ecg(tmp_path / "neither.csv")


MARK = "Quillfeather, Jo"


def muse_with(path, old: bytes, new: bytes):
    counts = {"I": np.arange(5000) % 99, "II": np.arange(5000) % 77, "V1": np.arange(4000) % 55}
    muse_files.write(path, counts)
    return path.write_bytes(path.read_bytes().replace(old, new))


def texts_of(path: Path) -> str:
    """What the report shows of a file: its notes, or the reason and cure for which it is refused."""
    try:
        shown = detect.read_ecg(path).notes
    except UnreadableError as error:
        shown = (error.reason, error.cure)
    return " ".join(shareable(text, path.name) for text in shown)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<LeadID>V1<", f"<LeadID>{MARK}<".encode()),
        (b"<LeadID>I<", f"<LeadID>{MARK}<".encode()),
        (b">MICROVOLTS<", f">{MARK}<".encode()),
        (b">Rhythm<", f">{MARK}<".encode()),
        (b"<SampleBase>500<", f"<SampleBase>{MARK}<".encode()),
        (b"<LeadSampleSize>2<", f"<LeadSampleSize>{MARK}<".encode()),
    ],
)
def test_no_text_of_a_muse_file_reaches_the_report(tmp_path, old, new):
    path = tmp_path / "9000001.xml"
    muse_with(path, old, new)
    assert "Quill" in path.read_text("latin-1") and "Quill" not in texts_of(path)


@pytest.mark.parametrize(
    "content",
    [
        "".join(
            ["<CardiologyXML><StripData><SampleRate>500</SampleRate><Resolution>5</Resolution>"]
            + [f'<WaveformData lead="{name}">1,2,3</WaveformData>' for name in ("I", "II", MARK)]
            + ["</StripData></CardiologyXML>"]
        ),
        f"<CardiologyXML><StripData><Resolution>{MARK}</Resolution></StripData></CardiologyXML>",
        "<Quillfeather/>",
    ],
)
def test_no_text_of_a_cardiosoft_file_reaches_the_report(tmp_path, content):
    (tmp_path / "9000001.xml").write_text(content)
    assert "Quill" not in texts_of(tmp_path / "9000001.xml")


@pytest.mark.parametrize("options", [{"names": ["I", MARK]}, {"names": [MARK, MARK]}, {"unit": MARK}])
def test_no_text_of_an_hl7_file_reaches_the_report(tmp_path, options):
    names = options.pop("names", ["I", "II"])
    path = tmp_path / "9000001.xml"
    write_aecg(path, sequence_set(names, np.arange(10_000).reshape(2, 5000) % 99, **options))
    assert "Quill" in path.read_text() and "Quill" not in texts_of(path)


@pytest.mark.parametrize(
    "head",
    [
        f'# rate=500\nI,II,"{MARK}"',
        f'# rate=500\nI,"{MARK}"',
        f'# rate=500\n"{MARK}",foo',
        f'"time {MARK}",I,II',
        "# rate=Quillfeather\nI,II,V1",
        "# rate=500 unit=Quillfeather\nI,II,V1",
    ],
)
def test_no_name_of_a_table_reaches_the_report(tmp_path, head):
    (tmp_path / "9000001.csv").write_text(f"{head}\n" + "1,2,3\n4,5,7\n" * 3000)
    assert "Quill" not in texts_of(tmp_path / "9000001.csv")
