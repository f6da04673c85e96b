"""Atomic files, sums and locks."""

import errno
import multiprocessing
import os
import stat

import pytest

from eccl_lib.config.errors import DamagedError
from eccl_lib.io import files


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"k": 1})

    def fail(beside):
        beside.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, fail)
    assert files.read_json(path) == {"k": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_one_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(1000))
    digest = files.sha256(path)
    files.verify(path, digest)
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="has changed"):
        files.verify(path, digest)


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(DamagedError, match=r"m\.json"):
        files.read_json(tmp_path / "m.json")


def _hold(folder, acquired, release):
    with files.exclusive_lock(folder):
        acquired.set()
        release.wait(20)


def test_a_folder_is_held_by_one_process_and_freed_when_it_dies(tmp_path):
    context = multiprocessing.get_context("fork")
    acquired, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, acquired, release))
    holder.start()
    assert acquired.wait(10)
    said = []

    def kill_and_note(line):
        said.append(line)
        holder.kill()

    with files.exclusive_lock(tmp_path, kill_and_note):
        assert said and "waiting" in said[0]
    holder.join()


def test_a_network_disk_without_modes_and_without_fsync_of_folders_can_be_written(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files_only(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    def chmod(path, mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.os, "fsync", of_files_only)
    monkeypatch.setattr(files.Path, "chmod", chmod)
    files.write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
