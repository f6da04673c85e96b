"""The models that predict the tasks of Table 1 from ECGs, from a config or from run folders, with their calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import essentials, with_changes
from eccl_lib.config.schema import DISEASES, LEADS, TASKS, Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import Limit, limit_of
from eccl_lib.evaluation import calibrate
from eccl_lib.evaluation.calibrate import Calibration
from eccl_lib.io import paths
from eccl_lib.io.progress import Log, silent
from eccl_lib.models.build import device
from eccl_lib.pipeline import portable, stages
from eccl_lib.pipeline.portable import EcgModel
from eccl_lib.tasks import Task, default_tasks, task_of
from eccl_lib.training.runs import MANIFEST, Run

CALIBRATE = "run eccl predict once where the cohort is"
PREDICTING = ("align", "finetune", "third_stage")  # stages whose models predict the tasks of Table 1
ALL_LEADS = LEADS


@dataclass(frozen=True)
class Predictor:
    """The models of some tasks, each the mean over the seeds of one task; loaded once for any number of ECGs.

    cohort: opens the cohort that calibrates the models; None where it is not at hand. limit: of small counts.
    """

    models: dict[str, tuple[EcgModel, ...]]
    cohort: Callable[[], Cohort] | None
    limit: Limit
    log: Log = silent
    known: dict[tuple[str, tuple[str, ...]], Calibration | None] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return next(iter(self.models.values()))[0].config

    @property
    def is_synthetic(self) -> bool:
        """Whether the models were trained on the synthetic cohort, so that nothing has a meaning for a person."""
        return self.config.cohort == "synthetic"

    @property
    def diseases(self) -> dict[str, str]:
        """Names of the diseases beside the paper's four, by code."""
        return {key: task.disease for key, task in self.tasks.items() if task.is_disease and key not in DISEASES}

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each model, by key."""
        return {key: task_of(models[0].config, key) for key, models in self.models.items()}

    def reads(self, task: str) -> set[str]:
        """The leads that the models of a task read (``view.ecg_leads``)."""
        return {lead for model in self.models[task] for lead in model.config.view.ecg_leads}

    def calibration(self, task: str, present: tuple[str, ...] = ALL_LEADS) -> Calibration | None:
        """Intervals or probabilities of a task for ECGs with these leads, without small counts; None if unknown."""
        unread = {*LEADS} - self.reads(task)  # it makes no difference whether the ECG has them
        present = tuple(lead for lead in LEADS if lead in unread or lead in present)
        if (task, present) not in self.known:
            if present != ALL_LEADS and self.cohort is not None:
                self.log(f"{task}: calibration without {' '.join(_without(present))}")
            found = calibrate.of(self.models[task], present, self.cohort)
            self.known[task, present] = None if found is None else found.shown(self.limit)
        return self.known[task, present]

    def lost(self, present: tuple[str, ...]) -> str:
        """What is lost with these leads alone, as a sentence with scores of test participants; "" if nothing is."""
        read = set().union(*(self.reads(task) for task in self.models))
        absent = [lead for lead in _without(present) if lead in read]
        if not absent:
            return ""
        if not read & {*present}:
            return f"not scored: the models read {' '.join(lead for lead in LEADS if lead in read)} alone"
        start, parts, n = f"scored without {' '.join(absent)}", [], 0
        for task, own in self.tasks.items():
            known = self.calibration(task, present)
            if known is not None and np.isfinite([known.score, known.whole]).all():
                name = f"AUC of {own.disease}" if own.is_disease else "mean r of the traits"
                parts.append(f"{name} {known.score:.2f} instead of {known.whole:.2f}")
                n = max(n, int(np.max(known.n_test)))
        if not parts:
            return f"{start}: how much is lost is not known here ({CALIBRATE}, on an ECG with the same leads)"
        return f"{start}: {', '.join(parts)}, measured on {n:,} test participants with the same leads removed"

    @torch.no_grad()
    def outputs(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        """Mean outputs of each task: traits in their units, or the logit. stored: (n, 12, 5000) int16 uV.

        Returns task to (n, outputs).
        """
        inputs: dict[Any, torch.Tensor] = {}
        found = {}
        for task, models in self.models.items():
            each = []
            for model in models:
                view = model.config.view
                if view not in inputs:
                    inputs[view] = model.scale(stored)
                each.append(model.outputs(inputs[view]).double().cpu().numpy())
            found[task] = np.mean(each, axis=0)
        return found


def of_config(config: Config, log: Log = silent) -> Predictor:
    """The ECCL models of this config, for the five tasks, its own diseases, and every seed that is finished.

    Missing models of the config's seed are trained first if the scale allows it; otherwise MissingError names the
    command.
    """
    data = open_cohort.load(config, log)
    models = {}
    for task in default_tasks(config):
        own = replace(config, disease=task)
        runs = {config.seed: stages.require(stages.spec(own, "eccl"), log, data)}
        runs |= {run.seed: run for run in _other_seeds(own, data, runs[config.seed])}
        models[task] = tuple(_loaded(runs[seed]) for seed in sorted(runs))
    return Predictor(models, lambda: data, limit_of(config), log)


def _other_seeds(config: Config, data: Cohort, run: Run) -> Iterator[Run]:
    """The finished runs of the same config with other seeds."""
    for seed in paths.seeds_of(run.folder.parent.glob("seed*-*")):
        spec = stages.spec(replace(config, seed=seed), "eccl")
        if seed != run.seed and (other := spec.run(data)).done:
            yield spec.described(other, data)


def of_folders(
    folders: Sequence[Path | str], log: Log = silent, runtime: Mapping[str, Any] = MappingProxyType({})
) -> Predictor:
    """The models of run folders, or of the runs below folders, without their cohort.

    Below a folder of several rows of Table 1, the row ECCL is used. runtime: changes of the section of this name, such
    as ``{"runtime.device": "cpu"}``. Raises MissingError where there is no run, and ConfigError where the runs of one
    task were trained with different settings, or those of two tasks on two cohorts.
    """
    runs = [run for folder in folders for run in _runs_below(paths.expanded(folder))]
    rows = {run.variant for run in runs}
    if len(rows) > 1:
        if "eccl" not in rows:
            raise ConfigError(f"the runs are of several rows: {', '.join(sorted(rows))}; give the folders of one")
        runs = [run for run in runs if run.variant == "eccl"]
    by_task: dict[str, dict[str, Run]] = {}
    for run in runs:
        by_task.setdefault(run.task, {})[run.fingerprint] = run
    models = {}
    for task in sorted(by_task, key=_place):
        models[task] = tuple(_loaded(run, runtime) for run in sorted(by_task[task].values(), key=lambda run: run.seed))
        _check_one_setting(task, models[task])
    _check_one_cohort([each for own in models.values() for each in own])
    first = next(iter(models.values()))[0].config
    return Predictor(models, cohort_at_hand(first), limit_of(first), log)


def _runs_below(place: Path) -> list[Run]:
    """A run's folder as a run, or the finished runs below a folder that predict a task. Raises MissingError."""
    if (place / MANIFEST).is_file():
        run = portable.run_at(place)
        if run.stage not in PREDICTING:
            raise MissingError(f"{place} is a run of {run.stage}; give runs of {', '.join(PREDICTING)}")
        if not _is_task(run):
            raise MissingError(
                f"{place} is a run of the task {run.task}; eccl_lib.load({str(place)!r}) reads its model"
            )
        return [run]
    found = []
    for weights in sorted(place.rglob("model.safetensors")) if place.is_dir() else ():
        if (weights.parent / MANIFEST).is_file() and (run := portable.run_at(weights.parent)).stage in PREDICTING:
            found += [run] if _is_task(run) else []
    if not found:
        raise MissingError(f"{place} contains no finished run of {', '.join(PREDICTING)}; give a run's folder")
    return found


def _is_task(run: Run) -> bool:
    """Whether a run predicts one of the paper's tasks, or a disease of its own config."""
    return run.task in TASKS or run.task in run.config.get("diseases", {})


def _place(task: str) -> tuple[int, str]:
    """The paper's tasks come first, in their order."""
    return (TASKS.index(task) if task in TASKS else len(TASKS), task)


def _loaded(run: Run, runtime: Mapping[str, Any] = MappingProxyType({})) -> EcgModel:
    model = portable.of(run)
    model.config = with_changes(model.config, dict(runtime))
    return model.to(device(model.config))


def _check_one_setting(task: str, models: Sequence[EcgModel]) -> None:
    """Raise ConfigError unless the models of a task differ in their seed alone."""
    settings = {repr(essentials(replace(model.config, seed=0))): model.run.folder for model in models}
    seeds = [model.run.seed for model in models]
    if len(settings) > 1 or len(set(seeds)) < len(seeds):
        named = ", ".join(str(model.run.folder) for model in models)
        raise ConfigError(f"several runs of {task} with different settings: {named}; give the folder of one of them")


def _check_one_cohort(models: Sequence[EcgModel]) -> None:
    """Raise ConfigError unless all models were trained on one cohort, which calibrates them and limits their counts."""
    known: dict[str, EcgModel] = {}
    for model in models:
        known.setdefault(repr(_cohort_facts(model.config)), model)
    if len(known) > 1:
        named = ", ".join(f"{model.run.folder} ({model.config.cohort})" for model in known.values())
        raise ConfigError(f"the runs are of different cohorts or splits: {named}; give runs of one cohort")


def _cohort_facts(config: Config) -> tuple[Any, ...]:
    """The settings on which the participants and their split depend."""
    content = essentials(config)
    return config.cohort, content["store"], content["synthetic"] if config.cohort == "synthetic" else None


def cohort_at_hand(config: Config) -> Callable[[], Cohort] | None:
    """What opens the cohort of a run, if it is on this machine."""
    reading = replace(config, runtime=replace(config.runtime, build_missing=False))
    try:
        data = open_cohort.load(reading, silent)
    except (MissingError, ConfigError):
        return None
    return lambda: data


def _without(present: tuple[str, ...]) -> list[str]:
    return [lead for lead in LEADS if lead not in present]
