"""The stages of Fig. 1: pre-train the ECG encoder, pre-train the CMR encoder, align, fine-tune.

Each builds its model and fits it. Called again with the same parameters a stage returns its finished run; one that was
killed goes on. Command: ``python -m eccl_lib.stages pretrain_cmr --scale study --disease traits``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eccl_lib import command, losses
from eccl_lib.config import Config, TrainingConfig, fingerprint
from eccl_lib.data import cmr, cohort, ecg
from eccl_lib.data.traits import TRAITS
from eccl_lib.inputs import Clips, Signals, in_batches
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.models.swin import CmrEncoder
from eccl_lib.models.vit import EcgEncoder, grid
from eccl_lib.runs import Run, device
from eccl_lib.storage import MissingError, only_one
from eccl_lib.tasks import TASKS, Targets, balanced_chunks, targets
from eccl_lib.train import Recipe, Step, even_batches, fit, seed_of

Log = Callable[[str], None]
FORMAT = "stages 2"  # raise it when a stage's arithmetic changes: finished runs of the old kind are then made again


@dataclass(frozen=True)
class Arm:
    """What sets the ECG rows of Table 1 apart. key: the row's fixed key."""

    key: str
    ecg_pretraining: bool  # start from the masked autoencoder's encoder
    contrast: bool  # align with the frozen CMR encoder


ECCL = Arm("eccl", ecg_pretraining=True, contrast=True)


# What each run hangs on: its fingerprint.


def ecg_run(config: Config, data: cohort.Cohort) -> Run:
    """Stage one on the ECG: hangs on the signals, not on any label."""
    digest = fingerprint(config, "seed", "view", "augment", "ecg", "mae", parents=(FORMAT, data.fingerprint))
    return Run.of(config, "pretrain_ecg", "vit", "ecg", digest)


def cmr_run(config: Config, data: cohort.Cohort) -> Run:
    """Stage one on the CMR: one encoder per task."""
    sections = ("seed", "disease", "view", "augment", "cmr", "cmr_training")
    digest = fingerprint(config, *sections, parents=(FORMAT, data.fingerprint))
    return Run.of(config, "pretrain_cmr", config.cmr.architecture, config.disease, digest)


def arm_run(config: Config, arm: Arm, data: cohort.Cohort) -> Run:
    """Stage two: hangs on the arm's parents as well."""
    parents = [FORMAT, data.fingerprint, arm.key]
    parents += [ecg_run(config, data).fingerprint] if arm.ecg_pretraining else []
    parents += [cmr_run(config, data).fingerprint] if arm.contrast else []
    digest = fingerprint(config, "seed", "disease", "view", "augment", "ecg", "align", parents=tuple(parents))
    return Run.of(config, "align" if arm.contrast else "finetune", arm.key, config.disease, digest)


# The stages.


def pretrain_ecg(config: Config, log: Log = print) -> Run:
    """Masked autoencoder on the training participants' ECGs (Sec. 2.1)."""
    data = cohort.load(config, log)
    run = ecg_run(config, data)

    def train() -> None:
        signals = Signals(data, config)
        model = _build(config, lambda: MaskedAutoencoder(config.ecg, config.mae, signals.samples))
        tokens = int(np.prod(grid(config.ecg, signals.samples)))

        def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            x = ecg.augment(signals.of(rows), config.augment, generator)
            noise = torch.rand(len(rows), tokens, generator=generator, device=x.device)
            return model(x, noise)[0], {}

        def error(split: str) -> float:
            noise = torch.rand(len(data.table), tokens, generator=torch.Generator().manual_seed(config.seed))
            parts = even_batches(data.index(split), 128)
            with torch.no_grad():
                sums = [float(model(signals.of(p), noise[p].to(signals.device))[0]) * len(p) for p in parts]
            return sum(sums) / len(data.index(split))

        def batches(epoch: int) -> list[np.ndarray]:
            return even_batches(_shuffled(data.index("train"), config.seed, epoch), config.mae.batch)

        recipe = Recipe(model, batches, step, lambda: {"score": -error("val")})
        history, timing = _fit(recipe, config.mae, run, config, log)
        metrics = {"metric": "masked MSE", "val": error("val"), "test": error("test"), **_counts(data, history)}
        run.finish(config, model, history, metrics, _who(data), timing)

    return _once(run, config, train, log)


def pretrain_cmr(config: Config, log: Log = print) -> Run:
    """Supervised CMR encoder of one task (Sec. 2.1): five in all. Scored on CMR it is the reference row CMR_Sup."""
    data = cohort.load(config, log)
    run = cmr_run(config, data)

    def train() -> None:
        clips, goal = Clips(data, config), _goal(config, data)
        model = _build(config, lambda: _cmr_model(config, goal))
        wanted = goal.scaled().to(clips.device)

        def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            x = cmr.augment(clips.of(rows), config.augment, generator)
            return goal.loss(model(x), wanted[rows]), {}

        _train_task(run, config, config.cmr_training, data, goal, model, step, lambda part: model(clips.of(part)), log)

    return _once(run, config, train, log)


def align(config: Config, arm: Arm = ECCL, log: Log = print) -> Run:
    """Contrast against the frozen CMR encoder's features and train the task on the ECG (Sec. 2.2, Eq. 5)."""
    data = cohort.load(config, log)
    run = arm_run(config, arm, data)

    def train() -> None:
        signals, goal = Signals(data, config), _goal(config, data)
        features = torch.from_numpy(cmr_features(config, data, log)).to(signals.device)  # (N, D), never trained
        model = _build(config, lambda: _aligned_model(config, signals.samples, goal, features.shape[1]))
        _start_encoder(model, arm, config, data, log)
        wanted = goal.scaled().to(signals.device)

        def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            x = ecg.augment(signals.of(rows), config.augment, generator)
            outputs, z_ecg, z_cmr = model.forward_pair(x, features[rows])
            contrastive = losses.clip_loss(z_ecg, z_cmr, config.align.temperature)
            task = goal.loss(outputs, wanted[rows])
            total = losses.total_loss(contrastive, task, config.align.task_weight)
            return total, {"contrastive": contrastive, "task": task}

        _train_task(run, config, config.align, data, goal, model, step, lambda part: model(signals.of(part)), log)

    return _once(run, config, train, log)


def finetune(config: Config, arm: Arm, log: Log = print) -> Run:
    """The task on the ECG alone: the arms without contrast. Same schedule and number of updates as ``align``."""
    data = cohort.load(config, log)
    run = arm_run(config, arm, data)

    def train() -> None:
        signals, goal = Signals(data, config), _goal(config, data)
        model = _build(config, lambda: _ecg_model(config, signals.samples, goal))
        _start_encoder(model, arm, config, data, log)
        wanted = goal.scaled().to(signals.device)

        def step(rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            x = ecg.augment(signals.of(rows), config.augment, generator)
            return goal.loss(model(x), wanted[rows]), {}

        _train_task(run, config, config.align, data, goal, model, step, lambda part: model(signals.of(part)), log)

    return _once(run, config, train, log)


# What a stage needs from upstream.


def parents(config: Config, log: Log = print) -> tuple[Run, Run]:
    """The finished runs of stage one, ECG and CMR: built first where the scale allows, else MissingError."""
    data = cohort.load(config, log)
    ecg_parent = _parent(pretrain_ecg, ecg_run(config, data), config, log)
    return ecg_parent, _parent(pretrain_cmr, cmr_run(config, data), config, log)


def cmr_features(config: Config, data: cohort.Cohort, log: Log = print) -> np.ndarray:
    """Features of every participant's clip from the frozen CMR encoder, computed once. Returns (N, D) float32."""
    teacher = _parent(pretrain_cmr, cmr_run(config, data), config, log)

    def compute() -> np.ndarray:
        model, clips = frozen_cmr(config, data), Clips(data, config)
        return in_batches(lambda part: model.encoder(clips.of(part)), np.arange(len(data.table)))

    return teacher.cached_array("features", compute)


def frozen_cmr(config: Config, data: cohort.Cohort) -> Supervised:
    """The finished CMR encoder and head, frozen: no gradient, no dropout, no drop path (Sec. 2.2)."""
    goal = _goal(config, data)
    return _load(_build(config, lambda: _cmr_model(config, goal)), cmr_run(config, data))


def trained_ecg(config: Config, arm: Arm, data: cohort.Cohort) -> Aligned | Supervised:
    """The finished ECG model of an arm, frozen."""
    goal, samples = _goal(config, data), 10 * config.view.ecg_rate
    if not arm.contrast:
        return _load(_build(config, lambda: _ecg_model(config, samples, goal)), arm_run(config, arm, data))
    width = _cmr_model(config, goal).head.in_features
    return _load(_build(config, lambda: _aligned_model(config, samples, goal, width)), arm_run(config, arm, data))


def unaligned(config: Config, data: cohort.Cohort, log: Log = print) -> Aligned:
    """The model that ``align`` starts from: pre-trained ECG encoder, projections and head at their first weights."""
    goal, samples = _goal(config, data), 10 * config.view.ecg_rate
    width = _cmr_model(config, goal).head.in_features
    model = _build(config, lambda: _aligned_model(config, samples, goal, width))
    _start_encoder(model, ECCL, config, data, log)
    return model.requires_grad_(False).eval()


def pretrained_ecg(config: Config, data: cohort.Cohort) -> MaskedAutoencoder:
    """The finished masked autoencoder, frozen."""
    model = _build(config, lambda: MaskedAutoencoder(config.ecg, config.mae, 10 * config.view.ecg_rate))
    return _load(model, ecg_run(config, data))


def _load(model: nn.Module, run: Run) -> nn.Module:
    model.load_state_dict(run.weights())
    return model.requires_grad_(False).eval()


def _parent(stage: Callable[[Config, Log], Run], run: Run, config: Config, log: Log) -> Run:
    """A finished parent: built where the scale allows, else MissingError with the command."""
    if run.done:
        return run
    if not config.runtime.build_missing:
        line = f"python -m eccl_lib.stages {stage.__name__} {command.line(config)}"
        raise MissingError(f"{run.name} has not been trained. Train it first:\n  {line}")
    log(f"{run.name} is needed first; training it")
    return stage(config, log)


def _start_encoder(model: Supervised, arm: Arm, config: Config, data: cohort.Cohort, log: Log) -> None:
    """Copy the masked autoencoder's encoder where the arm has self-supervision (Sec. 2.2)."""
    if arm.ecg_pretraining:
        run = _parent(pretrain_ecg, ecg_run(config, data), config, log)
        model.encoder.load_state_dict(run.weights("encoder"))


# Models by task.


def _cmr_model(config: Config, goal: Targets) -> Supervised:
    encoder = CmrEncoder(config.cmr, config.view)
    return Supervised(encoder, encoder.num_features, goal.task.outputs).to(memory_format=torch.channels_last)


def _ecg_model(config: Config, samples: int, goal: Targets) -> Supervised:
    return Supervised(EcgEncoder(config.ecg, samples), config.ecg.width, goal.task.outputs)


def _aligned_model(config: Config, samples: int, goal: Targets, cmr_width: int) -> Aligned:
    encoder = EcgEncoder(config.ecg, samples)
    return Aligned(encoder, config.ecg.width, goal.task.outputs, cmr_width, config.align)


def _build(config: Config, make: Callable[[], nn.Module]) -> nn.Module:
    """The model on its device, first weights from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed))
        return make().to(device(config))


# The shared course of a stage.


def _once(run: Run, config: Config, train: Callable[[], None], log: Log) -> Run:
    """Train unless it is done; one process at a time."""
    torch.set_num_threads(config.runtime.threads)
    if run.done:
        log(f"{run.name}: done before, reused")
        return run
    with only_one(run.folder, log):
        if not run.done:
            log(f"{run.name}: training")
            for left in run.folder.glob(".*.partial"):  # by a process that was killed while it wrote
                left.unlink()
            train()
    return run


def _goal(config: Config, data: cohort.Cohort) -> Targets:
    return targets(TASKS[config.disease], data.labels, data.traits, data.index("train"))


def _fit(recipe: Recipe, training: TrainingConfig, run: Run, config: Config, log: Log) -> tuple[pd.DataFrame, dict]:
    seconds = config.runtime.checkpoint_seconds
    options = {"seed": config.seed, "folder": run.folder, "fingerprint": run.fingerprint, "checkpoint_seconds": seconds}
    return fit(recipe, training, log=lambda line: log(f"{run.stage}/{run.variant}/{run.task}  {line}"), **options)


def _train_task(
    run: Run,
    config: Config,
    training: TrainingConfig,
    data: cohort.Cohort,
    goal: Targets,
    model: nn.Module,
    step: Step,
    outputs: Callable[[np.ndarray], Tensor],
    log: Log,
) -> None:
    """Fit a task's model, choose the epoch on the validation participants, predict every test participant."""

    def predict(rows: np.ndarray) -> np.ndarray:
        return goal.unscaled(in_batches(outputs, rows))

    def score(split: str) -> float:
        return goal.score(predict(data.index(split)), data.index(split))

    batches = task_batches(goal, data.index("train"), training, config.seed)
    history, timing = _fit(Recipe(model, batches, step, lambda: {"score": score("val")}), training, run, config, log)
    metrics = {"metric": goal.task.metric, "val": score("val"), "test": score("test"), **_counts(data, history)}
    metrics["updates"] = sum(len(batches(epoch)) for epoch in range(len(history)))
    if goal.task.is_disease:
        metrics["positives"] = {s: int(goal.values[data.index(s)].sum()) for s in ("train", "val", "test")}
    rows = data.index("test")
    run.finish(config, model, history, metrics, _predictions(data, goal, rows, predict(rows)), timing)


def task_batches(
    goal: Targets, train: np.ndarray, training: TrainingConfig, seed: int
) -> Callable[[int], list[np.ndarray]]:
    """epoch -> batches of rows: balanced chunks for a disease (Sec. 3.1), one shuffled pass for the traits."""

    def batches(epoch: int) -> list[np.ndarray]:
        if not goal.task.is_disease:
            return even_batches(_shuffled(train, seed, epoch), training.batch)
        generator = np.random.default_rng(seed_of(seed, epoch))
        chunks = balanced_chunks(goal.values[train, 0] > 0.5, training.negatives_per_positive, generator)
        return [batch for chunk in chunks for batch in even_batches(train[chunk], training.batch)]

    return batches


def _shuffled(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(seed_of(seed, epoch)).permutation(rows)


def _counts(data: cohort.Cohort, history: pd.DataFrame) -> dict[str, object]:
    """Participants per split, epochs trained and the one chosen: the first of the best, or the last without a score."""
    scores = history["score"].to_numpy()
    chosen = len(scores) - 1 if np.isnan(scores).all() else int(np.nanargmax(scores))
    n = {split: len(data.index(split)) for split in ("train", "val", "test")}
    return {"n": n, "epochs": len(scores), "best_epoch": chosen + 1}


def _who(data: cohort.Cohort) -> pd.DataFrame:
    rows = data.index("test")
    return pd.DataFrame({"eid": data.table["eid"].to_numpy()[rows], "row": rows})


def _predictions(data: cohort.Cohort, goal: Targets, rows: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """eid, row, then target and score per output: a disease's logit, a trait in its unit."""
    names = [goal.task.key] if goal.task.is_disease else [str(trait.field_id) for trait in TRAITS]
    columns = {f"target_{name}": goal.values[rows, i] for i, name in enumerate(names)}
    columns |= {f"score_{name}": scores[:, i].astype(np.float32) for i, name in enumerate(names)}
    return pd.concat([_who(data), pd.DataFrame(columns)], axis=1)


def main(arguments: list[str] | None = None) -> None:
    """``python -m eccl_lib.stages pretrain_ecg|pretrain_cmr --scale ... --disease ... --seed ...``."""
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.stages", description=__doc__)
    parser.add_argument("stage", choices=("pretrain_ecg", "pretrain_cmr"))
    command.add_parameters(parser)
    parsed = parser.parse_args(arguments)
    run = {"pretrain_ecg": pretrain_ecg, "pretrain_cmr": pretrain_cmr}[parsed.stage](command.config(parsed))
    print(
        f"{run.name}: {run.metrics['metric']} {run.metrics['test']:.4f} on {run.metrics['n']['test']} test participants"
    )


if __name__ == "__main__":
    command.run(main)
