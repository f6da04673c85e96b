"""WFDB records with further faults of the field cases' kinds, generated here."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg
from eccl_lib.data.formats import detect
from tests.data.field_files import write_wfdb
from tests.data.test_ecg_signal import beats


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """(12, 5000) mV in steps of 5 uV, with noise."""
    return np.rint(200 * beats(70)) / 200


def same(record, wave: np.ndarray, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(ecg.first_ten_seconds(record), wave, atol=atol)


# ---- 01, 02, 03, 04, 05, 07, 32: WFDB


@pytest.mark.parametrize(
    "line",
    [
        "{stem}.mat {n} 500 {samples}",  # 01_wfdb_challenge_date
        "{stem}.dat {n} 500 {samples} 12:30:00 2020-05-05",
        "{stem} {n} 500 {samples} 12:30:00 5 May 2020",
        "{stem} {n} 500/500(0) {samples}",
        "{stem} {n} 500.0 {samples} 05/05/2020",
        "record.1 {n} 500 {samples}",
    ],
)
def test_odd_record_lines_are_read(wave, tmp_path, line):
    record = detect.read_ecg(write_wfdb(tmp_path / "a.hea", wave, line=line))
    assert record.rate == 500
    same(record, wave)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"# a comment\r\n\r\n"])
def test_a_header_with_a_mark_or_a_comment_at_its_start_is_read(wave, tmp_path, start):
    header = write_wfdb(tmp_path / "a.hea", wave)
    header.write_bytes(start + header.read_bytes().replace(b"\n", b"\r\n"))
    same(detect.read_ecg(header), wave)


@pytest.mark.parametrize("line", ["{stem} {n}", "{stem} {n} 0 {samples}"])
def test_a_header_without_a_sampling_rate_is_refused_by_name(wave, tmp_path, line):
    with pytest.raises(UnreadableError, match=r"states no sampling rate\. Write the rate into line 1"):
        detect.read_ecg(write_wfdb(tmp_path / "a.hea", wave, line=line))


@pytest.mark.parametrize("gain", ["0", "0.0/mV", "0(0)/mV"])
def test_uncalibrated_leads_have_200_units_per_mv_and_a_note(wave, tmp_path, gain):
    gains = [gain, *["1000/mV"] * 11]
    scaled = np.vstack([wave[:1] / 5, wave[1:]])
    record = detect.read_ecg(write_wfdb(tmp_path / "a.hea", scaled, gains=gains))
    assert record.notes == ("uncalibrated (gain 0): I; WFDB's 200 units per mV are assumed",)
    np.testing.assert_allclose(record.signal, wave, atol=1e-9)


@pytest.mark.parametrize(
    ("unit", "encoding"),
    [
        *(("µV", "latin-1"), ("μV", "utf-8"), ("Î¼V", "utf-8"), ("ÂµV", "utf-8"), ("\ufffdV", "utf-8")),
        *(("мкВ", "utf-8"), ("UV", "utf-8"), ("uv", "utf-8"), ("microvolt", "ascii")),
    ],
)
def test_microvolts_are_known_in_every_encoding(wave, tmp_path, unit, encoding):
    path = write_wfdb(tmp_path / "a.hea", wave, gains=f"1/{unit}", encoding=encoding)
    same(detect.read_ecg(path), wave)


@pytest.mark.parametrize("unit", ["mmHg", "NU", "furlong", "%"])
def test_the_unit_of_other_channels_is_not_judged_but_that_of_a_lead_is(wave, tmp_path, unit):
    names, gains = [*LEADS, "ABP", "PAP II", "Resp I"], ["1000/mV"] * 12 + [f"10/{unit}"] * 3
    record = detect.read_ecg(write_wfdb(tmp_path / "a.hea", np.vstack([wave, wave[:3]]), names, gains))
    same(record, wave)
    assert record.notes == ("channels skipped: 'ABP', 'PAP II', 'Resp I'",)
    with pytest.raises(UnreadableError, match=f"the unit '{unit}' of lead V6 is not a voltage"):
        detect.read_ecg(write_wfdb(tmp_path / "b.hea", wave, gains=["1000/mV"] * 11 + [f"10/{unit}"]))


def test_several_sampling_rates_keep_the_leads_own_rate(wave, tmp_path):
    """Five frames hold ten samples of each lead and one of the pressure: their mean would be 100 Hz."""
    leads = np.rint(1000 * wave).astype("<i2").reshape(12, -1, 5)
    pressure = np.arange(1000, dtype="<i2")[None, :, None]
    frames = np.concatenate([*leads.transpose(0, 1, 2), pressure[0]], axis=1)
    (tmp_path / "a.dat").write_bytes(np.ascontiguousarray(frames).tobytes())
    lines = ["a 13 100 1000", *(f"a.dat 16x5 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    (tmp_path / "a.hea").write_text("\n".join([*lines, "a.dat 16 10/mmHg 16 0 0 0 0 ART"]) + "\n")
    record = detect.read_ecg(tmp_path / "a.hea")
    assert record.rate == 500
    same(record, wave)


def test_chest_leads_at_a_lower_rate_are_resampled_to_that_of_the_limb_leads(tmp_path):
    smooth = ecg.resample(beats(70, rate=100, seconds=10), 100, 500)
    limb = np.rint(1000 * smooth[:6]).astype("<i2").reshape(6, -1, 2)
    chest = np.rint(1000 * smooth[6:, ::2]).astype("<i2")[:, :, None]
    frames = np.concatenate([*limb, *chest], axis=1)
    (tmp_path / "a.dat").write_bytes(np.ascontiguousarray(frames).tobytes())
    lines = ["a 12 250 2500", *(f"a.dat 16{'x2' if k < 6 else ''} 1000/mV 16 0 0 0 0 {x}" for k, x in enumerate(LEADS))]
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    record = detect.read_ecg(tmp_path / "a.hea")
    assert (record.rate, record.signal.shape) == (500, (12, 5000))
    assert np.abs(record.signal - smooth)[:, 100:-100].max() < 0.01


def multisegment(folder, wave, parts: str) -> None:
    """Segments a_1 and a_2 of three and seven seconds, and the record a. parts: segment lines of the record."""
    write_wfdb(folder / "a_1.hea", wave[:, :1500])
    write_wfdb(folder / "a_2.hea", wave[:, 1500:])
    lines = parts.split(",")
    total = sum(int(line.split()[1]) for line in lines)
    (folder / "a.hea").write_text("\n".join([f"a/{len(lines)} 12 500 {total}", *lines]) + "\n")


def test_segments_are_joined_and_a_gap_between_them_is_missing(wave, tmp_path):
    multisegment(tmp_path, wave, "a_1 1500,a_2 3500")
    same(detect.read_ecg(tmp_path / "a.hea"), wave)
    write_wfdb(tmp_path / "a_layout.hea", np.empty((12, 0)))
    text = (tmp_path / "a_layout.hea").read_text()
    (tmp_path / "a_layout.hea").write_text(text.replace("a_layout.dat 16", "~ 0"))
    multisegment(tmp_path, wave, "a_layout 0,a_1 1500,~ 250,a_2 3500")
    record = detect.read_ecg(tmp_path / "a.hea")
    assert np.isnan(record.signal[:, 1500:1750]).all()
    assert ecg.preprocess(record)[2]["gaps"] == 0.05


def test_a_gap_without_a_layout_header_is_refused_by_name(wave, tmp_path):
    multisegment(tmp_path, wave, "a_1 1500,~ 250,a_2 3500")
    with pytest.raises(UnreadableError, match="with a gap but without a layout header"):
        detect.read_ecg(tmp_path / "a.hea")


@pytest.mark.parametrize("segment", ["../a_1", "a_9", "/etc/a_1"])
def test_a_segment_that_is_not_in_the_folder_is_refused(wave, tmp_path, segment):
    (tmp_path / "in").mkdir()
    multisegment(tmp_path, wave, "a_1 1500,a_2 3500")
    multisegment(tmp_path / "in", wave, f"{segment} 1500,a_2 3500")
    with pytest.raises(UnreadableError, match=r"is not in the folder of the header\. Copy all segments"):
        detect.read_ecg(tmp_path / "in" / "a.hea")


@pytest.mark.parametrize(("kind", "wide"), [("16", 2), ("24", 3), ("32", 4), ("212", 1.5), ("16+24", 2)])
def test_a_signal_file_that_was_cut_short_is_named_in_every_format(tmp_path, kind, wide):
    (tmp_path / "a.dat").write_bytes(bytes(int(12 * 4000 * wide)))
    lines = ["a 12 500 5000", *(f"a.dat {kind} 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    with pytest.raises(UnreadableError, match=r"holds (4,000|3,999) of the 5,000 samples that the header states"):
        detect.read_ecg(tmp_path / "a.hea")


def test_suffixes_in_other_case_are_read_from_any_of_the_files(wave, tmp_path):
    header = write_wfdb(tmp_path / "a.hea", wave)
    header.rename(tmp_path / "A.HEA")
    (tmp_path / "a.dat").rename(tmp_path / "A.DAT")
    for name in ("A.HEA", "A.DAT", "A"):  # the header names a.dat
        same(detect.read_ecg(tmp_path / name), wave)
