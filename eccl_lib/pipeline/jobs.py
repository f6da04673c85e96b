"""The training job of every stage: its model, datasets, step and schedule."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eccl_lib.config.method_schema import Arm, Modality
from eccl_lib.config.schema import DISEASES, N_TRAITS, Config, TrainingConfig
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.build import new_autoencoder, new_cmr_model, new_ecg_model, new_pair
from eccl_lib.models.ecg_vit import grid
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.pipeline.extensions import ExtendedAlignmentStep, auxiliary_labels, has_extensions
from eccl_lib.pipeline.steps import (
    OBJECTIVES,
    AutoencoderStep,
    CmrFeatures,
    CrossModalStep,
    MaskedAutoencoderStep,
    SupervisedStep,
)
from eccl_lib.tasks import OwnTargets, Targets, own_targets, targets_of, with_trait_noise
from eccl_lib.training.datasets import CineDataset, EcgDataset, predict_in_batches
from eccl_lib.training.job import Metrics, ProbeJob, ReconstructionJob, SupervisedJob


@dataclass
class MaskedAutoencoderJob(ReconstructionJob):
    """Masked autoencoder training with fixed masks in validation and test. masks: (N, L) noise as in the model."""

    metric: ClassVar[str] = "masked MSE"
    masks: Tensor | None = None

    def predict_batch(self, rows: np.ndarray) -> Tensor:
        """The masked-patch error, a scalar."""
        ecgs = self.datasets[0]
        return self.model.loss(*self.model(ecgs.of(rows), self.masks[rows].to(ecgs.device)))

    def evaluate(self) -> tuple[Metrics, pd.DataFrame]:
        """As of every reconstruction, with ``r2_masked`` over the validation ECGs."""
        metrics, predictions = super().evaluate()
        return metrics | {"r2_masked": self.r2_masked("val")}, predictions

    def r2_masked(self, split: str) -> float:
        """Share of the variance of masked patches around each ECG's lead means that the model explains, pooled."""
        ecgs = self.datasets[0]

        def squares(rows: np.ndarray) -> Tensor:
            return self.model.masked_squares(ecgs.of(rows), self.masks[rows].to(ecgs.device))

        error, total = predict_in_batches(squares, self.rows(split), source=ecgs).sum(axis=0, dtype=np.float64)
        return float(1 - error / total)


def masked_autoencoder_job(config: Config, data: Cohort) -> MaskedAutoencoderJob:
    """Stage one on the ECG (Sec. 2.1)."""
    ecgs, model = EcgDataset(data, config), new_autoencoder(config)
    tokens = int(np.prod(grid(config.ecg, ecgs.samples)))
    masks = torch.rand(len(data), tokens, generator=torch.Generator().manual_seed(config.seed))
    step = MaskedAutoencoderStep(model, ecgs, tokens)
    return MaskedAutoencoderJob(model, step, config.mae, (ecgs,), data, config.seed, masks=masks)


def cmr_job(config: Config, data: Cohort) -> SupervisedJob:
    """Stage one on the CMR: the supervised encoder of one task (Sec. 2.1). Its test scores are the row CMR_Sup."""
    cines, targets = CineDataset(data, config), _training_targets(config, data, config.cmr_training.trait_noise)
    model = new_cmr_model(config, targets.task.outputs)
    step = SupervisedStep(model, cines, targets)
    schedule = config.cmr_training
    if from_traits(config):
        own = {"steps_per_epoch": schedule.disease_steps_per_epoch, "lr": schedule.disease_lr}
        schedule = replace(schedule, **own)
    return SupervisedJob(model, step, schedule, (cines,), data, config.seed, targets)


def _training_targets(config: Config, data: Cohort, noise: float) -> Targets:
    """Targets of the config's task, with noise on the traits of the training participants where the config has it."""
    return with_trait_noise(targets_of(config, data), noise, data.index("train"), config.seed)


def from_traits(config: Config) -> bool:
    """Whether the CMR encoder of this task starts from that of the traits; ``start_from`` has priority."""
    schedule = config.cmr_training
    return config.disease != "traits" and schedule.disease_steps_per_epoch > 0 and not schedule.start_from


def ecg_job(
    config: Config,
    arm: Arm,
    data: Cohort,
    model: Supervised | Aligned,
    features: np.ndarray | None,
    schedule: TrainingConfig | None = None,
    auxiliary: np.ndarray | None = None,
) -> SupervisedJob:
    """Stage two (Sec. 2.2, Eq. 5), or the task alone where there are no features.

    features: (N, D) or (N, K, D) of the frozen CMR encoder. All ECG rows have the same schedule, ``config.align``.
    auxiliary: (N, 86) targets of the auxiliary head, where the config has one.
    """
    ecgs, targets = EcgDataset(data, config), _training_targets(config, data, config.align.trait_noise)
    if features is None:
        step = SupervisedStep(model, ecgs, targets)
    else:
        arguments = (model, ecgs, CmrFeatures(features, ecgs.device), targets, config.align)
        step = OBJECTIVES[arm.objective](*arguments)
        if arm.objective == "clip" and has_extensions(config.align):
            if config.align.auxiliary == "labels":
                auxiliary = auxiliary_labels(data)
            step = ExtendedAlignmentStep(*arguments, data=data, auxiliary=auxiliary)
    participants = config.align.participants
    return SupervisedJob(model, step, schedule or config.align, (ecgs,), data, config.seed, targets, participants)


def probe_job(config: Config, data: Cohort) -> ProbeJob:
    """Downstream training of the ECG encoder on the user's own labels; its encoder has random weights."""
    ecgs, targets = EcgDataset(data, config), own_targets(config.probe.tasks, data)
    return _probe_job(config, data, new_ecg_model(config, targets.task.outputs, Arm("probe")), ecgs, targets)


def probe_cmr_job(config: Config, data: Cohort) -> ProbeJob:
    """Downstream training of the CMR encoder on the user's own labels; its encoder has random weights."""
    cines, targets = CineDataset(data, config), own_targets(config.probe.tasks, data)
    return _probe_job(config, data, new_cmr_model(config, targets.task.outputs), cines, targets)


def _probe_job(
    config: Config, data: Cohort, model: Supervised, inputs: EcgDataset | CineDataset, targets: OwnTargets
) -> ProbeJob:
    step, share = SupervisedStep(model, inputs, targets), config.probe.label_share
    return ProbeJob(model, step, config.probe, (inputs,), data, config.seed, targets, share=share)


def untrained_ecg_job(config: Config, arm: Arm, data: Cohort) -> SupervisedJob:
    """``ecg_job`` with random weights and random CMR features, which cost as much as trained ones: for estimates."""
    model, features = new_ecg_model(config, targets_of(config, data).task.outputs, arm), None
    if arm.teacher:
        views = (config.align.views,) if config.align.views else ()
        shape = (len(data), *views, model.project_cmr.in_features)
        features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    auxiliary = np.zeros((len(data), N_TRAITS + len(DISEASES)), np.float32)
    return ecg_job(config, arm, data, model, features, auxiliary=auxiliary)


class AutoencoderJob(ReconstructionJob):
    """The autoencoder of one modality (row CMAE)."""

    def predict_batch(self, rows: np.ndarray) -> Tensor:
        """The reconstruction error, a scalar."""
        return self.model(self.datasets[0].of(rows))


def autoencoder_job(config: Config, modality: Modality, data: Cohort) -> AutoencoderJob:
    """First stage of row CMAE: the autoencoder of one modality."""
    inputs = {"ecg": EcgDataset, "cmr": CineDataset}[modality](data, config)
    model = getattr(new_pair(config), modality)
    return AutoencoderJob(model, AutoencoderStep(model, inputs), config.cmae, (inputs,), data, config.seed)


@dataclass
class CrossModalJob(ReconstructionJob):
    """Both autoencoders of row CMAE. from_ecg: (N,) bool, the modality dropout of validation and test."""

    from_ecg: Tensor | None = None

    def predict_batch(self, rows: np.ndarray) -> Tensor:
        """The total loss, a scalar."""
        ecgs, cines = self.datasets
        outputs = self.model(ecgs.of(rows), cines.of(rows), self.from_ecg[rows].to(ecgs.device))
        return self.step.loss(outputs)["loss"]


def cross_modal_job(config: Config, data: Cohort) -> CrossModalJob:
    """Second stage of row CMAE: both autoencoders around one latent."""
    ecgs, cines, model = EcgDataset(data, config), CineDataset(data, config), new_pair(config)
    from_ecg = torch.rand(len(data), generator=torch.Generator().manual_seed(config.seed)) < 0.5
    step = CrossModalStep(model, ecgs, cines)
    return CrossModalJob(model, step, config.cmae, (ecgs, cines), data, config.seed, from_ecg=from_ecg)
