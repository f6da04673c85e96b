"""Names of leads, samples that hold no signal, and formats that are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import ecg
from eccl_lib.data.formats import detect, gaps, leads
from eccl_lib.data.records import EcgRecord
from tests.data.field_files import write_wfdb
from tests.data.test_ecg_signal import beats

# ---- 30, 35: names of leads

NAMES = {
    "I": [
        "I",
        "i",
        " I ",
        "DI",
        "D1",
        "d i",
        "Lead I",
        "LEAD I (Einthoven)",
        "MDC_ECG_LEAD_I",
        "ECG I",
        "I (uV)",
        "\u2160",
    ],
    "II": [
        "II",
        "DII",
        "D2",
        "D 2",
        "Lead II",
        "EKG II",
        "II [µV]",
        "II_mV",
        "Abl. II",
        "\u2161",
        "导联II",
        "Derivación II",
    ],
    "III": ["III", "DIII", "D3", "MDC_ECG_LEAD_III", "lead iii"],
    "aVR": ["aVR", "AVR", "avr", "a VR", "aV R", "Lead aVR, augmented voltage, right", "MDC_ECG_LEAD_AVR", "-aVR"],
    "V1": ["V1", "v1", "V 1", "V-1", "V_1", "C1", "c 1", "Lead V1", "\uff36\uff11", "V1 (mV)", "Chest V1"],
    "V6": ["V6", "C6", "MDC_ECG_LEAD_V6", "Precordial V6"],
}
OTHERS = ["Resp II", "PAP II", "ART I", "BP II (mmHg)", "V", "V7", "V3R", "C7", "MLII", "VI", "IV", "D4", "vx", "C3-A2"]
OTHERS += [
    "EEG C3",
    "Pleth II",
    "",
    "1",
    "II-raw-2",
    "I II",
    "Channel 1",
    "NIBP",
    "Дыхание II",
    "MDC_ECG_LEAD_RR",
    "Lead 1",
]


@pytest.mark.parametrize(("text", "lead"), [(text, lead) for lead, texts in NAMES.items() for text in texts])
def test_all_conventions_of_lead_names_are_known(text, lead):
    assert leads.lead_name(text) == lead


@pytest.mark.parametrize("text", OTHERS)
def test_a_name_that_merely_contains_a_lead_is_none(text):
    assert leads.lead_name(text) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["C1", "C6"], ["V1", "V6"]),
        (["I", "V1", "C2"], ["I", "V1", None]),
        (["C3", "C4", "Fz", "ECG I", "ECG II"], [None, None, None, "I", "II"]),
        (["Fp1", "C1", "Lead C2"], [None, None, None]),
    ],
)
def test_c1_to_c6_are_chest_leads_unless_the_file_has_v_leads_or_an_eeg(names, expected):
    assert leads.lead_names(names) == expected


def test_the_error_for_unknown_names_lists_those_that_are_known(tmp_path):
    with pytest.raises(UnreadableError, match=r"are: 'L1', 'L2', .*Known names are I, II, .*DI or D1, C1 to C6"):
        detect.read_ecg(write_wfdb(tmp_path / "a.hea", beats(70), [f"L{k}" for k in range(1, 13)]))


# ---- 12, 25: samples that hold no signal


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """(12, 6000) mV at 500 Hz: twelve seconds."""
    return np.rint(200 * beats(70, seconds=12)) / 200


@pytest.mark.parametrize("value", [0.0, -3.2, np.nan])
@pytest.mark.parametrize(("before", "after"), [(0, 150), (150, 0), (300, 400)])
def test_padding_at_the_ends_is_left_out_with_a_note(wave, value, before, after):
    padded = wave.copy()
    padded[:, :before] = value
    padded[:, padded.shape[1] - after :] = value
    record = gaps.mark(EcgRecord(padded, 500))
    np.testing.assert_array_equal(record.signal, wave[:, before : 6000 - after])
    assert record.notes == (
        f"{(before + after) / 500:.1f} s at the ends hold one value in all leads (padding): left out",
    )


def test_ten_seconds_of_code_with_zeros_around_them_are_the_ten_seconds():
    signal = beats(70, rate=400)
    record = gaps.mark(EcgRecord(np.pad(signal, ((0, 0), (48, 48))), 400))
    np.testing.assert_array_equal(record.signal, signal)


def test_too_little_signal_between_padding_is_refused_with_its_seconds(wave):
    padded = wave.copy()
    padded[:, :1500] = 0
    with pytest.raises(UnreadableError, match=r"only 9\.0 of 12\.0 s hold a signal; 3\.0 s at the ends.*Ten seconds"):
        gaps.mark(EcgRecord(padded, 500))


def test_padding_of_one_lead_alone_is_missing_samples(wave):
    padded = wave.copy()
    padded[7, 5000:] = padded[7, 5000]
    record = gaps.mark(EcgRecord(padded, 500))
    assert np.flatnonzero(np.isnan(record.signal[7])).tolist() == list(range(5000, 6000))
    assert record.notes == ("one repeated value counts as missing: V2 2.0 s",)


@pytest.mark.parametrize(
    ("value", "seconds", "missing"),
    [(0.1, 1.0, True), (0.1, 0.9, False), (5.0, 0.3, True), (-5.0, 0.3, True), (5.0, 0.15, False), (0.8, 0.3, False)],
)
def test_a_repeated_value_is_missing_if_it_is_long_or_at_the_limit(wave, value, seconds, missing):
    stuck, count = wave.copy(), round(500 * seconds)
    stuck[4, 2000 : 2000 + count] = value
    record = gaps.mark(EcgRecord(stuck, 500))
    expected = list(range(2000, 2000 + count)) if missing else []
    assert np.flatnonzero(np.isnan(record.signal[4])).tolist() == expected
    assert bool(record.notes) == missing
    assert not np.isnan(np.delete(record.signal, 4, axis=0)).any()
    if missing:
        flags = ecg.preprocess(record)[2]
        assert flags["gaps"] == pytest.approx(count / 60_000, abs=1e-6)
        assert np.abs(ecg.first_ten_seconds(record)[4]).max() < 2


def test_a_signal_without_such_samples_is_unchanged(wave):
    silent, flat, absent = wave.copy(), wave.copy(), wave.copy()
    silent[np.abs(silent) < 0.02] = 0  # without noise, between the beats all leads are zero
    flat[3] = 0.2
    absent[2:6] = np.nan
    for signal in (wave, silent, flat, absent, np.zeros((12, 5000)), np.full((12, 5000), np.nan), np.empty((12, 0))):
        record = EcgRecord(signal, 500)
        np.testing.assert_array_equal(gaps.mark(record).signal, signal)
        assert gaps.mark(record).notes == ()


def test_more_than_a_fifth_of_a_lead_is_still_refused(wave):
    stuck = wave.copy()
    stuck[8, 1000:2600] = 0.35
    with pytest.raises(UnreadableError, match=r"more than a fifth of a lead's samples are missing"):
        ecg.preprocess(gaps.mark(EcgRecord(stuck, 500)))


# ---- 18, 20, 23: formats that are refused by name

SCP = bytes(6) + bytes(10) + b"SCPECG" + bytes(200)
FOREIGN = {
    "BDF": (b"\xffBIOSEMI" + b" " * 300, "Convert it to EDF"),
    "SCP-ECG": (SCP, "HL7 aECG.*BioSig"),
    "ISHNE": (b"ISHNE1.0" + bytes(600), "EDF or WFDB"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), r"\.npy"),
    "MATLAB 5": (b"MATLAB 5.0 MAT-file, Platform" + bytes(600), r"\.npy"),
    "PDF": (b"%PDF-1.7\n" + bytes(600), "signals"),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(600), "signals"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(600), "signals"),
    "TIFF": (b"II*\0" + bytes(600), "signals"),
    "gzip": (b"\x1f\x8b\x08" + bytes(600), "Unpack"),
    "zip": (b"PK\x03\x04" + bytes(600), "Unpack"),
    "Excel": (b"\xd0\xcf\x11\xe0" + bytes(600), "CSV"),
    "Parquet": (b"PAR1" + bytes(600), r"\.npy"),
    "pickle": (b"\x80\x04\x95" + bytes(600), r"\.npy"),
    "HTML": (b"\n<!DOCTYPE html><html><head><title>Log in</title></head></html>", "Log in and download"),
    "XHTML": (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"></html>', "Log in and download"),
    "Philips": (b'<?xml version="1.0"?><restingecgdata xmlns="http://x"></restingecgdata>', "DICOM, HL7 aECG"),
    "Philips in UTF-16": ('<?xml version="1.0"?><restingecgdata/>'.encode("utf-16"), "DICOM, HL7 aECG"),
    "Mortara": (b"<!-- a --><ECG ACQUISITION_TIME='1'></ECG>", "DICOM, HL7 aECG"),
    "Schiller": (b"<?xml version='1.0'?><examdescript/>", "DICOM, HL7 aECG"),
    "unknown XML": (b"<?xml version='1.0'?><x:waveforms xmlns:x='u'/>", "RestingECG .*CardiologyXML .*AnnotatedECG"),
    "XML without elements": (b"<?xml version='1.0'?><!-- nothing -->", "again"),
}
SHOWN = {"image": "an image", "JPEG": "an image", "TIFF": "an image", "pickle": "a Python pickle", "HTML": "a web page"}
SHOWN |= {"XHTML": "a web page", "Philips in UTF-16": "Philips", "unknown XML": "'waveforms'", "MATLAB 5": "a MATLAB 5"}
SHOWN |= {"XML without elements": "no root element"}


@pytest.mark.parametrize("suffix", [".dat", ".xml", ".csv", ".ecg"])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_format_is_named_before_it_is_parsed(tmp_path, name, suffix):
    content, cure = FOREIGN[name]
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(UnreadableError, match=f"(?s){SHOWN.get(name, name)}.*{cure}") as caught:
        detect.read_ecg(tmp_path / f"a{suffix}")
    assert "20205" not in str(caught.value)
    assert "Error" not in str(caught.value)


def test_a_value_in_a_message_is_not_masked_as_an_id(tmp_path):
    from eccl_lib.data.ukb.masking import masked

    with pytest.raises(UnreadableError) as caught:
        detect.read_ecg(write_wfdb(tmp_path / "a.hea", 1000 * beats(70) / 32, gains="1/V", counts_per_mv=1))
    assert "000 mV are too large" in caught.value.reason
    assert masked(caught.value.reason) == caught.value.reason
