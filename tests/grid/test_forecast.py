"""The predicted time: by hand-worked schedules, from runs that are there, and as progress by seconds, not by count."""

import json

import pytest

from eccl_lib.config.load import essentials
from eccl_lib.grid import forecast
from eccl_lib.grid.forecast import Forecast, Progress, wall_seconds
from tests.conftest import tiny_config

from .fake_jobs import FakeJob

CONFIG = tiny_config()


def test_wall_time_is_that_of_a_schedule_worked_by_hand():
    assert wall_seconds([[5, 4, 3, 3]], workers=2) == 8  # 5 + 3 beside 4 + 3
    assert wall_seconds([[5, 4], [3, 3]], workers=2) == 5 + 3  # the second wave waits for the first
    assert wall_seconds([[5, 4, 3, 3]], workers=1) == 15
    assert wall_seconds([[5, 4, 3, 3]], workers=9) == 5
    assert wall_seconds([[], []], workers=2) == 0


def test_progress_counts_seconds_not_runs():
    progress = Progress([90, 10], wall=100)
    progress.end(1)
    assert progress.share == pytest.approx(0.1)
    assert progress.read_line(0, "align/eccl/I21  epoch 10/20  loss 1.0")
    assert progress.share == pytest.approx(0.55)
    assert not progress.read_line(0, "going on at epoch 4")
    progress.end(0)
    assert progress.share == 1 and progress.left() == 0


def test_what_remains_is_stretched_by_the_pace_so_far():
    progress = Progress([50, 50], wall=100)
    assert progress.left(elapsed=0) == pytest.approx(100)
    progress.end(0)
    assert progress.left(elapsed=50) == pytest.approx(50)
    assert progress.left(elapsed=100) == pytest.approx(50 * (100 + 5) / (50 + 5))


def test_a_job_begun_again_does_not_go_backwards():
    progress = Progress([10], wall=10)
    progress.read_line(0, "epoch 3/4")
    progress.read_line(0, "epoch 1/4")
    assert progress.share == 0.75


def test_seconds_come_from_finished_runs_that_differ_in_seed_or_disease_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    folder = FakeJob("x", CONFIG).run(None).folder.parent
    runs = {"seed0-a": (tiny_config("I42", 0), 10.0), "seed1-b": (tiny_config("I50", 1), 20.0)}
    runs["seed2-c"] = tiny_config("I42", 2, **{"align.epochs": 9}), 999.0
    for name, (config, seconds) in runs.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(essentials(config) | {"runtime": None}))
        (folder / name / "timing.json").write_text(json.dumps({"seconds": 1.0, "cpu_seconds": seconds}))
    (folder / "seed3-d").mkdir()
    (folder / "seed3-d" / "timing.json").write_text("{")
    known = forecast.from_finished_runs([FakeJob("x", tiny_config("I48", 7))], None)
    assert known.of(FakeJob("x", tiny_config("I48", 7))) == 15.0
    assert not known.trial


def test_the_table_adds_up_and_says_where_its_seconds_come_from():
    slow, fast, odd = (FakeJob(key, CONFIG, seconds=s) for key, s in (("slow", 2.0), ("fast", 1.0), ("odd", 3.0)))
    known = Forecast({forecast.like(fast): 4.0})
    known.add_trial(slow, 60.0)
    lines = known.table([slow, fast, fast, odd], [slow, fast, odd]).splitlines()
    assert [line.split()[:5] for line in lines[1:4]] == [
        ["fake/2", "1", "1", "60.0", "60"],
        ["fake/3", "1", "1", "32.0", "32"],
        ["fake/1", "2", "1", "4.0", "4"],
    ]
    assert [line.rstrip().rpartition("  ")[2] for line in lines[1:4]] == ["trial steps", "a guess", "finished runs"]
    assert lines[-1].split() == ["all", "4", "3", "96"]
