"""Lines from several processes: whole, in each writer's order, and none after the follower has gone."""

import multiprocessing
import subprocess
import sys

import pytest

from eccl_lib.grid import log_follower
from eccl_lib.grid.log_follower import LogFollower, append


def write_many(path, count):
    for k in range(count):
        append(path, f"{k} é")


def test_lines_of_several_processes_arrive_whole_and_in_order(tmp_path):
    heard = {0: [], 1: []}
    context = multiprocessing.get_context("fork")
    with LogFollower(tmp_path, lambda number, line: heard[number].append(line)) as follower:
        writers = [context.Process(target=write_many, args=(follower.path(k), 300)) for k in heard]
        for process in writers:
            process.start()
        for process in writers:
            process.join()
    assert heard[0] == heard[1] == [f"{k} é" for k in range(300)]
    assert list(tmp_path.iterdir()) == []


def test_half_a_line_waits_for_its_end(tmp_path):
    heard = []
    with LogFollower(tmp_path, lambda number, line: heard.append(line)) as follower:
        follower.path(3).write_bytes(b"one\ntw")
        follower.poll()
        assert heard == ["one"]
        with follower.path(3).open("ab") as file:
            file.write(b"o\n")
    assert heard == ["one", "two"]


def test_a_line_to_nobody_raises_so_that_the_writer_ends(tmp_path):
    with LogFollower(tmp_path, lambda number, line: None) as follower:
        path = follower.path(0)
    with pytest.raises(FileNotFoundError):
        append(path, "epoch 1/2")


def test_folders_of_killed_followers_are_removed_and_those_of_living_ones_kept(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f"{log_follower._prefix()}{int(ended.stdout)}").mkdir()
    (tmp_path / ".grid-othermachine-1").mkdir()
    with (
        LogFollower(tmp_path, lambda number, line: None),
        LogFollower(tmp_path / "deeper", lambda number, line: None) as inner,
    ):
        assert [path.name for path in sorted(tmp_path.glob(".grid-*"))] == sorted(
            [".grid-othermachine-1", inner.folder.name]
        )
