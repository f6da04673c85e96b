"""The course of every stage: train unless it is done, choose the epoch on validation, score every test participant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import Config, TrainingConfig
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.traits import TRAITS
from eccl_lib.io.files import exclusive_lock
from eccl_lib.io.progress import Log
from eccl_lib.models.build import device
from eccl_lib.pipeline import torchrun
from eccl_lib.tasks import SPLITS, Problem, Targets, check_splits_not_empty, counts
from eccl_lib.training import cost, distributed, performance
from eccl_lib.training.datasets import EVALUATION_BATCH, predict_in_batches, to_device
from eccl_lib.training.job import Course, Inputs
from eccl_lib.training.loop import Recipe, fit
from eccl_lib.training.microbatches import Logs, Mean, Step
from eccl_lib.training.optim import even_batches
from eccl_lib.training.runs import Run
from eccl_lib.training.sampling import passes, task_batches


def once(run: Run, config: Config, make: Callable[[], Course], log: Log) -> Run:
    """Train what ``make`` prepares unless it is done; one process, or one team of processes, at a time."""
    torch.set_num_threads(config.runtime.threads)
    if distributed.broadcast(lambda: run.done):
        log(f"{run.name}: done before, reused")
        return run
    if config.runtime.ranks > 1 and distributed.world_size() == 1:
        torchrun.train(run, config, log)
        return run
    with distributed.held_by_main_process(lambda: exclusive_lock(run.folder, log)):
        if not distributed.broadcast(lambda: run.done):
            log(f"{run.name}: training")
            distributed.on_main_process(lambda: _clear(run))
            with _memory_of(run):
                made = make()
                if config.runtime.plan and distributed.world_size() == 1:
                    done = run.manifest().get("state", {}).get("epoch", 0)
                    log(f"{run.name}: {cost.plan(made, done, config.runtime)}")
                _train(run, config, made, log)
    return run


@contextmanager
def _memory_of(run: Run) -> Iterator[None]:
    """Raises ConfigError with the cure where a GPU's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        cure = "set runtime.recompute=true or runtime.accumulate=2, or more (docs/performance.md says what fits)"
        raise ConfigError(f"{run.name}: the GPU's memory is full; {cure}. {error}") from None


def _clear(run: Run) -> None:
    for left in run.folder.glob(".*.partial"):  # by a process that was killed while it wrote
        left.unlink()


def _train(run: Run, config: Config, course: Course, log: Log) -> None:
    options = {"seed": config.seed, "folder": run.folder, "fingerprint": run.fingerprint, "runtime": config.runtime}
    prefix = f"{run.stage}/{run.variant}/{run.task}/seed{run.seed}"
    history, timing = fit(course.recipe, course.training, log=lambda line: log(f"{prefix}  {line}"), **options)
    with performance.evaluation_precision(device(config)):
        metrics, predictions = course.judge()
    metrics |= {"epochs": len(history), "best_epoch": _chosen(history)}
    metrics["updates"] = sum(len(course.recipe.batches(epoch)) for epoch in range(len(history)))
    model = course.recipe.model
    distributed.on_main_process(lambda: run.finish(config, model, history, metrics, predictions, timing))


def _chosen(history: pd.DataFrame) -> int:
    """The epoch whose weights were kept: the first of the best, or the last without any score."""
    scores = history["score"].to_numpy()
    return 1 + (len(scores) - 1 if np.isnan(scores).all() else int(np.nanargmax(scores)))


def task_step(problem: Problem, model: nn.Module, inputs: Inputs) -> Mean:
    """The task alone, on augmented inputs."""
    targets, device = problem.targets, inputs.device
    wanted, terms = targets.standardize().to(device), targets.terms().to(device)

    def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        return targets.loss(model(inputs.augmented(rows, generator)), wanted[to_device(rows, device)]), {}

    return Mean(step, lambda rows: terms[to_device(rows, device)].sum().clamp(min=1))


def task_course(problem: Problem, training: TrainingConfig, model: nn.Module, inputs: Inputs, step: Step) -> Course:
    """A task's model: balanced chunks or shuffled passes, AUC or mean r on validation and test."""
    data, targets = problem.data, problem.targets

    def look(part: np.ndarray) -> Tensor:
        return model(inputs.of(part))

    def predict(split: str) -> np.ndarray:
        return targets.to_units(predict_in_batches(look, data.index(split), source=inputs))

    def score(split: str) -> float:
        return targets.score(predict(split), data.index(split))

    def judge() -> tuple[dict[str, object], pd.DataFrame]:
        metrics = {"metric": targets.task.metric, "val": score("val"), "test": score("test"), "n": counts(data)}
        if targets.task.is_disease:
            metrics["positives"] = {split: int(targets.values[data.index(split)].sum()) for split in SPLITS}
        return metrics, _predictions(data, targets, predict("test"))

    batches = task_batches(targets, data.index("train"), training, problem.config.seed)
    recipe = Recipe(model, batches, step, lambda: {"score": score("val")}, (inputs,))
    return Course(recipe, training, judge, look, data.index)


def error_course(
    config: Config,
    data: Cohort,
    training: TrainingConfig,
    model: nn.Module,
    step: Step,
    look: Callable[[np.ndarray], Tensor],
    *inputs: Inputs,
) -> Course:
    """A model without labels: shuffled passes; the mean of ``look``, an error of some rows, is its measure."""
    check_splits_not_empty(data)
    name = "masked MSE" if training is config.mae else "reconstruction error"

    def error(split: str) -> float:
        return mean_error(look, data.index(split))

    def judge() -> tuple[dict[str, object], pd.DataFrame]:
        return {"metric": name, "val": error("val"), "test": error("test"), "n": counts(data)}, who(data)

    batches = passes(data.index("train"), training, config.seed)
    recipe = Recipe(model, batches, step, lambda: {"score": -error("val")}, inputs)
    return Course(recipe, training, judge, look, data.index)


def mean_error(error: Callable[[np.ndarray], Tensor], rows: np.ndarray) -> float:
    """Mean of a per-batch error over rows, batch by batch, without gradient. error: rows -> scalar."""
    with torch.no_grad():
        parts = distributed.map_over_ranks(
            lambda part: float(error(part)) * len(part), even_batches(rows, EVALUATION_BATCH)
        )
    return sum(parts) / len(rows)


def who(data: Cohort) -> pd.DataFrame:
    """The test participants: eid and row of the cohort."""
    rows = data.index("test")
    return pd.DataFrame({"eid": data.table["eid"].to_numpy()[rows], "row": rows})


def _predictions(data: Cohort, targets: Targets, scores: np.ndarray) -> pd.DataFrame:
    """eid, row, then target and score per output: a disease's logit, a trait in its unit."""
    rows = data.index("test")
    names = [targets.task.key] if targets.task.is_disease else [str(trait.field_id) for trait in TRAITS]
    columns = {f"target_{name}": targets.values[rows, i] for i, name in enumerate(names)}
    columns |= {f"score_{name}": scores[:, i].astype(np.float32) for i, name in enumerate(names)}
    return pd.concat([who(data), pd.DataFrame(columns)], axis=1)
