"""The committed cells of the study are those of its runs."""

import numpy as np
import pandas as pd

from eccl_lib.evaluation.predictions import measured_and_predicted
from eccl_lib.metrics import scores
from eccl_lib.pipeline import stages
from tests.conftest import tiny_config
from tools import study_results


def test_finished_cells_are_exported_with_their_predictions_and_no_id(tiny_runs, tmp_path):
    config = tiny_config("traits", **{"align.epochs": 1, "align.warmup_epochs": 0})
    run = stages.train(config, "scratch", lambda line: None)
    frame = study_results.export(config, tmp_path)
    assert frame["row"].tolist() == ["W/O SSL; W/O CL"] and frame["task"].tolist() == ["traits"]
    written = pd.read_csv(tmp_path / "cells.csv").iloc[0]
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
