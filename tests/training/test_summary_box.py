"""The summary at the end of a training states what the run's files hold, and withholds small counts."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.load import load
from eccl_lib.metrics import delong
from eccl_lib.training import run_scores, summary_box

N = 60


@dataclass
class Finished:
    """The part of a run that the summary reads."""

    metrics: dict
    predictions: pd.DataFrame
    task: str = "I42"
    name: str = "align/eccl/I42/seed0-1a2b3c4d"
    folder: Path = Path("runs/demo-synthetic/align/eccl/I42/seed0-1a2b3c4d")
    timing: dict = field(default_factory=lambda: {"seconds": 16.3, "samples_per_second": 549.1, "resumed": 0})


def disease(cases=20, val_cases=20, **timing):
    positive = np.arange(N) < cases
    score = positive + np.random.default_rng(0).standard_normal(N)
    frame = pd.DataFrame({"eid": np.arange(N), "target_I42": positive.astype(float), "score_I42": score})
    counts = {"n": {"train": 90, "val": N, "test": N}, "positives": {"train": 30, "val": val_cases, "test": cases}}
    auc = delong.interval(score, positive)[0]
    run = Finished({"metric": "AUC", "val": 0.7354, "test": auc, "epochs": 4, "best_epoch": 3} | counts, frame)
    run.timing.update(timing)
    return run


def rows_of(lines):
    """Label to text of a summary's rows."""
    assert lines[0] == lines[-1] == summary_box.RULE
    return dict(line.strip().split("  ", 1) for line in lines[2:-1])


def test_a_summary_has_score_with_interval_epoch_time_files_and_what_follows():
    run, config = disease(), load("demo", disease="I42")
    score, low, high = delong.interval(run.predictions["score_I42"].to_numpy(), np.arange(N) < 20)
    lines = summary_box.lines(run, config, "eccl table1")
    assert lines[1] == f"{run.name}: finished"
    rows = {name: text.strip() for name, text in rows_of(lines).items()}
    people = "60 participants, 20 with the diagnosis"
    assert rows == {
        "test AUC": f"{score:.3f} (95 % interval {low:.3f} to {high:.3f}; {people})",
        "validation": "0.735",
        "best epoch": "3 of 4",
        "time": "16.3 s, 549 samples/s",
        "files": str(run.folder),
        "next": "eccl table1",
    }
    assert all(line.isascii() and "\n" not in line for line in lines)
    assert "next" not in rows_of(summary_box.lines(run, config))


@pytest.mark.parametrize(("resumed", "words"), [(1, "samples/s, resumed once"), (3, "samples/s, resumed 3 times")])
def test_a_summary_says_how_often_the_training_was_resumed(resumed, words):
    assert rows_of(summary_box.lines(disease(resumed=resumed), load("demo")))["time"].endswith(words)


def test_small_counts_are_withheld_from_the_summary_of_uk_biobank_alone():
    few, enough = disease(cases=9), disease(val_cases=9)
    biobank, synthetic = load("paper", cohort="ukb"), load("demo")
    withheld = "withheld: of under 10 participants, cases or controls"
    assert rows_of(summary_box.lines(few, biobank))["test AUC"].strip() == withheld
    assert rows_of(summary_box.lines(few, biobank))["validation"].strip() == "0.735"
    assert rows_of(summary_box.lines(enough, biobank))["validation"].strip() == withheld
    assert "20 with the diagnosis" in rows_of(summary_box.lines(enough, biobank))["test AUC"]
    assert "9 with the diagnosis" in rows_of(summary_box.lines(few, synthetic))["test AUC"]


def test_an_error_and_an_undefined_score_have_no_interval():
    error = disease()
    error.metrics = {k: v for k, v in error.metrics.items() if k != "positives"} | {
        "metric": "masked MSE",
        "test": 0.04,
    }
    assert rows_of(summary_box.lines(error, load("demo")))["test masked MSE"].strip() == (
        "0.04 (60 participants; no interval for this metric)"
    )
    one_class = rows_of(summary_box.lines(disease(cases=0), load("demo")))["test AUC"].strip()
    assert one_class == "not defined (interval not defined; 60 participants, 0 with the diagnosis)"


@pytest.mark.parametrize(("cases", "hidden"), [(9, True), (N - 9, True), (10, False), (0, False)])
def test_few_cases_of_own_tasks_are_found_in_the_predictions(tmp_path, cases, hidden):
    from eccl_lib.data.small_counts import Limit

    positive = (np.arange(N) < cases).astype(float)
    age = np.linspace(40, 70, N)  # not binary, so it has no cases
    frame = pd.DataFrame({"target_AF": positive, "score_AF": age, "target_age": age, "score_age": age})
    metrics = {"metric": "mean score", "n": {"test": N}, "tasks": {"AF": 0.5, "age": 1.0}}
    run = Finished(metrics, frame, task="AF+age", folder=tmp_path)
    assert run_scores.few_cases(run, "test", Limit())  # without its predictions, as an exported run
    (tmp_path / "predictions.parquet").touch()
    assert run_scores.few_cases(run, "test", Limit()) == hidden
