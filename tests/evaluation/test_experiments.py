"""Experiments around Table 1: their runs, and the tables that come from them."""

import numpy as np
import pytest

from eccl_lib import grid
from eccl_lib.config.load import load
from eccl_lib.config.schema import DISEASES
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import experiments
from eccl_lib.evaluation.experiments import ECCL, EXPERIMENTS, SCRATCH, SSL, Experiment, Point, Scored
from eccl_lib.metrics import scores
from eccl_lib.pipeline import stages
from eccl_lib.training.run_scores import measured_and_predicted
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import quiet

pytestmark = pytest.mark.usefixtures("shared_runs")

LONGER = {"align.epochs": 2, "align.warmup_epochs": 0}
TINY = Experiment(
    "two lengths of training",
    "updates",
    tuple(
        Point(series, x, "traits", key, changes)
        for series, key in ((SCRATCH, "scratch"), (SSL, "ssl"))
        for x, changes in ((15, {}), (10, LONGER))
    ),
    ((SSL, SCRATCH),),
    seeds=2,
)


@pytest.fixture(scope="module")
def trained(shared_runs):
    config = tiny_config()
    grid.run_jobs(stages.waves(TINY.specs(config)), config, quiet)
    return config, open_cohort.load(config, quiet)


def test_the_tables_have_every_run_every_point_and_every_pair(trained):
    config, data = trained
    points = experiments.evaluate(TINY, config, data, draws=60)
    table, means = experiments.scores(points), experiments.means(points)
    assert len(table) == 8 and len(means) == 4 and set(table["x"]) == {15, 10}
    run = stages.spec(tiny_config("traits", seed=1), "ssl").run(data)
    assert table.set_index("run").loc[run.name, "score"] == run.metrics["test"]
    pretrained = stages.spec(tiny_config("traits", seed=1), "pretrain_ecg").run(data)
    assert table.set_index("run").loc[run.name, "r2_masked"] == pretrained.metrics["r2_masked"]
    assert table.set_index("series").loc[SCRATCH, "r2_masked"].isna().all()
    by_place = table.groupby(["series", "x"])["score"].mean()
    np.testing.assert_allclose(means.set_index(["series", "x"])["mean"].sort_index(), by_place.sort_index())
    differences = experiments.differences(TINY, points).set_index("x")
    assert differences.loc[10, "difference"] == pytest.approx(by_place[SSL, 10] - by_place[SCRATCH, 10])
    assert (differences["low"] < differences["difference"]).all()


def test_a_change_of_the_config_is_another_run(trained):
    config, data = trained
    first, second = (point.spec(config, 0).run(data) for point in TINY.points[:2])
    assert first != second and (first.metrics["epochs"], second.metrics["epochs"]) == (3, 2)


def test_validation_predictions_give_the_validation_score(trained):
    config, data = trained
    own = TINY.points[0].spec(config, 0)
    measured, predicted = experiments.on_validation(own, data)
    assert len(measured) == len(data.index("val"))
    assert scores.mean_r(predicted, measured) == pytest.approx(own.run(data).metrics["val"], abs=1e-5)
    assert not np.array_equal(measured, measured_and_predicted(own.run(data))[0][: len(measured)])


def scored(series, task, scores_by_seed):
    by_seed = np.array(scores_by_seed)
    noise = 0.001 * np.random.default_rng(0).standard_normal((len(by_seed), 50))
    return Scored(
        Point(series, 0, task, "eccl"), by_seed, by_seed[:, None] + noise, ({"cpu_seconds": 1},) * len(by_seed)
    )


def test_the_diseases_are_compared_by_their_mean():
    gains = dict(zip(DISEASES, (0.01, 0.03, -0.02, 0.06), strict=True))
    points = [scored(ECCL, task, [0.7, 0.7]) for task in DISEASES]
    points += [scored("bank", task, [0.7 + gain, 0.7 + gain]) for task, gain in gains.items()]
    experiment = Experiment("", "", tuple(one.point for one in points), (("bank", ECCL),), seeds=2)
    found = experiments.differences(experiment, points).set_index("task")["difference"]
    assert found["diseases"] == pytest.approx(0.02) and found["I50"] == pytest.approx(0.06)


@pytest.mark.parametrize("name", experiments.NAMES)
def test_every_experiment_of_the_study_has_valid_runs(name):
    config = load("study")
    specs = experiments.specs(name, config)
    assert len(specs) == len(set(specs)) > 5
    if name in EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        series = {point.series for point in experiment.points}
        assert {part for pair in experiment.pairs for part in pair} <= series
        assert len({(point.series, point.x, point.task) for point in experiment.points}) == len(experiment.points)


def test_the_table_of_the_study_is_part_of_the_learning_curve():
    config = load("study", disease="traits")
    for key in ("scratch", "ssl", "cl", "eccl"):
        own = stages.spec(config, key)
        point = next(p for p in EXPERIMENTS["updates"].points if p.method == key and p.x == 2_000)
        assert point.spec(config, 0) == own
