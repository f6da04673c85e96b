"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eccl_lib.config.schema import TrainingConfig
from eccl_lib.training.loop import Recipe, Source


class Inputs(Source, Protocol):
    """``Signals`` or ``Clips``: what a model reads, by row of the cohort."""

    device: torch.device

    def of(self, rows: np.ndarray) -> Tensor: ...

    def augmented(self, rows: np.ndarray, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Course:
    """One training, ready to go. judge: the fitted model's metrics, and its predictions of the test participants.

    look: what validation and test ask of the model for some rows; checked: a split's rows.
    """

    recipe: Recipe
    training: TrainingConfig
    judge: Callable[[], tuple[dict[str, object], pd.DataFrame]]
    look: Callable[[np.ndarray], Tensor]
    checked: Callable[[str], np.ndarray]
