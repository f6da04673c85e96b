"""Real recordings in other formats: heart rate, Einthoven's law, flags, rates, units; CSV; NIfTI cines."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS, StoreConfig
from eccl_lib.data import cmr, ecg
from eccl_lib.data.formats import detect
from tests.data.detectors import xqrs_peaks


def recordings() -> list[Path]:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "ecg"
    found = sorted(folder.glob("*/*.hea"))
    return found or [pytest.param(folder, marks=pytest.mark.skip(f"the real recordings are not there: {folder}"))]


def sample_dicom() -> Path:
    from pydicom.data import get_testdata_file

    return Path(get_testdata_file("waveform_ecg.dcm", download=False))


@pytest.fixture(scope="module")
def quality_flags(shared: Path) -> dict[str, str]:
    with (shared / "ecg" / "records.csv").open() as handle:
        return {row["record"]: row["quality"] for row in csv.DictReader(handle)}


def xqrs_rates(signal: np.ndarray, rate: int) -> np.ndarray:
    """Beats per minute between the first and last R peak of each lead, by XQRS. signal: mV, (C, T)."""
    peaks = [found for lead in signal if len(found := xqrs_peaks(lead, rate)) > 1]
    return np.array([60 * rate * (len(found) - 1) / (found[-1] - found[0]) for found in peaks])


@pytest.mark.parametrize("path", [*recordings(), sample_dicom()], ids=lambda path: path.stem)
def test_the_heart_rate_equals_that_of_xqrs(path):
    record = detect.read_ecg(path)
    raw = record.signal[:, : int(10 * record.rate)]
    _, ours, flags = ecg.preprocess(record)
    assert flags["heart_rate_from"] == "peaks"
    assert ours == pytest.approx(np.median(xqrs_rates(raw, int(record.rate))), abs=3)


@pytest.mark.parametrize("path", [*recordings(), sample_dicom()], ids=lambda path: path.stem)
def test_einthoven_holds_to_two_microvolts_before_and_after_standardising(path):
    record = detect.read_ecg(path)
    lead_1, lead_2, lead_3 = 1000 * record.signal[:3]
    assert np.abs(lead_1 + lead_3 - lead_2).max() <= 2
    assert ecg.preprocess(record)[2]["einthoven_uv"] <= 2


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_only_the_listed_flat_leads_are_flagged(path, quality_flags):
    record = detect.read_ecg(path)
    stored, _, flags = ecg.preprocess(record)
    assert bool(flags["flat_leads"]) == (quality_flags.get(path.stem) == "flat_lead")
    assert stored.shape == (12, 5000)
    assert stored.any()
    assert flags["missing_leads"] == ""


def test_units_are_read_in_all_spellings(shared):
    path = next(path for path in recordings() if " 1000/mv" in path.read_text() or "/mv " in path.read_text())
    assert 0.2 < np.ptp(detect.read_ecg(path).signal[1]) < 10


def test_a_ptb_record_at_1000_hz_with_frank_leads_gives_twelve_leads(shared):
    record = detect.read_ecg(shared / "ecg" / "ptbdb" / "s0010_re.hea")
    assert (record.rate, record.signal.shape) == (1000, (12, 38400))
    assert "'vx', 'vy', 'vz'" in record.notes[0]
    assert ecg.first_ten_seconds(record).shape == (12, 5000)


@pytest.mark.parametrize("suffix", ["", ".hea", ".mat"])
def test_a_record_is_read_by_any_of_its_file_names(shared, suffix):
    path = shared / "ecg" / "ptbxl" / f"HR06000{suffix}"
    assert detect.read_ecg(path).signal.shape == (12, 5000)


def test_a_dicom_waveform_gives_the_rhythm_strip_in_millivolts():
    record = detect.read_ecg(sample_dicom())
    assert (record.rate, record.signal.shape) == (1000, (12, 10000))
    assert not np.isnan(record.signal).any()
    assert 1 < np.ptp(record.signal[1]) < 2


def test_uk_biobank_xml_is_detected_by_its_content(shared, tmp_path):
    copy = tmp_path / "recording.txt"
    copy.write_bytes((shared / "formats" / "example_9000001_20205_2_0.xml").read_bytes())
    assert detect.read_ecg(copy).heart_rate == 62


def test_a_header_with_a_file_in_another_folder_raises_an_error(shared, tmp_path):
    text = (shared / "ecg" / "ptbxl" / "HR06000.hea").read_text()
    (tmp_path / "bad.hea").write_text(text.replace("HR06000.mat", "../../../secret.mat").replace("HR06000", "bad"))
    with pytest.raises(UnreadableError, match=r"not in its folder|damaged"):
        detect.read_ecg(tmp_path / "bad.hea")


def test_damaged_records_raise_errors(shared, tmp_path):
    source = shared / "ecg" / "ptbxl"
    (tmp_path / "HR06000.hea").write_bytes((source / "HR06000.hea").read_bytes())
    with pytest.raises(UnreadableError, match="not in its folder"):
        detect.read_ecg(tmp_path / "HR06000.hea")
    (tmp_path / "HR06000.mat").write_bytes((source / "HR06000.mat").read_bytes()[:5000])
    with pytest.raises(UnreadableError, match="cut short"):
        detect.read_ecg(tmp_path / "HR06000.hea")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(sample_dicom().read_bytes()[:3000])
    with pytest.raises(UnreadableError):
        detect.read_ecg(broken)
    lonely = tmp_path / "lonely.dat"
    lonely.write_bytes(bytes(100))
    with pytest.raises(UnreadableError, match=r"the suffix \.hea is missing"):
        detect.read_ecg(lonely)


@pytest.fixture(scope="module")
def strip() -> np.ndarray:
    """(5000, 12) mV, columns in the order of LEADS."""
    return ecg.first_ten_seconds(detect.read_ecg(sample_dicom())).T


def written(path: Path, rows: np.ndarray, header: str, above: str = "", separator: str = ",") -> Path:
    lines = [separator.join(f"{x:.4f}" for x in row) for row in rows]
    path.write_text("\n".join([*([above] if above else []), header, *lines]) + "\n", encoding="utf-8")
    return path


def test_csv_is_read_with_a_rate_line_or_a_time_column_in_any_order_and_unit(strip, tmp_path):
    time = np.arange(5000)[:, None] / 500
    plain = written(tmp_path / "a.csv", strip, ",".join(LEADS), "# rate=500")
    clock = written(tmp_path / "b.csv", np.hstack([time, strip]), ",".join(["time", *LEADS]))
    clock_ms = written(tmp_path / "c.csv", np.hstack([1000 * time, strip]), ",".join(["time_ms", *LEADS]))
    names = ";".join(f"Lead {lead.upper()}" for lead in LEADS[::-1])
    micro = written(tmp_path / "d.txt", 1000 * strip[:, ::-1], names, "# rate: 500 Hz, unit: uV", ";")
    for path in (plain, clock, clock_ms, micro):
        record = detect.read_ecg(path)
        assert record.rate == pytest.approx(500)
        np.testing.assert_allclose(record.signal, strip.T, atol=6e-5)


@pytest.mark.parametrize(
    ("end", "per_mv"), [(" (uV)", 1e3), (" [µV]", 1e3), ("_uV", 1e3), ("/mV", 1), (" V", 1e-3), (" (V)", 1e-3)]
)
def test_a_unit_in_a_columns_name_is_applied(strip, tmp_path, end, per_mv):
    path = written(tmp_path / "a.csv", strip, "", "# rate=500")
    lines = [",".join(f"{lead}{end}" for lead in LEADS), *(",".join(f"{x * per_mv:.7f}" for x in row) for row in strip)]
    path.write_text("# rate=500 unit=nV\n" + "\n".join(lines) + "\n", encoding="utf-8")
    np.testing.assert_allclose(detect.read_ecg(path).signal, strip.T, atol=1e-4)


def test_volts_without_a_unit_raise_an_error(strip, tmp_path):
    names = ",".join(LEADS)
    rows = "\n".join(",".join(f"{x / 1000:.7f}" for x in row) for row in strip)
    (tmp_path / "a.csv").write_text(f"# rate=500\n{names}\n{rows}\n")
    with pytest.raises(UnreadableError, match=r"the unit is wrong.*Write the correct unit"):
        detect.read_ecg(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(f"# rate=500 unit=V\n{names}\n{rows}\n")
    np.testing.assert_allclose(detect.read_ecg(tmp_path / "b.csv").signal, strip.T, atol=1e-4)


@pytest.mark.parametrize("name", ["-aVR", "Lead -aVR", "Lead aVR(-)", "\u2212aVR", "aVR (-)", "aVR-", "aVR inverted"])
def test_the_sign_of_inverted_leads_is_changed(strip, tmp_path, name):
    cabrera = strip.copy()
    cabrera[:, 3] *= -1
    names = ",".join([*LEADS[:3], name, *LEADS[4:]])
    record = detect.read_ecg(written(tmp_path / "a.csv", cabrera, names, "# rate=500"))
    np.testing.assert_allclose(record.signal, strip.T, atol=6e-5)
    assert record.notes == (f"inverted leads corrected: {name}",)


@pytest.mark.parametrize("name", ["ECG-aVR", "Lead-aVR", "MDC_ECG_LEAD_AVR", "ecg - aVR", "aVR-raw", "aVR (+)"])
def test_a_dash_in_a_name_does_not_mark_an_inverted_lead(strip, tmp_path, name):
    names = ",".join([*LEADS[:3], name, *LEADS[4:]])
    record = detect.read_ecg(written(tmp_path / "a.csv", strip, names, "# rate=500"))
    np.testing.assert_allclose(record.signal, strip.T, atol=6e-5)


def test_limb_leads_of_a_csv_with_fewer_leads_are_computed(strip, tmp_path):
    kept = [0, 1, 6, 10]
    names = ",".join(LEADS[k] for k in kept)
    mv = ecg.first_ten_seconds(detect.read_ecg(written(tmp_path / "a.csv", strip[:, kept], names, "# rate=500")))
    np.testing.assert_allclose(mv[:6], strip.T[:6], atol=0.003)
    assert not mv[7].any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("I,II\n", "no rows"),
        ("I,II\n1,2\n3,4\n", "sampling rate"),
        ("# rate=fast\nI,II\n1,2\n", "'fast'"),
        ("# rate=500\nI,II\n1,2\n3\n", "row 4 has 1 cells for 2 names"),
        ("# rate=500\nI,II\n1,two\n", "not a number"),
        ("# rate=500\nfoo,bar\n1,2\n", "'foo', 'bar'"),
        ("# rate=500\nI,II\n800,900\n700,600\n", "unit"),
        ("# rate=500 unit=furlong\nI,II\n1,2\n", "furlong"),
        ("time,I,II\n0,1,1\n1,1,1\n1,1,1\n", "evenly spaced"),
        ("\0\0\0", "binary"),
    ],
)
def test_an_unusable_csv_raises_an_error_with_the_accepted_form(tmp_path, text, reason):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UnreadableError, match=reason) as caught:
        detect.read_ecg(path)
    assert caught.value.cure


def test_the_error_for_a_missing_file_or_a_folder_names_this_fault_and_no_formats(tmp_path):
    with pytest.raises(UnreadableError, match=r"^the file does not exist\. Check its path\.$"):
        detect.read_ecg(tmp_path / "nowhere.csv")
    with pytest.raises(UnreadableError, match=r"^it is a folder, not a file\. Give a file[^.]*\.$"):
        detect.read_ecg(tmp_path)


@pytest.fixture(scope="module")
def subjects(shared: Path) -> list[dict[str, str]]:
    with (shared / "cmr" / "sunnybrook" / "subjects.csv").open() as handle:
        return list(csv.DictReader(handle))


def sunnybrook(shared: Path, subject: dict[str, str]):
    name = str(shared / "cmr" / "sunnybrook" / subject["patient_id"])
    frames = int(subject["ed_frame"]), int(subject["es_frame"])
    return detect.read_cine(Path(f"{name}_sax_4d.nii.gz"), Path(f"{name}_sax_edes_gt.nii.gz"), frames)


def test_expert_masks_of_real_cines_give_the_published_volumes(shared, subjects):
    for subject in subjects:
        cine = sunnybrook(shared, subject)
        assert cine.images.shape == (int(subject["n_slices"]), 20, 128, 128)
        assert cine.frame_ms == pytest.approx(float(subject["frame_ms"]), rel=0.01)
        voxel_ml = np.prod(cine.spacing_mm) * cine.slice_step_mm / 1000
        for frame, volume in (("ed_frame", "lv_edv_ml"), ("es_frame", "lv_esv_ml")):
            cavity = (cine.labels[:, int(subject[frame])] == cmr.LV).sum() * voxel_ml
            assert cavity == pytest.approx(float(subject[volume]), rel=0.001)


def test_real_cines_are_cropped_as_in_the_store(shared, subjects):
    for subject in subjects:
        cine = sunnybrook(shared, subject)
        base, apex = (cine.labels[k] == cmr.LV for k in (1, -1))
        assert base.sum() > 1.5 * apex.sum()
        clip = cmr.crop(cine, StoreConfig())
        assert (clip.shape, clip.dtype) == ((224, 224, 50), np.uint8)
        # 20 frames become 50: every second of ours is at four fifths of a frame; frames 0, 5, 10 ... are the scanner's.
        chosen = cmr.choose_slice(cine.labels, len(cine.images), "middle")
        top, left, bottom, right = cmr.heart_box(cine.labels[chosen])
        assert (bottom - top) * cine.spacing_mm[0] > 50
        low, high = np.quantile(cine.images[chosen][:, top:bottom, left:right], cmr.WINDOW)
        frame = cine.images[chosen][2, top:bottom, left:right].astype(np.float32)
        expected = np.clip((cmr.resize(cmr.resize(frame, 224, 0), 224, 1) - low) * 255 / (high - low), 0, 255)
        assert np.abs(clip[:, :, 5] - expected).max() <= 0.51


def test_a_nifti_without_frames_and_a_missing_file_raise_errors(tmp_path):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 3), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(UnreadableError, match="one frame"):
        detect.read_cine(tmp_path / "a.nii.gz")
    with pytest.raises(UnreadableError, match="does not exist"):
        detect.read_cine(tmp_path / "b.nii.gz")


def test_a_heart_rate_above_the_table_is_no_sampling_rate(tmp_path):
    rows = "\n".join("0.1,0.2" for _ in range(5000))
    path = tmp_path / "a.csv"
    path.write_text(f"# Heart rate: 72 bpm\n# sampling rate: 500 Hz\nI,II\n{rows}\n")
    assert detect.read_ecg(path).rate == 500
    path.write_text(f"# Heart rate: 72 bpm, fs=250, unit=mV\nI,II\n{rows}\n")
    assert detect.read_ecg(path).rate == 250


def test_a_rate_that_contradicts_the_column_of_times_is_refused(tmp_path):
    rows = "\n".join(f"{k / 250:.3f},0.1,0.2" for k in range(5000))
    path = tmp_path / "a.csv"
    path.write_text(f"# rate=500\ntime,I,II\n{rows}\n")
    with pytest.raises(UnreadableError, match="500 samples per second, the column of times something else"):
        detect.read_ecg(path)
    path.write_text(f"# rate=250\ntime,I,II\n{rows}\n")
    assert detect.read_ecg(path).rate == 250
