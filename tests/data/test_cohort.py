"""The embedded cohort's store: build, resume after SIGKILL, views, damaged files, and both ways of rendering."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eccl_lib.config import load as configuration
from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.config.schema import Config
from eccl_lib.data import cmr, ecg, open_cohort
from eccl_lib.data.splits import SPLITS
from eccl_lib.data.store import fill, schemas
from eccl_lib.data.ukb import file_names
from eccl_lib.io import paths
from eccl_lib.io.files import sha256
from tests.conftest import HANG, eccl

COARSE = {"store.clip_size": 56, "store.clip_frames": 25, "view.clip_frames": 25, "runtime.workers": 1}
FEW = COARSE | {"synthetic.participants": 30, "synthetic.slices": 1, "synthetic.split": [3, 1, 1]}
FEW["synthetic.file_participants"] = 0


def small(**overrides) -> Config:
    """An embedded cohort of thirty participants, coarse enough for tests."""
    return configuration.load("demo", overrides={**FEW, **overrides})


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A runs folder with the small cohort; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(folder))
        open_cohort.load(small(), silent)
    return folder


@pytest.fixture
def runs(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``built`` that a test may damage."""
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return Path(shutil.copytree(built, tmp_path / "runs"))


def silent(line: str) -> None:
    """A log that discards its lines."""


def test_the_demo_cohort_has_the_fingerprint_of_the_published_results():
    assert open_cohort.fingerprint(configuration.load("demo")).startswith("85850fd636225348")


def test_a_finished_store_is_opened_and_not_built_again(runs, monkeypatch):
    first = open_cohort.load(small(), silent)
    monkeypatch.setattr("eccl_lib.data.store.synthetic_store.build", lambda *_: pytest.fail("built again"))
    again = open_cohort.load(small(**{"align.epochs": 7, "align.warmup_epochs": 1}))
    assert len(again) == 30
    assert again.fingerprint == first.fingerprint


def test_views_are_computed_once_and_equal_the_downsampled_rows(runs):
    config = small(**{"view.clip_size": 28, "cmr.patch": 4, "view.ecg_rate": 100})
    lines: list[str] = []
    found = open_cohort.load(config, silent)
    found.progress = lines.append
    clips, signals = found.clip_view(config.view), found.ecg_view(config.view)
    assert clips.shape == (30, 28, 28, 25)
    assert signals.shape == (30, 12, 1000)
    np.testing.assert_array_equal(clips[3], cmr.to_view(found.clips[3], config.view))
    np.testing.assert_array_equal(signals[3], ecg.to_view(found.ecg[3], 100))
    found.clip_view(config.view)
    assert len(lines) == 2
    whole = small(**{"view.clip_size": 56, "view.clip_frames": 25, "view.ecg_rate": 500})
    assert found.clip_view(whole.view) is found.clips
    assert found.ecg_view(whole.view) is found.ecg


def test_a_view_with_another_fingerprint_is_not_reused(runs):
    config = small(**{"view.clip_size": 28, "cmr.patch": 4})
    found = open_cohort.load(config, silent)
    before = np.array(found.clip_view(config.view))
    found.fingerprint, found.clips = "another", found.clips[::-1]
    np.testing.assert_array_equal(found.clip_view(config.view), before[::-1])


def test_without_build_missing_the_error_has_the_build_command(runs):
    with pytest.raises(MissingError) as caught:
        open_cohort.load(small(**{"runtime.build_missing": False, "store.labels": "prevalent"}))
    words = shlex.split(str(caught.value).splitlines()[-1])
    assert words[:2] == ["eccl", "cohort"]
    assert eccl("cohort", *words[2:], "--set", "runtime.workers=1") == 0
    assert len(open_cohort.load(small(**{"runtime.build_missing": False, "store.labels": "prevalent"}))) == 30


def test_a_truncated_file_raises_an_error(runs):
    folder = open_cohort.load(small(), silent).folder
    with (folder / "store" / "clips.npy").open("r+b") as handle:
        handle.truncate(1000)
    with pytest.raises(DamagedError, match="has changed since it was built"):
        open_cohort.load(small())


def test_a_changed_byte_raises_an_error_at_the_next_open(runs, capsys):
    folder = open_cohort.load(small(), silent).folder
    path = folder / "store" / "traits.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"traits\.npy has changed since it was built"):
        open_cohort.load(small())


def test_verify_detects_a_changed_byte_even_if_size_and_time_are_unchanged(runs):
    folder = open_cohort.load(small(), silent).folder
    path = folder / "store" / "ecg.npy"
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    open_cohort.load(small())  # opening does not read unmodified files; the full store has 104 GB
    with pytest.raises(DamagedError, match=r"ecg\.npy"):
        open_cohort.verify(folder, all_files=True)


SMALLEST = {"synthetic.participants": 30, "synthetic.slices": 1, "synthetic.split": [3, 1, 1]}
BUILD = """
import json, sys
from eccl_lib.config import load
from eccl_lib.data import open_cohort
open_cohort.load(load.load("demo", overrides=json.loads(sys.argv[1])))
"""


def digests(folder: Path) -> dict[str, str]:
    """Computed sha256 of every file of a store; asserts that they equal those of the manifest."""
    computed = {path.name: sha256(path) for path in sorted((folder / "store").iterdir())}
    expected = json.loads((folder / "manifest.json").read_text())["files"]
    assert computed == {name: facts["sha256"] for name, facts in expected.items()}
    return computed


def test_a_build_that_is_killed_and_resumed_gives_the_same_bytes(tmp_path, monkeypatch):
    overrides = {**SMALLEST, "store.clip_size": 56, "store.clip_frames": 50, "runtime.workers": 1}
    config = configuration.load("demo", overrides=overrides)
    killed, uninterrupted = tmp_path / "killed", tmp_path / "uninterrupted"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ECCL_RUNS": str(killed)}
    for moment in ("raw/Bulk", "build/records", "build/records/*-0000016.json", "store/ecg.npy"):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, json.dumps(overrides)],
            env=environment,
            cwd=paths.ROOT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + HANG
        while process.poll() is None and time.monotonic() < deadline:
            if list(killed.glob(f"demo-synthetic/cohort/*/{moment}")):
                break
            time.sleep(0.001)
        assert process.poll() is None or moment.startswith("store"), f"the build ended before {moment} was seen"
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    monkeypatch.setenv("ECCL_RUNS", str(killed))
    resumed = open_cohort.load(config, lambda line: None)
    monkeypatch.setenv("ECCL_RUNS", str(uninterrupted))
    whole = open_cohort.load(config, lambda line: None)
    assert digests(resumed.folder) == digests(whole.folder)
    assert [len(whole.index(split)) for split in SPLITS] == [18, 6, 6]
    assert whole.quarantine.empty


def test_direct_rendering_gives_the_same_rows_as_written_files(tmp_path):
    from eccl_lib.data.synthetic import ukb_tree

    config = small(**{"synthetic.file_participants": 12})
    for index in (0, 7, 23):
        ukb_tree.write_participant(config.synthetic, index, tmp_path)
    for eid, kinds in file_names.find(tmp_path).participants.items():
        written = fill.process(fill.participant(eid, kinds), config)
        direct = fill.process(fill.Participant(eid, index=int(eid) - 9_000_001), config)
        for name in ("ecg", "clips"):
            np.testing.assert_array_equal(written[0][name], direct[0][name])
        location = {name: written[1].pop(name) for name in schemas.LOCATION}  # of a file alone
        assert written[1] == direct[1]
        assert location["box_at_border"] in (True, False) and 0 <= location["box_change"] < 1


def test_two_processes_that_need_one_cohort_build_it_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    code = "from tests.data import test_cohort as t; t.open_cohort.load(t.small())"
    words = [sys.executable, "-c", code]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=paths.ROOT) for _ in range(2)]
    outputs = [process.communicate(timeout=HANG)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("built the cohort" in output for output in outputs) == 1


def test_importing_the_readers_imports_no_torch_and_no_file_libraries():
    late = {"torch", "pydicom", "nibabel", "wfdb", "scipy", "joblib", "defusedxml", "pandera", "distributed"}
    code = (
        "import sys; from eccl_lib.data import ecg, cmr, cohort;"
        "from eccl_lib.data.formats import detect, dicom; from eccl_lib.data.ingest import purge;"
        "from eccl_lib.data.store import fill; from eccl_lib.data.segmentation import providers;"
        "from eccl_lib.data.ukb import readers, tables;"
        f"print({late} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=paths.ROOT)
    assert out.stdout.strip() == "set()"
