"""The table of stages, the runs that they make, and how a run and its prerequisites are trained.

Runs, plans, the grid, the commands and the figure of all trainings read this table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from eccl_lib.config import command_line, diseases
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import fingerprint, load
from eccl_lib.config.method_schema import Arm, with_cmr
from eccl_lib.config.ranges import violations
from eccl_lib.config.schema import ARRAYS, Config, ViewConfig
from eccl_lib.config.schema import TASKS as PAPER_TASKS
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.io.progress import Log
from eccl_lib.models.build import ECG_ENCODERS, device, new_ecg_model
from eccl_lib.models.cmr_encoders import CMR_ENCODERS
from eccl_lib.models.heads import Supervised
from eccl_lib.pipeline import features, jobs, next_step, outputs, trainer
from eccl_lib.pipeline.extensions import auxiliary_predictions
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.weights import frozen, initial_weights_run, load_initial_weights
from eccl_lib.tasks import TASKS, targets_of
from eccl_lib.training import cost, distributed, performance, summary_box
from eccl_lib.training.cost import Plan
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.runs import Run

FORMAT = "stages 4"  # raise it when the arithmetic of a stage changes: runs of the old format are then trained again
CMR_SECTIONS = {"resnet50": "cmr_resnet", "vit": "cmr_vit"}  # of the config, by architecture; of the others: cmr


@dataclass(frozen=True)
class Stage:
    """One kind of training.

    name: folder of its runs. needs: arrays that the cohort must have. config_sections: sections in the fingerprint.
    parents: the runs that must be finished first. build: makes the training job; with ``pretrained`` False it has
    random weights and features, which take as much time and need no parent.
    """

    name: str
    needs: tuple[str, ...]
    config_sections: Callable[[RunSpec], tuple[str, ...]]
    parents: Callable[[RunSpec], tuple[RunSpec, ...]]
    build: Callable[[RunSpec, Cohort, bool], TrainingJob]


@dataclass(frozen=True)
class RunSpec:
    """A run before it is trained. stage: name in ``STAGES``; variant: an architecture, a modality or a row's key."""

    stage: str
    variant: str
    config: Config

    @property
    def arm(self) -> Arm:
        """The arm of the variant, a row of Table 1 that reads ECGs."""
        return METHODS[self.variant].arm

    @property
    def is_features(self) -> bool:
        """Whether this is the extraction of CMR features, which are kept beside the CMR encoder."""
        return self.stage == "cmr_features"

    @property
    def task(self) -> str:
        """A disease or ``traits``; for a stage without labels, its input; for ``probe``, its own tasks."""
        if self.stage in ("probe", "probe_cmr"):
            return "+".join(self.config.probe.tasks)
        return _WITHOUT_LABELS.get(self.stage) or (self.variant if self.stage == "autoencode" else self.config.disease)

    @property
    def name(self) -> str:
        """Its name for ``eccl train``."""
        if self.stage in ("align", "finetune", "third_stage"):
            return self.variant
        return f"{self.stage}_{self.variant}" if self.stage == "autoencode" else self.stage

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays of the cohort that it reads."""
        return STAGES[self.stage].needs

    @property
    def kind(self) -> str:
        """Name of the kind of run; runs of one kind take about the same time."""
        task = "traits" if self.config.disease == "traits" else "disease"
        if self.stage in ("align", "finetune"):
            return f"{self.variant}/{task}"
        if self.stage in ("probe", "probe_cmr"):
            return f"{self.stage}/{self.variant}/{self.config.probe.epochs * self.config.probe.steps_per_epoch}"
        if self.stage in ("pretrain_cmr", "third_stage"):
            return f"{self.stage}/{self.variant}/{task}"
        return f"{self.stage}/{self.variant}" if self.is_features else self.name

    @property
    def own_config(self) -> Config:
        """The config with which ``spec`` gives this run by its name: that of a parent of a third stage has none."""
        third = self.config.third_stage
        if self.stage != "align" or not third.enabled or self.config.disease != "traits":
            return self.config
        return replace(self.config, third_stage=replace(third, enabled=False))

    @property
    def command(self) -> str:
        """The shell command that trains it."""
        return f"eccl train {self.name} {command_line.line(self.own_config)}"

    def parents(self) -> tuple[RunSpec, ...]:
        """The runs that must be finished first. Specs that share a parent give equal parents."""
        return STAGES[self.stage].parents(self)

    def run(self, data: Cohort) -> Run:
        """Its run, whether it is trained or not. Features are stored in the run of their encoder."""
        if self.is_features:
            return self.parents()[0].run(data)
        own = (self.variant,) if self.stage in ("pretrain_cmr", "autoencode", "align", "finetune") else ()
        parents = tuple(parent.run(data).fingerprint for parent in self.parents())
        sections = STAGES[self.stage].config_sections(self)
        made_by = (FORMAT, data.fingerprint, *own, *self._packages(), *self._own_labels(data))
        digest = fingerprint(self.config, *sections, parents=(*made_by, *parents))
        return Run.of(self.config, self.stage, self.variant, self.task, digest)

    def _own_labels(self, data: Cohort) -> tuple[str, ...]:
        """Digest of the labels of a disease of the user, which the cohort's fingerprint does not cover."""
        codes = [code for code, _ in self.config.diseases]
        return tuple(hashlib.sha256(data.label_of(code).tobytes()).hexdigest() for code in codes)

    def _packages(self) -> tuple[str, ...]:
        """The outside packages, with versions, whose code the run uses: another version is another run."""
        used = (METHODS, self.variant), (TASKS, self.config.disease), (CMR_ENCODERS, self.config.cmr.architecture)
        encoder = METHODS[self.variant].arm.encoder if self.stage in ("align", "finetune") else ""
        found = (entries.package(name) for entries, name in (*used, (ECG_ENCODERS, encoder)))
        return tuple(package for package in found if package)

    def done(self, data: Cohort) -> bool:
        """Whether there is nothing left to do."""
        run = self.run(data)
        return run.done and (not self.is_features or run.has_cached(features.file_name(self.config)))

    def plan(self, data: Cohort) -> Plan:
        """Estimate its time and memory from trial steps here. Needs no parent and leaves no files."""
        performance.set_up(self.config.runtime)
        return cost.plan(self.job(data, pretrained=False), runtime=self.config.runtime)

    def estimate(self, data: Cohort) -> float:
        """Estimated seconds of the run, from trial steps here."""
        if not self.is_features:
            return self.plan(data).seconds
        performance.set_up(self.config.runtime)
        return features.estimate(self.config, data)

    def seconds(self, data: Cohort) -> float:
        """Seconds that the finished run took, without its parents: CPU time, or wall-clock time on a GPU."""
        run = self.run(data)
        timing = run.cached_timing(features.file_name(self.config)) if self.is_features else run.timing
        return seconds_in(timing, self.config)

    def job(self, data: Cohort, pretrained: bool = True) -> TrainingJob:
        """The training job. pretrained: False gives random weights and features, for estimates."""
        return STAGES[self.stage].build(self, data, pretrained)

    def train(self, log: Log = print, summary: Callable[[Run], Iterable[str]] | None = None) -> Run:
        """Train it, or return the finished run; first its prerequisites, as ``require`` does.

        summary: lines for the log after a training; by default those of ``summary_box`` without a next step.
        """
        data = cohort_for(self.config, log, STAGES[self.stage].needs)
        if self.is_features:
            run = require(self.parents()[0], log)
            features.extract(self.config, data, run)
            return run

        def build() -> TrainingJob:
            for parent in self.parents():
                require(parent, log)
            return self.job(data)

        run = self.run(data)
        trained = trainer.train_if_missing(run, self.name, self.own_config, build, log)
        self.described(run, data)
        if trained and distributed.is_main_process():
            for line in summary(run) if summary else summary_box.lines(run, self.config):
                log(line)
        return run

    def described(self, run: Run, data: Cohort) -> Run:
        """The finished run, with the file that lets its model be used without the cohort (``pipeline/outputs.py``)."""
        run.write_outputs(lambda: outputs.describe(run, self.config, data))
        return run


def seconds_in(timing: Mapping[str, float], config: Config) -> float:
    """The time in the content of a timing.json: CPU time, or wall-clock time on a GPU."""
    unit = "seconds" if device(config).type == "cuda" else "cpu_seconds"
    return float(timing.get(unit, timing["cpu_seconds"]))  # features of earlier versions have CPU time only


_WITHOUT_LABELS = {"pretrain_ecg": "ecg", "pretrain_pair": "pair"}


# The run of a name.


def spec(config: Config, name: str) -> RunSpec:
    """The run of a stage or of a row of Table 1. name: such as pretrain_ecg, eccl, cmr_sup. Raises ConfigError.

    Sections on which a run does not depend have the scale's values, so that equal runs have equal specs.
    """
    scale, config = load(config.scale), replace(config, diseases=diseases.of_task(config.diseases, config.disease))
    if name in ("pretrain_ecg", "pretrain_pair", "autoencode_ecg", "autoencode_cmr"):
        stage, _, modality = name.partition("_") if name.startswith("autoencode") else (name, "", "")
        variant = {"pretrain_ecg": "vit", "pretrain_pair": "cmae"}.get(name, modality)
        own = _reset(config, scale, "disease", "diseases", "cmr_training", "align", "probe")
        own = own if variant == "cmae" else _reset_view(own, scale, "ecg" if variant == "cmr" else "clip")
        return RunSpec(stage, variant, with_cmr(own, "swin"))
    if name in ("probe", "probe_cmr"):
        if name == "probe_cmr" and config.probe.encoder == "mae":
            raise ConfigError("probe.encoder is mae, an encoder of ECGs; for cines choose random or run")
        own = _reset(config, scale, "disease", "diseases")
        return RunSpec(
            name, config.probe.encoder, replace(own, align=replace(scale.align, pooling=config.align.pooling))
        )
    if name in ("pretrain_cmr", "cmr_features"):
        own = _reset_view(_reset(config, scale, "ecg", "mae", "align", "probe"), scale, "ecg")
        if name == "cmr_features":  # of the augmented versions of each clip
            own = replace(own, align=replace(scale.align, views=config.align.views))
        return RunSpec(name, config.cmr.architecture, own)
    if name not in METHODS:
        raise ConfigError(f"{name!r} is no stage and no row of Table 1; choose one of {', '.join(names())}")
    if name == "cmr_sup":
        return spec(with_cmr(config, "swin"), "pretrain_cmr")
    stage = "align" if METHODS[name].arm.teacher else "finetune"
    if stage == "finetune":  # without a CMR encoder
        config = _reset(config, scale, "cmr_training")
        config = config if METHODS[name].arm.pretraining == "cmae" else _reset_view(config, scale, "clip")
    has_third = config.third_stage.enabled and stage == "align" and config.disease == "traits"  # authors' code
    return RunSpec("third_stage" if has_third else stage, name, config)


def _reset(config: Config, scale: Config, *names: str) -> Config:
    """The config with the scale's values of these fields."""
    return replace(config, **{name: getattr(scale, name) for name in names})


def _reset_view(config: Config, scale: Config, of: Literal["ecg", "clip"]) -> Config:
    """The config with the scale's view of a modality that the run does not read, if this fits its other sections."""
    own = {field.name: getattr(scale.view, field.name) for field in fields(ViewConfig) if field.name.startswith(of)}
    changed = replace(config, view=replace(config.view, **own))
    return config if any(violations(changed)) else changed


def _pretraining(own: RunSpec) -> tuple[RunSpec, ...]:
    """Parents of stage two: the pre-trained ECG encoder and the features of the CMR encoder, where the row has them."""
    names = {"none": (), "mae": ("pretrain_ecg",), "cmae": ("pretrain_pair",)}[own.arm.pretraining]
    parents = tuple(spec(own.config, name) for name in names)
    if not own.arm.teacher:
        return parents
    config = with_cmr(own.config, own.arm.teacher)
    others = (spec(replace(config, disease=task), "cmr_features") for task in PAPER_TASKS if task != config.disease)
    auxiliary = tuple(others) if _has_teachers(own) else ()
    return (*parents, *auxiliary, spec(config, "cmr_features"))


def _has_teachers(own: RunSpec) -> bool:
    """Whether the CMR models of all tasks give auxiliary targets."""
    return own.config.align.auxiliary == "teachers" and own.arm.objective == "clip"


def _cmr_of_traits(own: RunSpec) -> tuple[RunSpec, ...]:
    """Parent of a disease's CMR encoder: that of the traits, where the config says so."""
    traits = replace(own.config, disease="traits", diseases=())
    return (replace(own, config=traits),) if jobs.from_traits(own.config) else ()


def _ecg_sections(own: RunSpec) -> tuple[str, ...]:
    return ("seed", "disease", "view", "augment", "cmae" if own.arm.encoder == "convolution" else "ecg", "align")


def _cmr_sections(own: RunSpec) -> tuple[str, ...]:
    return ("seed", "disease", "view", "augment", CMR_SECTIONS.get(own.variant, "cmr"), "cmr_training")


def _probe_sections(own: RunSpec) -> tuple[str, ...]:
    pooling = ("align",) if own.config.align.pooling != "class" else ()  # as runs were named before other poolings
    return ("seed", "view", "augment", "ecg", "probe", *pooling)


def _probe_cmr_sections(own: RunSpec) -> tuple[str, ...]:
    return ("seed", "view", "augment", "cmr", CMR_SECTIONS.get(own.config.cmr.architecture, "cmr"), "probe")


# The training job of each stage.


def _masked_autoencoder(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    job = jobs.masked_autoencoder_job(own.config, data)
    load_initial_weights(job.model, initial_weights_run(own.config, own.stage))
    return job


def _cmr(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    job, parents = jobs.cmr_job(own.config, data), own.parents() if pretrained else ()
    start = parents[0].run(data) if parents else initial_weights_run(own.config, own.stage)
    load_initial_weights(job.model, start, "encoder")
    return job


def _cross_modal(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    job = jobs.cross_modal_job(own.config, data)
    for parent in own.parents() if pretrained else ():
        getattr(job.model, parent.variant).load_state_dict(parent.run(data).weights())
    return job


def _stage_two(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    config, arm = own.config, own.arm
    if not pretrained:
        return jobs.untrained_ecg_job(config, arm, data)
    model = new_ecg_model(config, targets_of(config, data).task.outputs, arm)
    load_pretrained_encoder(model, own, data)
    teacher = own.parents()[-1] if arm.teacher else None
    frozen_features = features.extract(teacher.config, data, teacher.run(data)) if teacher else None
    auxiliary = _predictions_of_teachers(own, data) if _has_teachers(own) else None
    return jobs.ecg_job(config, arm, data, model, frozen_features, auxiliary=auxiliary)


def _predictions_of_teachers(own: RunSpec, data: Cohort) -> np.ndarray:
    """Auxiliary targets (N, 86): what the CMR models of all tasks predict from each participant's clip."""
    by_task = {parent.config.disease: parent for parent in own.parents() if parent.is_features}
    return auxiliary_predictions(
        data,
        [features.head_outputs(by_task[task].config, data, by_task[task].run(data)) for task in PAPER_TASKS],
    )


def load_pretrained_encoder(model: Supervised, own: RunSpec, data: Cohort) -> None:
    """Copy the weights of a row's pre-trained ECG encoder into its model, where the row has one (Sec. 2.2)."""
    if own.arm.pretraining == "mae":
        model.encoder.load_state_dict(spec(own.config, "pretrain_ecg").run(data).weights("encoder"))
    if own.arm.pretraining == "cmae":
        model.encoder.load_state_dict(spec(own.config, "pretrain_pair").run(data).weights("ecg.encoder"))


def _probe(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    make = {"probe": jobs.probe_job, "probe_cmr": jobs.probe_cmr_job}[own.stage]
    job, parents = make(own.config, data), own.parents() if pretrained else ()
    start = parents[0].run(data) if parents else initial_weights_run(own.config, own.stage) if pretrained else None
    load_initial_weights(job.model, start, "encoder")
    return job


def _third_stage(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    config, arm = own.config, own.arm
    model = new_ecg_model(config, targets_of(config, data).task.outputs, arm)
    if pretrained:
        frozen(model, own.parents()[0].run(data))
    model.requires_grad_(False)  # the projections are not used any more
    for part in (model.encoder, model.head):
        part.requires_grad_(True)
    return jobs.ecg_job(config, arm, data, model, None, config.third_stage)


def _features(own: RunSpec, data: Cohort, pretrained: bool) -> TrainingJob:
    raise TypeError("CMR features are extracted, not trained")


_CMAE = ("seed", "view", "augment", "cmae")
STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "pretrain_ecg",
            needs=("ecg",),
            config_sections=lambda own: ("seed", "view", "augment", "ecg", "mae"),
            parents=lambda own: (),
            build=_masked_autoencoder,
        ),
        Stage("pretrain_cmr", needs=("clips",), config_sections=_cmr_sections, parents=_cmr_of_traits, build=_cmr),
        Stage(
            "cmr_features",
            needs=ARRAYS,
            config_sections=lambda own: (),
            parents=lambda own: (spec(own.config, "pretrain_cmr"),),
            build=_features,
        ),
        Stage(
            "autoencode",
            needs=ARRAYS,
            config_sections=lambda own: _CMAE,
            parents=lambda own: (),
            build=lambda own, data, pretrained: jobs.autoencoder_job(own.config, own.variant, data),
        ),
        Stage(
            "pretrain_pair",
            needs=ARRAYS,
            config_sections=lambda own: _CMAE,
            parents=lambda own: (spec(own.config, "autoencode_ecg"), spec(own.config, "autoencode_cmr")),
            build=_cross_modal,
        ),
        Stage("align", needs=ARRAYS, config_sections=_ecg_sections, parents=_pretraining, build=_stage_two),
        Stage("finetune", needs=("ecg",), config_sections=_ecg_sections, parents=_pretraining, build=_stage_two),
        Stage(
            "probe",
            needs=("ecg",),
            config_sections=_probe_sections,
            parents=lambda own: (spec(own.config, "pretrain_ecg"),) if own.variant == "mae" else (),
            build=_probe,
        ),
        Stage(
            "probe_cmr",
            needs=("clips",),
            config_sections=_probe_cmr_sections,
            parents=lambda own: (),
            build=_probe,
        ),
        Stage(
            "third_stage",
            needs=ARRAYS,
            config_sections=lambda own: ("seed", "view", "augment", "third_stage"),
            parents=lambda own: (RunSpec("align", own.variant, own.config),),
            build=_third_stage,
        ),
    )
}
NAMES = ("pretrain_ecg", "pretrain_cmr", "autoencode_ecg", "autoencode_cmr", "pretrain_pair", "probe", "probe_cmr")


def names() -> tuple[str, ...]:
    """The names that ``spec`` and ``eccl train`` know: stages, then rows of Table 1."""
    return (*NAMES, *METHODS)


# Training.


def train(config: Config, name: str, log: Log = print, *, summarize: bool = True) -> Run:
    """Train a stage or a row of Table 1, or return its finished run. name: one of ``names()``.

    summarize: log the summary with the next step after a training.
    """

    def summary(run: Run) -> list[str]:
        return summary_box.lines(run, config, next_step.after(config, name, run)) if summarize else []

    return spec(config, name).train(log, summary)


def expected(config: Config, name: str, data: Cohort) -> Run:
    """The run that ``train`` makes or finds, whether it is trained or not."""
    return spec(config, name).run(data)


def require(own: RunSpec, log: Log = print, data: Cohort | None = None) -> Run:
    """The finished run; trained now if ``runtime.build_missing``, else MissingError with the command.

    data: the config's cohort, where the caller has opened it.
    """
    data = data or cohort_for(own.config, log, STAGES[own.stage].needs)
    run = own.run(data)
    if own.is_features:
        return own.train(log)
    if distributed.broadcast(lambda: run.done):
        return own.described(run, data)
    if not own.config.runtime.build_missing:
        raise MissingError(f"{run.name} has not been trained. Train it first:\n  {own.command}")
    log(f"{run.name} is a prerequisite; training it")
    return own.train(log)


def parents(config: Config, log: Log = print) -> tuple[Run, Run]:
    """The finished runs of stage one, ECG and CMR, as ``require`` gives them."""
    return require(spec(config, "pretrain_ecg"), log), require(spec(config, "pretrain_cmr"), log)


def cohort_for(config: Config, log: Log = print, needs: Collection[str] = ARRAYS) -> Cohort:
    """The config's cohort with the arrays that are needed; with several ranks, the main process builds it first."""
    return distributed.main_process_first(lambda: open_cohort.load(config, log, needs=needs))


def waves(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """The runs and their prerequisites, each once, in waves: prerequisites by depth, then the other runs.

    No run depends on another run of its wave.
    """
    depth: dict[RunSpec, int] = {}
    needed: set[RunSpec] = set()

    def visit(own: RunSpec) -> int:
        if own not in depth:
            above = own.parents()
            needed.update(above)
            depth[own] = max((visit(parent) + 1 for parent in above), default=0)
        return depth[own]

    for own in specs:
        visit(own)
    levels = range(max(depth.values(), default=-1) + 1)
    shared = [[own for own in depth if own in needed and depth[own] == level] for level in levels]
    return [wave for wave in (*shared, [own for own in depth if own not in needed]) if wave]


def cmr_features(config: Config, data: Cohort, log: Log = print) -> np.ndarray:
    """Features of every participant's clip from the frozen CMR encoder, computed once. Returns (N, D) float32."""
    return features.plain(config, data, require(spec(config, "pretrain_cmr"), log))
