"""The committed cells of the study are those of its runs."""

import numpy as np
import pandas as pd

from eccl_lib.config.schema import TASKS
from eccl_lib.io import paths
from eccl_lib.metrics import scores
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.training.run_scores import measured_and_predicted
from tests.conftest import tiny_config
from tools import study_results


def test_finished_cells_are_exported_with_their_predictions_and_no_id(tiny_runs, tmp_path):
    config = tiny_config("traits", **{"align.epochs": 1, "align.warmup_epochs": 0})
    run = stages.train(config, "scratch", lambda line: None)
    frame = study_results.export(study_results.finished(config), tmp_path)
    assert frame["row"].tolist() == ["W/O SSL; W/O CL"] and frame["task"].tolist() == ["traits"]
    written = pd.read_csv(tmp_path / "provenance.csv").iloc[0]
    assert np.isclose(written["test"], run.metrics["test"], atol=1e-5) and written["updates"] == run.metrics["updates"]
    assert written["cpu"] and written["instruction_set"]
    predicted = np.load(tmp_path / "predictions" / "scratch-traits.npz")["seed0"]
    measured = np.load(tmp_path / "measured.npz")["traits"]
    expected = measured_and_predicted(run)
    np.testing.assert_allclose(predicted, expected[1], rtol=2e-3)
    np.testing.assert_array_equal(measured, expected[0].astype(np.float32))
    assert np.isclose(scores.mean_r(predicted.astype(float), measured.astype(float)), run.metrics["test"], atol=2e-3)
    eids = set(run.predictions["eid"])
    assert not any(eid.encode() in path.read_bytes() for path in tmp_path.rglob("*.csv") for eid in eids)


def test_only_seeds_with_all_their_cells_are_complete():
    cells = {(key, task, seed): None for key in METHODS for task in TASKS for seed in (0, 1, 3)}
    assert study_results.complete_seeds(cells) == [0, 1]
    del cells["eccl", "traits", 0]
    assert study_results.complete_seeds(cells) == []


def test_finished_experiments_are_copied_and_drawn(tiny_runs, tmp_path):
    config = tiny_config()
    source = paths.figures_dir("demo", "synthetic")
    source.mkdir(parents=True)
    rows = [("ECCL", x, "traits", 0.3, 0.2, 0.4) for x in (100, 1000)]
    means = pd.DataFrame(rows, columns=["series", "x", "task", "mean", "low", "high"])
    means.to_csv(source / "updates_means.csv", index=False)
    means.assign(other="W/ SSL; W/O CL").rename(columns={"mean": "difference"}).to_csv(
        source / "updates_differences.csv", index=False
    )
    assert study_results.copy_experiments(config, tmp_path / "study") == ["updates"]
    assert {path.name for path in (tmp_path / "study").iterdir()} == {
        "updates_means.csv",
        "updates_differences.csv",
        "updates.png",
        "updates.svg",
    }
