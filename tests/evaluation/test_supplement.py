"""The supplementary figures show the runs and numbers of Table 1 under the correct names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from eccl_lib.config.load import load
from eccl_lib.config.method_schema import with_cmr
from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import supplement
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.metrics import roc, scores
from eccl_lib.pipeline import stages
from eccl_lib.tasks import TASKS
from eccl_lib.training.runs import Run
from tests.conftest import tiny_config

ROWS, SEEDS, N = ("cmae", "eccl", "cmr_sup"), (0, 1), 60


@pytest.fixture
def scores_by_task() -> dict[str, Scores]:
    """Random predictions: three rows, two seeds, two diseases and the traits."""
    generator = np.random.default_rng(0)
    made = {}
    for task in ("I21", "I48", "traits"):
        outputs = TASKS[task].outputs
        measured = generator.standard_normal((N, outputs)) if task == "traits" else generator.random((N, 1)) < 0.3
        predicted = measured + generator.standard_normal((len(ROWS), len(SEEDS), N, outputs))
        made[task] = Scores(TASKS[task], ROWS, SEEDS, measured.astype(float), predicted, ())
    return made


@pytest.fixture
def cells() -> pd.DataFrame:
    frame = pd.DataFrame(
        [(row, task) for row in ("CMAE", "ECCL", "CMR_Sup") for task in TASKS], columns=["row", "task"]
    )
    frame["mean"], frame["low"], frame["high"] = np.linspace(0.5, 0.9, len(frame)), 0.41, 0.99
    return frame.assign(brier_raw=np.linspace(0.2, 0.3, len(frame)), brier_shifted=0.1, n=N, seeds=len(SEEDS))


def test_roc_figure_shows_each_disease_with_the_mean_curve_and_cell_of_each_row(scores_by_task, cells):
    figure = supplement.roc(scores_by_task, cells, load("demo"))
    panes = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title(loc="left").splitlines()[0][-5:] for ax in panes] == ["(I21)", "(I48)"]
    numbers = cells.set_index(["row", "task"])["mean"]
    for ax, task in zip(panes, ("I21", "I48"), strict=True):
        curves = {line.get_label().partition(":")[0]: line for line in ax.lines[1:]}
        assert list(curves) == ["CMR_Sup", "ECCL", "CMAE"]
        for name, line in curves.items():
            logits = scores_by_task[task].logits[scores_by_task[task].names.index(name)]
            np.testing.assert_array_equal(
                line.get_xydata(), np.transpose(roc.curve(scores_by_task[task].positive, logits))
            )
            assert line.get_label() == f"{name}: AUC {numbers[name, task]:.2f} (0.41 to 0.99)"
            area = np.trapezoid(line.get_ydata(), line.get_xdata())
            assert area == pytest.approx(np.mean([scores.auc(seed, scores_by_task[task].positive) for seed in logits]))


def test_reliability_figure_shows_the_requested_row(cells):
    bins = pd.DataFrame({"predicted": [0.2, 0.4], "observed": [0.1, 0.3], "low": 0.0, "high": 0.5, "n": 30})
    keys = [(row, task, kind) for row in ("CMAE", "ECCL") for task in DISEASES for kind in ("raw", "shifted")]
    parts = [
        bins.assign(row=r, task=t, kind=k, observed=bins["observed"] + 0.01 * i) for i, (r, t, k) in enumerate(keys)
    ]
    figure = supplement.reliability(pd.concat(parts), cells, row="ECCL")
    numbers = cells[cells["row"] == "ECCL"].set_index("task")
    for ax, task in zip(figure.axes, DISEASES, strict=True):
        assert task in ax.get_title(loc="left")
        for bars, (kind, words) in zip(ax.containers, supplement.KINDS.items(), strict=True):
            wanted = parts[keys.index(("ECCL", task, kind))]["observed"]
            np.testing.assert_allclose(bars.lines[0].get_ydata(), wanted)
            assert bars.get_label() == words
            assert f"{numbers.loc[task, f'brier_{kind}']:.3f}" in ax.get_title(loc="left")


def test_forest_states_participants_and_seeds(cells):
    columns = ["other", "task", "difference", "low", "high", "p_holm"]
    frame = pd.DataFrame([("CMAE", "I21", 0.1, 0.0, 0.2, 0.04), ("ViT", "I21", 0.1, 0.0, 0.2, 0.4)], columns=columns)
    note = supplement.forest(frame, cells).texts[-1].get_text()
    assert note.startswith(f"n = {N} test participants, 2 seeds")
    withheld = pd.DataFrame([("CMAE", "I42", *[np.nan] * 4)], columns=columns)
    figure = supplement.forest(pd.concat([frame, withheld]), cells)
    assert len(figure.axes) == 1 and figure.texts[-1].get_text().endswith("Holm-corrected for 3 tests")


def finish(run: Run, config: Config, level: float) -> None:
    """Write the files of a finished run without training."""
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, level], "score": [0.1, 0.3, 0.2]})
    run.folder.mkdir(parents=True)
    run.finish(config, torch.nn.Linear(1, 1), history, {"best_epoch": 2}, pd.DataFrame({"row": [0]}), {"seconds": 1.0})


def test_training_figures_show_every_finished_run_once_under_its_stage(tiny_runs):
    first, second = (tiny_config("I48", seed) for seed in SEEDS)
    data = open_cohort.load(first, lambda line: None)
    done = {
        "ECG encoder": [stages.expected(config, "pretrain_ecg", data) for config in (first, second)],
        "CMAE, CMR alone": [stages.expected(first, "autoencode_cmr", data)],
        "CMAE, both": [stages.expected(second, "pretrain_pair", data)],
        "ResNet50": [stages.expected(with_cmr(first, "resnet50"), "pretrain_cmr", data)],
        "ECCL": [stages.expected(config, "eccl", data) for config in (first, second)],
        "CMAE": [stages.expected(first, "cmae", data)],
    }
    for k, runs in enumerate(done.values()):
        for j, run in enumerate(runs):
            finish(run, first, level=k + j / 10)
    drawn = supplement.trainings(first, data, seeds=(0, 1, 2))
    assert list(drawn) == list(supplement.TRAININGS)
    titled = [ax for figure in drawn.values() for ax in figure.axes if ax.get_title(loc="left")]
    last = {
        ax.get_title(loc="left"): [
            line.get_ydata()[-1] for line in ax.lines if len(line.get_xdata()) == 3 and line.get_linestyle() == "-"
        ]
        for ax in titled
    }
    assert last == {title: [k + j / 10 for j in range(len(runs))] for k, (title, runs) in enumerate(done.items())}


def test_a_figure_of_trainings_without_a_finished_run_is_left_out(tiny_runs):
    config = tiny_config("I48")
    data = open_cohort.load(config, lambda line: None)
    finish(stages.expected(config, "eccl", data), config, level=1.0)
    assert list(supplement.trainings(config, data, seeds=(0,))) == ["training_rows"]
