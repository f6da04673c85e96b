"""ECG files as hospitals, archives and anonymisers write them: each folder of field cases has its expected outcome."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import load
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg, open_cohort
from eccl_lib.data.formats import detect
from tests.conftest import eccl
from tests.data.field_files import case

WITHOUT_LIMB = ["III", "aVR", "aVL", "aVF"]  # computed from I and II


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """(12, 5000) mV: the ten seconds that most files hold, from the plainest of them, read without the package."""
    path = case("38_csv_clock/trailing.csv")
    return np.genfromtxt(path, delimiter=",", skip_header=1)[:, 1:13].T


# Files that are read: largest difference from the ten seconds in uV, leads that are not in the file, and the notes.
READ = [
    ("01_wfdb_challenge_date/E1.hea", 0.6, [], ""),
    ("01_wfdb_challenge_date/E2.hea", 0.6, [], ""),
    ("02_wfdb_gain_zero/g0.hea", 2.6, [], "uncalibrated.*200 units per mV"),
    ("03_wfdb_micro_sign/mu_l.hea", 0.6, [], ""),
    ("03_wfdb_micro_sign/mu_u.hea", 0.6, [], ""),
    ("03_wfdb_micro_sign/mu_small.hea", 0.1, [], ""),
    ("04_wfdb_other_channels/resp.hea", 0.6, [], "channels skipped: 'RESP'"),
    ("04_wfdb_other_channels/art.hea", 0.6, [], "channels skipped: 'ART'"),
    ("04_wfdb_other_channels/none.hea", 0.6, [], "channels skipped: 'RESP'"),
    ("05_wfdb_multisegment/m.hea", 0.6, [], "segments"),
    ("05_wfdb_multisegment/v.hea", 0.6, [], "segments"),
    ("14_csv_decimal_comma/eu.csv", 0.1, [], ""),
    ("14_csv_decimal_comma/eu_sep.csv", 0.1, [], ""),
    ("14_csv_decimal_comma/us_sep.csv", 0.1, [], ""),
    ("18_edf/a.edf", 0.6, [], ""),
    ("22_dicom_ecg_groups/limb_and_chest.dcm", 1.3, [], ""),
    ("22_dicom_ecg_groups/simultaneous.dcm", 1.3, [], ""),
    ("23_dicom_ecg_no_sensitivity/label.dcm", 1.3, [], ""),
    ("23_dicom_ecg_no_sensitivity/mdc.dcm", 1.3, [], ""),
    *((f"29_muse_variants/{name}.xml", 5, WITHOUT_LIMB, "") for name in ("bom8", "cp1252", "latin1", "nosize")),
    *((f"29_muse_variants/{name}.xml", 5, WITHOUT_LIMB, "") for name in ("deccomma", "two", "wrongdecl")),
    *((f"29_muse_variants/{name}.xml", 5, WITHOUT_LIMB, "") for name in ("utf16", "utf16nodoc", "r1000")),
    *((f"29_muse_variants/{name}.xml", 6, WITHOUT_LIMB, "") for name in ("r240", "r250")),
    ("30_cardiosoft_variants/float.xml", 2.6, [], ""),
    ("30_cardiosoft_variants/leadnames.xml", 2.6, [], ""),
    ("30_cardiosoft_variants/upper.xml", 2.6, [], ""),
    ("35_eight_leads_DI_C1/di.npy", 0.1, WITHOUT_LIMB, ""),
    ("35_eight_leads_DI_C1/d1.npy", 0.1, WITHOUT_LIMB, ""),
    ("35_eight_leads_DI_C1/c1.npy", 0.1, [], "IEC.*C1, C2, C3, C4, C5, C6"),
    *((f"38_csv_clock/{name}.csv", 0.7, [], "") for name in ("clock", "epoch", "iso", "nan", "pandas", "quoted")),
    *((f"38_csv_clock/{name}.csv", 0.1, [], "") for name in ("stamp", "trailing")),
    ("38_csv_clock/ms_round.csv", 0.1, [], "rounded: 500 samples per second"),
]


@pytest.mark.parametrize(("file", "largest_uv", "computed", "note"), READ, ids=[row[0] for row in READ])
def test_a_readable_file_gives_the_ten_seconds_that_it_holds(wave, file, largest_uv, computed, note):
    record = detect.read_ecg(case(file))
    mv = ecg.first_ten_seconds(record)
    assert 1000 * np.abs(mv - wave).max() <= largest_uv
    assert ecg.preprocess(record)[2]["missing_leads"].split() == computed
    assert re.search(note, "; ".join(record.notes))
    assert bool(record.notes) == bool(note)


# Files that are refused: what the message says, and what its cure says.
REFUSED = [
    ("05_wfdb_multisegment/v_layout.hea", "layout header of a multi-segment record", "main header"),
    ("07_wfdb_short_dat/s1.hea", "4,999 of the 5,000 samples that the header states", "Download or export"),
    ("07_wfdb_short_dat/s2.hea", "2,500 of the 5,000 samples that the header states", "Download or export"),
    ("12_code15_zero_padded/code.npy", r"only 7\.3 of 10\.2 s hold a signal.*padding", "Ten seconds are needed"),
    ("17_txt_no_header/matrix.csv", "no lead names and no sampling rate", "'# rate=500'"),
    ("17_txt_no_header/pw.txt", "no lead names and no sampling rate", "'# rate=500'"),
    ("17_txt_no_header/blank.txt", "no sampling rate", "'# rate=500'"),
    ("18_edf/b.bdf", "BDF", "Convert it to EDF"),
    ("20_philips_sierra_xml/philips.xml", "Philips XML", "Export the ECG .* DICOM, HL7 aECG"),
    ("22_dicom_ecg_groups/four_by_three.dcm", "recorded one after another: I III .* V6", "at the same time"),
    ("23_dicom_ecg_no_sensitivity/no_units.dcm", r"unit of lead I is unknown.*\(003A,0211\)", "Write the unit"),
    ("38_csv_clock/sampleno.csv", "no sampling rate; the column 'sample' only counts", "'# rate=500'"),
]


@pytest.mark.parametrize(("file", "reason", "cure"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_file_that_cannot_be_read_is_refused_with_its_fault_and_cure(file, reason, cure):
    with pytest.raises(UnreadableError, match=reason) as caught:
        detect.read_ecg(case(file))
    assert re.search(cure, caught.value.cure)
    assert "20205" not in str(caught.value)


@pytest.mark.parametrize(("name", "largest_uv"), [("pad05", 0.3), ("pad25", 1.3)])
def test_25_dicom_ecg_padding_gives_missing_samples_that_are_counted_and_bridged(wave, name, largest_uv):
    record = detect.read_ecg(case(f"25_dicom_ecg_padding/{name}.dcm"))
    v2 = LEADS.index("V2")
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[v2, k] for k in range(1000, 1150)]
    assert 1000 * np.nanmax(np.abs(record.signal - wave)) <= largest_uv
    assert ecg.preprocess(record)[2]["gaps"] == 150 / 60_000
    bridge = ecg.first_ten_seconds(record)[v2, 999:1151]
    np.testing.assert_allclose(bridge, np.linspace(bridge[0], bridge[-1], 152), atol=1e-9)


def test_30_cardiosoft_variants_with_a_decimal_comma_and_a_missing_lead(wave):
    comma = detect.read_ecg(case("30_cardiosoft_variants/comma.xml"))
    assert "resolution 4.88 uV per count" in comma.notes[0]
    assert np.abs(comma.signal - 4.88 / 5 * wave).max() < 2.6e-3  # the counts are those of 5 uV
    record = detect.read_ecg(case("30_cardiosoft_variants/missing.xml"))
    _, _, flags = ecg.preprocess(record)
    assert flags["missing_leads"] == "V3"
    assert any("V3" in line for line in ecg.warnings(flags))


@pytest.mark.parametrize("name", ["CAP.HEA", "CAP.DAT", "CAP", "Müller EKG 2/00001_lr.hea"])
def test_32_ptbxl_100hz_and_names_are_read(wave, name):
    record = detect.read_ecg(case("32_ptbxl_100hz_and_names") / name)
    assert (record.rate, record.signal.shape, record.notes) == (100, (12, 1000), ())
    np.testing.assert_allclose(record.signal, wave[:, ::5], atol=0.1)  # the QRS has little left at 100 Hz
    for lead, ours in zip(wave, ecg.first_ten_seconds(record), strict=True):
        assert np.corrcoef(lead, ours)[0, 1] > 0.995


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build the store of a folder's ECGs and return it."""
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))

    def run(folder: Path, *options: str):
        assert eccl("ingest", "ecg", folder, "--name", "field", "--workers", "1", *options) == 0
        return open_cohort.load(load("demo", cohort="ecg-field"), lambda line: None, needs=("ecg",))

    return run


@pytest.mark.parametrize("below", ["", "files"])
def test_33_mimic_iv_ecg_patients_are_each_in_one_split(build, below, capsys):
    data = build(case("33_mimic_iv_ecg_patients") / below)
    assert len(data) == 30
    subject = data.table["name"].str.extract(r"/(p\d{8})/")[0]
    by_subject = data.table.groupby(subject)
    assert (by_subject["patient"].nunique() == 1).all()
    assert (by_subject["split"].nunique() == 1).all()
    assert (by_subject.size() == 5).all()
    assert data.table["patient"].nunique() == 6
    assert "treated as one person" not in capsys.readouterr().out


def test_05_wfdb_multisegment_stores_records_and_not_their_segments(build, capsys):
    assert sorted(build(case("05_wfdb_multisegment")).table["name"]) == ["m", "v"]
    assert "patients: each recording is treated as one person" in capsys.readouterr().out.splitlines()[-3]


def test_32_ptbxl_100hz_and_names_are_all_stored(build):
    data = build(case("32_ptbxl_100hz_and_names"))
    assert sorted(data.table["name"]) == ["CAP", "Müller EKG 2/00001_lr"]
    assert len(data.quarantine) == 0


def test_70_file_name_not_utf8_quarantines_that_folder_alone(build, tmp_path):
    source, root = case("70_file_name_not_utf8/ok_folder"), tmp_path / "tree"
    for name in ("good", "bad"):
        shutil.copytree(source, root / name)
    os.rename(root / "bad", os.path.join(os.fsencode(root), b"Mu\xfc"))  # noqa: PTH104, PTH118
    data = build(root)
    assert list(data.table["name"]) == ["good/b"]
    assert data.quarantine[["file", "reason", "cure"]].to_numpy().tolist() == [
        [r"Mu\xfc", "the name of the folder is not UTF-8", "Rename it with ASCII letters."]
    ]
