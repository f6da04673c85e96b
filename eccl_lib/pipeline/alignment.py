"""The step of an aligned arm: its ECGs against frozen features of hearts, beside the task (Sec. 2.2, Eq. 5)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eccl_lib import losses
from eccl_lib.config.method_schema import Arm
from eccl_lib.models.heads import Aligned
from eccl_lib.tasks import Problem
from eccl_lib.training.datasets import EcgDataset, to_device
from eccl_lib.training.microbatches import Contrast, Logs, Outputs


class CmrFeatures:
    """Frozen features by row of the cohort, on the run's device; of several views of a clip one is drawn each time.

    features: (N, D), or (N, K, D) of K views.
    """

    def __init__(self, features: np.ndarray, device: torch.device) -> None:
        self.features = torch.from_numpy(features).to(device)
        self.views = features.shape[1] if features.ndim == 3 else 0

    def of(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """rows: (B,). Returns (B, D). A step draws a view for each participant, whoever is in the batch."""
        if not self.views:
            return self.features[rows]
        drawn = torch.rand(len(self.features), generator=generator, device=self.features.device)
        return self.features[rows, (drawn * self.views).long()[rows]]


def contrast_step(problem: Problem, arm: Arm, model: Aligned, signals: EcgDataset, features: np.ndarray) -> Contrast:
    """features: of the frozen CMR encoder, never trained."""
    config, device = problem.config, signals.device
    wanted, hearts = problem.targets.standardize().to(device), CmrFeatures(features, device)
    bank = FeatureBank(problem, model, hearts) if config.align.bank and arm.objective == "clip" else None

    def outputs(rows: np.ndarray, generator: torch.Generator) -> Outputs:
        x = signals.augmented(rows, generator)
        if bank is not None:
            return model.forward_ecg(x)
        return model.forward_pair(x, hearts.of(to_device(rows, device), generator))

    def loss(found: Outputs, rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        own, (logits, z_ecg, *z_cmr) = to_device(rows, device), found
        if bank is not None:
            contrastive = bank.loss(z_ecg, own, generator)
        elif arm.objective == "triplet":
            contrastive = losses.triplet_loss(z_ecg, *z_cmr, config.align.triplet_margin)
        else:
            contrastive = losses.clip_loss(z_ecg, *z_cmr, model.temperature())
        parts = {"contrastive": contrastive, "task": problem.targets.loss(logits, wanted[own])}
        return losses.total_loss(parts["contrastive"], parts["task"], config.align.task_weight), parts

    return Contrast(outputs, loss)


class FeatureBank:
    """The hearts of all training participants, for an ECG to be told apart from: frozen, so they cost little."""

    def __init__(self, problem: Problem, model: Aligned, hearts: CmrFeatures) -> None:
        self.model, self.hearts = model, hearts
        train, device = problem.data.index("train"), hearts.features.device
        place = np.full(len(problem.data), -1)
        place[train] = np.arange(len(train))
        self.rows, self.place = to_device(train, device), to_device(place, device)

    def loss(self, z_ecg: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """z_ecg: (B, D); rows: (B,) of the cohort, training participants."""
        z_bank = self.model.project_cmr(self.hearts.of(self.rows, generator))  # (N, D)
        return losses.bank_loss(z_ecg, z_bank, self.place[rows], self.model.temperature())
