"""Every kind of training job on the tiny cohort, without training its parents: random CMR features take their place."""

from dataclasses import dataclass
from typing import Any

from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.microbatches import Step

ARMS = tuple(key for key, method in METHODS.items() if method.arm)
JOBS = ("pretrain_ecg", "pretrain_cmr", "pretrain_pair", "autoencode_ecg", *ARMS)


def job_of(name, config, data):
    """A job with its model at initial weights. name: of ``JOBS``."""
    return spec(config, name).job(data, pretrained=False)


class FunctionStep(Step):
    """A step whose loss is a function of the batch: batch -> losses."""

    def __init__(self, losses):
        self.losses = losses

    def encode(self, batch):
        return ()

    def loss(self, outputs, batch):
        return self.losses(batch)


@dataclass
class FunctionJob(TrainingJob):
    """A job from functions. epoch_batches: epoch -> rows of each step; validation: -> metrics."""

    epoch_batches: Any = None
    validation: Any = None

    def batches(self, epoch):
        return self.epoch_batches(epoch)

    def validate(self):
        return self.validation()


def quiet(line):
    """A log that discards its lines."""
