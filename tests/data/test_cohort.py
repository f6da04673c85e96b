"""The store: split, build, resume after SIGKILL, quarantine, views, and both ways of rendering."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eccl_lib import config as configuration
from eccl_lib import paths
from eccl_lib.data import cmr, cohort, ecg, store, ukb
from eccl_lib.data.records import UnreadableError
from eccl_lib.storage import DamagedError, MissingError, sha256


def small(cohort_name: str = "ukb", **overrides) -> configuration.Config:
    """A demo config whose store is coarse enough for tests."""
    fields = {"store.clip_size": 56, "store.clip_frames": 50, "view.clip_frames": 25, "runtime.workers": 1}
    return configuration.load("demo", cohort=cohort_name, overrides={**fields, **overrides})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def use(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("ECCL_DATA", str(root))


def test_split_is_exactly_three_to_one_to_one_on_consecutive_ids():
    splits = [cohort.split_of(str(9_000_001 + k), "eccl") for k in range(600)]
    assert [splits.count(name) for name in cohort.SPLITS] == [360, 120, 120]
    blocks = np.array(splits).reshape(-1, 5)
    assert all(sorted(block) == sorted(cohort.BLOCK) for block in blocks.tolist())
    assert len({tuple(block) for block in blocks.tolist()}) == 20  # every order of the places occurs


def test_split_of_scattered_ids_is_about_sixty_twenty_twenty():
    eids = np.random.default_rng(0).choice(10**6, 20_000, replace=False) + 9_000_000
    splits = [cohort.split_of(str(eid), "eccl") for eid in eids]
    shares = np.array([splits.count(name) for name in cohort.SPLITS]) / len(splits)
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=4 * np.sqrt(0.24 / 20_000))


def test_split_hangs_on_id_and_salt_alone():
    assert [cohort.split_of(str(9_000_001 + k), "eccl") for k in range(10)] == [
        cohort.split_of(str(9_000_001 + k), "eccl") for k in reversed(range(10))
    ][::-1]
    salted = [[cohort.split_of(str(9_000_001 + k), salt) for k in range(200)] for salt in ("eccl", "other")]
    assert salted[0] != salted[1]


def test_store_holds_what_the_files_hold(biobank, runs, monkeypatch):
    use(monkeypatch, biobank)
    config = small()
    lines: list[str] = []
    found = cohort.load(config, lines.append)
    assert found.folder.is_relative_to(runs)
    assert "10 of 10 participants" in " ".join(lines)
    assert (found.ecg.shape, found.ecg.dtype) == ((10, 12, 5000), np.int16)
    assert (found.clips.shape, found.clips.dtype) == ((10, 56, 56, 50), np.uint8)
    assert (found.traits.shape, found.traits.dtype, found.labels.shape) == ((10, 82), np.float32, (10, 4))
    assert isinstance(found.ecg, np.memmap)
    assert isinstance(found.clips, np.memmap)
    files = ukb.find_files(biobank)["9000004"]
    row = found.table.index[found.table["eid"] == "9000004"][0]
    stored, rate, _ = ecg.preprocess(ukb.read_ecg(files["ecg"]))
    np.testing.assert_array_equal(found.ecg[row], stored)
    np.testing.assert_array_equal(
        found.clips[row], cmr.crop(ukb.read_cine(files["cine"], files["segmentation"]), config.store)
    )
    assert found.table.loc[row, "heart_rate"] == rate == 62
    raw = pd.read_csv(biobank / "participants.csv", dtype={"eid": str}).set_index("eid")
    assert found.table.loc[row, "age"] == raw.loc["9000004", "p21003_i2"]
    assert found.traits[row, 3] == np.float32(raw.loc["9000004", "p24103_i2"])
    assert found.labels[:, 0].tolist() == [k % 3 == 0 for k in range(10)]
    assert [len(found.index(split)) for split in cohort.SPLITS] == [6, 2, 2]
    assert found.quarantine.empty
    assert not (found.folder / "build").exists()


def test_a_finished_store_is_opened_and_not_built_again(own_biobank, runs, monkeypatch):
    use(monkeypatch, own_biobank)
    cohort.load(small(), lambda line: None)
    monkeypatch.setattr(cohort, "build", lambda *_: pytest.fail("built again"))
    again = cohort.load(small(**{"align.epochs": 7, "align.warmup_epochs": 1}))
    assert len(again) == 10
    # A file that would be read and has come or gone is another cohort; any other file is not.
    (own_biobank / "notes.txt").touch()
    assert cohort.fingerprint(small()) == again.fingerprint
    (own_biobank / "9000011_20205_2_0.xml").touch()
    assert cohort.fingerprint(small()) != again.fingerprint


def test_views_are_made_once_and_are_the_stored_rows_coarser(biobank, runs, monkeypatch):
    use(monkeypatch, biobank)
    config = small(**{"view.clip_size": 56, "view.ecg_rate": 100})
    lines: list[str] = []
    found = cohort.load(config, lambda line: None)
    found.progress = lines.append
    clips, signals = found.clip_view(config.view), found.ecg_view(config.view)
    assert clips.shape == (10, 56, 56, 25)
    assert signals.shape == (10, 12, 1000)
    np.testing.assert_array_equal(clips[3], cmr.to_view(found.clips[3], config.view))
    np.testing.assert_array_equal(signals[3], ecg.to_view(found.ecg[3], 100))
    found.clip_view(config.view)
    assert len(lines) == 2
    whole = small(**{"view.clip_size": 56, "view.clip_frames": 50, "view.ecg_rate": 500})
    assert found.clip_view(whole.view) is found.clips
    assert found.ecg_view(whole.view) is found.ecg


def damage(root: Path) -> dict[str, str]:
    """Spoil six of the ten participants in different ways; eid to the reason that must be given."""
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
        "9000002": "cut short",
        "9000003": "damaged",
        "9000005": "no short-axis cine",
        "9000006": "no segmentation",
        "9000009": "NIfTI",
        "9000010": "no row",
    }


def test_what_cannot_be_read_is_listed_with_its_reason_and_the_rest_goes_on(own_biobank, biobank, runs, monkeypatch):
    use(monkeypatch, biobank)
    whole = cohort.load(small(), lambda line: None)
    reasons = damage(own_biobank)
    use(monkeypatch, own_biobank)
    found = cohort.load(small(), lambda line: None)
    listed = found.quarantine.set_index("eid")
    assert set(listed.index) == set(reasons)
    for eid, reason in reasons.items():
        assert reason in listed.loc[eid, "reason"]
        assert listed.loc[eid, "cure"]
    assert listed.loc["9000003", "file"] == "9000003_20209_2_0.zip"
    kept = [k for k, eid in enumerate(whole.table["eid"]) if eid not in reasons]
    for name in ("ecg", "clips", "traits", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[kept])
    assert found.table["split"].tolist() == whole.table["split"].iloc[kept].tolist()


def test_a_fault_that_no_check_foresaw_stops_one_participant_only(biobank, runs, monkeypatch):
    def fail(path):
        raise IndexError("odd")

    files = tuple((kind, str(path)) for kind, path in ukb.find_files(biobank)["9000001"].items())
    monkeypatch.setattr(ukb, "read_ecg", fail)
    with pytest.raises(store.Quarantine, match=r"unforeseen damage \(IndexError: odd\)"):
        store.process(store.Participant("9000001", files), small())


def test_a_folder_without_table_or_readable_files_says_so(own_biobank, runs, monkeypatch):
    use(monkeypatch, own_biobank)
    shutil.rmtree(own_biobank / "segmentations")
    with pytest.raises(UnreadableError, match="no participant could be read; the first: no segmentation"):
        cohort.load(small(), lambda line: None)
    (own_biobank / "participants.csv").unlink()
    with pytest.raises(UnreadableError, match="no table"):
        cohort.load(small(), lambda line: None)


def test_without_build_missing_the_exact_command_is_named(biobank, runs, monkeypatch):
    use(monkeypatch, biobank)
    with pytest.raises(MissingError) as caught:
        cohort.load(small(**{"runtime.build_missing": False}))
    command = str(caught.value).splitlines()[-1].split()
    assert command[:3] == ["python", "-m", "eccl_lib.data.cohort"]
    assert cohort.main(command[3:]) == 0
    assert len(cohort.load(small(**{"runtime.build_missing": False}))) == 10


def test_a_store_with_a_file_cut_short_is_not_opened(biobank, runs, monkeypatch):
    use(monkeypatch, biobank)
    folder = cohort.load(small(), lambda line: None).folder
    with (folder / "store" / "clips.npy").open("r+b") as handle:
        handle.truncate(1000)
    with pytest.raises(DamagedError, match="not as it was built"):
        cohort.load(small())


SMALLEST = {"synthetic.participants": 30, "synthetic.slices": 1}
BUILD = """
import json, sys
from eccl_lib import config
from eccl_lib.data import cohort
cohort.load(config.load("demo", overrides=json.loads(sys.argv[1])))
"""


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a store, computed anew and equal to what its manifest says."""
    found = {path.name: sha256(path) for path in sorted((folder / "store").iterdir())}
    stated = json.loads((folder / "manifest.json").read_text())["files"]
    assert found == {name: facts["sha256"] for name, facts in stated.items()}
    return found


def test_a_build_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path, monkeypatch):
    overrides = {**SMALLEST, "store.clip_size": 56, "store.clip_frames": 50, "runtime.workers": 1}
    config = configuration.load("demo", overrides=overrides)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECCL_RUNS": str(killed)}
    for moment in ("raw/Bulk", "build/records", "build/records/*-0000016.json", "store/ecg.npy"):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, json.dumps(overrides)],
            env=environment,
            cwd=paths.ROOT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if list(killed.glob(f"demo-synthetic/cohort/*/{moment}")):
                break
            time.sleep(0.001)
        assert process.poll() is None or moment.startswith("store"), f"over before {moment} was seen"
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    monkeypatch.setenv("ECCL_RUNS", str(killed))
    resumed = cohort.load(config, lambda line: None)
    monkeypatch.setenv("ECCL_RUNS", str(straight))
    whole = cohort.load(config, lambda line: None)
    assert digests(resumed.folder) == digests(whole.folder)
    assert [len(whole.index(split)) for split in cohort.SPLITS] == [18, 6, 6]
    assert whole.quarantine.empty


def test_rendering_straight_into_the_store_gives_the_pixels_of_the_written_files(tmp_path):
    from eccl_lib.data.synthetic import ukb_tree

    config = small("synthetic")
    for index in (0, 7, 23):
        ukb_tree.write_participant(config.synthetic, index, tmp_path)
    for eid, kinds in ukb.find_files(tmp_path).items():
        files = tuple((kind, str(path)) for kind, path in kinds.items())
        written = store.process(store.Participant(eid, files), config)
        direct = store.process(store.Participant(eid, index=int(eid) - 9_000_001), config)
        np.testing.assert_array_equal(written[0], direct[0])
        np.testing.assert_array_equal(written[1], direct[1])
        assert written[2] == direct[2]


def test_two_processes_that_need_one_cohort_build_it_once(biobank, runs, monkeypatch):
    use(monkeypatch, biobank)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_cohort as t; t.cohort.load(t.small())"
    words = [sys.executable, "-c", code, str(Path(__file__).parent)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=paths.ROOT) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("is built" in text for text in said) == 1


def test_importing_the_readers_pulls_in_no_torch_and_no_file_libraries():
    code = (
        "import sys; from eccl_lib.data import ukb, formats, ecg, cmr, cohort, segment, store, tables, dicom;"
        "late={'torch', 'pydicom', 'nibabel', 'wfdb', 'scipy', 'joblib', 'defusedxml'};print(late & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=paths.ROOT)
    assert out.stdout.strip() == "set()"
