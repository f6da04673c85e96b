"""TODO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from eccl_lib.config.load import checked
from eccl_lib.config.schema import Config

Architecture = Literal["swin", "resnet50", "vit"]


Modality = Literal["ecg", "cmr"]


@dataclass(frozen=True)
class Arm:
    """How an ECG model is trained: what sets the ECG rows of Table 1 apart. key: the row's fixed key."""

    key: str
    encoder: Literal["vit", "convolution"] = "vit"  # of the ECG
    pretraining: Literal["none", "mae", "cmae"] = "none"  # where that encoder's first weights come from
    objective: Literal["task", "clip", "triplet"] = "task"  # what it is trained for beside the task
    teacher: Architecture | None = None  # the supervised CMR encoder whose frozen features it is aligned with


ECCL = Arm("eccl", pretraining="mae", objective="clip", teacher="swin")


def with_cmr(config: Config, architecture: Architecture) -> Config:
    """The same parameters with this CMR encoder. Raises ConfigError where its patches do not fit the clips."""
    return checked(replace(config, cmr=replace(config.cmr, architecture=architecture)))
