"""Train a job into its run's folder, unless the run is finished."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import Config
from eccl_lib.data.small_counts import limit_of
from eccl_lib.io.files import exclusive_lock
from eccl_lib.io.progress import Log, with_prefix
from eccl_lib.models.build import device
from eccl_lib.pipeline import torchrun
from eccl_lib.training import cost, data_warnings, distributed, performance
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.loop import fit
from eccl_lib.training.runs import Run


def train_if_missing(run: Run, name: str, config: Config, build: Callable[[], TrainingJob], log: Log) -> bool:
    """Train the job that ``build`` prepares, unless the run is finished. name: of the run for ``eccl train``.

    Returns whether this call trained it. One process, or one group of ranks, works on a run at a time. Raises
    ConfigError where a GPU's memory is too small.
    """
    performance.set_up(config.runtime)
    if distributed.broadcast(lambda: run.done):
        log(f"{run.name}: reused")
        return False
    if config.runtime.ranks > 1 and distributed.world_size() == 1:
        torchrun.train(run, name, config, log)
        return True
    with distributed.held_by_main_process(lambda: exclusive_lock(run.folder, log)):
        if distributed.broadcast(lambda: run.done):
            return False
        log(f"{run.name}: training")
        with _gpu_memory(run):
            job = build()
            if config.runtime.plan and distributed.world_size() == 1:
                done = run.manifest().get("state", {}).get("epoch", 0)
                log(f"{run.name}: {cost.plan(job, done, config.runtime)}")
            _train(run, config, job, log)
    return True


@contextmanager
def _gpu_memory(run: Run) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into a ConfigError that says what to set."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        cure = "set runtime.recompute=true or runtime.accumulate=2, or more (docs/performance.md lists what fits)"
        raise ConfigError(f"{run.name}: the GPU's memory is full; {cure}. {error}") from None


def _train(run: Run, config: Config, job: TrainingJob, log: Log) -> None:
    options = {"seed": config.seed, "folder": run.folder, "fingerprint": run.fingerprint, "runtime": config.runtime}
    prefix = f"{run.stage}/{run.variant}/{run.task}/seed{run.seed}"
    history, timing = fit(job, log=with_prefix(log, prefix), **options)
    with performance.evaluation_precision(device(config)):
        metrics, predictions = job.evaluate()
    metrics |= {"epochs": len(history), "best_epoch": _best_epoch(history)}
    metrics["updates"] = sum(len(job.batches(epoch)) for epoch in range(len(history)))
    if warnings := job.warnings():
        metrics["warnings"] = warnings
        for warning in data_warnings.shown(warnings, limit_of(config)):
            log(f"{run.name}: warning: {warning}")
    distributed.on_main_process(lambda: run.finish(config, job.model, history, metrics, predictions, timing))


def _best_epoch(history: pd.DataFrame) -> int:
    """The epoch whose weights are kept: the first with the best score, or the last where no score is defined."""
    scores = history["score"].to_numpy()
    return 1 + (len(scores) - 1 if np.isnan(scores).all() else int(np.nanargmax(scores)))
