"""Unpaired stores of ECGs: the build command, the table of labels, and the errors of stages that need cines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from pydicom.data import get_testdata_file

from eccl_lib.config.errors import ConfigError, MissingError, UnreadableError
from eccl_lib.config.load import load
from eccl_lib.config.schema import LEADS
from eccl_lib.data import cohort, ecg, leaks, open_cohort
from eccl_lib.data.formats import detect
from eccl_lib.data.ingest import participants_table, unpaired
from eccl_lib.data.listing import FileListing
from eccl_lib.data.splits import split_of
from eccl_lib.data.store import fill, sharded
from tests.conftest import eccl
from tests.data import muse_files


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def strip() -> np.ndarray:
    """A real recording, (12, 5000) mV."""
    return ecg.first_ten_seconds(detect.read_ecg(Path(get_testdata_file("waveform_ecg.dcm", download=False))))


@pytest.fixture
def recordings(strip, tmp_path) -> Path:
    """Seven recordings in five formats, two of them unreadable, and files that are not recordings."""
    root = tmp_path / "ecgs"
    for name in ("a", "b", "deep/er"):
        (root / name).mkdir(parents=True)
    shutil.copy(get_testdata_file("waveform_ecg.dcm", download=False), root / "a" / "one.dcm")
    counts = {lead: np.rint(1000 * strip[LEADS.index(lead)] / 4.88) for lead in muse_files.RECORDED}
    muse_files.write(root / "b" / "two.xml", counts)
    np.save(root / "b" / "three.npy", strip.astype(np.float32) * 1.1)
    (root / "b" / "ecg.json").write_text(json.dumps({"rate": 500, "leads": list(LEADS)}))
    rows = "\n".join(",".join(f"{x:.3f}" for x in row) for row in strip.T[:, [0, 1, 6, 7]])
    (root / "deep" / "er" / "four.csv").write_text(f"# rate=500\nI,II,V1,V2\n{rows}\n")
    (root / "deep" / "five.csv").write_text("# rate=500\nI,II,V1,V2\n" + "\n".join(rows.split("\n")[:400]))
    (root / "records.csv").write_text("source,record,age\nptbxl,one,59\n")
    (root / "lonely.mat").write_bytes(bytes(100))
    wfdb.wrsamp("six", 500, ["mV"] * 12, list(LEADS), strip.T * 0.9, fmt=["16"] * 12, write_dir=str(root / "deep"))
    (root / "README.md").write_text("read me")
    return root


def build(folder: Path, *more: str) -> cohort.Cohort:
    words = ["ecg", str(folder), "--name", "mine", "--workers", "1", *more]
    assert eccl("ingest", *words) == 0
    return opened()


def opened() -> cohort.Cohort:
    return open_cohort.load(load("demo", cohort="ecg-mine"), lambda line: None, needs=("ecg",))


def test_stored_rows_equal_the_preprocessed_records_of_each_format(recordings, runs):
    data = build(recordings)
    assert sorted(data.table["name"]) == ["a/one", "b/three", "b/two", "deep/er/four", "deep/six"]
    suffixes = {"a/one": ".dcm", "b/three": ".npy", "b/two": ".xml", "deep/er/four": ".csv", "deep/six": ".hea"}
    for k, name in enumerate(data.table["name"]):
        expected = ecg.preprocess(detect.read_ecg(recordings / f"{name}{suffixes[name]}"))[0]
        np.testing.assert_array_equal(data.ecg[k], expected)
    assert data.clips is None
    assert not data.labels.any()
    assert np.isnan(data.traits).all()
    assert data.table["eid"].is_monotonic_increasing or len(set(map(len, data.table["eid"]))) > 1


def test_a_copy_of_a_store_in_any_folder_is_verified(recordings, runs, tmp_path):
    copy = shutil.copytree(build(recordings).folder, tmp_path / "backup" / "of" / "mine")
    assert eccl("verify", copy) == 0
    (shard,) = copy.rglob("ecg-00000.npy")
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1  # of the first row
    shard.write_bytes(content)
    assert eccl("verify", copy) == 1


def test_recordings_below_a_folder_of_a_person_are_of_one_patient():
    names = {"sub-01/ses-1/cine": "folder/sub-01", "sub-01/ses-2/cine": "folder/sub-01", "patient001": "", "a/b": ""}
    assert {name: unpaired._patient_of_layout("cmr", name, FileListing()) for name in names} == names
    said = unpaired._patients_known("cmr", ["a/b", "x"], ["a/b", "sub-01/x"], FileListing())
    assert "recordings without a known patient are treated as one person" in said
    assert "--patient-folder" not in said  # only for ECGs
    assert unpaired._patients_known("cmr", ["x"], ["sub-01/x"], FileListing()) == ""


def test_unreadable_files_are_in_quarantine_with_reason_and_cure(recordings, runs):
    data = build(recordings)
    quarantine = data.quarantine.set_index("file")
    assert "ten" in quarantine.loc["five.csv", "cure"].lower()
    assert "suffix .hea is missing" in quarantine.loc["lonely.mat", "reason"]
    assert len(quarantine) == 2
    facts = json.loads((data.folder / "report" / "report.json").read_text())
    assert facts["files passed over"] == {"files .csv": "under 10", "files .md": "under 10", "files .json": "under 10"}
    assert facts["quality"]["a lead missing in the file"] == "under 10"


def test_the_split_depends_on_the_name_only_and_a_second_build_reads_only_new_files(recordings, runs, monkeypatch):
    first = build(recordings)
    assert list(first.table["eid"]) == [unpaired.eid_of(name) for name in first.table["name"]]
    assert list(first.table["split"]) == [split_of(eid, "eccl") for eid in first.table["eid"]]
    processed: list[str] = []
    process = fill.process
    recorded = lambda p, config: (processed.append(p.paths("ecg")[0].name), process(p, config))[1]  # noqa: E731
    monkeypatch.setattr(fill, "process", recorded)
    again = build(recordings)
    assert processed == []
    assert again.fingerprint == first.fingerprint
    shutil.copy(recordings / "a" / "one.dcm", recordings / "a" / "new.dcm")
    more = build(recordings)
    assert processed == ["new.dcm"]
    before = dict(zip(first.table["name"], first.table["split"], strict=True))
    after = dict(zip(more.table["name"], more.table["split"], strict=True))
    assert {name: after[name] for name in before} == before
    assert more.fingerprint != first.fingerprint


def test_several_recordings_of_one_patient_share_a_split(recordings, runs, tmp_path):
    table = tmp_path / "people.csv"
    table.write_text("id,patient,sex,age\none,p1,F,61\ntwo,p1,female,61\nthree,p2,m,\nfour,p2,male,44\n")
    data = build(recordings, "--labels", str(table))
    split = data.table.set_index("name")["split"]
    assert split["a/one"] == split["b/two"]
    assert split["b/three"] == split["deep/er/four"]
    assert data.table.set_index("name")["sex"].to_dict() == {
        "a/one": "female",
        "b/two": "female",
        "b/three": "male",
        "deep/er/four": "male",
    }
    assert not [leak for leak in leaks.check(load("demo", cohort="ecg-mine"), data) if leak.kind == "3.2"]
    no_row = data.quarantine[data.quarantine["reason"].str.contains("no row")]
    assert sorted(no_row["file"]) == ["deep/five", "deep/six", "lonely"]


@pytest.fixture
def ptbxl(strip, tmp_path) -> Path:
    """Four ECGs of two patients in PTB-XL's layout: each at 100 and at 500 Hz, with the table of patients."""
    root = tmp_path / "ptb-xl-1.0.3"
    lines = ["ecg_id,patient_id,report,filename_lr,filename_hr"]
    for number, patient in ((1, 15709), (6, 15709), (2, 13243), (7, 13243)):
        paths = []
        for suffix, rate in (("lr", 100), ("hr", 500)):
            folder = root / f"records{rate}" / "00000"
            folder.mkdir(parents=True, exist_ok=True)
            mv = (1 - number / 50) * strip.T[:: 500 // rate]
            name = f"{number:05d}_{suffix}"
            wfdb.wrsamp(name, rate, ["mV"] * 12, list(LEADS), mv, fmt=["16"] * 12, write_dir=str(folder))
            paths.append(f"records{rate}/00000/{name}")
        lines.append(f'{number},{patient}.0,"sinusrhythmus,\nnormal",{",".join(paths)}')
    (root / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("below", ["", "records500"])
def test_each_ptb_xl_ecg_is_stored_once_and_all_ecgs_of_a_patient_share_a_split(ptbxl, runs, below):
    data = build(ptbxl / below)
    start = "" if below else "records500/"
    assert sorted(data.table["name"]) == [f"{start}00000/{n:05d}_hr" for n in (1, 2, 6, 7)]
    alone = {name: split_of(unpaired.eid_of(name), "eccl") for name in data.table["name"]}
    split = data.table.set_index("name")["split"]
    pairs = [[f"{start}00000/{n:05d}_hr" for n in pair] for pair in ((1, 6), (2, 7))]
    assert any(alone[a] != alone[b] for a, b in pairs)
    assert all(split[a] == split[b] for a, b in pairs)
    facts = json.loads((data.folder / "report" / "report.json").read_text())
    assert ("the same ECG at a lower rate, _lr beside _hr" in facts["files passed over"]) == (not below)


def test_a_100_hz_ecg_without_its_500_hz_version_is_stored(ptbxl, runs):
    for path in (ptbxl / "records500" / "00000").glob("00006_hr.*"):
        path.unlink()
    assert "records100/00000/00006_lr" in set(build(ptbxl).table["name"])


def test_missing_chest_leads_are_zero_in_the_models_input_and_limb_leads_are_computed(recordings, runs):
    from eccl_lib.training.datasets import EcgDataset

    data = build(recordings)
    row = int(np.flatnonzero(data.table["name"] == "deep/er/four")[0])
    missing = np.zeros((len(data), 12), dtype=bool)
    missing[row] = np.isin(LEADS, ["V3", "V4", "V5", "V6"])
    for scaling in ("lead", "fixed"):
        dataset = EcgDataset(data, load("demo", cohort="ecg-mine", overrides={"view.ecg_scaling": scaling}))
        x = dataset.of(np.arange(len(data))).numpy()
        assert not x[missing].any()
        assert x[~missing].any(axis=-1).all()


@pytest.mark.parametrize("stage", ["pretrain_cmr", "pretrain_pair", "autoencode_cmr"])
def test_stages_that_need_cines_raise_an_error_with_the_stage_that_can_use_the_cohort(recordings, runs, stage):
    from eccl_lib.pipeline import stages

    build(recordings)
    with pytest.raises(ConfigError, match=r"only ECGs.*needs.*cines.*pretrain_ecg"):
        stages.train(load("demo", cohort="ecg-mine"), stage, lambda line: None)


def test_valid_cohort_names_are_synthetic_ukb_ecg_name_and_cmr_name():
    for name in ("synthetic", "ukb", "ecg-ptb_xl", "cmr-acdc2017"):
        assert load("demo", cohort=name).cohort == name
    for name in ("ecg", "ecg-", "ecg-Ptb", "ecg-a/b", "mri-a", "ecg-ukb", "cmr-synthetic", "ecg-../x"):
        with pytest.raises(ConfigError, match=r"cohort is .*ecg-NAME or cmr-NAME"):
            load("demo", cohort=name)


def test_the_error_for_a_missing_store_has_the_build_command(runs):
    with pytest.raises(MissingError, match=r"eccl ingest ecg FOLDER\.\.\. --name nobody --scale demo"):
        open_cohort.load(load("demo", cohort="ecg-nobody"), needs=("ecg",))


def test_the_command_of_a_store_is_the_one_that_built_it(recordings, runs):
    build(recordings)
    command = unpaired.Source.read(sharded.folder_of(load("demo", cohort="ecg-mine"))).command()
    assert command == f"eccl ingest ecg {recordings} --name mine"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--name", "My Store"], "small letters"),
        (["--name", "ukb"], "small letters"),
        (["--name", "a", "--workers", "0"], "--workers 0: give 1 or more"),
        (["--name", "a", "--labels", "nowhere.csv"], "no table"),
    ],
)
def test_a_wrong_option_ends_in_a_one_line_error(recordings, runs, capsys, words, reason):
    assert eccl("ingest", "ecg", str(recordings), *words) == 2
    assert reason in capsys.readouterr().err


def test_an_empty_store_prints_the_most_frequent_reason(runs, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("# rate=500\nI,II\n" + "0.1,0.2\n" * 400)
    assert eccl("ingest", "ecg", str(tmp_path), "--name", "a", "--workers", "1") == 1
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0].startswith("0 participants in the store, 1 lines in quarantine")
    assert "most frequent in quarantine: " in lines[1]
    assert "Ten seconds are needed" in lines[1]


def test_the_error_for_folders_without_an_ecg_counts_the_skipped_files(runs, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.pdf").write_bytes(b"%PDF")
    assert eccl("ingest", "ecg", str(tmp_path / "none"), "--name", "a") == 2
    assert "1 files .pdf" in capsys.readouterr().err


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


def test_the_table_gives_diseases_traits_sex_age_and_patient(tmp_path):
    path = table(tmp_path, "id;I42;24103;sex;age;remark\nx/a;1;60.5;F;70;none\nb;0;;male;;some\nz;1;1;;;\n")
    labels = participants_table.read(path, ["x/a", "x/b", "x/c"])
    assert list(labels.index) == ["x/a", "x/b"]
    rows = participants_table.rows(labels, ["x/b", "x/a"])
    assert rows.labels["ever"].tolist() == [[False] * 4, [False, True, False, False]]
    column = participants_table._FIELDS.index("24103")
    assert np.isnan(rows.traits[0, column])
    assert rows.traits[1, column] == 60.5
    assert np.isfinite(rows.traits).sum() == 1
    assert list(rows.frame["sex"]) == ["male", "female"]
    assert rows.frame["age"].tolist()[1] == 70
    assert list(rows.frame["patient"]) == ["x/b", "x/a"]
    assert "I21, I48, I50" in rows.notes[0]


def test_the_error_for_unknown_ids_shows_an_id_and_a_recording(tmp_path):
    path = table(tmp_path, "id,I42\nx.nii.gz,1\n")
    with pytest.raises(
        UnreadableError, match=r"the first id is 'x\.nii\.gz', the first recording is 'a/x'.*without the suffix"
    ):
        participants_table.read(path, ["b/y", "a/x"])


@pytest.mark.parametrize("cell", ["yes", "", "2"])
def test_a_disease_must_be_0_or_1_in_each_row(tmp_path, cell):
    labels = participants_table.read(table(tmp_path, f"id,I42\na,{cell}\nb,0\n"), ["a", "b"])
    with pytest.raises(UnreadableError, match="Write 0 or 1 in each row") as caught:
        participants_table.rows(labels, ["a", "b"])
    assert "empty" not in caught.value.cure


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,I42\na,1\n", "no column id"),
        ("id,foo\na,1\n", "no column with a disease"),
        ("id,I42\na,1\na,0\n", "several rows for one of its ids, as in row 3"),
        ("id,I42\na,2\nb,0\n", "neither 0 nor 1"),
        ("id,I42\na,\nb,0\n", "1 cells that are neither"),
        ("id,I42,24103\na,1,big\nb,0,1\n", "not numbers"),
        ("id,I42\nc,1\n", "several recordings"),
    ],
)
def test_an_invalid_table_raises_an_error_with_a_cure(tmp_path, text, reason):
    names = ["a", "b", "x/c", "y/c"]
    with pytest.raises(UnreadableError, match=reason) as caught:
        labels = participants_table.read(table(tmp_path, text), names)
        participants_table.rows(labels, list(labels.index))
    assert caught.value.cure
    assert pd.notna(caught.value.reason)
