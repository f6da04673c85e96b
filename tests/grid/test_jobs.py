"""Jobs of the grid: each knows its parents, its place and its cost."""

from collections import Counter

import pytest

from eccl_lib.config.schema import TASKS
from eccl_lib.data import open_cohort
from eccl_lib.grid import scheduler as grid
from eccl_lib.grid.jobs import FEATURES, Job
from eccl_lib.pipeline.methods import METHODS
from tests.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


def quiet(line):
    pass


@pytest.fixture(scope="module")
def data(shared_runs):
    return open_cohort.load(tiny_config(), quiet)


def everything(jobs):
    found = set()
    for job in jobs:
        found |= {job} | everything(job.parents())
    return found


def test_the_paper_s_table_takes_these_runs_and_no_two_jobs_share_a_folder(data):
    cells = [Job(key, tiny_config(task, seed=seed)) for key in METHODS for task in TASKS for seed in range(2)]
    jobs = everything(cells)
    count = Counter(job.key for job in jobs)
    assert count.pop("pretrain_ecg") == count.pop("pretrain_pair") == 2  # one a seed
    assert count.pop("autoencode_ecg") == count.pop("autoencode_cmr") == 2
    assert count["cmr_sup"] + count.pop("pretrain_cmr") == 3 * 5 * 2  # architecture, task, seed
    assert count.pop(FEATURES) == 3 * 5 * 2
    assert count == dict.fromkeys(METHODS, 10)
    folders = [job.expected(data).folder for job in jobs if job.key != FEATURES]
    assert len(folders) == len(set(folders))
    assert len(grid.plan(tiny_config(), list(METHODS), TASKS, range(2))) > 1


@pytest.mark.parametrize("key", METHODS)
def test_after_its_parents_a_job_trains_nothing_but_itself(key, data):
    job = Job(key, tiny_config("I21"))
    for wave in grid.waves([job])[:-1]:
        for parent in wave:
            parent.run(quiet)
            assert parent.done(data)
    said = []
    run = job.run(said.append)
    trained = {line.split(":")[0] for line in said if line.endswith(": training")}
    assert trained <= {run.name} and not any("needed first" in line for line in said)
    assert job.done(data) and job.seconds(data) > 0


@pytest.mark.parametrize(
    "key", [*METHODS, "pretrain_ecg", "autoencode_ecg", "autoencode_cmr", "pretrain_pair", FEATURES]
)
def test_an_estimate_needs_no_parent_and_leaves_nothing_behind(key, data, shared_runs):
    job = Job(key, tiny_config("I42", seed=9))
    before = sorted((shared_runs / "demo-synthetic").glob("*/*/*/*"))
    assert 0 < job.estimate(data) < 600
    assert sorted((shared_runs / "demo-synthetic").glob("*/*/*/*")) == before
    assert not job.expected(data).folder.exists()


def test_kinds_part_what_costs_differently():
    traits, disease = tiny_config("traits"), tiny_config("I21")
    assert Job("eccl", traits).kind != Job("eccl", disease).kind == Job("eccl", tiny_config("I50", seed=3)).kind
    swin = Job("cmr_sup", disease)
    others = {Job("eccl", disease).parents()[-1].kind, Job("resnet50", disease).parents()[-1].kind}
    assert len(others) == 2 and swin.kind not in others
