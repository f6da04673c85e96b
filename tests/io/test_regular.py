"""Only regular files are opened, and no more than a limit is read."""

import os
import socket

import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.io import regular


@pytest.fixture
def others(tmp_path, monkeypatch):
    """Paths that are no regular files, with the word that names each."""
    monkeypatch.chdir(tmp_path)  # the path of a socket has at most 108 bytes
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    words = {"pipe": "a pipe", "socket": "a socket", "folder": "a folder", "link": "a pipe", "loop": "cannot be opened"}
    yield {tmp_path / name: word for name, word in words.items()} | {"/dev/zero": "a device", "absent": "not exist"}
    server.close()


def test_other_than_regular_files_are_refused_by_kind(others):
    for path, word in others.items():
        for read in (regular.check, regular.open_file, lambda path: regular.read_bytes(path, 10)):
            with pytest.raises(UnreadableError, match=word):
                read(path)


def test_a_pipe_that_takes_a_files_place_is_refused_without_waiting(others, monkeypatch):
    monkeypatch.setattr(regular, "check", lambda path: None)
    with pytest.raises(UnreadableError, match="a pipe"):
        regular.open_file(next(iter(others)))


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert regular.check(path) == 5
    assert regular.read_bytes(path, 5) == b"12345"
    with pytest.raises(UnreadableError, match="limit"):
        regular.read_bytes(path, 4)
    path.write_bytes(b"")
    with pytest.raises(UnreadableError, match="empty"):
        regular.read_bytes(path, 4)


def test_a_file_of_unknown_size_is_read_up_to_the_limit(tmp_path):
    with pytest.raises(UnreadableError, match="limit"):
        regular.read_bytes("/proc/self/smaps", 100)  # its size is 0 to stat


def test_the_name_is_added_once(tmp_path):
    path = tmp_path / "a\nb.csv"
    fault = r"^a\\nb\.csv: the file does not exist\. Check"
    with pytest.raises(UnreadableError, match=fault), regular.named(path), regular.named(path):
        regular.check(path)
