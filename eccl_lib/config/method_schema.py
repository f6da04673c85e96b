"""How the rows of Table 1 differ: encoder, pre-training, objective, CMR encoder."""

from dataclasses import dataclass, replace
from typing import Literal

from eccl_lib.config.load import checked
from eccl_lib.config.schema import Config

Architecture = Literal["swin", "resnet50", "vit"]
Modality = Literal["ecg", "cmr"]


@dataclass(frozen=True)
class Arm:
    """How the ECG model of a row of Table 1 is trained. key: key of the row in ``METHODS``."""

    key: str
    encoder: Literal["vit", "convolution"] = "vit"  # architecture of the ECG encoder
    pretraining: Literal["none", "mae", "cmae"] = "none"  # source of the initial weights
    objective: Literal["task", "clip", "triplet"] = "task"  # contrastive loss added to the task loss; task: none
    teacher: Architecture | None = None  # frozen CMR encoder to align with


ECCL = Arm("eccl", pretraining="mae", objective="clip", teacher="swin")


def with_cmr(config: Config, architecture: Architecture) -> Config:
    """The config with another CMR encoder. Raises ConfigError where its patches do not fit the clips."""
    return checked(replace(config, cmr=replace(config.cmr, architecture=architecture)))
