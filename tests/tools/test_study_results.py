"""The experiments of the study: kept run by run, so that their seeds can be trained apart, then tabled and drawn."""

import numpy as np
import pandas as pd
import pytest

from eccl_lib.data import open_cohort
from eccl_lib.evaluation import experiments
from eccl_lib.evaluation.experiments import EXPERIMENTS
from eccl_lib.pipeline import stages
from tests.conftest import link_cohort, tiny_config
from tests.evaluation.test_experiments import TINY
from tests.pipeline.tiny_jobs import quiet
from tools import study_archive, study_experiments, study_results


@pytest.fixture
def only_tiny(monkeypatch):
    monkeypatch.setattr(experiments, "NAMES", ("tiny",))
    monkeypatch.setitem(EXPERIMENTS, "tiny", TINY)


def train(seed: int) -> None:
    for own in TINY.specs(tiny_config(), [seed]):
        stages.require(own, quiet)


def test_an_experiment_is_kept_by_run_and_its_complete_seeds_are_tabled(
    tiny_store, tiny_runs, tmp_path, monkeypatch, only_tiny
):
    config, folder = tiny_config(), tmp_path / "study"
    folder.mkdir()
    data = open_cohort.load(config, quiet)
    train(0)
    assert study_results.write_experiments(config, data, folder) == {"tiny": 1}
    names = {"tiny_runs.csv", "tiny_draws.npz", "tiny_means.csv", "tiny_differences.csv", "tiny.png", "tiny.svg"}
    assert {path.name for path in folder.iterdir()} == names

    link_cohort(tiny_store, tmp_path / "other runs", monkeypatch)  # without the runs of seed 0
    train(6)  # more than the seeds of the table
    assert study_results.write_experiments(config, data, folder) == {"tiny": 2}
    kept = pd.read_csv(folder / "tiny_runs.csv")
    assert sorted(kept["seed"]) == [0] * 4 + [6] * 4
    means = pd.read_csv(folder / "tiny_means.csv").set_index(["series", "x"])["mean"]
    assert means.sort_index().tolist() == pytest.approx(
        kept.groupby(["series", "x"])["score"].mean().tolist(), abs=1e-5
    )


def test_a_run_of_other_settings_is_refused(tiny_runs, tmp_path, only_tiny):
    config = tiny_config()
    data = open_cohort.load(config, quiet)
    train(0)
    study_archive.add_experiment("tiny", config, data, tmp_path)
    path = tmp_path / "tiny_runs.csv"
    lines = pd.read_csv(path)
    lines.assign(run=lines["run"] + "0").to_csv(path, index=False)
    with pytest.raises(study_archive.OtherRuns, match="other settings"):
        study_archive.add_experiment("tiny", config, data, tmp_path)


def test_an_experiment_without_a_run_leaves_no_file(tiny_runs, tmp_path, only_tiny):
    config, folder = tiny_config(), tmp_path / "study"
    folder.mkdir()
    assert study_results.write_experiments(config, open_cohort.load(config, quiet), folder) == {}
    assert not list(folder.iterdir())


def test_only_runs_that_the_archive_does_not_have_are_left_to_train(tiny_runs, tmp_path, only_tiny):
    config = tiny_config()
    data = open_cohort.load(config, quiet)
    wanted = TINY.specs(config, [0])
    assert study_experiments.missing(["tiny"], config, data, tmp_path) == wanted
    stages.require(wanted[1], quiet)
    study_archive.add_experiment("tiny", config, data, tmp_path)
    assert study_experiments.missing(["tiny"], config, data, tmp_path) == [wanted[0], *wanted[2:]]
    assert study_experiments.missing(["tiny"], tiny_config(seed=1), data, tmp_path) == TINY.specs(config, [1])


def test_runs_of_the_table_are_taken_from_its_predictions(tiny_store, tiny_runs, tmp_path, monkeypatch, only_tiny):
    config, folder = tiny_config(), tmp_path / "study"
    data = open_cohort.load(config, quiet)
    train(0)
    study_archive.add(config, data, folder)  # the points at x = 15 are cells of the table
    study_results.write_autoencoders(config, data, folder)
    expected = study_archive.add_experiment("tiny", config, data, tmp_path)
    link_cohort(tiny_store, tmp_path / "other runs", monkeypatch)
    missing = study_experiments.missing(["tiny"], config, data, folder)
    assert missing == [point.spec(config, 0) for point in TINY.points if point.x == 10]
    for own in missing:
        stages.require(own, quiet)
    found = study_archive.add_experiment("tiny", config, data, folder)
    assert found.frame[["series", "x"]].to_numpy().tolist() == [[point.series, point.x] for point in TINY.points]
    columns = ["series", "x", "task", "seed", "score", "updates", "run", "r2_masked"]
    pd.testing.assert_frame_equal(found.frame[columns], expected.frame[columns], rtol=1e-3)
    np.testing.assert_allclose(found.drawn, expected.drawn, atol=2e-2)  # float16 of predictions that hardly vary
