"""Many participants side by side: the same bytes from one process, several, and a Dask cluster; the time left."""

from __future__ import annotations

import os
import time

import pytest

from eccl_lib.io import workers
from eccl_lib.io.progress import Counter
from eccl_lib.io.workers import Workers
from tests.conftest import eccl
from tests.data.test_biobank import bytes_of, words


def test_the_time_left_is_that_of_the_pace_so_far(monkeypatch):
    now = iter((110.0, 130.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    lines: list[str] = []
    bar = Counter("preprocess", 20, 100, lines.append)
    bar.start = 100.0
    bar.add(10)  # ten in ten seconds, seventy to go
    bar.add(70)
    assert lines[0] == "preprocess: 20 of 100 participants are finished already"
    assert lines[1] == "preprocess: 30 of 100 participants, 10 s, about 70 s left"
    assert lines[2].startswith("preprocess: 100 of 100 participants, 30 s")


def test_jobs_are_drawn_only_as_they_are_needed(tmp_path):
    drawn = []

    def jobs():
        for k in range(1000):
            drawn.append(k)
            yield abs, k

    seen = []
    with pytest.raises(KeyboardInterrupt):

        def stop(result):
            seen.append(result)
            raise KeyboardInterrupt

        workers.run_all(jobs(), Workers(jobs=1), tmp_path, stop)
    assert len(drawn) < 20  # a list of all participants' jobs never exists


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes on this machine; its scheduler's address."""
    distributed = pytest.importorskip("distributed")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as made:
        yield made.scheduler_address


def test_one_process_two_and_a_dask_cluster_make_the_same_store(biobank, cluster, tmp_path, monkeypatch):
    made = []
    for name, engine_words in (
        ("one", ["--workers", "1"]),
        ("two", ["--workers", "2"]),
        ("dask", ["--cluster", cluster]),
    ):
        monkeypatch.setenv("ECCL_RUNS", str(tmp_path / name))
        assert eccl("ingest", "ukb", *words(biobank), *engine_words) == 0
        folder = next((tmp_path / name / "ukb" / "cohort").iterdir())
        made.append(bytes_of(folder))
    assert made[0] == made[1] == made[2]
    assert len([name for name in made[0] if name.startswith("store/shards")]) == 2


def test_a_cluster_that_is_not_there_is_named(biobank, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    pytest.importorskip("distributed")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert eccl("ingest", "ukb", *words(biobank), "--cluster", "tcp://127.0.0.1:1") == 2
    assert "127.0.0.1:1" in capsys.readouterr().err
