"""The training step of every method: ``encode`` runs the model, ``loss`` compares its outputs with the targets.

Microbatches, ranks and precision wrap these classes from outside (``training/microbatches.py``, ``training/loop.py``).
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eccl_lib import losses
from eccl_lib.config.schema import AlignConfig
from eccl_lib.models.cmae import CmrAutoencoder, CrossModalAutoencoder, EcgAutoencoder
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.tasks import OwnTargets, Targets
from eccl_lib.training.batch import Batch
from eccl_lib.training.datasets import CineDataset, EcgDataset, to_device
from eccl_lib.training.microbatches import Losses, Outputs, Step


class MaskedAutoencoderStep(Step):
    """Stage one on the ECG: predict the masked patches (Sec. 2.1)."""

    def __init__(self, model: MaskedAutoencoder, ecgs: EcgDataset, tokens: int) -> None:
        self.model, self.ecgs, self.tokens = model, ecgs, tokens

    def encode(self, batch: Batch) -> Outputs:
        ecg = self.ecgs.augmented(batch)  # (b, 12, T)
        return self.model(ecg, batch.draw(-1, self.tokens))  # predicted and true patches (b, L, P), mask (b, L)

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        return {"loss": self.model.loss(*outputs)}


class SupervisedStep(Step):
    """The task alone: stage one on the CMR, and the ECG rows without a CMR encoder (Eq. 4)."""

    def __init__(self, model: Supervised, inputs: EcgDataset | CineDataset, targets: Targets | OwnTargets) -> None:
        self.model, self.inputs, self.targets = model, inputs, targets
        self.target_values = targets.standardize().to(inputs.device)  # (N, outputs)
        self.target_counts = targets.terms().to(inputs.device)  # (N,)

    def encode(self, batch: Batch) -> Outputs:
        return (self.model(self.inputs.augmented(batch)),)  # (b, outputs)

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        return {"loss": self.targets.loss(*outputs, self.target_values[to_device(batch.rows, self.inputs.device)])}

    def terms(self, rows: np.ndarray) -> Tensor:
        return self.target_counts[to_device(rows, self.inputs.device)].sum().clamp(min=1)


class CmrFeatures:
    """Frozen CMR features of all participants, on the run's device. features: (N, D), or (N, K, D) of K views."""

    def __init__(self, features: np.ndarray, device: torch.device) -> None:
        self.features = torch.from_numpy(features).to(device)
        self.views = features.shape[1] if features.ndim == 3 else 0

    def of(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Features by row. rows: (b,). Returns (b, D). A step draws one view of every participant of the cohort."""
        if not self.views:
            return self.features[rows]
        draws = torch.rand(len(self.features), generator=generator, device=self.features.device)
        return self.features[rows, (draws * self.views).long()[rows]]


class AlignmentStep(Step):
    """Stage two: align the ECG with the frozen CMR encoder by a CLIP loss, and train the task (Sec. 2.2, Eq. 1 to 5).

    cmr_features: f_c of every participant's clip, from the frozen CMR encoder.
    """

    couples_rows = True
    # Of a step that is registered as a row of Table 1 (``methods.METHODS``): its name there, source of the initial
    # weights, frozen CMR encoder, and whether z has unit norm.
    row: ClassVar[str] = ""
    pretraining: ClassVar[str] = "mae"
    teacher: ClassVar[str] = "swin"
    unit_norm: ClassVar[bool] = True

    def __init__(
        self, model: Aligned, ecgs: EcgDataset, cmr_features: CmrFeatures, targets: Targets, config: AlignConfig
    ) -> None:
        self.model, self.ecgs, self.cmr_features, self.targets, self.config = model, ecgs, cmr_features, targets, config
        self.target_values = targets.standardize().to(ecgs.device)  # (N, outputs)

    def encode(self, batch: Batch) -> Outputs:
        ecg = self.ecgs.augmented(batch)  # (b, 12, T)
        cmr = self.cmr_features.of(to_device(batch.rows, self.ecgs.device), batch.generator)  # (b, D)
        return self.model.forward_pair(ecg, cmr)  # h(f_e(x)), z_e = g_e(f_e(x)), z_c = g_c(f_c(y))

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        predicted, *z = outputs
        contrastive = self.contrastive_loss(*z, batch=batch)  # Eq. 1 to 3
        task = self.targets.loss(predicted, self.target_values[to_device(batch.rows, self.ecgs.device)])  # Eq. 4
        total = losses.total_loss(contrastive, task, self.config.task_weight)  # Eq. 5
        return {"loss": total, "contrastive": contrastive, "task": task}

    def contrastive_loss(self, z_ecg: Tensor, z_cmr: Tensor, batch: Batch) -> Tensor:
        """L_CL of all ECGs and CMRs of the batch (Eq. 1 to 3), a scalar. z_ecg, z_cmr: (B, shared width), unit norm."""
        return losses.clip_loss(z_ecg, z_cmr, self.model.temperature())


class TripletStep(AlignmentStep):
    """Row Triplet: the triplet loss instead of the CLIP loss."""

    def contrastive_loss(self, z_ecg: Tensor, z_cmr: Tensor, batch: Batch) -> Tensor:
        return losses.triplet_loss(z_ecg, z_cmr, self.config.triplet_margin)


class AutoencoderStep(Step):
    """First stage of row CMAE: the autoencoder of one modality."""

    def __init__(self, model: EcgAutoencoder | CmrAutoencoder, inputs: EcgDataset | CineDataset) -> None:
        self.model, self.inputs = model, inputs

    def encode(self, batch: Batch) -> Outputs:
        return (self.model(self.inputs.augmented(batch)),)  # the reconstruction error

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        return {"loss": outputs[0]}


class CrossModalStep(Step):
    """Second stage of row CMAE: both autoencoders around one latent (Radhakrishnan et al. 2023)."""

    couples_rows = True
    in_microbatches = False

    def __init__(self, model: CrossModalAutoencoder, ecgs: EcgDataset, cines: CineDataset) -> None:
        self.model, self.ecgs, self.cines = model, ecgs, cines

    def encode(self, batch: Batch) -> Outputs:
        ecg, cmr = self.ecgs.augmented(batch), self.cines.augmented(batch)
        return self.model(ecg, cmr, batch.draw(-1) < 0.5)  # errors of ECG and CMR, latents of ECG and CMR

    def loss(self, outputs: Outputs, batch: Batch | None = None) -> Losses:
        ecg, cmr, *latents = outputs
        contrastive = losses.clip_loss(*latents, self.model.temperature())
        total = ecg + cmr + self.model.contrastive_weight * contrastive
        return {"loss": total, "ecg": ecg, "cmr": cmr, "contrastive": contrastive}


# The step of stage two for each ``Arm.objective`` that aligns with CMR features.
OBJECTIVES = {"clip": AlignmentStep, "triplet": TripletStep}
