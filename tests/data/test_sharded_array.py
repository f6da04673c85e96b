"""Rows in many files behave like one array, with few files open at a time."""

import resource
from contextlib import contextmanager

import numpy as np
import pytest

from eccl_lib.data import sharded_array
from eccl_lib.data.sharded_array import Rows

SHARD, FILES = 4, 300


@pytest.fixture(scope="module")
def whole():
    return np.arange(SHARD * FILES * 3, dtype=np.int16).reshape(SHARD * FILES, 3)


@pytest.fixture(scope="module")
def files(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for k, part in enumerate(np.split(whole, FILES)):
        np.save(folder / f"{k}.npy", part)
    return [folder / f"{k}.npy" for k in range(FILES)]


@contextmanager
def files_allowed(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_shards_than_open_files_are_read_in_any_order(files, whole):
    order = np.random.default_rng(0).permutation(len(whole))
    with files_allowed(256):
        found = Rows(files, SHARD, np.arange(len(whole)), (3,), np.int16)
        assert np.array_equal(found[order], whole[order])
        assert np.array_equal(found.copy(), whole)
        assert all(np.array_equal(found[int(k)], whole[k]) for k in order)
        assert len(found._opened) <= sharded_array.most_open() == 64


def test_returned_rows_stay_valid_after_their_file_is_closed(files, whole):
    with files_allowed(256):
        found = Rows(files, SHARD, np.arange(len(whole)), (3,), np.int16)
        first = found[0]
        found.copy()
        assert 0 not in found._opened and np.array_equal(first, whole[0])


@pytest.mark.parametrize("key", [slice(3, 90, 7), np.array([900, 2, 2, 17]), (np.array([5, 1]), 2), -1])
def test_rows_are_indexed_like_one_array(files, whole, key):
    found = Rows(files, SHARD, np.arange(len(whole)), (3,), np.int16)
    assert np.array_equal(found[key], whole[key])


@pytest.mark.parametrize("of", [Rows, np.asarray])
def test_rows_are_copied_to_their_places(files, whole, of):
    stored = Rows(files, SHARD, np.arange(len(whole)), (3,), np.int16) if of is Rows else of(whole)
    sharded_array, out = np.array([900, 2, 2, 17]), np.zeros((4, 3), dtype=np.int16)
    assert stored.take(sharded_array, axis=0, out=out, mode="clip") is out
    assert np.array_equal(out, whole[sharded_array])


def test_take_uses_row_numbers_in_any_order(files, whole):
    slots = np.arange(len(whole))[::-1].copy()
    stored, sharded_array, out = (
        Rows(files, SHARD, slots, (3,), np.int16),
        np.array([5, 0, 1100]),
        np.zeros((3, 3), np.int16),
    )
    assert np.array_equal(stored.take(sharded_array, out=out), whole[::-1][sharded_array])
