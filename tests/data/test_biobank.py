"""The command that builds the store of UK Biobank's files, on ten participants made of the two example files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eccl_lib.checks import integrity
from eccl_lib.config import load as configuration
from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.config.schema import Config
from eccl_lib.data import cmr, cohort, ecg, open_cohort, original
from eccl_lib.data.splits import SPLITS, split_of
from eccl_lib.data.store import fill as store
from eccl_lib.data.ukb import file_names, readers, withdrawals
from eccl_lib.io import paths
from eccl_lib.io.files import MODE, sha256
from tests.conftest import eccl

SETTINGS = {"store.clip_size": 56, "view.clip_frames": 25}
MASKS = ("--segmenter", "masks")
IDS = re.compile(r"(?<![\d.])9\d{6}(?![\d.])")  # ids of the embedded cohort, which stand for real ones


def small(**overrides) -> Config:
    """The config whose store ``build`` makes: coarse enough for tests."""
    return configuration.load("demo", cohort="ukb", overrides={**SETTINGS, **overrides})


def words(root: Path, *more: str) -> list[str]:
    """The command's arguments for a folder with its table."""
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    option = () if "--withdrawals" in more else ("--no-withdrawals",)
    table = ("--table", str(root / "participants.csv"))
    return [str(root), *table, *option, "--scale", "demo", "--workers", "1", *settings, *more]


def build(root: Path, *more: str) -> cohort.Cohort:
    assert eccl("ingest", "ukb", *words(root, *more)) == 0
    return open_cohort.load(small(), lambda line: None)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def built(biobank, tmp_path_factory) -> Path:
    """A runs folder with the store of the ten participants; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(folder))
        build(biobank)
    return folder


@pytest.fixture
def own_runs(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``built`` that a test may change."""
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return Path(shutil.copytree(built, tmp_path / "runs", copy_function=shutil.copy2))


def bytes_of(folder: Path) -> dict[str, str]:
    """sha256 of the files of a store, except locks and notes of modification times."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("verified.json", ".lock")]
    return {p.relative_to(folder).as_posix(): sha256(p) for p in files if "report" not in p.parts}


def test_the_store_contains_the_content_of_the_files(biobank, own_runs):
    found = open_cohort.load(small(), lambda line: None)
    assert found.folder.is_relative_to(own_runs / "ukb")
    assert (found.ecg.shape, found.ecg.dtype) == ((10, 12, 5000), np.int16)
    assert (found.clips.shape, found.clips.dtype) == ((10, 56, 56, 50), np.uint8)
    assert (found.traits.shape, found.traits.dtype, found.labels.shape) == ((10, 82), np.float32, (10, 4))
    of = file_names.find(biobank).participants["9000004"]
    row = found.table.index[found.table["eid"] == "9000004"][0]
    stored, rate, _ = ecg.preprocess(readers.read_ecg(of["ecg"][0]))
    np.testing.assert_array_equal(found.ecg[row], stored)
    clip = cmr.crop(readers.read_cine(of["cine"][0], of["segmentation"][0]), small().store)
    np.testing.assert_array_equal(found.clips[row], clip)
    assert found.table.loc[row, "heart_rate"] == rate == 62
    raw = pd.read_csv(biobank / "participants.csv", dtype={"eid": str}).set_index("eid")
    assert found.table.loc[row, "age"] == raw.loc["9000004", "p21003_i2"]
    assert found.traits[row, 3] == np.float32(raw.loc["9000004", "p24103_i2"])
    assert found.labels[:, 0].tolist() == [k % 3 == 0 for k in range(10)]
    assert [len(found.index(split)) for split in SPLITS] == [6, 2, 2]
    assert found.quarantine.empty
    assert found.complete


def test_the_split_is_determined_by_id_and_salt(own_runs):
    found = open_cohort.load(small(), lambda line: None)
    assert found.table["split"].tolist() == [split_of(eid, "eccl") for eid in found.table["eid"]]
    salted = open_cohort.load(small(**{"store.split_salt": "other"}), lambda line: None)
    assert salted.table["split"].tolist() == [split_of(eid, "other") for eid in found.table["eid"]]
    assert salted.fingerprint != found.fingerprint


def test_another_label_rule_needs_no_rebuild_and_changes_the_fingerprint(own_runs):
    ever, later = (
        open_cohort.load(small(**{"store.labels": rule}), lambda line: None) for rule in ("ever", "incident")
    )
    assert ever.folder == later.folder
    assert ever.fingerprint != later.fingerprint
    assert (ever.labels.sum(), later.labels.sum()) == (4, 4)  # all first dates are after the visit


def test_opening_does_not_read_the_raw_files(biobank, tmp_path, runs):
    root = Path(shutil.copytree(biobank, tmp_path / "moved"))
    before = build(root).fingerprint
    shutil.rmtree(root)
    found = open_cohort.load(small(), lambda line: None)
    assert (found.fingerprint, len(found)) == (before, 10)
    assert found.ecg[:].any(axis=(1, 2)).all()


def test_a_missing_and_an_incomplete_store_raise_errors_with_the_command(biobank, runs, monkeypatch):
    other = configuration.with_changes(
        configuration.load("paper", cohort="ukb"), {"store.margin_mm": 5.0, "store.labels": "incident"}
    )
    with pytest.raises(MissingError, match=r"eccl ingest ukb FOLDER[^\n]* --set 'store.margin_mm=5.0'$"):
        open_cohort.load(other)
    with pytest.raises(MissingError, match=r"eccl ingest ukb FOLDER"):
        open_cohort.load(small())
    assert eccl("ingest", "ukb", *words(biobank)[:3]) == 2  # neither --withdrawals nor --no-withdrawals
    fill = store.fill

    def stopped(participants, *rest):
        fill(dict(list(participants.items())[:4]), *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "fill", stopped)
    assert eccl("ingest", "ukb", *words(biobank)) == 130
    with pytest.raises(MissingError, match="only 4 of 10 participants so far") as caught:
        open_cohort.load(small())
    assert str(biobank) in str(caught.value)
    part = open_cohort.load(small(), incomplete=True)
    assert (len(part), part.complete) == (4, False)
    assert part.clips[:].any(axis=(1, 2, 3)).all()


def damage(root: Path) -> dict[str, str]:
    """Damage the files of six participants in different ways; returns eid to expected reason."""
    xml = root / "Bulk" / "Electrocardiogram" / "Resting" / "90"
    zips = root / "Bulk" / "Heart MRI" / "Short axis" / "90"
    (xml / "9000002_20205_2_0.xml").write_bytes((xml / "9000002_20205_2_0.xml").read_bytes()[:9999])
    (zips / "9000003_20209_2_0.zip").write_bytes(b"PK\x03\x04 this is no zip")
    (zips / "9000005_20209_2_0.zip").unlink()
    table = root / "participants.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith("9000010")))
    shutil.rmtree(root / "segmentations" / "9000006")
    mask = root / "segmentations" / "9000009" / "seg_sa.nii.gz"
    mask.write_bytes(mask.read_bytes()[:200])
    return {
        "9000002": "truncated",
        "9000003": "damaged",
        "9000005": "no short-axis cine",
        "9000006": "no segmentation",
        "9000009": "NIfTI",
        "9000010": "no row",
    }


def test_unreadable_files_go_to_quarantine_and_corrected_files_are_added(own_biobank, biobank, built, runs, capfd):
    reasons = damage(own_biobank)
    found = build(own_biobank, *MASKS)
    listed = found.quarantine.set_index("eid")
    assert set(listed.index) == set(reasons)
    for eid, reason in reasons.items():
        assert reason in listed.loc[eid, "reason"]
        assert listed.loc[eid, "cure"]
    assert listed.loc["9000003", "file"] == "9000003_20209_2_0.zip"
    output = capfd.readouterr()
    assert not IDS.search(output.out + output.err)
    assert found.table["eid"].tolist() == ["9000001", "9000004", "9000007", "9000008"]
    shutil.copytree(biobank, own_biobank, dirs_exist_ok=True)
    whole = build(own_biobank)
    assert len(whole) == 10
    assert whole.quarantine.empty
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(built))
        direct = open_cohort.load(small(), lambda line: None)
        for name in ("ecg", "clips", "traits", "labels"):
            np.testing.assert_array_equal(getattr(whole, name)[:], getattr(direct, name)[:])
        assert whole.fingerprint == direct.fingerprint  # the fingerprint does not depend on the history of the store


def test_only_new_changed_and_requested_participants_are_processed_again(own_biobank, runs, monkeypatch):
    reasons = damage(own_biobank)
    build(own_biobank, *MASKS)
    processed: list[str] = []
    process = store.process
    monkeypatch.setattr(store, "process", lambda p, config: (processed.append(p.eid), process(p, config))[1])
    build(own_biobank, *MASKS)
    assert processed == []
    build(own_biobank, "--retry-quarantined", *MASKS)
    assert processed == ["9000002", "9000003", "9000006", "9000009"]
    processed.clear()
    xml = own_biobank / "Bulk" / "Electrocardiogram" / "Resting" / "90" / "9000001_20205_2_0.xml"
    xml.write_bytes(xml.read_bytes() + b"\n")
    build(own_biobank, *MASKS)
    assert processed == ["9000001"]
    assert len(reasons) == 6


def test_a_cure_that_does_not_change_the_files_needs_retry_quarantined(biobank, runs, monkeypatch):
    read = readers.read_ecg
    monkeypatch.setattr(readers, "read_ecg", lambda path: 1 / 0)
    assert eccl("ingest", "ukb", *words(biobank)) == 1  # no participant could be read
    monkeypatch.setattr(readers, "read_ecg", read)
    assert eccl("ingest", "ukb", *words(biobank)) == 1
    assert len(build(biobank, "--retry-quarantined")) == 10


def test_an_unexpected_error_affects_only_one_participant(biobank, monkeypatch):
    class OddError(Exception):
        pass

    def fail(path):
        raise OddError("odd")

    participant = store.participant("9000001", file_names.find(biobank).participants["9000001"])
    monkeypatch.setattr(readers, "read_ecg", fail)
    with pytest.raises(store.Quarantine, match=r"unexpected error \(OddError in test_biobank\.py, line \d+\)"):
        store.process(participant, small())


def test_slots_do_not_change_when_participants_are_added_or_removed(own_biobank, runs):
    away = own_biobank.parent / "away"
    resting, short_axis = "Bulk/Electrocardiogram/Resting/90", "Bulk/Heart MRI/Short axis/90"
    for place in (f"{resting}/9000003_20205_2_0.xml", f"{short_axis}/9000003_20209_2_0.zip"):
        (away / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(own_biobank / place, away / place)
    nine = build(own_biobank)
    assert len(nine) == 9
    ten = build(own_biobank, str(away))
    assert ten.table["eid"].is_monotonic_increasing
    rows = [k for k, eid in enumerate(ten.table["eid"]) if eid != "9000003"]
    np.testing.assert_array_equal(ten.clips[rows], nine.clips[:])
    assert ten.clips.slots.tolist() == [0, 1, 9, *range(2, 9)]
    assert build(own_biobank).table["eid"].tolist() == nine.table["eid"].tolist()


def test_a_folder_without_table_or_readable_files_ends_with_status_2(own_biobank, runs, capsys):
    assert eccl("ingest", "ukb", *words(own_biobank / "absent")) == 2
    shutil.rmtree(own_biobank / "Bulk")
    assert eccl("ingest", "ukb", *words(own_biobank)) == 2
    assert "no participant has an ECG, a cine and a row in the table" in capsys.readouterr().err
    (own_biobank / "participants.csv").unlink()
    assert eccl("ingest", "ukb", *words(own_biobank)) == 2
    assert "participants.csv: the file does not exist" in capsys.readouterr().err


def test_a_damaged_table_or_shard_is_detected_and_the_command_repairs_it(biobank, own_runs):
    folder = open_cohort.load(small(), lambda line: None).folder
    before = bytes_of(folder)
    table = folder / "store" / "table.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"table\.parquet has changed since it was built"):
        open_cohort.load(small())
    build(biobank)
    shard = folder / "store" / "shards" / "clips-00000.npy"
    with shard.open("r+b") as handle:
        handle.seek(5000)
        handle.write(b"\xff\x00\xff")
    with pytest.raises(DamagedError, match=r"clips-00000\.npy has changed since it was built. Remove it"):
        open_cohort.load(small())
    shard.unlink()
    with pytest.raises(DamagedError, match=r"clips-00000\.npy"):
        open_cohort.load(small())
    build(biobank)
    assert bytes_of(folder) == before


def test_verify_reads_all_files(own_runs, capsys):
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    assert eccl("cohort", "--cohort", "ukb", "--verify", *settings) == 0
    assert "all files match their checksums" in capsys.readouterr().out
    shard = next((own_runs / "ukb" / "cohort").glob("*/store/shards/ecg-00000.npy"))
    stat, content = shard.stat(), bytearray(shard.read_bytes())
    content[4000] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert eccl("cohort", "--cohort", "ukb", *settings) == 0  # opening does not read unmodified files
    assert eccl("cohort", "--cohort", "ukb", "--verify", *settings) == 2


MOMENTS = ("slots.parquet", "store/shards/clips-00000.npy", "records/0000000-0000008.json", "records/0000008-*.json")


def test_a_killed_and_repeated_build_gives_the_same_bytes(biobank, tmp_path, built):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECCL_RUNS": str(tmp_path)}
    line = [sys.executable, "-m", "eccl_lib.data.ukb", *words(biobank)]
    options = {"env": environment, "cwd": paths.ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for k, moment in enumerate(MOMENTS):
        process = subprocess.Popen(line, start_new_session=True, **options)
        while process.poll() is None and not list(tmp_path.glob(f"ukb/cohort/*/{moment}")):
            time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM if k == 2 else signal.SIGKILL)
        process.wait()
    assert subprocess.run(line, check=False, **options).returncode == 0
    resumed, straight = (next((root / "ukb" / "cohort").iterdir()) for root in (tmp_path, built))
    first, second = bytes_of(resumed), bytes_of(straight)
    assert first == second
    assert {"store/table.parquet", "store/shards/ecg-00000.npy", "manifest.json"} <= first.keys()
    assert json.loads((resumed / "manifest.json").read_text())["complete"]


def test_original_files_are_read_again_and_their_names_are_masked(biobank, own_runs):
    data = open_cohort.load(small(), lambda line: None)
    row = 3
    assert original.ecg_of(small(), data, row).signal.shape == (12, 5000)
    assert original.cine_of(small(), data, row).images.shape == (3, 50, 80, 72)
    names = original.file_names(small(), data, row)
    assert sorted(names) == ["<eid>_20205_2_0.xml", "<eid>_20209_2_0.zip", "seg_sa.nii.gz"]


def test_a_participant_whose_files_crash_three_processes_goes_to_quarantine(biobank, runs, monkeypatch, capsys):
    fill_slot = store._fill_slot

    def dying(slot, participant, config, layout):
        """Simulate a crash in a codec: the attempts file remains, and the process pool breaks."""
        mark = layout.records / f"{slot:07d}.reading"
        if participant.eid == "9000005" and (not mark.is_file() or mark.stat().st_size < store.MAX_CRASHES):
            with mark.open("a") as file:
                file.write(".")
            raise BrokenProcessPool("a process died")
        return fill_slot(slot, participant, config, layout)

    monkeypatch.setattr(store, "_fill_slot", dying)
    found = build(biobank)
    assert len(found) == 9
    assert found.quarantine["reason"].tolist() == ["reading the files crashed the process 3 times"]
    assert capsys.readouterr().out.count("a process that read files crashed") == 3
    monkeypatch.setattr(store, "_fill_slot", fill_slot)
    assert len(build(biobank, "--retry-quarantined")) == 10
    assert not list(runs.rglob("*.reading"))


def test_marks_of_an_interrupted_build_are_no_crashes_where_workers_read_the_files(biobank, runs):
    build(biobank)
    folder = next((runs / "ukb" / "cohort").iterdir())
    shutil.rmtree(folder / "records")
    (folder / "records").mkdir()
    (folder / "records" / "0000004.reading").write_text("." * store.MAX_CRASHES)
    assert len(build(biobank, "--workers", "2")) == 10


def test_a_disk_that_goes_away_quarantines_nobody(biobank, runs, tmp_path, monkeypatch, capsys):
    source, away = shutil.copytree(biobank, tmp_path / "disk"), tmp_path / "away"
    fill_slot = store._fill_slot

    def losing_the_disk(slot, participant, config, layout):
        if slot == 3:
            source.rename(away)
        return fill_slot(slot, participant, config, layout)

    monkeypatch.setattr(store, "_fill_slot", losing_the_disk)
    assert eccl("ingest", "ukb", *words(source)) == 2
    error = capsys.readouterr().err
    assert "the files of 7 participants could not be reached" in error and "run the same command again" in error
    monkeypatch.setattr(store, "_fill_slot", fill_slot)
    away.rename(source)
    data = build(source)
    assert len(data) == 10 and data.quarantine.empty


def test_a_damaged_shard_is_named_by_the_next_build_of_its_store(biobank, own_runs, capsys):
    shard = next((own_runs / "ukb" / "cohort").glob("*/store/shards/ecg-00000.npy"))
    content = bytearray(shard.read_bytes())
    content[4000] ^= 1
    shard.write_bytes(content)
    assert eccl("ingest", "ukb", *words(biobank)) == 2
    assert f"{shard} has changed since it was built. Remove it" in capsys.readouterr().err
    shard.unlink()
    assert len(build(biobank)) == 10


def test_all_damaged_shards_and_tables_are_named_each_with_its_own_cure(own_runs, biobank):
    store = next((own_runs / "ukb" / "cohort").glob("*/store"))
    for name in ("shards/ecg-00000.npy", "shards/clips-00000.npy", "table.parquet"):
        content = bytearray((store / name).read_bytes())
        content[4000] ^= 1
        (store / name).write_bytes(content)
    cures = {damage.path.name: damage.cure for damage in integrity.check(own_runs)[0]}
    assert cures == {"table.parquet": integrity.PUBLISH}
    table = store / "table.parquet"
    table.unlink()
    assert eccl("ingest", "ukb", *words(biobank)) == 2  # writes the tables, then names the first damaged shard
    cures = {damage.path.name: damage.cure for damage in integrity.check(own_runs)[0]}
    assert set(cures) == {"ecg-00000.npy", "clips-00000.npy"} and all("Remove it" in cure for cure in cures.values())


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': Fal(e, "])
def test_a_shard_with_a_damaged_header_is_read_again_by_the_next_build(biobank, own_runs, content):
    shard = next((own_runs / "ukb" / "cohort").glob("*/store/shards/ecg-00000.npy"))
    shard.write_bytes(content)
    assert [damage.path for damage in integrity.check(own_runs)[0]] == [shard]
    assert len(build(biobank)) == 10


def test_a_changed_record_is_named_and_read_again_once_it_is_removed(biobank, own_runs, capsys):
    record = next((own_runs / "ukb" / "cohort").glob("*/records/0000000-*.json"))
    before = record.read_text()
    changed = re.sub(r'("heart_rate": \d)', r"\g<1>1", before, count=1)
    assert changed != before
    record.write_text(changed)
    assert eccl("ingest", "ukb", *words(biobank)) == 2
    assert f"{record} has changed since it was written. Remove it" in capsys.readouterr().err
    record.unlink()
    build(biobank)
    assert record.read_text() == before


def test_a_changed_list_of_withdrawals_lets_nobody_back_in(biobank, own_runs, capsys):
    withdrawals.add(["9000001", "9000003"])
    path = own_runs / "ukb" / withdrawals.LIST
    for changed in (path.read_text().replace("9000001", "9000007"), path.read_text().partition("\n")[2], ""):
        path.write_text(changed)
        with pytest.raises(DamagedError, match=r"Remove it and give UK Biobank's latest list"):
            withdrawals.read()
    path.write_text("9000001\n9000003\n")  # as earlier versions wrote it
    assert withdrawals.read() == {"9000001", "9000003"}


def test_further_icd10_codes_are_own_tasks_beside_the_four_diseases(biobank, runs, capsys):
    data = build(biobank, "--diseases", "i10", "C50")
    assert list(data.own.tasks) == ["I10", "C50"] and all(task.kind == "binary" for task in data.own.tasks.values())
    assert data.own.values["I10"].tolist() == data.labels[:, 0].astype(float).tolist()  # both codes are in one list
    assert 0 < data.own.values["I10"].sum() < len(data) and data.own.values["C50"].sum() == 0
    assert build(biobank).own is None  # a later build without the option has no own tasks
    assert eccl("ingest", "ukb", *words(biobank, "--diseases", "I2")) == 2
    assert "no ICD-10 code of three characters" in capsys.readouterr().err


def test_icd10_codes_need_the_hospital_diagnoses(own_biobank, runs, capsys):
    table = pd.read_csv(own_biobank / "participants.csv", dtype=str)
    table.drop(columns=[name for name in table if "41270" in name or "41280" in name]).to_csv(
        own_biobank / "participants.csv", index=False
    )
    assert eccl("ingest", "ukb", *words(own_biobank, "--diseases", "I10")) == 2
    assert "Export field 41270" in capsys.readouterr().err


def test_the_files_that_contain_ids_are_those_that_the_documentation_lists(biobank, own_runs):
    page = (paths.ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("what identifies a participant")[1]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", page.partition("\n## ")[0], flags=re.MULTILINE)
    listed = {name for files, what in rows for name in re.findall(r"`([^`]+)`", files) if not what.startswith("no id")}
    assert {"withdrawn.txt", "store/table.parquet", "slots.parquet", "records/*.json"} <= listed
    found = set()
    for path in own_runs.rglob("*"):
        if path.is_file():
            content = pd.read_parquet(path).to_csv() if path.suffix == ".parquet" else path.read_text(errors="replace")
            content = re.sub(r"base64,[^\"]*", "", content)  # digits of an image can look like an id
            if path.suffix not in (".npy", ".png") and (IDS.search(content) or str(biobank) in content):
                found.add(path.relative_to(own_runs))
    assert found
    assert not [path for path in found if not any(path.match(pattern) for pattern in listed)]


def test_files_of_a_store_are_readable_as_the_umask_says(own_runs):
    modes = {path.name: path.stat().st_mode & 0o777 for path in own_runs.rglob("*") if path.is_file()}
    assert len(modes) > 8
    assert set(modes.values()) == {MODE}
