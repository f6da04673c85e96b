"""The stages of Fig. 1: pre-train the ECG encoder, pre-train the CMR encoder, align, fine-tune; and CMAE's own.

Each builds its model and fits it. Called again with the same parameters a stage returns its finished run; one that was
killed goes on. Command: ``python -m eccl_lib.pipeline.stages pretrain_cmr --scale study --disease traits``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from functools import partial

import numpy as np
import torch
from torch import Tensor

from eccl_lib.config import command_line
from eccl_lib.config.errors import MissingError
from eccl_lib.config.method_schema import ECCL, Arm, Modality, with_cmr
from eccl_lib.config.schema import ARRAYS, Config
from eccl_lib.config.seeds import seed_of
from eccl_lib.data import cohort, open_cohort
from eccl_lib.io.progress import Log
from eccl_lib.models.build import new_autoencoder, new_cmr_model, new_ecg_model, new_pair
from eccl_lib.models.ecg_vit import grid
from eccl_lib.models.heads import Supervised
from eccl_lib.pipeline import models, torchrun, trainer
from eccl_lib.pipeline.alignment import contrast_step
from eccl_lib.pipeline.dependencies import (
    arm_run,
    autoencoder_run,
    cmr_run,
    ecg_run,
    has_third_stage,
    initial_weights_run,
    pair_run,
    third_run,
)
from eccl_lib.tasks import Problem
from eccl_lib.training import distributed
from eccl_lib.training.datasets import CineDataset, EcgDataset, predict_in_batches
from eccl_lib.training.job import Course
from eccl_lib.training.microbatches import Logs, Mean
from eccl_lib.training.runs import Run


def pretrain_ecg(config: Config, log: Log = print) -> Run:
    """Masked autoencoder on the training participants' ECGs (Sec. 2.1)."""
    data = _cohort(config, log, NEEDS["pretrain_ecg"])
    return trainer.once(ecg_run(config, data), config, lambda: ecg_course(config, data), log)


def ecg_course(config: Config, data: cohort.Cohort) -> Course:
    signals, model = EcgDataset(data, config), new_autoencoder(config)
    models.load_initial_weights(model, initial_weights_run(config, "pretrain_ecg"))
    tokens = int(np.prod(grid(config.ecg, signals.samples)))

    def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        x = signals.augmented(rows, generator)
        noise = distributed.rand(len(rows), tokens, generator=generator, device=x.device)
        return model(x, noise)[0], {}

    noise_of_all = torch.rand(len(data), tokens, generator=torch.Generator().manual_seed(config.seed))

    def look(rows: np.ndarray) -> Tensor:
        return model(signals.of(rows), noise_of_all[rows].to(signals.device))[0]

    return trainer.error_course(config, data, config.mae, model, Mean(step), look, signals)


def pretrain_cmr(config: Config, log: Log = print) -> Run:
    """Supervised CMR encoder of one task (Sec. 2.1): five in all. Scored on CMR it is the reference row CMR_Sup."""
    data = _cohort(config, log, NEEDS["pretrain_cmr"])
    return trainer.once(cmr_run(config, data), config, lambda: cmr_course(config, data), log)


def cmr_course(config: Config, data: cohort.Cohort) -> Course:
    problem, clips = Problem.of(config, data), CineDataset(data, config)
    model = new_cmr_model(problem)
    models.load_initial_weights(model, initial_weights_run(config, "pretrain_cmr"), "encoder")
    step = trainer.task_step(problem, model, clips)
    return trainer.task_course(problem, config.cmr_training, model, clips, step)


def cmr_features(config: Config, data: cohort.Cohort, log: Log = print) -> np.ndarray:
    """Features of every participant's clip from the frozen CMR encoder, computed once. Returns (N, D) float32."""
    teacher = _parent("pretrain_cmr", cmr_run(config, data), config, log)

    def compute() -> np.ndarray:
        model, clips = models.frozen_cmr(config, data), CineDataset(data, config)
        return predict_in_batches(lambda part: model.encoder(clips.of(part)), np.arange(len(data)), source=clips)

    return teacher.cached_array("features", compute)


def cmr_views(config: Config, data: cohort.Cohort, log: Log = print) -> np.ndarray:
    """Features of ``config.align.views`` augmented versions of every clip, computed once. Returns (N, K, D) float32.

    What the frozen encoder would see over so many epochs; with 0 the clips as they are, as ``cmr_features``.
    """
    views = config.align.views
    if not views:
        return cmr_features(config, data, log)
    teacher = _parent("pretrain_cmr", cmr_run(config, data), config, log)

    def compute() -> np.ndarray:
        model, clips = models.frozen_cmr(config, data), CineDataset(data, config)

        def one(view: int, part: np.ndarray) -> Tensor:
            generator = torch.Generator(clips.device).manual_seed(seed_of(config.seed, view, int(part[0])))
            return model.encoder(clips.augmented(part, generator))

        rows = np.arange(len(data))
        return np.stack([predict_in_batches(partial(one, view), rows, source=clips) for view in range(views)], axis=1)

    return teacher.cached_array(features_file(config), compute)


def features_file(config: Config) -> str:
    """Under which name ``cmr_views`` keeps its array beside the encoder."""
    return f"features_{config.align.views}_views" if config.align.views else "features"


def autoencode(config: Config, modality: Modality, log: Log = print) -> Run:
    """CMAE's first stage: the autoencoder of one modality, alone."""
    data = _cohort(config, log, NEEDS[f"autoencode_{modality}"])
    run = autoencoder_run(config, modality, data)
    return trainer.once(run, config, lambda: autoencoder_course(config, modality, data), log)


def autoencoder_course(config: Config, modality: Modality, data: cohort.Cohort) -> Course:
    inputs, model = {"ecg": EcgDataset, "cmr": CineDataset}[modality](data, config), getattr(new_pair(config), modality)

    def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        return model(inputs.augmented(rows, generator)), {}

    look = lambda rows: model(inputs.of(rows))  # noqa: E731
    return trainer.error_course(config, data, config.cmae, model, Mean(step), look, inputs)


def pretrain_pair(config: Config, log: Log = print) -> Run:
    """CMAE's second stage: both autoencoders around one latent, started from the two that were trained alone."""
    data = _cohort(config, log)

    def make() -> Course:
        alone = {}
        for modality in ("ecg", "cmr"):
            run = _parent(f"autoencode_{modality}", autoencoder_run(config, modality, data), config, log)
            alone[modality] = run.weights()
        return pair_course(config, data, alone)

    return trainer.once(pair_run(config, data), config, make, log)


def pair_course(config: Config, data: cohort.Cohort, alone: dict[str, dict[str, Tensor]]) -> Course:
    """alone: weights of each modality's autoencoder; empty: none."""
    signals, clips, model = EcgDataset(data, config), CineDataset(data, config), new_pair(config)
    for modality, weights in alone.items():
        getattr(model, modality).load_state_dict(weights)

    def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Logs]:
        x = signals.augmented(rows, generator)
        y = clips.augmented(rows, generator)
        from_ecg = distributed.rand(len(rows), generator=generator, device=x.device) < 0.5
        return model(x, y, from_ecg)

    picked = torch.rand(len(data), generator=torch.Generator().manual_seed(config.seed)) < 0.5

    def look(rows: np.ndarray) -> Tensor:
        return model(signals.of(rows), clips.of(rows), picked[rows].to(signals.device))[0]

    return trainer.error_course(config, data, config.cmae, model, step, look, signals, clips)


def train_arm(config: Config, arm: Arm = ECCL, log: Log = print) -> Run:
    """The task on the ECG, beside a contrast with the frozen CMR encoder where the arm has one (Sec. 2.2, Eq. 5).

    All arms have the same schedule and number of updates.
    """
    data = _cohort(config, log)

    def make() -> Course:
        features = None
        if arm.teacher:
            features = cmr_views(with_cmr(config, arm.teacher), data, log)
        if arm.pretraining == "mae":
            _parent("pretrain_ecg", ecg_run(config, data), config, log)
        if arm.pretraining == "cmae":
            _parent("pretrain_pair", pair_run(config, data), config, log)
        model = new_ecg_model(Problem.of(config, data), arm)
        models.load_pretrained_encoder(model, arm, config, data)
        return arm_course(config, arm, data, model, features)

    run = trainer.once(arm_run(config, arm, data), config, make, log)
    return third_stage(config, arm, log) if has_third_stage(config, arm) else run


def arm_course(config: Config, arm: Arm, data: cohort.Cohort, model: Supervised, features: np.ndarray | None) -> Course:
    """features: (N, D) or (N, K, D) of the frozen CMR encoder, never trained; None where the arm has no teacher."""
    problem, signals = Problem.of(config, data), EcgDataset(data, config)
    if features is None:
        step = trainer.task_step(problem, model, signals)
        return trainer.task_course(problem, config.align, model, signals, step)
    step = contrast_step(problem, arm, model, signals, features)
    return trainer.task_course(problem, config.align, model, signals, step)


def third_stage(config: Config, arm: Arm, log: Log = print) -> Run:
    """The traits once more on the aligned encoder, without contrast (authors' code; off by default)."""
    data = _cohort(config, log)

    def make() -> Course:
        problem, signals = Problem.of(config, data), EcgDataset(data, config)
        model = models.frozen(new_ecg_model(problem, arm), arm_run(config, arm, data)).requires_grad_(True)
        step = trainer.task_step(problem, model, signals)
        return trainer.task_course(problem, config.third_stage, model, signals, step)

    return trainer.once(third_run(config, arm, data), config, make, log)


# What of a cohort a stage reads, where not all.
NEEDS = {
    "pretrain_ecg": ("ecg",),
    "pretrain_cmr": ("clips",),
    "autoencode_ecg": ("ecg",),
    "autoencode_cmr": ("clips",),
}

# By name, for commands, for what is missing upstream and for the grid.

STAGES: dict[str, Callable[[Config, Log], Run]] = {
    "pretrain_ecg": pretrain_ecg,
    "pretrain_cmr": pretrain_cmr,
    "autoencode_ecg": partial(autoencode, modality="ecg"),
    "autoencode_cmr": partial(autoencode, modality="cmr"),
    "pretrain_pair": pretrain_pair,
    "align": train_arm,
}


def _cohort(config: Config, log: Log, needs: Collection[str] = ARRAYS) -> cohort.Cohort:
    """The config's cohort with the arrays that are needed. Of several ranks the first opens it, and builds it first."""
    return distributed.main_process_first(lambda: open_cohort.load(config, log, needs=needs))


def parents(config: Config, log: Log = print) -> tuple[Run, Run]:
    """The finished runs of stage one, ECG and CMR: built first where the scale allows, else MissingError."""
    data = _cohort(config, log)
    ecg_parent = _parent("pretrain_ecg", ecg_run(config, data), config, log)
    return ecg_parent, _parent("pretrain_cmr", cmr_run(config, data), config, log)


def _parent(stage: str, run: Run, config: Config, log: Log) -> Run:
    """A finished parent: built where the scale allows, else MissingError with the command."""
    if distributed.broadcast(lambda: run.done):
        return run
    if not config.runtime.build_missing:
        line = f"python -m eccl_lib.pipeline.stages {stage} {command_line.line(config)}"
        raise MissingError(f"{run.name} has not been trained. Train it first:\n  {line}")
    log(f"{run.name} is needed first; training it")
    return STAGES[stage](config, log=log)


def main(arguments: list[str] | None = None) -> None:
    """``python -m eccl_lib.pipeline.stages pretrain_ecg|pretrain_cmr|align|...``; also under torchrun."""
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.pipeline.stages", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    command_line.add_parameters(parser)
    parser.add_argument("--plan", action="store_true", help="say what it and what it hangs on would cost, and stop")
    parsed = parser.parse_args(arguments)
    if parsed.plan:
        from eccl_lib.grid import planning  # stands above the stages, and asks them for trial steps

        planning.show(parsed.stage, command_line.config(parsed))
        return
    torchrun.command_line(lambda config, log: STAGES[parsed.stage](config, log=log), parsed)


if __name__ == "__main__":
    command_line.run(main)
