"""The grid: order of need, longest first, failures and deaths that cost no other run, and the same bytes anywhere."""

import re
from dataclasses import replace

import pytest

from eccl_lib.config.schema import TASKS
from eccl_lib.grid import scheduler as grid
from eccl_lib.io.workers import Workers
from eccl_lib.pipeline.methods import METHODS
from tests.conftest import tiny_config

from . import fake_jobs
from .fake_jobs import FakeJob

CONFIG = tiny_config()


def fakes(*keys, **options):
    return [FakeJob(key, CONFIG, **options) for key in keys]


def run(jobs, workers, said=None):
    said = [] if said is None else said
    grid.run_jobs(grid.waves(jobs), CONFIG, said.append, workers=workers)
    return said


def test_no_job_comes_before_what_it_needs_and_none_comes_twice():
    waves = grid.plan(CONFIG, tuple(METHODS), TASKS, (0, 1))
    place = {job: k for k, wave in enumerate(waves) for job in wave}
    assert len(place) == sum(map(len, waves))
    assert all(place[parent] < k for job, k in place.items() for parent in job.parents())
    assert sum(job.name in METHODS or job.variant == "swin" for job in place if not job.is_features) == 2 * 5 * 9


def test_what_rows_share_is_planned_once():
    waves = grid.plan(CONFIG, ("ssl", "eccl", "triplet", "cmr_sup"), ("I21", "traits"), (0, 1, 2))
    planned = [job.stage for wave in waves for job in wave]
    assert planned.count("pretrain_ecg") == 3
    assert planned.count("cmr_features") == 3 * 2
    assert planned.count("pretrain_cmr") == 3 * 2


def test_a_plain_row_needs_nothing_else():
    ((*cells,),) = grid.plan(CONFIG, ("scratch",), TASKS, (0,))
    assert [job.name for job in cells] == ["scratch"] * 5


def test_cells_come_after_all_that_is_shared():
    mae, teacher = fakes("mae", "teacher")
    features = FakeJob("features", CONFIG, needs=(teacher,))
    plain, aligned = FakeJob("plain", CONFIG), FakeJob("aligned", CONFIG, needs=(mae, features))
    assert grid.waves([plain, aligned]) == [[mae, teacher], [features], [plain, aligned]]


def test_the_longest_begins_first(tiny_runs):
    jobs = [FakeJob(f"job{k}", CONFIG, seconds=s) for k, s in enumerate((0.1, 0.3, 0.2))]
    run(jobs, Workers(jobs=1))
    assert fake_jobs.order(CONFIG) == ["job1", "job2", "job0"]


def test_what_is_done_is_not_run_again_and_the_prediction_is_said(tiny_runs):
    said = run(fakes("a", "b"), Workers(jobs=1))
    assert any(re.match(r"run 2/2  .*100%, about 0 s left", line) for line in said)
    assert any(line.startswith("predicted ") and " took " in line for line in said)
    assert run(fakes("a", "b"), Workers(jobs=1)) == ["0 of 2 runs to do; all are reused"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_failing_job_loses_only_what_hangs_on_it(jobs, tiny_runs):
    bad, good = FakeJob("bad", CONFIG, does="fails"), FakeJob("good", CONFIG)
    child, grandchild = FakeJob("child", CONFIG, needs=(bad, good)), FakeJob("other", CONFIG, needs=(good,))
    grandchild = FakeJob("grandchild", CONFIG, needs=(child,))
    others = [FakeJob(f"other{k}", CONFIG, needs=(good,)) for k in range(3)]
    with pytest.raises(grid.GridError) as caught:
        run([grandchild, *others], Workers(jobs=jobs))
    message = str(caught.value)
    assert "1 of 7 runs failed, 2 that depend on them were not started" in message
    assert "bad: bad cannot be trained\n" in message and "second line" not in message
    assert all(job.done(None) for job in (good, *others))
    assert not child.done(None) and not grandchild.done(None)
    with pytest.raises(grid.GridError, match="1 of 3 runs failed"):
        run([grandchild, *others], Workers(jobs=jobs))


def test_a_killed_worker_costs_no_run(tiny_runs):
    jobs = [FakeJob("killed", CONFIG, does="dies once", seconds=1.0), *fakes("a", "b", "c", "d", seconds=0.2)]
    said = run(jobs, Workers(jobs=2))
    assert all(job.done(None) for job in jobs)
    assert any("a worker process was killed; " in line for line in said)


def test_a_job_that_kills_its_worker_again_is_given_up_and_takes_none_with_it(tiny_runs):
    jobs = [FakeJob("killer", CONFIG, does="dies", seconds=1.0), *fakes("a", "b", "c", "d", seconds=0.2)]
    with pytest.raises(grid.GridError, match=r"1 of 5 runs failed:\n  .*killer: its worker process was killed twice"):
        run(jobs, Workers(jobs=2))
    assert [job.key for job in jobs if not job.done(None)] == ["killer"]


def test_workers_take_the_folder_of_runs_from_the_one_that_sends_jobs(tiny_runs, tmp_path, monkeypatch):
    run(fakes("a", "b"), Workers(jobs=2))
    other = tmp_path / "elsewhere" / "demo-synthetic"
    other.mkdir(parents=True)
    (other / "cohort").symlink_to((tiny_runs / "demo-synthetic" / "cohort").resolve())
    monkeypatch.setenv("ECCL_RUNS", str(other.parent))
    run(fakes("a", "b"), Workers(jobs=2))  # the same processes, kept warm
    assert (other / "fake" / "a" / "result").exists()


def test_only_a_plan_is_made_on_request(tiny_runs):
    said = []
    grid.predict(grid.waves(fakes("a", "b", seconds=30.0)), CONFIG, said.append, Workers(jobs=1))
    assert said[-1] == "about 60 s with 1 at a time"
    assert not list((tiny_runs / "demo-synthetic").glob("fake/*"))


def test_the_forecast_of_all_jobs_also_serves_a_part_of_them(tiny_runs):
    jobs, said = fakes("a", "b", seconds=0.1), []
    forecast = grid.predict(grid.waves(jobs), CONFIG, lambda line: None, Workers(jobs=1))
    grid.run_jobs(grid.waves(jobs[:1]), CONFIG, said.append, workers=Workers(jobs=1), forecast=forecast)
    assert not any("trial steps" in line for line in said)
    assert (tiny_runs / "demo-synthetic" / "fake" / "a" / "result").exists()


def test_seeds_and_diseases_share_a_prediction_but_other_encoders_do_not():
    job = FakeJob("a", CONFIG)
    forecast = grid.Forecast()
    forecast.add_trial(job, 5.0)
    assert forecast.knows(replace(job, config=replace(CONFIG, seed=4, disease="I50")))
    assert not forecast.knows(replace(job, config=replace(CONFIG, ecg=replace(CONFIG.ecg, width=64))))
