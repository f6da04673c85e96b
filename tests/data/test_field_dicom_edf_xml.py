"""DICOM, EDF and XML recordings with further faults of the field cases' kinds, generated here."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg
from eccl_lib.data.formats import detect, xml_tree
from tests.data import field_files, muse_files
from tests.data.field_files import sequence_set, write_aecg, write_dicom, write_edf
from tests.data.test_ecg_signal import beats

MDC = [f"MDC_ECG_LEAD_{lead.upper()}" for lead in LEADS]


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """(12, 5000) mV in steps of 5 uV, with noise."""
    return np.rint(200 * beats(70)) / 200


@pytest.fixture(scope="module")
def counts(wave) -> np.ndarray:
    """The ten seconds as counts of 2.5 uV."""
    return np.rint(wave / 0.0025).astype(np.int16)


def same(record, wave: np.ndarray, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(ecg.first_ten_seconds(record), wave, atol=atol)


# ---- 22, 23, 25: DICOM


def test_five_groups_of_the_same_time_are_joined_also_with_other_rates(wave, counts, tmp_path):
    groups = [field_files.group(LEADS[k : k + 3], counts[k : k + 3], 0) for k in (0, 3, 6, 9)]
    same(detect.read_ecg(write_dicom(tmp_path / "a.dcm", *groups)), wave)
    slow = np.rint(ecg.resample(wave[6:], 500, 250) / 0.0025).astype(np.int16)
    mixed = [field_files.group(LEADS[:6], counts[:6]), field_files.group(LEADS[6:], slow, rate=250)]
    record = detect.read_ecg(write_dicom(tmp_path / "b.dcm", *mixed))
    assert (record.rate, record.signal.shape) == (500, (12, 5000))
    assert np.corrcoef(record.signal[6], wave[6])[0, 1] > 0.97


def test_groups_without_a_time_offset_are_joined_with_a_note(wave, counts, tmp_path):
    groups = [field_files.group(LEADS[:6], counts[:6], None), field_files.group(LEADS[6:], counts[6:], None)]
    record = detect.read_ecg(write_dicom(tmp_path / "a.dcm", *groups))
    same(record, wave)
    assert record.notes == ("2 groups of leads state no start: taken as simultaneous",)


def test_a_mean_beat_and_a_later_strip_of_the_same_leads_are_left_out(wave, counts, tmp_path):
    beat = field_files.group(LEADS, counts[:, :600], 0)
    later = field_files.group(LEADS, counts[:, ::-1], 10_000)
    same(detect.read_ecg(write_dicom(tmp_path / "a.dcm", beat, field_files.group(LEADS, counts), later)), wave)


def test_ten_seconds_of_all_leads_are_read_beside_a_longer_strip_of_one(wave, counts, tmp_path):
    long = np.tile(counts[1:2], (1, 3))
    groups = [field_files.group(["II"], long), field_files.group(LEADS, counts)]
    record = detect.read_ecg(write_dicom(tmp_path / "a.dcm", *groups))
    assert record.signal.shape == (12, 5000)
    same(record, wave)


def test_limb_leads_of_the_mean_beat_are_not_needed_as_they_are_computed(wave, counts, tmp_path):
    names = [*LEADS[:2], *LEADS[6:]]
    rows = [LEADS.index(name) for name in names]
    groups = [field_files.group(LEADS, counts[:, :600], 0), field_files.group(names, counts[rows], 0)]
    same(detect.read_ecg(write_dicom(tmp_path / "a.dcm", *groups)), wave, atol=6e-3)


@pytest.mark.parametrize("start", [5000, 10_000])
@pytest.mark.parametrize("seconds", [5, 10])
def test_chest_leads_of_another_time_are_refused_and_never_zero(counts, tmp_path, start, seconds):
    cut = slice(0, 500 * seconds)
    groups = [field_files.group(LEADS[:6], counts[:6]), field_files.group(LEADS[6:], counts[6:, cut], start)]
    with pytest.raises(UnreadableError, match="one after another: V1 V2 V3 V4 V5 V6 are not in the"):
        detect.read_ecg(write_dicom(tmp_path / "a.dcm", *groups))


MDC_CODES = [f"2:{k}" for k in (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)]


@pytest.mark.parametrize(
    ("names", "how"),
    [
        (MDC_CODES, {"code": True}),
        ([code.replace("2:", "5.6.3-9-") for code in MDC_CODES], {"code": True}),
        (MDC, {"code": True}),
        (LEADS, {"label": True}),
        ([f"ECG {lead}" for lead in LEADS], {"label": True}),
    ],
)
def test_dicom_leads_are_named_by_code_or_label(wave, counts, tmp_path, names, how):
    same(detect.read_ecg(write_dicom(tmp_path / "a.dcm", field_files.group(names, counts, **how))), wave)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"unit": None}, "003A,0211"), ({"sensitivity": None}, "003A,0210"), ({"unit": ""}, "003A,0211")],
)
def test_a_missing_unit_or_sensitivity_is_named_by_its_tag(counts, tmp_path, options, named):
    with pytest.raises(UnreadableError, match=rf"unit of lead I is unknown: the DICOM file has no .*\({named}\)"):
        detect.read_ecg(write_dicom(tmp_path / "a.dcm", field_files.group(LEADS, counts, **options)))


@pytest.mark.parametrize("rate", [None, 0])
def test_a_missing_dicom_rate_is_named_by_its_tag(counts, tmp_path, rate):
    item = field_files.group(LEADS, counts)
    item.SamplingFrequency = rate
    with pytest.raises(UnreadableError, match=r"no SamplingFrequency \(003A,001A\)"):
        detect.read_ecg(write_dicom(tmp_path / "a.dcm", item))


@pytest.mark.parametrize(("padding", "declared"), [(-32768, True), (-32768, False), (32767, True), (0, True)])
def test_padding_values_and_the_most_negative_count_are_missing(wave, counts, tmp_path, padding, declared):
    holed, gap = counts.copy(), slice(1000, 1100)
    holed[holed == padding] += 1
    holed[7, gap] = padding
    options = {"padding": padding} if declared else {}
    record = detect.read_ecg(write_dicom(tmp_path / "a.dcm", field_files.group(LEADS, holed, **options)))
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[7, k] for k in range(1000, 1100)]
    assert np.nanmax(np.abs(record.signal - wave)) < 0.003


@pytest.mark.parametrize("start", [b"DICM", b"\x08\x00"], ids=["without a preamble", "without meta information"])
def test_a_dicom_waveform_without_its_beginning_is_read(wave, counts, tmp_path, start):
    path = write_dicom(tmp_path / "a.dcm", field_files.group(LEADS, counts))
    data = path.read_bytes()
    cut = 132 if start == b"DICM" else data.index(b"\x08\x00\x16\x00UI", 132)
    path.write_bytes(data[cut:])
    same(detect.read_ecg(path), wave)


# ---- 18: EDF


@pytest.mark.parametrize("unit", ["uV", "mV", "V"])
def test_edf_is_read_in_each_unit(wave, tmp_path, unit):
    record = detect.read_ecg(write_edf(tmp_path / "a.edf", wave, unit=unit))
    assert record.rate == 500
    same(record, wave, atol=1e-4)


def test_edf_of_a_sleep_recorder_gives_its_leads_and_names_the_rest(wave, tmp_path):
    names = ["EEG C3-A2", "C4", "Fz", "ECG I", "ECG II", "Resp II"]
    record = detect.read_ecg(write_edf(tmp_path / "a.edf", wave[:6], names))
    np.testing.assert_allclose(record.signal[:2], wave[3:5], atol=1e-4)
    assert np.isnan(record.signal[2:]).all()
    assert record.notes == ("channels skipped: 'EEG C3-A2', 'C4', 'Fz', 'Resp II'",)


def test_edf_faults_are_named(wave, tmp_path):
    path = write_edf(tmp_path / "a.edf", wave)
    data = path.read_bytes()
    interrupted = tmp_path / "b.edf"
    interrupted.write_bytes(data[:192] + b"EDF+D".ljust(44) + data[236:])
    with pytest.raises(UnreadableError, match=r"EDF\+D.*EDF\+C"):
        detect.read_ecg(interrupted)
    with pytest.raises(UnreadableError, match=r"no lead is named.*EEG Fpz-Cz"):
        detect.read_ecg(write_edf(tmp_path / "c.edf", wave[:2], ["EEG Fpz-Cz", "EOG"]))
    with pytest.raises(UnreadableError, match="EDF file is damaged"):
        (tmp_path / "d.edf").write_bytes(data[:700])
        detect.read_ecg(tmp_path / "d.edf")


# ---- 20, 29, 30: XML


def test_hl7_aecg_is_read_with_scale_origin_and_increment(wave, tmp_path):
    counts = 200 * wave
    same(detect.read_ecg(write_aecg(tmp_path / "a.xml", sequence_set(MDC, counts))), wave)
    shifted = sequence_set(MDC, 200 * wave + 40, scale="0.005", unit="mV", origin="-0.2", increment="2", step_unit="ms")
    record = detect.read_ecg(write_aecg(tmp_path / "b.xml", shifted, encoding="utf-16"))
    assert record.rate == 500
    same(record, wave)


def test_hl7_aecg_sets_of_the_same_time_are_joined_and_others_refused(wave, tmp_path):
    counts = 200 * wave
    halves = [sequence_set(MDC[:6], counts[:6]), sequence_set(MDC[6:], counts[6:])]
    same(detect.read_ecg(write_aecg(tmp_path / "a.xml", *halves)), wave)
    halves[1] = sequence_set(MDC[6:], counts[6:], head="20200102030415.000")
    with pytest.raises(UnreadableError, match="one after another"):
        detect.read_ecg(write_aecg(tmp_path / "b.xml", *halves))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unit": "mmHg"}, "'mmHg' of lead I is not a voltage"),
        ({"scale": ""}, "lead I has no unit"),
        ({"increment": "0"}, "increment"),
    ],
)
def test_hl7_aecg_without_calibration_or_rate_is_refused_by_name(wave, tmp_path, options, reason):
    with pytest.raises(UnreadableError, match=reason):
        detect.read_ecg(write_aecg(tmp_path / "a.xml", sequence_set(MDC, 200 * wave, **options)))


@pytest.fixture
def muse(wave, tmp_path):
    """Text of a MUSE export of the ten seconds, with 5 uV per count."""
    counts = {name: np.rint(200 * wave[LEADS.index(name)]) for name in muse_files.RECORDED}
    return muse_files.write(tmp_path / "muse.xml", counts, per_bit=5).read_text(encoding="latin-1")


def replaced(old: str, new: str, encoding: str = "latin-1"):
    """A change of a text and its encoding."""
    return lambda text: text.replace(old, new).encode(encoding)


MUSE_CHANGES = {
    "utf-16": replaced("ISO-8859-1", "UTF-16", "utf-16"),
    "utf-16 without a mark": replaced("ISO-8859-1", "UTF-16", "utf-16-be"),
    "utf-8 with a mark": replaced("ISO-8859-1", "UTF-8", "utf-8-sig"),
    "cp1252": replaced("</RestingECG>", "<Name>M\xfcller</Name></RestingECG>", "cp1252"),
    "wrong declaration": replaced('"ISO-8859-1"?>', '"UTF-8"?><!-- \xfc -->'),
    "decimal comma": replaced("UnitsPerBit>5<", "UnitsPerBit>5,0<"),
    "public DTD": replaced('SYSTEM "restecg.dtd"', 'PUBLIC "-//GE//x" "restecg.dtd"'),
    "upper-case root": replaced("RestingECG>", "RESTINGECG>"),
    "lower-case tags": lambda text: re.sub(r"</?\w+>", lambda tag: tag[0].lower(), text).encode("latin-1"),
    "namespace": replaced("<RestingECG>", '<RestingECG xmlns="urn:ge">'),
    "Lead I": replaced("<LeadID>", "<LeadID>Lead "),
    "DII": replaced("<LeadID>II<", "<LeadID>DII<"),
}


@pytest.mark.parametrize("change", MUSE_CHANGES.values(), ids=MUSE_CHANGES)
def test_muse_exports_of_other_encodings_and_spellings_are_read(muse, wave, tmp_path, change):
    (tmp_path / "a.xml").write_bytes(change(muse))
    record = detect.read_ecg(tmp_path / "a.xml")
    kept = [LEADS.index(name) for name in muse_files.RECORDED]
    np.testing.assert_allclose(record.signal[kept], wave[kept], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("4,88", 4.88), (" 4.88 ", 4.88), ("5", 5), ("0,125", 0.125), ("-2,5", -2.5), ("5e2", 500)),
        *((text, np.nan) for text in ("1,000", "12,345", "1.234,5", "1,2,3", "", None)),
    ],
)
def test_a_decimal_comma_is_read_unless_it_may_separate_thousands(text, number):
    assert xml_tree.to_number(text) == pytest.approx(number, nan_ok=True)


def test_a_count_of_minus_32768_is_missing_in_muse_npy_and_csv(wave, tmp_path):
    holed = np.rint(200 * wave)
    holed[1, 100:150] = -(2**15)
    counts = {name: holed[LEADS.index(name)] for name in muse_files.RECORDED}
    muse_files.write(tmp_path / "a.xml", counts, per_bit=5)
    np.save(tmp_path / "b.npy", holed.astype(np.int16))
    (tmp_path / "b.json").write_text(json.dumps({"rate": 500, "leads": list(LEADS), "unit": "uV"}))
    rows = "\n".join(",".join(f"{x:.0f}" for x in row) for row in holed.T)
    (tmp_path / "c.csv").write_text(f"# rate=500 unit=uV\n{','.join(LEADS)}\n{rows}\n")
    for name in ("a.xml", "b.npy", "c.csv"):
        missing = np.isnan(detect.read_ecg(tmp_path / name).signal[1])
        assert np.flatnonzero(missing).tolist() == list(range(100, 150))
