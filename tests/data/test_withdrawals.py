"""Withdrawn participants are in no array, view, cache, prediction or log, also in a store that was built earlier."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.data import open_cohort
from eccl_lib.data.ingest import purge
from eccl_lib.data.ukb import withdrawals
from eccl_lib.io.files import read_json, sha256, write_array, write_json, write_text
from tests.conftest import eccl
from tests.data.test_biobank import build, built, runs, small, words  # noqa: F401

GONE = ("9000003", "9000010")


@pytest.fixture
def leaving(tmp_path: Path) -> Path:
    """UK Biobank's list with two of the ten participants and an unknown id."""
    path = tmp_path / "w99999_20260101.csv"
    path.write_text("\n".join((*GONE, "9999999")) + "\n")
    return path


@pytest.fixture
def used(built, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """A runs folder with the store, views of it, a run with predictions and a cache, figures and notebooks."""
    root = Path(shutil.copytree(built, tmp_path / "runs", copy_function=shutil.copy2))
    monkeypatch.setenv("ECCL_RUNS", str(root))
    config = small(**{"view.clip_size": 56, "view.clip_frames": 25, "view.ecg_rate": 100})
    data = open_cohort.load(config, lambda line: None)
    data.clip_view(config.view)
    data.ecg_view(config.view)
    run = root / "demo-ukb" / "align" / "eccl" / "I21" / "seed0-00000000"
    for folder in (run, root / "demo-ukb" / "figures", root / "demo-ukb" / "notebooks"):
        folder.mkdir(parents=True)
        (folder / "picture.svg").write_text("<svg/>")
    rows = np.arange(len(data))
    frame = pd.DataFrame({"eid": data.table["eid"], "row": rows, "target_I21": data.labels[:, 0], "score_I21": 0.5})
    frame.to_parquet(run / "predictions.parquet", index=False)
    write_array(run / "features.npy", np.arange(40.0).reshape(10, 4))
    write_json(run / "features.json", {"sha256": sha256(run / "features.npy")})
    write_json(run / "calibration-12345678.json", {"radius": [1.0]})
    write_json(run / "manifest.json", {"files": {"predictions.parquet": sha256(run / "predictions.parquet")}})
    return root


def everything(root: Path) -> bytes:
    """All bytes below a folder except the list of withdrawals, parquet as text."""
    parts = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.name != withdrawals.LIST):
        text = pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else path.read_bytes()
        parts += [path.name.encode(), text]
    return b"\n".join(parts)


def test_withdrawn_participants_are_deleted_from_all_files(used, leaving, capsys):
    before = open_cohort.load(small(), lambda line: None)
    rows = [before.table.index[before.table["eid"] == eid][0] for eid in GONE]
    traces = [eid.encode() for eid in GONE] + [before.ecg[row].tobytes()[:2000] for row in rows]
    traces += [before.clips[row].tobytes()[:2000] for row in rows]
    kept = np.setdiff1d(np.arange(10), rows)
    expected = {name: np.array(getattr(before, name)[kept]) for name in ("ecg", "clips", "traits", "labels")}
    assert all(trace in everything(used) for trace in traces[:2])
    assert eccl("withdraw", str(leaving)) == 0
    # All participants have the example's ECG and cine, so rows are compared by number and ids by name.
    for eid in traces[:2]:
        assert eid not in everything(used)
    after = open_cohort.load(small(), lambda line: None)
    assert after.table["eid"].tolist() == before.table["eid"].iloc[kept].tolist()
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(after, name)[:], values)
    assert after.fingerprint != before.fingerprint
    slots = [before.clips.slots[row] for row in rows]
    for shard in before.folder.glob("store/shards/*-00000.npy"):
        assert not np.load(shard)[slots].any()
        assert np.load(shard)[after.clips.slots].reshape(8, -1).any(axis=1).all()
    run = next(used.glob("demo-ukb/align/eccl/I21/*"))
    assert pd.read_parquet(run / "predictions.parquet")["row"].tolist() == kept.tolist()
    assert read_json(run / "manifest.json")["files"]["predictions.parquet"] == sha256(run / "predictions.parquet")
    assert not list(used.rglob("features.*"))
    assert not list(used.rglob("views/*"))
    assert not list(used.rglob("calibration-*.json"))
    assert [path.parent for path in used.rglob("picture.svg")] == [run]
    said = capsys.readouterr()
    assert "3 participants are on the list" in said.out
    assert not any(eid in said.out + said.err for eid in GONE)


def test_the_list_excludes_withdrawn_participants_before_the_purge(used, leaving):
    withdrawals.add(GONE)
    data = open_cohort.load(small(), lambda line: None)
    assert not set(GONE) & set(data.table["eid"])
    assert len(data) == len(data.ecg) == len(data.clips) == len(data.traits) == len(data.labels) == 8
    view = small(**{"view.clip_size": 56, "view.clip_frames": 25}).view
    assert len(data.clip_view(view)) == 8  # the view of ten participants on disk is not reused
    hidden = data.fingerprint
    purge.purge(GONE)
    assert open_cohort.load(small(), lambda line: None).fingerprint == hidden


def test_an_interrupted_purge_resumes(used, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    withdrawals.add(GONE)
    with monkeypatch.context() as patch:
        patch.setattr(purge, "_purge_results", stopped)
        with pytest.raises(KeyboardInterrupt):
            purge.purge(GONE)
    assert purge.purge(GONE)["rows of predictions"] == 2
    assert purge.purge(GONE) == {}
    assert not any(eid.encode() in everything(used) for eid in GONE)


def test_a_purge_that_is_stopped_between_predictions_and_manifest_resumes(used, monkeypatch):
    def stopped(*arguments):
        written(*arguments)
        raise KeyboardInterrupt

    withdrawals.add(GONE)
    written = purge._write_kept
    with monkeypatch.context() as patch:
        patch.setattr(purge, "_write_kept", stopped)
        with pytest.raises(KeyboardInterrupt):
            purge.purge(GONE)
    assert purge.purge(GONE)["rows of predictions"] == 2
    run = next(used.glob("demo-ukb/align/eccl/I21/*"))
    assert read_json(run / "manifest.json")["files"]["predictions.parquet"] == sha256(run / "predictions.parquet")


def test_the_same_list_removes_what_a_training_in_progress_has_written_since(used, leaving):
    run = next(used.glob("demo-ukb/align/eccl/I21/*"))
    written = {path.name: path.read_bytes() for path in run.iterdir()}
    assert eccl("withdraw", str(leaving)) == 0
    for name, content in written.items():
        (run / name).write_bytes(content)
    assert any(eid.encode() in everything(used) for eid in GONE)
    assert eccl("withdraw", str(leaving)) == 0
    assert not any(eid.encode() in everything(used) for eid in GONE)
    assert not list(used.rglob("features.*"))
    assert read_json(run / "manifest.json")["files"]["predictions.parquet"] == sha256(run / "predictions.parquet")
    assert purge.purge(withdrawals.read()) == {}


def test_inconsistent_tables_of_an_interrupted_purge_are_written_again(used, biobank, leaving):
    table = next(used.glob("ukb/cohort/*/store/table.parquet"))
    pd.read_parquet(table).iloc[:9].to_parquet(table, index=False)
    assert eccl("withdraw", str(leaving)) == 0
    with pytest.raises(MissingError, match="Build the store"):
        open_cohort.load(small())
    assert len(build(biobank)) == 8


def test_the_build_command_applies_its_list_and_earlier_lists(biobank, runs, leaving, tmp_path):  # noqa: F811
    data = build(biobank, "--withdrawals", str(leaving))
    assert len(data) == 8
    assert len(data.clips.files) == 1
    assert len(build(biobank)) == 8  # --no-withdrawals keeps the earlier withdrawals
    (tmp_path / "later.txt").write_text("eid\n9000001\n")
    assert len(build(biobank, "--withdrawals", str(tmp_path / "later.txt"))) == 7
    assert not any(eid.encode() in everything(runs) for eid in (*GONE, "9000001"))


def test_two_lists_that_are_added_at_once_are_both_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    other = threading.Thread(target=withdrawals.add, args=[GONE[1:]])

    def write_late(path, text):
        if other.ident is None:
            other.start()
            other.join(timeout=0.5)  # without a lock it writes now, and its ids are lost
        write_text(path, text)

    monkeypatch.setattr(withdrawals, "write_text", write_late)
    withdrawals.add(GONE[:1])
    other.join()
    assert withdrawals.read() == set(GONE)


def test_opening_a_store_without_a_list_raises_an_error(used):
    (used / "ukb" / withdrawals.LIST).unlink()
    with pytest.raises(MissingError, match="withdrawn participants are unknown"):
        open_cohort.load(small())


def test_an_unreadable_list_stops_the_command_first(biobank, runs, tmp_path, capsys):  # noqa: F811
    (tmp_path / "list.csv").write_text("9000001\nsomebody\n")
    assert eccl("ingest", "ukb", *words(biobank, "--withdrawals", str(tmp_path / "list.csv"))) == 2
    said = capsys.readouterr().err
    assert "line 2" in said
    assert "somebody" not in said
    assert not runs.exists()


def test_withdrawn_participants_are_deleted_from_a_damaged_store(used, leaving):
    (next(used.glob("ukb/cohort/*/store")) / "traits.npy").write_bytes(b"")
    with pytest.raises(DamagedError):
        open_cohort.load(small())
    assert eccl("withdraw", str(leaving)) == 0
    assert not any(eid.encode() in everything(used) for eid in GONE)
