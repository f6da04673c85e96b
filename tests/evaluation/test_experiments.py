"""Experiments around Table 1: their runs, and the tables that come from them."""

import itertools

import numpy as np
import pandas as pd
import pytest

from eccl_lib import grid
from eccl_lib.config.load import load
from eccl_lib.config.schema import DISEASES
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import experiments
from eccl_lib.evaluation.experiments import ECCL, EXPERIMENTS, OPTIONS, SCRATCH, SSL, Experiment, Point
from eccl_lib.evaluation.measured_runs import MeasuredRuns
from eccl_lib.io.paths import STUDY_FIGURES
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
    grid.run_jobs(stages.waves(TINY.specs(config, range(2))), config, quiet)
    return config, open_cohort.load(config, quiet)


@pytest.fixture(autouse=True)
def tiny_experiment(monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "tiny", TINY)


def test_the_tables_have_every_run_every_point_and_every_pair(trained):
    config, data = trained
    measured = experiments.measure("tiny", config, data, range(2), draws=60)
    found = experiments.tables("tiny", config, measured)
    table, means, differences = (found[f"tiny_{part}"] for part in ("scores", "means", "differences"))
    assert len(table) == 8 and len(means) == 4 and set(table["x"]) == {15, 10}
    run = stages.spec(tiny_config("traits", seed=1), "ssl").run(data)
    assert table.set_index("run").loc[run.name, "score"] == run.metrics["test"]
    pretrained = stages.spec(tiny_config("traits", seed=1), "pretrain_ecg").run(data)
    assert table.set_index("run").loc[run.name, "r2_masked"] == pretrained.metrics["r2_masked"]
    assert table.set_index("series").loc[SCRATCH, "r2_masked"].isna().all()
    by_place = table.groupby(["series", "x"])["score"].mean()
    np.testing.assert_allclose(means.set_index(["series", "x"])["mean"].sort_index(), by_place.sort_index())
    differences = differences.set_index("x")
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


def test_seeds_measured_apart_give_the_tables_of_both_together(trained):
    config, data = trained
    first, second = (experiments.measure("tiny", config, data, [seed], draws=60) for seed in range(2))
    apart = second.merged(first, experiments.naming("tiny"))
    together = experiments.measure("tiny", config, data, range(2), draws=60)
    for name, table in experiments.tables("tiny", config, together).items():
        keys = [key for key in ("series", "other", "x", "task", "seed") if key in table]
        one, other = (
            each.sort_values(keys).reset_index(drop=True)
            for each in (experiments.tables("tiny", config, apart)[name], table)
        )
        pd.testing.assert_frame_equal(one, other)


def test_a_seed_that_is_not_complete_is_in_no_table(trained):
    config, data = trained
    measured = experiments.measure("tiny", config, data, range(3), draws=60)  # nothing of seed 2 is trained
    part = measured.rows((measured.frame["seed"] == 0) | (measured.frame["x"] == 10))
    assert set(experiments.tables("tiny", config, part)["tiny_scores"]["seed"]) == {0}
    assert experiments.tables("tiny", config, part.rows(part.frame["seed"] == 1)) == {}


def scored(series, task, scores_by_seed):
    by_seed = np.array(scores_by_seed)
    noise = 0.001 * np.random.default_rng(0).standard_normal((len(by_seed), 50))
    place = {"series": series, "x": 0, "task": task}
    return MeasuredRuns(
        pd.DataFrame({**place, "seed": range(len(by_seed)), "score": by_seed}), by_seed[:, None] + noise
    )


def test_the_diseases_are_compared_by_their_mean():
    gains = dict(zip(DISEASES, (0.01, 0.03, -0.02, 0.06), strict=True))
    parts = [scored(ECCL, task, [0.7, 0.7]) for task in DISEASES]
    parts += [scored("bank", task, [0.7 + gain, 0.7 + gain]) for task, gain in gains.items()]
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    measured = MeasuredRuns(frame, np.concatenate([part.drawn for part in parts]))
    experiment = Experiment("", "", (), (("bank", ECCL),), seeds=2)
    found = experiments.differences(experiment, measured).set_index("task")["difference"]
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


@pytest.mark.parametrize("name", experiments.NAMES)
def test_each_run_of_an_experiment_is_planned_once(name, trained):
    _, data = trained
    planned = [own for wave in stages.waves(experiments.specs(name, load("study"), 1)) for own in wave]
    names = [(own.stage, own.run(data).name, own.is_features and own.config.align.views) for own in planned]
    assert len(set(names)) == len(names)


def test_the_table_of_the_study_is_part_of_the_learning_curve():
    config = load("study", disease="traits")
    for key in ("scratch", "ssl", "cl", "eccl"):
        own = stages.spec(config, key)
        point = next(p for p in EXPERIMENTS["updates"].points if p.method == key and p.x == 2_000)
        assert point.spec(config, 0) == own


def option_differences(**gains: tuple[float, float, float]) -> pd.DataFrame:
    """Table of options. gains: difference on the traits, on the diseases, and half the width of the intervals."""
    return pd.DataFrame(
        {"series": name.replace("_", " "), "other": ECCL, "task": task, "difference": gain, "low": gain - half}
        for name, (traits, diseases, half) in gains.items()
        for task, gain in (("traits", traits), ("diseases", diseases), ("I21", -1.0))
    )


def test_eccl_plus_combines_the_options_that_help_once_per_setting():
    differences = option_differences(
        feature_bank=(0.01, 0.002, 0.005),  # has a contrastive loss of its own
        sigmoid_loss=(0.01, 0.01, 0.005),
        soft_targets=(0.02, 0.01, 0.005),  # changes the same setting as the sigmoid loss, and gains more
        mean_pooling=(0.05, -0.001, 0.005),  # worse on the diseases
        task_weight_5=(0.01, 0.01, 0.02),  # both intervals contain zero
        learned_temperature=(0.001, 0.004, 0.002),
    )
    assert experiments.eccl_plus(differences) == ["soft targets", "learned temperature"]


def test_every_pair_of_options_that_the_rule_can_combine_is_a_valid_config():
    config = load("study")
    for one, other in itertools.combinations(list(OPTIONS)[1:], 2):
        both = option_differences(**{name.replace(" ", "_"): (0.02, 0.01, 0.005) for name in (one, other)})
        experiments.plus(experiments.eccl_plus(both)).specs(config, [0])


def test_eccl_plus_has_the_options_that_the_rule_chooses_from_the_committed_table():
    differences = pd.read_csv(STUDY_FIGURES / "options_differences.csv")
    assert tuple(experiments.eccl_plus(differences)) == experiments.CHOSEN


def test_eccl_plus_is_compared_with_eccl_and_taken_apart_by_one_option_at_a_time():
    three = experiments.plus(["feature bank", "mean pooling", "tokens of all leads"])
    changes = {point.series: dict(point.changes) for point in three.points}
    bank, mean, tokens = ({**OPTIONS[name]} for name in ("feature bank", "mean pooling", "tokens of all leads"))
    assert changes == {
        ECCL: {},
        "ECCL+": bank | mean | tokens,
        "ECCL+ without feature bank": mean | tokens,
        "ECCL+ without mean pooling": bank | tokens,
        "ECCL+ without tokens of all leads": bank | mean,
    }
    assert three.pairs == tuple((name, ECCL) for name in changes if name != ECCL)
    assert (three.seeds, three.split) == (5, "test")
    assert {point.series for point in experiments.plus(["mean pooling"]).points} == {ECCL, "ECCL+"}


def test_eccl_plus_has_the_best_single_option_where_none_is_certain():
    differences = option_differences(mean_pooling=(0.005, -0.001, 0.01), feature_bank=(0.001, 0.001, 0.01))
    assert experiments.eccl_plus(differences) == ["mean pooling"]
