"""Predictions of finished runs for the test participants as arrays: one task, several rows and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eccl_lib.config.errors import DamagedError
from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.data.store import schemas
from eccl_lib.io.progress import silent
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import Task, task_of
from eccl_lib.training.run_scores import measured_and_predicted
from eccl_lib.training.runs import Run


@dataclass(frozen=True)
class Scores:
    """Predictions of one task: R rows (keys of METHODS), S seeds, the same n test participants.

    measured: (n, outputs), 0 or 1 for a disease, traits in their units, NaN if missing. predicted: (R, S, n, outputs),
    logits, or traits in their units. runs: R times S finished runs.
    """

    task: Task
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    measured: np.ndarray
    predicted: np.ndarray
    runs: tuple[tuple[Run, ...], ...]

    @property
    def positive(self) -> np.ndarray:
        """Whether a participant has the diagnosis, (n,) bool."""
        return self.measured[:, 0] > 0.5

    @property
    def logits(self) -> np.ndarray:
        """Logits of a disease, (R, S, n)."""
        return self.predicted[..., 0]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows in the paper."""
        return tuple(METHODS[key].row for key in self.rows)


def gather(config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> dict[str, Scores]:
    """Predictions of finished runs, by task; no run is trained.

    Raises MissingError with the command if a run is missing, DamagedError if runs scored different participants.
    """
    reading = replace(config, runtime=replace(config.runtime, build_missing=False))
    data, gathered = open_cohort.load(reading, silent), {}
    for task in tasks:
        cells = [replace(reading, disease=task, seed=seed) for seed in seeds]
        runs = tuple(tuple(_finished(cell, key, data) for cell in cells) for key in rows)
        gathered[task] = scores_of_runs(task_of(config, task), tuple(rows), tuple(seeds), runs)
    return gathered


def _finished(config: Config, key: str, data: cohort.Cohort) -> Run:
    run = stages.require(stages.spec(config, key), silent, data)
    schemas.check("predictions", run.predictions)
    return run


def scores_of_runs(
    task: Task, rows: tuple[str, ...], seeds: tuple[int, ...], runs: tuple[tuple[Run, ...], ...]
) -> Scores:
    """Predictions of the runs of one task. Raises DamagedError unless all runs scored the same participants."""
    first = runs[0][0]
    participants, measured = first.predictions["row"].to_numpy(), measured_and_predicted(first)[0]
    predicted = []
    for run in (run for row in runs for run in row):
        targets, scores = measured_and_predicted(run)
        same = np.array_equal(run.predictions["row"], participants)
        if not (same and np.array_equal(targets, measured, equal_nan=True)):
            fault = f"and {first.name} were scored on different participants"
            raise DamagedError(run.name, fault, "Remove the folder of the older one and run the same command again.")
        predicted.append(scores)
    shape = (len(rows), len(seeds), *measured.shape)
    return Scores(task, rows, seeds, measured, np.stack(predicted).reshape(shape), runs)
