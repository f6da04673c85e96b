"""Options of stage two that are not in the paper; all are off by default (``AlignConfig``)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eccl_lib import losses
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import N_TRAITS, AlignConfig
from eccl_lib.config.schema import TASKS as PAPER_TASKS
from eccl_lib.data.cohort import Cohort
from eccl_lib.pipeline.steps import AlignmentStep
from eccl_lib.tasks import TASKS, cohort_targets
from eccl_lib.training.batch import Batch
from eccl_lib.training.datasets import to_device
from eccl_lib.training.microbatches import Losses, Outputs


def has_extensions(config: AlignConfig) -> bool:
    """Whether the training step differs from the paper's."""
    return config.bank or config.contrastive != "clip" or config.auxiliary != "none"


class ExtendedAlignmentStep(AlignmentStep):
    """``AlignmentStep`` with a feature bank, another contrastive loss, or auxiliary targets.

    data: the cohort. auxiliary: (N, 86) z-scored traits (NaN: missing), then probabilities of the four diseases.
    """

    def __init__(self, *arguments: object, data: Cohort, auxiliary: np.ndarray | None = None) -> None:
        super().__init__(*arguments)
        train, device = data.index("train"), self.ecgs.device
        position = np.full(len(data), -1)
        position[train] = np.arange(len(train))
        self.bank, self.position = to_device(train, device), to_device(position, device)
        self.traits = z_scored_traits(data).to(device) if self.config.contrastive == "soft" else None
        self.auxiliary = None if self.config.auxiliary == "none" else torch.from_numpy(auxiliary).to(device)

    def encode(self, batch: Batch) -> Outputs:
        """As ``AlignmentStep``; without z_cmr if the loss uses the bank, and with auxiliary outputs after z_ecg."""
        return self.model.forward_ecg(self.ecgs.augmented(batch)) if self.config.bank else super().encode(batch)

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        if self.auxiliary is None:
            return super().loss(outputs, batch)
        predicted, z_ecg, auxiliary, *z_cmr = outputs
        parts = super().loss((predicted, z_ecg, *z_cmr), batch)
        targets = self.auxiliary[to_device(batch.rows, self.ecgs.device)]
        parts["auxiliary"] = auxiliary_loss(auxiliary, targets)
        return parts | {"loss": parts["loss"] + self.config.auxiliary_weight * parts["auxiliary"]}

    def contrastive_loss(self, z_ecg: Tensor, *z_cmr: Tensor, batch: Batch) -> Tensor:
        temperature, rows = self.model.temperature(), to_device(batch.rows, self.ecgs.device)
        if self.config.bank:
            z_bank = self.model.project_cmr(self.cmr_features.of(self.bank, batch.generator))  # (N_train, shared width)
            return losses.bank_loss(z_ecg, z_bank, self.position[rows], temperature)
        if self.config.contrastive == "siglip":
            return losses.siglip_loss(z_ecg, *z_cmr, temperature, self.model.bias)
        if self.config.contrastive == "soft":
            similar = losses.similar_hearts(self.traits[rows], self.config.soft_width)
            return losses.soft_clip_loss(z_ecg, *z_cmr, temperature, similar)
        return super().contrastive_loss(z_ecg, *z_cmr, batch=batch)


def auxiliary_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of the z-scored traits plus mean binary cross-entropy of the diseases. Both (B, 86)."""
    traits = losses.trait_loss(outputs[:, :N_TRAITS], targets[:, :N_TRAITS])
    return traits + losses.disease_loss(outputs[:, N_TRAITS:], targets[:, N_TRAITS:])


def z_scored_traits(data: Cohort) -> Tensor:
    """Traits in standard deviations of the training participants, (N, 82). Raises ConfigError where none exist."""
    return cohort_targets(TASKS["traits"], data).standardize()


def auxiliary_labels(data: Cohort) -> np.ndarray:
    """Auxiliary targets from the measured traits and diagnoses, (N, 86)."""
    return np.hstack([z_scored_traits(data).numpy(), data.labels.astype(np.float32)])


def auxiliary_predictions(data: Cohort, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Auxiliary targets from the outputs of the CMR models of the paper's tasks, in their order. Returns (N, 86).

    outputs: (N, 1) logits of each disease, then (N, 82) z-scored traits. Raises ConfigError on other shapes.
    """
    *logits, traits = outputs
    if [part.shape for part in outputs] != [(len(data), TASKS[key].outputs) for key in PAPER_TASKS]:
        raise ConfigError("auxiliary targets need the outputs of one CMR model for each task")
    return np.hstack([traits, 1 / (1 + np.exp(-np.hstack(logits)))]).astype(np.float32)
