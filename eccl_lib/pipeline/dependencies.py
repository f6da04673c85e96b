"""What each run hangs on: its parents and its part of the config, in one fingerprint."""

from __future__ import annotations

from typing import Literal

from eccl_lib.config.errors import MissingError
from eccl_lib.config.load import fingerprint
from eccl_lib.config.method_schema import Arm, Modality, with_cmr
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.io import paths
from eccl_lib.training.runs import Run

FORMAT = "stages 3"  # raise it when a stage's arithmetic changes: finished runs of the old kind are then made again


def initial_weights_run(config: Config, stage: Literal["pretrain_ecg", "pretrain_cmr"]) -> Run | None:
    """The run whose weights are the first of this stage's, None where none is asked for: of any cohort and scale.

    Its fingerprint's first eight signs are in the config, so whoever starts from it has another fingerprint than who
    does not. Raises MissingError where it is not there or not finished.
    """
    wanted = (config.mae if stage == "pretrain_ecg" else config.cmr_training).start_from
    if not wanted:
        return None
    found = [run for run in Run.every(stage) if run.fingerprint.startswith(wanted)]
    if len({run.fingerprint for run in found}) != 1:
        there = "no finished run" if not found else f"{len(found)} runs"
        section = "mae" if stage == "pretrain_ecg" else "cmr_training"
        raise MissingError(
            f"{section}.start_from is {wanted}: {there} of {stage} under {paths.runs_root()} has a folder that ends so."
        )
    return found[0]


def ecg_run(config: Config, data: Cohort) -> Run:
    """The masked autoencoder: hangs on the signals, not on any label."""
    digest = fingerprint(config, "seed", "view", "augment", "ecg", "mae", parents=(FORMAT, data.fingerprint))
    return Run.of(config, "pretrain_ecg", "vit", "ecg", digest)


def cmr_run(config: Config, data: Cohort) -> Run:
    """The supervised CMR encoder of one task and one architecture."""
    architecture = config.cmr.architecture
    own = {"swin": "cmr", "resnet50": "cmr_resnet", "vit": "cmr_vit"}[architecture]
    sections = ("seed", "disease", "view", "augment", own, "cmr_training")
    digest = fingerprint(config, *sections, parents=(FORMAT, data.fingerprint, architecture))
    return Run.of(config, "pretrain_cmr", architecture, config.disease, digest)


def autoencoder_run(config: Config, modality: Modality, data: Cohort) -> Run:
    """CMAE's autoencoder of one modality, alone."""
    parents = (FORMAT, data.fingerprint, modality)
    return Run.of(config, "autoencode", modality, modality, fingerprint(config, *_CMAE, parents=parents))


def pair_run(config: Config, data: Cohort) -> Run:
    """CMAE's pair of autoencoders."""
    alone = tuple(autoencoder_run(config, modality, data).fingerprint for modality in ("ecg", "cmr"))
    digest = fingerprint(config, *_CMAE, parents=(FORMAT, data.fingerprint, *alone))
    return Run.of(config, "pretrain_pair", "cmae", "pair", digest)


_CMAE = ("seed", "view", "augment", "cmae")


def arm_run(config: Config, arm: Arm, data: Cohort) -> Run:
    """Stage two, or the task alone: hangs on the arm's parents as well."""
    parents = [FORMAT, data.fingerprint, arm.key]
    if arm.pretraining == "mae":
        parents.append(ecg_run(config, data).fingerprint)
    if arm.pretraining == "cmae":
        parents.append(pair_run(config, data).fingerprint)
    if arm.teacher:
        parents.append(cmr_run(with_cmr(config, arm.teacher), data).fingerprint)
    encoder = "ecg" if arm.encoder == "vit" else "cmae"
    digest = fingerprint(config, "seed", "disease", "view", "augment", encoder, "align", parents=tuple(parents))
    return Run.of(config, "align" if arm.teacher else "finetune", arm.key, config.disease, digest)


def third_run(config: Config, arm: Arm, data: Cohort) -> Run:
    """The third stage of the authors' code, after an alignment."""
    parents = (FORMAT, data.fingerprint, arm_run(config, arm, data).fingerprint)
    digest = fingerprint(config, "seed", "view", "augment", "third_stage", parents=parents)
    return Run.of(config, "third_stage", arm.key, config.disease, digest)


def has_third_stage(config: Config, arm: Arm) -> bool:
    """Whether the arm goes through one: only where switched on, only aligned models of the traits (authors' code)."""
    return config.third_stage.enabled and arm.teacher is not None and config.disease == "traits"


def result_run(config: Config, arm: Arm, data: Cohort) -> Run:
    """The last stage of an arm: the one that is scored and predicts."""
    return (third_run if has_third_stage(config, arm) else arm_run)(config, arm, data)
