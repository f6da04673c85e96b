"""A disk that fails ends the work in one line with the cure; afterwards the same call gives the same bytes."""

import errno
import os
import re

import numpy as np
import pytest

from eccl_lib.io.files import sha256
from tests.reliability import LONG, disks

KEPT = "Everything written before is complete; the same command resumes."
SIZES = (0.02, 0.2, 0.5, 0.8, 0.97) if LONG else (0.2, 0.8)  # of the space that the chain needs
FILE_SIZES = (20_000, 100_000, 400_000, 2_000_000) if LONG else (100_000,)
SYNCS = (2, 60, 120) if LONG else (40,)


def bytes_of(runs):
    """SHA-256 of every result below ``runs``; of predictions, weights and stores, which do not depend on the time."""
    names = ("*.npy", "model.safetensors", "predictions.parquet", "table.parquet", "*.xml", "*.zip", "loss.svg")
    found = {str(p.relative_to(runs)): sha256(p) for name in names for p in runs.rglob(name)}
    assert not list(runs.rglob("*.partial"))
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed") / "runs"
    status, said = disks.attempt(runs)
    assert (status, said) == (0, "")
    return runs


@pytest.fixture(scope="module")
def needed(undisturbed):
    """Bytes that the chain leaves on the disk."""
    return sum(path.stat().st_blocks * 512 for path in undisturbed.rglob("*"))


def refused(runs, fault, *words):
    """Check that the chain ends in one line with these words."""
    status, said = disks.attempt(runs, fault)
    assert status == 2, said
    (line,) = said.splitlines()
    assert re.match(r"error: .*cannot be written: ", line), line
    for word in words:
        assert word in line, line


def goes_on(runs, undisturbed):
    """Check that the same call then ends with the same bytes."""
    status, said = disks.attempt(runs)
    assert status == 0, said
    assert bytes_of(runs) == bytes_of(undisturbed)


@pytest.mark.parametrize("share", SIZES)
def test_a_full_disk(share, undisturbed, needed, tmp_path):
    mounted = tmp_path / "disk"
    with disks.disk(mounted, int(share * needed)):
        refused(mounted / "runs", None, "the disk is full. Free space on the disk of", "MB free)", KEPT)
        disks.remount(mounted, "size=1g")
        goes_on(mounted / "runs", undisturbed)


def test_a_disk_that_becomes_read_only(undisturbed, needed, tmp_path):
    mounted = tmp_path / "disk"
    with disks.disk(mounted, int(0.6 * needed)):
        refused(mounted / "runs", None, "the disk is full")
        disks.remount(mounted, "ro")
        refused(mounted / "runs", None, "mounted read-only. Mount the disk of")
        disks.remount(mounted, "rw,size=1g")
        goes_on(mounted / "runs", undisturbed)


@pytest.mark.parametrize("size", FILE_SIZES)
def test_a_limit_of_file_sizes(size, undisturbed, tmp_path):
    refused(tmp_path / "runs", (disks.limit_file_size, size), "larger than allowed. Raise the limit", "ulimit -f", KEPT)
    goes_on(tmp_path / "runs", undisturbed)


@pytest.mark.parametrize("name", disks.NUMBERS if LONG else ("EDQUOT", "EIO"))
@pytest.mark.parametrize("at", SYNCS)
def test_an_error_that_appears_when_data_reach_the_disk(name, at, undisturbed, tmp_path):
    fault = (disks.fail_on_sync, disks.NUMBERS[name], at)
    status, said = disks.attempt(tmp_path / "runs", fault)
    (line,) = said.splitlines()
    assert status == 2 and "cannot be written: " in line
    assert (KEPT in line) == (name != "EIO")  # a broken disk keeps nothing for certain
    goes_on(tmp_path / "runs", undisturbed)


@pytest.mark.parametrize("at", SYNCS)
def test_a_folder_of_runs_that_is_deleted(at, undisturbed, tmp_path):
    runs = tmp_path / "runs"
    status, said = disks.attempt(runs, (disks.delete_runs, runs, at))
    assert KEPT not in said and "Traceback" not in said
    assert (status, len(said.splitlines())) in ((2, 1), (0, 0)), said  # 0: it began anew by itself
    goes_on(runs, undisturbed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir(mode=0o500)
    status, said = disks.attempt(runs)
    (line,) = said.splitlines()
    assert status == 2 and "not writable" in line


def test_error_numbers_are_found_in_the_text_of_other_libraries(tmp_path):
    from eccl_lib.io.disk import WriteError, writing

    with pytest.raises(WriteError) as found, writing(tmp_path / "x", KEPT):
        raise RuntimeError("Error while serializing: I/O error: File too large (os error 27)")
    assert found.value.errno == errno.EFBIG
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "x", KEPT):
        _ = 1 / 0


def test_the_cure_names_the_folder_of_results_only_for_results(tmp_path, monkeypatch):
    from eccl_lib.io.disk import describe

    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    result, other = (describe(tmp_path / name, errno.ENOSPC, "") for name in ("runs/views/x.npy", "report.html"))
    assert result.endswith("free), or set the variable ECCL_RUNS to a folder on another disk.")
    assert other.endswith("free), or write to another disk.")


def test_a_file_that_cannot_be_read_is_not_called_a_failed_write(tmp_path):
    from eccl_lib.io.disk import WriteError
    from eccl_lib.io.files import write_rows

    (tmp_path / "out").mkdir()
    shards = (tmp_path / "shards" / f"{k}.npy" for k in range(2))
    with pytest.raises(FileNotFoundError, match="shards") as found:
        write_rows(tmp_path / "out" / "view.npy", map(np.load, shards), (2, 3), np.int16)
    assert not isinstance(found.value, WriteError)
    with pytest.raises(WriteError, match="its folder was deleted"):
        write_rows(tmp_path / "gone" / "view.npy", [], (2, 3), np.int16)
