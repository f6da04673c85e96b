"""A training job: the model, its step, its batches, and how it is validated and evaluated."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eccl_lib.config.schema import TrainingConfig
from eccl_lib.config.seeds import seed_of
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.splits import SPLITS
from eccl_lib.tasks import OwnTargets, Targets, check_splits_not_empty, counts
from eccl_lib.training import data_warnings, distributed
from eccl_lib.training.datasets import EVALUATION_BATCH, CineDataset, EcgDataset, predict_in_batches
from eccl_lib.training.microbatches import Step
from eccl_lib.training.optim import even_batches, learning_rate
from eccl_lib.training.sampling import epoch_batches, shuffled_batches, task_batches

Metrics = dict[str, object]


@dataclass
class TrainingJob(ABC):
    """A model and how to train it. schedule: epochs and learning rate; datasets: read by the step."""

    model: nn.Module
    step: Step
    schedule: TrainingConfig
    datasets: tuple[EcgDataset | CineDataset, ...] = ()

    @abstractmethod
    def batches(self, epoch: int) -> list[np.ndarray]:
        """The rows of each step of an epoch."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Validation metrics; the best epoch is the one with the highest ``score``."""

    def evaluate(self) -> tuple[Metrics, pd.DataFrame]:
        """Metrics of the fitted model, and its predictions for the test participants."""
        raise NotImplementedError

    def learning_rate(self, progress: float) -> float:
        """The learning rate of a step. progress: finished epochs, with the fraction of the current one."""
        return learning_rate(self.schedule, progress)

    def predict_batch(self, rows: np.ndarray) -> Tensor:
        """Outputs or losses that validation and test compute for some rows, without gradient."""
        raise NotImplementedError

    def rows(self, split: str) -> np.ndarray:
        """The cohort's rows of train, val or test."""
        raise NotImplementedError

    def warnings(self) -> list[str]:
        """What the data lack, one sentence each."""
        return []

    def before_update(self) -> None:  # noqa: B027
        """Called between the backward pass and the optimiser's update."""

    def after_update(self) -> None:  # noqa: B027
        """Called after each update."""


@dataclass
class CohortJob(TrainingJob):
    """A training job on a cohort. seed: seed of the order of rows."""

    data: Cohort | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_splits_not_empty(self.data)

    def rows(self, split: str) -> np.ndarray:
        return self.data.index(split)

    def warnings(self) -> list[str]:
        """What the data lack for this stage, one sentence each (``data_warnings``)."""
        inputs = tuple("ecg" if isinstance(dataset, EcgDataset) else "clips" for dataset in self.datasets)
        rows = {split: self.rows(split) for split in SPLITS}
        return data_warnings.find(rows, self.data.table, inputs, getattr(self, "targets", None))

    def _test_participants(self) -> pd.DataFrame:
        """eid and row of each test participant."""
        rows = self.rows("test")
        return pd.DataFrame({"eid": self.data.table["eid"].to_numpy()[rows], "row": rows})


@dataclass
class SupervisedJob(CohortJob):
    """Training on one task: balanced batches and AUC for a disease, shuffled batches and mean r for the traits."""

    targets: Targets | OwnTargets | None = None
    participants: int = 0  # of the training set, drawn by the seed; 0: all

    def rows(self, split: str) -> np.ndarray:
        rows = super().rows(split)
        if split != "train" or not self.participants:
            return rows
        return np.sort(np.random.default_rng(seed_of(self.seed)).permutation(rows)[: self.participants])

    def batches(self, epoch: int) -> list[np.ndarray]:
        passes = task_batches(self.targets, self.rows("train"), self.schedule, self.seed)
        return epoch_batches(passes, self.schedule.steps_per_epoch, epoch)

    def predict_batch(self, rows: np.ndarray) -> Tensor:
        """(n, outputs): logits or standardised traits."""
        return self.model(self.datasets[0].of(rows))

    def validate(self) -> dict[str, float]:
        return {"score": self._score("val")}

    def evaluate(self) -> tuple[Metrics, pd.DataFrame]:
        targets, predicted = self.targets, self.predict("test")
        test = targets.score(predicted, self.rows("test"))
        metrics: Metrics = {"metric": targets.task.metric, "val": self._score("val"), "test": test}
        metrics["n"] = counts(self.data) | {"train": len(self.rows("train"))}
        if targets.task.is_disease:
            metrics["positives"] = {split: int(targets.values[self.rows(split)].sum()) for split in SPLITS}
        return metrics, self._predictions(predicted)

    def predict(self, split: str) -> np.ndarray:
        """(n, outputs): logits, or traits in their units."""
        return self.targets.to_units(predict_in_batches(self.predict_batch, self.rows(split), source=self.datasets[0]))

    def _score(self, split: str) -> float:
        return self.targets.score(self.predict(split), self.rows(split))

    def _predictions(self, predicted: np.ndarray) -> pd.DataFrame:
        """eid, row, then target and score per output: the logit of a disease, a trait in its unit."""
        targets, scores = self.targets.values[self.rows("test")], predicted.astype(np.float32)
        names = self.targets.task.names
        columns = {f"target_{name}": targets[:, i] for i, name in enumerate(names)}
        columns |= {f"score_{name}": scores[:, i] for i, name in enumerate(names)}
        return pd.concat([self._test_participants(), pd.DataFrame(columns)], axis=1)


@dataclass
class ProbeJob(SupervisedJob):
    """Training on the user's own labels, in shuffled batches. targets: ``OwnTargets``.

    share: of the training patients whose recordings are used, drawn by the seed.
    """

    share: float = 1.0

    def rows(self, split: str) -> np.ndarray:
        rows = super().rows(split)
        if split != "train" or self.share == 1:
            return rows
        patients = self.patients()[rows]
        names = np.unique(patients)
        chosen = np.random.default_rng(seed_of(self.seed)).permutation(names)[: max(1, round(self.share * len(names)))]
        return rows[np.isin(patients, chosen)]

    def patients(self) -> np.ndarray:
        """Patient of each row of the cohort; without patients, each recording is one."""
        table = self.data.table
        return table["patient" if "patient" in table else "eid"].to_numpy()

    def batches(self, epoch: int) -> list[np.ndarray]:
        passes = shuffled_batches(self.rows("train"), self.schedule, self.seed)
        return epoch_batches(passes, self.schedule.steps_per_epoch, epoch)

    def evaluate(self) -> tuple[Metrics, pd.DataFrame]:
        """Mean score over the tasks, and ``tasks``: the test score of each."""
        predicted, rows = self.predict("test"), self.rows("test")
        by_task = self.targets.scores(predicted, rows)
        metrics: Metrics = {"metric": self.targets.task.metric, "val": self._score("val")}
        metrics |= {"test": self.targets.score(predicted, rows), "tasks": by_task, "n": counts(self.data)}
        return metrics | {"n_train": len(self.rows("train"))}, self._predictions(predicted)


@dataclass
class ReconstructionJob(CohortJob):
    """Training without labels, on shuffled batches; its metric is the mean error over a split."""

    metric: ClassVar[str] = "reconstruction error"

    def batches(self, epoch: int) -> list[np.ndarray]:
        passes = shuffled_batches(self.rows("train"), self.schedule, self.seed)
        return epoch_batches(passes, self.schedule.steps_per_epoch, epoch)

    def validate(self) -> dict[str, float]:
        return {"score": -self._error("val")}

    def evaluate(self) -> tuple[Metrics, pd.DataFrame]:
        metrics = {"metric": self.metric, "val": self._error("val"), "test": self._error("test")}
        return metrics | {"n": counts(self.data)}, self._test_participants()

    def _error(self, split: str) -> float:
        """The mean error over the rows of a split, computed in batches."""
        rows = self.rows(split)
        with torch.no_grad():
            batches = even_batches(rows, EVALUATION_BATCH)
            totals = distributed.map_over_ranks(lambda part: float(self.predict_batch(part)) * len(part), batches)
        return sum(totals) / len(rows)
