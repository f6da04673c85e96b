"""The prevalence of a disease in training, and the share of cases that a training saw."""

from dataclasses import replace

import numpy as np

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.metrics.calibration import Prior
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import targets_of
from eccl_lib.training.sampling import task_batches


def of_row(config: Config, data: Cohort, task: str, key: str) -> Prior:
    """Prevalence in the training set, and the share of cases in one epoch of a row. key: of the row in METHODS."""
    targets, train = targets_of(replace(config, disease=task), data), data.index("train")
    training = config.cmr_training if METHODS[key].arm is None else config.align
    seen = np.concatenate(task_batches(targets, train, training, config.seed)(0))
    return Prior(float(targets.values[train].mean()), float(targets.values[seen].mean()))
