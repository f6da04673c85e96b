"""Every kind of course on the tiny cohort, without training its parents: random features stand in for a teacher's."""

import numpy as np

from eccl_lib.models.build import new_ecg_model
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import Problem

ARMS = tuple(key for key, method in METHODS.items() if method.arm)
COURSES = ("mae", "cmr", "pair", "ecg_alone", *ARMS)


def course_of(key, config, data):
    """A course with its model at first weights. key: of ``COURSES``."""
    if key == "mae":
        return stages.ecg_course(config, data)
    if key == "cmr":
        return stages.cmr_course(config, data)
    if key == "pair":
        return stages.pair_course(config, data, {})
    if key == "ecg_alone":
        return stages.autoencoder_course(config, "ecg", data)
    arm, features = METHODS[key].arm, None
    model = new_ecg_model(Problem.of(config, data), arm)
    if arm.teacher:
        shape = (
            (config.align.views, model.project_cmr.in_features)
            if config.align.views
            else (model.project_cmr.in_features,)
        )
        features = np.random.default_rng(0).normal(size=(len(data), *shape)).astype(np.float32)
    return stages.arm_course(config, arm, data, model, features)


def quiet(line):
    """A log that says nothing."""
