"""A real Dask cluster of two worker processes: jobs run there, deaths cost one job, wrong clusters are refused."""

import os
from contextlib import contextmanager
from pathlib import Path

import joblib
import pytest

from eccl_lib.config.errors import ConfigError
from eccl_lib.grid import scheduler as grid
from eccl_lib.io import workers
from eccl_lib.io.workers import Workers
from tests.conftest import tiny_config

from . import fake_jobs
from .fake_jobs import FakeJob

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

CONFIG = tiny_config()


@contextmanager
def a_cluster(count=2, threads=1, **settings):
    shape = {"n_workers": count, "threads_per_worker": threads, "processes": True, "dashboard_address": ":0"}
    with dask.config.set(settings), distributed.LocalCluster(**shape) as cluster:
        yield Workers(backend="dask", scheduler=cluster.scheduler_address)


@pytest.fixture(scope="module")
def cluster():
    with a_cluster() as found:
        yield found


def quiet(line):
    pass


def run(jobs, there, said=None):
    log = quiet if said is None else said.append
    grid.run_jobs(grid.waves(jobs), CONFIG, log, workers=there)


def process_ids(there):
    with distributed.Client(there.scheduler, set_as_default=False) as client:
        return set(client.run(os.getpid).values())


def test_jobs_run_in_the_clusters_workers_one_at_a_time_in_each(cluster, tiny_runs):
    jobs = [FakeJob(f"job{k}", CONFIG, seconds=0.2) for k in range(6)]
    run(jobs, cluster)
    assert all(job.done(None) for job in jobs)
    assert fake_jobs.pids(CONFIG) == process_ids(cluster)


def test_epochs_of_the_cluster_reach_this_process(cluster, tiny_runs):
    heard = []
    grid.run_jobs(grid.waves([FakeJob("a", CONFIG)]), CONFIG, quiet, heard.append, cluster)
    assert heard == ["a  epoch 1/2", "a  epoch 2/2"]


def test_a_killed_worker_costs_only_its_job_and_that_is_run_again(cluster, tiny_runs):
    dying = FakeJob("dying", CONFIG, does="dies once", seconds=0.5)
    others = [FakeJob(f"job{k}", CONFIG, seconds=0.3) for k in range(4)]
    run([dying, *others], cluster)
    assert all(job.done(None) for job in (dying, *others))
    assert sorted(fake_jobs.order(CONFIG)) == ["dying", "dying", "job0", "job1", "job2", "job3"]


def test_a_job_that_kills_its_workers_is_given_up_and_takes_none_with_it(cluster, tiny_runs):
    jobs = [FakeJob("killer", CONFIG, does="dies"), *(FakeJob(f"job{k}", CONFIG) for k in range(4))]
    with pytest.raises(grid.GridError, match=r"1 of 5 runs failed:\n  .*killer: its worker process was killed twice"):
        run(jobs, cluster)
    assert [job.key for job in jobs if not job.done(None)] == ["killer"]


def test_where_dask_itself_gives_a_task_up_the_grid_goes_on(tiny_runs):
    with a_cluster(**{"distributed.scheduler.allowed-failures": 0}) as strict:
        said, jobs = [], [FakeJob("dying", CONFIG, does="dies once"), *(FakeJob(k, CONFIG) for k in "ab")]
        run(jobs, strict, said)
    assert all(job.done(None) for job in jobs)
    assert any("a worker process was killed" in line for line in said)


def test_a_cluster_of_one_worker_does_not_run_jobs_in_this_process(tiny_runs):
    with a_cluster(1) as one:
        run([FakeJob("a", CONFIG), FakeJob("b", CONFIG)], one)
        assert fake_jobs.pids(CONFIG) == process_ids(one)


def test_a_job_runs_only_where_the_resource_is_that_it_takes(tiny_runs):
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    plain = {"cls": distributed.Nanny, "options": {"nthreads": 1}}
    gifted = {"cls": distributed.Nanny, "options": {"nthreads": 1, "resources": {"GPU": 1}, "name": "gifted"}}
    with distributed.SpecCluster(scheduler=scheduler, workers={"plain": plain, "gifted": gifted}) as mixed:
        there = Workers("dask", scheduler=mixed.scheduler_address, resources={"GPU": 1})
        run([FakeJob(f"job{k}", CONFIG, seconds=0.2) for k in range(4)], there)
        with distributed.Client(mixed.scheduler_address, set_as_default=False) as client:
            names = {info["id"]: address for address, info in client.scheduler_info(n_workers=-1)["workers"].items()}
            assert fake_jobs.pids(CONFIG) == set(client.run(os.getpid, workers=[names["gifted"]]).values())


def test_workers_with_several_threads_are_refused(tiny_runs):
    with a_cluster(1, threads=2) as wide, pytest.raises(ConfigError, match=r"2 jobs in one process.*--nthreads 1"):
        run([FakeJob("a", CONFIG)], wide)


def test_a_worker_that_does_not_see_the_folder_of_runs_is_named(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path("/proc/self/cwd")  # another folder in each process
    if not own.is_dir():
        pytest.skip("needs Linux's /proc")
    refused = pytest.raises(ConfigError, match=r"Dask worker tcp://.* does not see /proc/self/cwd.*ECCL_RUNS")
    with refused, workers.pool(cluster, own, quiet):
        pass


def test_a_scheduler_that_is_not_there_is_named(tmp_path):
    nowhere = Workers("dask", scheduler="tcp://127.0.0.1:1")
    refused = pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1")
    hurried = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with hurried, refused, workers.pool(nowhere, tmp_path, quiet):
        pass


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backend": "ray"}, "loky, dask"),
        ({"jobs": 0}, "1 or more"),
        ({"backend": "dask"}, "--scheduler ADDRESS"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "--backend dask"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        Workers(**given)


def test_every_call_gives_its_result(cluster, tmp_path):
    with workers.pool(cluster, tmp_path, quiet) as crew:
        assert sorted(crew(joblib.delayed(abs)(k) for k in (-3, -1, -2))) == [1, 2, 3]
