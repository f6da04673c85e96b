"""How the rows of Table 1 differ: encoder, pre-training, objective, CMR encoder."""

from dataclasses import dataclass, replace
from typing import Literal

from eccl_lib.config.load import checked
from eccl_lib.config.schema import Config

Modality = Literal["ecg", "cmr"]


@dataclass(frozen=True)
class Arm:
    """How the ECG model of a row of Table 1 is trained. key: key of the row in ``METHODS``, which checks the names."""

    key: str
    encoder: str = "vit"  # architecture of the ECG encoder, one of ``ECG_ENCODERS``
    pretraining: Literal["none", "mae", "cmae"] = "none"  # source of the initial weights
    objective: str = "task"  # contrastive loss added to the task loss, one of ``OBJECTIVES``; task: none
    teacher: str | None = None  # frozen CMR encoder to align with, one of ``CMR_ENCODERS``
    unit_norm: bool = True  # whether the contrastive loss compares vectors of length 1


ECCL = Arm("eccl", pretraining="mae", objective="clip", teacher="swin")


def with_cmr(config: Config, architecture: str) -> Config:
    """The config with another CMR encoder. Raises ConfigError where its patches do not fit the clips."""
    return checked(replace(config, cmr=replace(config.cmr, architecture=architecture)))
