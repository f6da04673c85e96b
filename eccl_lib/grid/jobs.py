"""A run of the grid as data: what it is called, what it needs first, what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from eccl_lib.config.load import load
from eccl_lib.config.method_schema import with_cmr
from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.io.progress import Log
from eccl_lib.models.build import build_seeded, device, new_ecg_model
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.pipeline import dependencies, methods, stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import Problem
from eccl_lib.training import cost
from eccl_lib.training.cost import Plan
from eccl_lib.training.datasets import CineDataset
from eccl_lib.training.job import Course
from eccl_lib.training.runs import Run

FEATURES = "cmr_features"


@dataclass(frozen=True)
class Job:
    """One run. key: a row of Table 1, a stage that rows share, or the features of a CMR encoder."""

    key: str
    config: Config

    def run(self, log: Log = print) -> Run:
        """Here and now, or the finished run."""
        if self.key in METHODS:
            return methods.run(self.config, self.key, log)
        if self.key == FEATURES:
            data = open_cohort.load(self.config, log)
            stages.cmr_views(self.config, data, log)
            return self.expected(data)
        return stages.STAGES[self.key](self.config, log=log)

    def expected(self, data: cohort.Cohort) -> Run:
        """The folder its result is or will be in."""
        if self.key in METHODS:
            return methods.expected(self.config, self.key, data)
        if self.key.startswith("autoencode_"):
            return dependencies.autoencoder_run(self.config, self.key.removeprefix("autoencode_"), data)
        runs = {"pretrain_ecg": dependencies.ecg_run, "pretrain_pair": dependencies.pair_run}
        return runs.get(self.key, dependencies.cmr_run)(self.config, data)

    def done(self, data: cohort.Cohort) -> bool:
        """Whether there is nothing left to do."""
        run = self.expected(data)
        return run.done and (self.key != FEATURES or run.has_cached(stages.features_file(self.config)))

    def seconds(self, data: cohort.Cohort) -> float:
        """Seconds that a finished one took, its parents not counted: of CPU time, on a GPU of the clock."""
        run = self.expected(data)
        timing = run.cached_timing(stages.features_file(self.config)) if self.key == FEATURES else run.timing
        name = "seconds" if device(self.config).type == "cuda" else "cpu_seconds"
        return float(timing.get(name, timing["cpu_seconds"]))  # arrays cached by earlier code have no clock

    def parents(self) -> tuple[Job, ...]:
        """What has to be finished first. Jobs that share a parent give equal parents."""
        if self.key == FEATURES:
            return (_shared("pretrain_cmr", self.config),)
        if self.key == "pretrain_pair":
            return _shared("autoencode_ecg", self.config), _shared("autoencode_cmr", self.config)
        arm = METHODS[self.key].arm if self.key in METHODS else None
        if arm is None:
            return ()
        first = {"none": (), "mae": ("pretrain_ecg",), "cmae": ("pretrain_pair",)}[arm.pretraining]
        found = tuple(_shared(key, self.config) for key in first)
        return found + ((_shared(FEATURES, with_cmr(self.config, arm.teacher)),) if arm.teacher else ())

    @property
    def kind(self) -> str:
        """Jobs of one kind cost about the same."""
        sort = "traits" if self.config.disease == "traits" else "disease"
        if self.key in METHODS and self.key != "cmr_sup":
            return f"{self.key}/{sort}"
        if self.key in ("pretrain_cmr", "cmr_sup"):
            return f"pretrain_cmr/{self._cmr().cmr.architecture}/{sort}"
        return f"{self.key}/{self.config.cmr.architecture}" if self.key == FEATURES else self.key

    def _cmr(self) -> Config:
        return with_cmr(self.config, "swin") if self.key == "cmr_sup" else self.config

    def estimate(self, data: cohort.Cohort) -> float:
        """Seconds it will take, from a few trial steps here. Nothing is written but the models' views."""
        torch.set_num_threads(self.config.runtime.threads)
        return _features_seconds(self.config, data) if self.key == FEATURES else self.plan(data).seconds

    def plan(self, data: cohort.Cohort) -> Plan:
        """Its time and memory, unless it is for features.

        Needs no parent: where a finished run would give first weights or features, random ones cost as much.
        """
        torch.set_num_threads(self.config.runtime.threads)
        return cost.plan(self._course(data), runtime=self.config.runtime)

    def _course(self, data: cohort.Cohort) -> Course:
        config, arm = self._cmr(), METHODS[self.key].arm if self.key in METHODS else None
        if arm is not None:
            model, features = new_ecg_model(Problem.of(config, data), arm), None
            if arm.teacher:
                width = model.project_cmr.in_features
                features = np.random.default_rng(0).normal(size=(len(data), width)).astype(np.float32)
            return stages.arm_course(config, arm, data, model, features)
        if self.key == "pretrain_ecg":
            return stages.ecg_course(config, data)
        if self.key == "pretrain_pair":
            return stages.pair_course(config, data, {})
        if self.key.startswith("autoencode_"):
            return stages.autoencoder_course(config, self.key.removeprefix("autoencode_"), data)
        return stages.cmr_course(config, data)


def _shared(key: str, config: Config) -> Job:
    """A parent, its config stripped of what its result does not hang on: rows that share it then name one job."""
    if key in ("pretrain_ecg", "pretrain_pair", "autoencode_ecg", "autoencode_cmr"):
        config = with_cmr(replace(config, disease=load(config.scale).disease), "swin")
    if key == "pretrain_cmr" and config.cmr.architecture == "swin":
        key = "cmr_sup"  # the paper's encoder is itself a row
    return Job(key, config)


def _features_seconds(config: Config, data: cohort.Cohort) -> float:
    rows, clips = np.arange(min(64, len(data))), CineDataset(data, config)
    model = build_seeded(config, lambda: cmr_encoder(config)).eval()
    with torch.no_grad():
        model(clips.of(rows))  # warms up
        return cost.seconds_of(lambda: model(clips.of(rows)), clips.device) * len(data) / len(rows)
