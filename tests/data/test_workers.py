"""One process, several processes and a Dask cluster give the same bytes; the remaining time."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from eccl_lib.io import progress, workers
from eccl_lib.io.progress import Counter
from eccl_lib.io.workers import Workers
from tests.conftest import eccl
from tests.data.test_biobank import bytes_of, words


def test_the_remaining_time_follows_from_the_throughput(monkeypatch):
    now = iter((110.0, 130.0))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    lines: list[str] = []
    bar = Counter("preprocess", 20, 100, lines.append)
    bar.start = 100.0
    bar.add(10)  # ten in ten seconds, seventy remaining
    bar.add(70)
    assert lines[0] == "preprocess: 20 of 100 participants are finished already"
    assert lines[1] == "preprocess: 30 of 100 participants, 10 s, about 70 s left"
    assert lines[2].startswith("preprocess: 100 of 100 participants, 30 s")


def test_a_pause_is_not_counted_as_time(monkeypatch):
    now = iter((0.0, 3.0, 103.0, 110.0))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    lines: list[str] = []
    bar = Counter("predict", 0, 100, lines.append, "files")
    bar.start = next(now)
    with bar.paused():
        pass
    bar.add(10)
    assert lines == ["predict: 10 of 100 files, 10 s, about 2 min left"]


def test_jobs_are_generated_on_demand(tmp_path):
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
    assert len(drawn) < 20  # the jobs are never all in memory


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes on this machine; its scheduler's address."""
    distributed = pytest.importorskip("distributed")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as made:
        yield made.scheduler_address


def test_one_process_two_processes_and_a_dask_cluster_build_the_same_store(biobank, cluster, tmp_path, monkeypatch):
    made = []
    for name, engine_words in (
        ("one", ["--workers", "1"]),
        ("two", ["--workers", "2"]),
        ("dask", ["--scheduler", cluster]),
    ):
        monkeypatch.setenv("ECCL_RUNS", str(tmp_path / name))
        assert eccl("ingest", "ukb", *words(biobank), *engine_words) == 0
        folder = next((tmp_path / name / "ukb" / "cohort").iterdir())
        made.append(bytes_of(folder))
    assert made[0] == made[1] == made[2]
    assert len([name for name in made[0] if name.startswith("store/shards")]) == 2


def test_a_missing_cluster_is_an_error_with_its_address(biobank, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    pytest.importorskip("distributed")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert eccl("ingest", "ukb", *words(biobank), "--scheduler", "tcp://127.0.0.1:1") == 2
    assert "127.0.0.1:1" in capsys.readouterr().err
