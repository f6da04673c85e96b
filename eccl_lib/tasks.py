"""The tasks (columns of Table 1): the paper's five and further ones; their targets, losses and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eccl_lib import losses
from eccl_lib.config import registry
from eccl_lib.config.diseases import check_task
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import DISEASES, UNPAIRED, Config
from eccl_lib.config.schema import TASKS as PAPER_TASKS
from eccl_lib.config.seeds import seed_of
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.own_labels import OwnTask
from eccl_lib.data.splits import SPLITS
from eccl_lib.data.traits import TRAITS
from eccl_lib.metrics import scores


@dataclass(frozen=True)
class Task:
    """One column of Table 1. names: of the outputs: ICD-10 code of the disease, or field ids of the traits.

    disease: name of the disease; empty for other tasks.
    """

    key: str
    column: str  # the paper's heading
    metric: str
    names: tuple[str, ...]
    disease: str = ""

    @property
    def is_disease(self) -> bool:
        return bool(self.disease) or self.names[0] in DISEASES

    @property
    def title(self) -> str:
        """Title of a panel: disease and code, "82 cardiac traits", or the heading."""
        if self.disease:
            return f"{self.disease} ({self.key})"
        return "82 cardiac traits" if self.key == "traits" else self.column

    @property
    def outputs(self) -> int:
        return len(self.names)


FIELD_IDS = tuple(str(trait.field_id) for trait in TRAITS)
TASKS = registry.TASKS.define(
    {
        "I21": Task("I21", "MI", "AUC", ("I21",), "myocardial infarction"),
        "I42": Task("I42", "CM", "AUC", ("I42",), "cardiomyopathy"),
        "I48": Task("I48", "AF", "AUC", ("I48",), "atrial fibrillation"),
        "I50": Task("I50", "HF", "AUC", ("I50",), "heart failure"),
        "traits": Task("traits", "Mean R", "mean r", FIELD_IDS),
    }
)


def accepted(key: str, item: Any) -> Task:
    """A task to be registered. Raises ConfigError where it is no ``Task`` of measured traits or of a known disease."""
    if not isinstance(item, Task) or item.key != key:
        raise ConfigError(f"the task {key} is no Task with this key (docs/extending.md)")
    unknown = [name for name in item.names if name not in FIELD_IDS]
    if not item.names or (unknown and item.names not in [(code,) for code in DISEASES]):
        raise ConfigError(f"the task {key} has the outputs {', '.join(item.names)}; give field ids of traits")
    return item


TASKS.accept = accepted


def tasks_named(diseases: Mapping[str, str]) -> dict[str, Task]:
    """All tasks by key: the paper's five, further diseases by code with their names, then registered ones."""
    own = {code: Task(code, name, "AUC", (code,), name) for code, name in diseases.items()}
    paper = {key: TASKS[key] for key in PAPER_TASKS}
    return paper | own | {key: task for key, task in TASKS.items() if key not in paper}


def tasks_of(config: Config) -> dict[str, Task]:
    """All tasks of a config by key: the paper's five, its own diseases, then registered ones."""
    return tasks_named(dict(config.diseases))


def task_of(config: Config, key: str = "") -> Task:
    """The task of a config, or another one of its tasks. Raises ConfigError, with the cure, where there is none."""
    key = key or config.disease
    own = {code: name for code, name in config.diseases if code == key}
    if own:
        return tasks_named(own)[key]
    check_task(key, config.diseases, "disease")
    return TASKS[key]


def default_tasks(config: Config) -> tuple[str, ...]:
    """Tasks of Table 1 where none are named: the paper's five and the config's own diseases."""
    return (*PAPER_TASKS, *dict(config.diseases))


def disease_names(config: Config) -> dict[str, str]:
    """Name of every disease by its code: the paper's four, then the config's own."""
    return {code: tasks_of(config)[code].disease for code in config.codes}


@dataclass(frozen=True)
class Targets:
    """The targets of a task for a cohort.

    values: (N, outputs) float32, 0 or 1 for a disease, otherwise in the trait's unit (NaN: not measured).
    centre, spread: (outputs,) mean and standard deviation over training participants; 0 and 1 for a disease.
    """

    task: Task
    values: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    def standardize(self) -> Tensor:
        """Targets for the loss, (N, outputs) float32: z-scores by ``centre`` and ``spread``, or 0 and 1."""
        return torch.from_numpy(((self.values - self.centre) / self.spread).astype(np.float32))

    def to_units(self, outputs: np.ndarray) -> np.ndarray:
        """Convert model outputs (n, outputs) to scores: traits in their units; the logit of a disease is unchanged."""
        return outputs * self.spread + self.centre

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Task loss (Eq. 4), a scalar. outputs, target: (B, outputs)."""
        return losses.disease_loss(outputs, target) if self.task.is_disease else losses.trait_loss(outputs, target)

    def terms(self) -> Tensor:
        """Number of terms that each participant adds to the mean loss (its measured targets), (N,) float64."""
        return torch.from_numpy((~np.isnan(self.values)).sum(axis=1).astype(np.float64))

    def score(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """AUC or mean r. predicted: (n, outputs), from ``to_units``; rows: (n,), their cohort rows."""
        if self.task.is_disease:
            return scores.auc(predicted[:, 0], self.values[rows, 0] > 0.5)
        return scores.mean_r(predicted, self.values[rows])


def build_targets(task: Task, labels: np.ndarray, traits: np.ndarray, train: np.ndarray) -> Targets:
    """Targets of one of the paper's diseases or of traits, with the scaler fitted on the training participants.

    labels: (N, 4) bool in the order of DISEASES; traits: (N, 82), NaN where not measured; train: rows.
    Raises ConfigError where the training participants have one class only, or no measured trait.
    """
    if task.is_disease:
        return _disease_targets(task, labels[:, DISEASES.index(task.names[0])], train)
    return _trait_targets(task, traits, train)


def cohort_targets(task: Task, data: Cohort) -> Targets:
    """Targets of a task for a cohort, as ``build_targets``; also of a disease that the cohort has beside the four."""
    if task.is_disease:
        return _disease_targets(task, data.label_of(task.names[0]), data.index("train"))
    return _trait_targets(task, data.traits, data.index("train"))


def _disease_targets(task: Task, positive: np.ndarray, train: np.ndarray) -> Targets:
    """positive: (N,) bool."""
    values = positive[:, None].astype(np.float32)
    positives = int(values[train].sum())
    if positives in (0, len(train)):
        raise ConfigError(
            f"{task.key}: {positives} of {len(train)} training participants have the diagnosis; training needs "
            "cases and controls. Use a larger cohort or another disease."
        )
    return Targets(task, values, np.zeros(1, np.float32), np.ones(1, np.float32))


def _trait_targets(task: Task, traits: np.ndarray, train: np.ndarray) -> Targets:
    """traits: (N, 82), NaN where not measured."""
    values = np.take(np.asarray(traits, dtype=np.float32), [FIELD_IDS.index(name) for name in task.names], axis=1)
    empty = np.isnan(values[train]).all(axis=0)
    if empty.all():
        raise ConfigError(f"no training participant has a value for any of the {task.outputs} traits; check the table")
    centre = np.where(empty, 0, np.nanmean(np.where(empty, 0, values[train]), axis=0)).astype(np.float32)
    spread = np.nanstd(np.where(empty, 0, values[train]), axis=0).astype(np.float32)
    return Targets(task, values, centre, np.where(spread > 0, spread, 1).astype(np.float32))


def targets_of(config: Config, data: Cohort) -> Targets:
    """Targets of the config's task. Raises ConfigError where a split is empty or the training split has one class."""
    check_splits_not_empty(data)
    task = task_of(config)
    if UNPAIRED.fullmatch(config.cohort):
        _check_labels(task, config, data)
    return cohort_targets(task, data)


def with_trait_noise(targets: Targets, noise: float, train: np.ndarray, seed: int) -> Targets:
    """The targets with normal noise on the traits of the training participants; a disease as it is.

    noise: its standard deviation in units of ``spread``; equal for all epochs, as an error of measurement. train: rows.
    """
    if not noise or targets.task.is_disease:
        return targets
    values, rng = targets.values.copy(), np.random.default_rng(seed_of(seed, "trait noise"))
    values[train] += (noise * targets.spread * rng.standard_normal(values[train].shape)).astype(np.float32)
    return replace(targets, values=values)


def _check_labels(task: Task, config: Config, data: Cohort) -> None:
    """Raise ConfigError, with the command that helps, where a store of the user's files has no labels of a task."""
    if task.is_disease:
        labelled, column = data.label_of(task.names[0]).any(), task.names[0]
    else:
        fields = [FIELD_IDS.index(name) for name in task.names]
        labelled, column = np.isfinite(data.traits[:, fields]).any(), f"{task.names[0]} or another trait field"
    if labelled:
        return
    kind, _, name = config.cohort.partition("-")
    fault = f"the cohort {config.cohort} has no {'cases of ' if task.is_disease else ''}{task.key}"
    build = f"eccl ingest {kind} FOLDER... --name {name} --labels FILE.csv"
    cure = f"Build its store from a table with the column {column} (docs/formats.md):\n  {build}"
    if data.own is not None:
        first, where = next(iter(data.own.tasks)), f"--scale {config.scale} --cohort {config.cohort}"
        commands = {
            "ecg": f"eccl probe {where} --tasks {first}",
            "cmr": f"eccl train probe_cmr {where} --set 'probe.tasks=[\"{first}\"]'",
        }
        cure = f"Its own tasks are {', '.join(data.own.tasks)}; train on them:\n  {commands[kind]}\n{cure}"
    raise ConfigError(f"{fault}. {cure}")


@dataclass(frozen=True)
class OwnTargets:
    """Targets of the user's own tasks, predicted by one model; the interface of ``Targets``.

    own: the tasks, in the order of the columns. values: (N, columns) float32, NaN missing. centre, spread: (columns,)
    of the training participants for continuous columns; 0 and 1 for the others.
    """

    own: tuple[OwnTask, ...]
    values: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    @property
    def task(self) -> Task:
        """All tasks as one. Its score is the mean over the tasks."""
        name = "+".join(task.name for task in self.own)
        outputs = tuple(output for task in self.own for output in task.outputs)
        return Task(name, name, "mean score", outputs)

    @property
    def binary(self) -> np.ndarray:
        """Whether each column is 0 or 1, (columns,) bool."""
        return np.array([task.is_binary for task in self.own for _ in task.columns])

    def standardize(self) -> Tensor:
        """Targets for the loss, (N, columns) float32, NaN missing."""
        return torch.from_numpy(((self.values - self.centre) / self.spread).astype(np.float32))

    def to_units(self, outputs: np.ndarray) -> np.ndarray:
        """Model outputs (n, columns) as logits of binary columns and values of continuous ones."""
        return outputs * self.spread + self.centre

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Mean over the measured targets of binary cross-entropy or squared error. outputs, target: (B, columns)."""
        return losses.mixed_loss(outputs, target, torch.from_numpy(self.binary).to(outputs.device))

    def terms(self) -> Tensor:
        """Number of measured targets of each participant, (N,) float64."""
        return torch.from_numpy((~np.isnan(self.values)).sum(axis=1).astype(np.float64))

    def scores(self, predicted: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Score of each task: AUC (the mean over the columns of a multi-label task), or r. predicted: (n, columns)."""
        found, first = {}, 0
        for task in self.own:
            columns = slice(first, first + len(task.columns))
            found[task.name] = own_score(task, predicted[:, columns], self.values[rows, columns])
            first += len(task.columns)
        return found

    def score(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Mean score over the tasks that can be scored. predicted: (n, columns), from ``to_units``; rows: (n,)."""
        defined = [score for score in self.scores(predicted, rows).values() if np.isfinite(score)]
        return float(np.mean(defined)) if defined else float("nan")


def own_score(task: OwnTask, predicted: np.ndarray, measured: np.ndarray) -> float:
    """AUC, macro AUC or r of one task, over measured values; columns with one class are left out.

    predicted, measured: (n, columns). NaN if nothing can be scored.
    """
    if not task.is_binary:
        return scores.mean_r(predicted, measured)
    by_column = []
    for guess, truth in zip(predicted.T, measured.T, strict=True):
        present = ~np.isnan(truth)
        by_column.append(scores.auc(guess[present], truth[present] > 0.5))
    return float(np.nanmean(by_column)) if np.isfinite(by_column).any() else float("nan")


def own_targets(names: Sequence[str], data: Cohort) -> OwnTargets:
    """Targets of the cohort's own tasks of these names. Raises ConfigError if the cohort has no such task."""
    if data.own is None:
        raise ConfigError(f"{data.folder.name} has no labels of your own; build its store with --labels and --tasks")
    check_splits_not_empty(data)
    tasks, values = data.own.of(names)
    train = values[data.index("train")]
    binary = np.array([task.is_binary for task in tasks for _ in task.columns])
    empty = np.isnan(train).all(axis=0)
    if empty.any():
        column = [column for task in tasks for column in task.columns][int(empty.argmax())]
        raise ConfigError(f"no training participant has a value of {column}; leave this task out")
    columns = [column for task in tasks for column in task.columns]
    for column, values_of_one, is_binary in zip(columns, train.T, binary, strict=True):
        if is_binary and len(np.unique(values_of_one[~np.isnan(values_of_one)])) < 2:
            raise ConfigError(f"all training participants with a value of {column} have the same; leave this task out")
    centre, spread = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    centre, spread = np.where(binary, 0.0, centre), np.where(binary | (spread == 0), 1.0, spread)
    return OwnTargets(tuple(tasks), values.astype(np.float32), centre.astype(np.float32), spread.astype(np.float32))


def check_splits_not_empty(data: Cohort) -> None:
    """Raise ConfigError where a split has no participant."""
    sizes = counts(data)
    if not all(sizes.values()):
        shares = ", ".join(f"{name} {count}" for name, count in sizes.items())
        raise ConfigError(f"{len(data)} participants are split into {shares}; no split may be empty: add participants")


def counts(data: Cohort) -> dict[str, int]:
    """Participants per split."""
    return {split: len(data.index(split)) for split in SPLITS}
