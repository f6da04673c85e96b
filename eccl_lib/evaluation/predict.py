"""Cardiac traits and disease scores of ECG files (``eccl predict FILES``), with intervals and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import essentials
from eccl_lib.config.schema import DISEASES, LEADS, TASKS, Config
from eccl_lib.data import open_cohort, original
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.formats import detect
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.small_counts import Limit, limit_of
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import calibrate
from eccl_lib.evaluation.calibrate import Calibration, DiseaseCalibration, TraitCalibration
from eccl_lib.evaluation.ecg_files import NotRead, Reading, reading_of
from eccl_lib.io import regular
from eccl_lib.io.progress import Log, silent
from eccl_lib.metrics.calibration import risk
from eccl_lib.models.build import device
from eccl_lib.pipeline import portable, stages
from eccl_lib.pipeline.portable import EcgModel
from eccl_lib.tasks import Task, default_tasks, task_of
from eccl_lib.training.run_scores import measured_and_predicted
from eccl_lib.training.runs import MANIFEST, Run

WARNING = (
    "The models were trained on a synthetic cohort. The traits and scores show that the software runs on this file; "
    "they have no meaning for the person whose ECG this is."
)
RESEARCH = "Research software, not a medical device."
CALIBRATE = "run eccl predict once where the cohort is"
BATCH = 64  # ECGs that pass through the models together
PREDICTING = ("align", "finetune", "third_stage")  # stages whose models predict the tasks of Table 1
ALL_LEADS = LEADS
# Of an interval: volumes, areas, masses and the like are not negative; strains can be. Cutting there loses no coverage.
LOWEST = np.array([-np.inf if trait.group in ("Ecc", "Err", "Ell") else 0.0 for trait in TRAITS])


@dataclass(frozen=True)
class Predictor:
    """The models of some tasks, each the mean over the seeds of one task; loaded once for any number of ECGs.

    cohort: opens the cohort that calibrates the models; None where it is not at hand. limit: of small counts.
    """

    models: dict[str, tuple[EcgModel, ...]]
    cohort: Callable[[], Cohort] | None
    limit: Limit
    log: Log = silent
    known: dict[tuple[str, tuple[str, ...]], Calibration | None] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return next(iter(self.models.values()))[0].config

    @property
    def is_synthetic(self) -> bool:
        """Whether the models were trained on the synthetic cohort, so that nothing has a meaning for a person."""
        return self.config.cohort == "synthetic"

    @property
    def diseases(self) -> dict[str, str]:
        """Names of the diseases beside the paper's four, by code."""
        return {key: task.disease for key, task in self.tasks.items() if task.is_disease and key not in DISEASES}

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each model, by key."""
        return {key: task_of(models[0].config, key) for key, models in self.models.items()}

    def calibration(self, task: str, present: tuple[str, ...] = ALL_LEADS) -> Calibration | None:
        """Intervals or probabilities of a task for ECGs with these leads, without small counts; None if unknown."""
        if (task, present) not in self.known:
            if present != ALL_LEADS and self.cohort is not None:
                self.log(f"{task}: calibration without {' '.join(_without(present))}")
            found = calibrate.of(self.models[task], present, self.cohort)
            self.known[task, present] = None if found is None else found.shown(self.limit)
        return self.known[task, present]

    def lost(self, present: tuple[str, ...]) -> str:
        """What is lost with these leads alone, as a sentence with scores of test participants; "" with all leads."""
        if present == ALL_LEADS:
            return ""
        start, parts, n = f"scored without {' '.join(_without(present))}", [], 0
        for task, own in self.tasks.items():
            known = self.calibration(task, present)
            if known is not None and np.isfinite([known.score, known.whole]).all():
                name = f"AUC of {own.disease}" if own.is_disease else "mean r of the traits"
                parts.append(f"{name} {known.score:.2f} instead of {known.whole:.2f}")
                n = max(n, int(np.max(known.n_test)))
        if not parts:
            return f"{start}: how much is lost is not known here ({CALIBRATE}, on an ECG with the same leads)"
        return f"{start}: {', '.join(parts)}, measured on {n:,} test participants with the same leads removed"

    @torch.no_grad()
    def outputs(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        """Mean outputs of each task: traits in their units, or the logit. stored: (n, 12, 5000) int16 uV.

        Returns task to (n, outputs).
        """
        inputs: dict[Any, torch.Tensor] = {}
        found = {}
        for task, models in self.models.items():
            each = []
            for model in models:
                view = model.config.view
                if view not in inputs:
                    inputs[view] = model.scale(stored)
                each.append(model.outputs(inputs[view]).double().cpu().numpy())
            found[task] = np.mean(each, axis=0)
        return found


def of_config(config: Config, log: Log = silent) -> Predictor:
    """The ECCL models of this config, for the five tasks, its own diseases, and every seed that is finished.

    Missing models of the config's seed are trained first if the scale allows it; otherwise MissingError names the
    command.
    """
    data = open_cohort.load(config, log)
    models = {}
    for task in default_tasks(config):
        own = replace(config, disease=task)
        runs = {config.seed: stages.require(stages.spec(own, "eccl"), log, data)}
        runs |= {run.seed: run for run in _other_seeds(own, data, runs[config.seed])}
        models[task] = tuple(_loaded(runs[seed]) for seed in sorted(runs))
    return Predictor(models, lambda: data, limit_of(config), log)


def _other_seeds(config: Config, data: Cohort, run: Run) -> Iterator[Run]:
    """The finished runs of the same config with other seeds."""
    names = {folder.name.partition("-")[0].removeprefix("seed") for folder in run.folder.parent.glob("seed*-*")}
    for seed in sorted(int(name) for name in names if name.isdigit()):
        spec = stages.spec(replace(config, seed=seed), "eccl")
        if seed != run.seed and (other := spec.run(data)).done:
            yield spec.described(other, data)


def of_folders(folders: Sequence[Path | str], log: Log = silent) -> Predictor:
    """The models of run folders, or of the runs below folders, without their cohort.

    Below a folder of several rows of Table 1, the row ECCL is used. Raises MissingError where there is no run, and
    ConfigError where the runs of one task were trained with different settings.
    """
    runs = [run for folder in folders for run in _runs_below(Path(folder).expanduser())]
    rows = {run.variant for run in runs}
    if len(rows) > 1:
        if "eccl" not in rows:
            raise ConfigError(f"the runs are of several rows: {', '.join(sorted(rows))}; give the folders of one")
        runs = [run for run in runs if run.variant == "eccl"]
    by_task: dict[str, dict[str, Run]] = {}
    for run in runs:
        by_task.setdefault(run.task, {})[run.fingerprint] = run
    models = {}
    for task in sorted(by_task, key=_place):
        models[task] = tuple(_loaded(run) for run in sorted(by_task[task].values(), key=lambda run: run.seed))
        _check_one_setting(task, models[task])
    first = next(iter(models.values()))[0].config
    return Predictor(models, cohort_at_hand(first), limit_of(first), log)


def _runs_below(place: Path) -> list[Run]:
    """A run's folder as a run, or the finished runs below a folder that predict a task. Raises MissingError."""
    if (place / MANIFEST).is_file():
        run = Run.at(place)
        if run.stage not in PREDICTING:
            raise MissingError(f"{place} is a run of {run.stage}; give runs of {', '.join(PREDICTING)}")
        if not _is_task(run):
            raise MissingError(
                f"{place} is a run of the task {run.task}; eccl_lib.load({str(place)!r}) reads its model"
            )
        return [run]
    found = []
    for weights in sorted(place.rglob("model.safetensors")) if place.is_dir() else ():
        if (weights.parent / MANIFEST).is_file() and (run := Run.at(weights.parent)).stage in PREDICTING:
            found += [run] if _is_task(run) else []
    if not found:
        raise MissingError(f"{place} contains no finished run of {', '.join(PREDICTING)}; give a run's folder")
    return found


def _is_task(run: Run) -> bool:
    """Whether a run predicts one of the paper's tasks, or a disease of its own config."""
    return run.task in TASKS or run.task in run.config.get("diseases", {})


def _place(task: str) -> tuple[int, str]:
    """The paper's tasks come first, in their order."""
    return (TASKS.index(task) if task in TASKS else len(TASKS), task)


def _loaded(run: Run) -> EcgModel:
    model = portable.of(run)
    return model.to(device(model.config))


def _check_one_setting(task: str, models: Sequence[EcgModel]) -> None:
    """Raise ConfigError unless the models of a task differ in their seed alone."""
    settings = {repr(essentials(replace(model.config, seed=0))): model.run.folder for model in models}
    seeds = [model.run.seed for model in models]
    if len(settings) > 1 or len(set(seeds)) < len(seeds):
        named = ", ".join(str(model.run.folder) for model in models)
        raise ConfigError(f"several runs of {task} with different settings: {named}; give the folder of one of them")


def cohort_at_hand(config: Config) -> Callable[[], Cohort] | None:
    """What opens the cohort of a run, if it is on this machine."""
    reading = replace(config, runtime=replace(config.runtime, build_missing=False))
    try:
        data = open_cohort.load(reading, silent)
    except (MissingError, ConfigError):
        return None
    return lambda: data


def _without(present: tuple[str, ...]) -> list[str]:
    return [lead for lead in LEADS if lead not in present]


def predict_all(
    readings: Iterable[Reading | NotRead], predictor: Callable[[], Predictor]
) -> Iterator[tuple[Reading | NotRead, Scored | None]]:
    """Each file with its predictions, None if it was not read, in their order and in batches.

    predictor: gives the models when the first ECG has been read, so that a faulty path is reported at once.
    """
    readings = iter(readings)
    while batch := list(islice(readings, BATCH)):
        usable = [entry for entry in batch if isinstance(entry, Reading)]
        scored = iter(score(predictor(), usable) if usable else [])
        yield from ((entry, next(scored) if isinstance(entry, Reading) else None) for entry in batch)


@dataclass(frozen=True)
class Scored:
    """Predictions of one ECG. traits: (82,) value, low, high, NaN if unknown; None without a model of the traits.

    diseases: code to logit, probability at the cohort's prevalence, and percentile among the test participants. leads:
    those with a signal. remarks: what is lost with fewer leads.
    """

    traits: np.ndarray | None
    diseases: dict[str, tuple[float, float, float]]
    leads: tuple[str, ...] = ALL_LEADS
    remarks: tuple[str, ...] = ()


def score(predictor: Predictor, readings: Sequence[Reading]) -> list[Scored]:
    """Predictions of ECGs, in their order. Leads without a signal are zero in the models' input."""
    outputs = predictor.outputs(with_silent_leads(readings))
    each = [{task: values[k] for task, values in outputs.items()} for k in range(len(readings))]
    return [_one(predictor, own, reading.leads) for own, reading in zip(each, readings, strict=True)]


def with_silent_leads(readings: Sequence[Reading]) -> np.ndarray:
    """The stored ECGs, (n, 12, 5000) int16 uV, with zero in every lead that has no signal."""
    stored = np.stack([reading.stored for reading in readings])
    for ecg_of_one, reading in zip(stored, readings, strict=True):
        ecg_of_one[[lead not in reading.leads for lead in LEADS]] = 0  # a flat lead would be scaled to noise
    return stored


def _one(predictor: Predictor, outputs: dict[str, np.ndarray], present: tuple[str, ...]) -> Scored:
    """outputs: of one ECG, task to (outputs,). present: its leads with a signal."""
    traits, diseases = None, {}
    for task, values in outputs.items():
        known = predictor.calibration(task, present)
        if predictor.tasks[task].is_disease:
            found = (np.nan, np.nan)
            if isinstance(known, DiseaseCalibration):
                found = float(known.probability(values)[0]), float(known.percentile(values)[0])
            diseases[task] = (float(values[0]), *found)
        else:
            radius = known.radius if isinstance(known, TraitCalibration) else np.full(len(values), np.nan)
            radius = np.where(np.isfinite(radius), radius, np.nan)
            traits = np.stack([values, np.maximum(values - radius, LOWEST), values + radius], axis=1)
    lost = predictor.lost(present)
    return Scored(traits, diseases, present, (lost,) if lost else ())


def reliability(predictor: Predictor) -> list[str]:
    """What intervals and probabilities are worth, measured on test participants, one sentence a task."""
    return [sentence for task in predictor.models if (sentence := _reliability(predictor, task))]


def _reliability(predictor: Predictor, task: str) -> str:
    known = predictor.calibration(task)
    if known is None:
        return f"{task}: no interval and no probability: the run's folder has no calibration ({CALIBRATE})"
    n = predictor.limit.count(known.n_test.max() if isinstance(known, TraitCalibration) else known.n_test)
    if isinstance(known, TraitCalibration):
        covered = known.coverage[np.isfinite(known.coverage)]
        if not len(covered):
            return "traits: the coverage of the intervals is withheld"
        spread = f"{covered.min():.1%} to {covered.max():.1%} by trait"
        return f"traits: 95 % intervals contain {covered.mean():.1%} of the measured values ({spread}; n = {n} of test)"
    if not np.isfinite(known.observed):
        return f"{task}: the calibration is withheld"
    means = f"mean probability {known.predicted:.1%}, observed {known.observed:.1%}, Brier score {known.brier:.3f}"
    return f"{task}: probabilities by {known.method}; on n = {n} of test: {means}, slope {known.test_slope:.2f}"


# One ECG with all that a report shows.


@dataclass(frozen=True)
class Prediction:
    """Predictions of the aligned ECG models for one recording.

    signal: (12, 5000) mV at 500 Hz as recorded. stored: (12, 5000) int16 uV after baseline removal, the model input.
    traits: one row per trait: field_id, name, short_name, unit, group, value, low, high (95 % prediction interval),
    coverage (of the interval, on test participants), cohort_mean, cohort_sd, z, test_r.
    diseases: one row per disease: code, name, score (0 to 1, not a probability), probability at the cohort's
    prevalence, meaning (in words), percentile among the test participants, test_auc, test_n, test_positives.
    cohort_scores: code to (scores, labels) of the test participants, without diseases with small counts
    (``data/small_counts.py``).
    """

    signal: np.ndarray
    stored: np.ndarray
    heart_rate: float
    flags: dict[str, float | int | str]
    remarks: tuple[str, ...]
    traits: pd.DataFrame
    diseases: pd.DataFrame
    cohort_scores: dict[str, tuple[np.ndarray, np.ndarray]]
    least: int  # smallest count of participants that a figure shows


def read_or_example(config: Config, path: str, log: Log = print) -> tuple[EcgRecord, str]:
    """The ECG of a file, or of the first test participant if path is empty; and its name for a figure title."""
    if path:
        with regular.named(path):
            return detect.read_ecg(Path(path)), Path(path).name
    data = open_cohort.load(config, log)
    return original.ecg_of(config, data, data.index("test")[0]), "first test participant"


def predict_record(config: Config, record: EcgRecord, log: Log = print) -> Prediction:
    """Predict with the ECCL models of this config. Raises UnreadableError if the recording is no usable ECG."""
    reading = reading_of(record, "")
    return report(of_config(config, log), reading)


def report(predictor: Predictor, reading: Reading) -> Prediction:
    """All that a report on one ECG shows."""
    (scored,) = score(predictor, [reading])
    limit, cohort_scores = predictor.limit, {}
    for code in (code for code in scored.diseases if (predictor.models[code][0].run.folder / TEST_FILE).is_file()):
        pair = _test_scores([model.run for model in predictor.models[code]])
        if not limit.hides_class(pair[1]):
            cohort_scores[code] = pair
    return Prediction(
        reading.signal,
        reading.stored,
        reading.heart_rate,
        reading.flags,
        (*reading.remarks, *scored.remarks),
        trait_table(predictor, scored),
        disease_table(predictor, scored),
        cohort_scores=cohort_scores,
        least=limit.least,
    )


TEST_FILE = "predictions.parquet"


def _test_scores(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Scores in 0 to 1 (of the mean logit) and labels of the test participants, both (n,)."""
    each = [measured_and_predicted(run) for run in runs]
    return risk(np.mean([predicted[:, 0] for _, predicted in each], axis=0)), each[0][0][:, 0] > 0.5


def trait_table(predictor: Predictor, scored: Scored) -> pd.DataFrame:
    """One row per trait of one ECG, as in ``Prediction``; empty without a model of the traits."""
    if scored.traits is None:
        return pd.DataFrame()
    known = predictor.calibration("traits", scored.leads)
    value, low, high = scored.traits.T
    table = pd.DataFrame(TRAITS).assign(value=value, low=low, high=high)
    if not isinstance(known, TraitCalibration):
        return table
    z = (value - known.mean) / np.where(known.spread > 0, known.spread, 1)
    facts = {"coverage": known.coverage, "cohort_mean": known.mean, "cohort_sd": known.spread}
    return table.assign(**facts, z=z, test_r=known.r)


def disease_table(predictor: Predictor, scored: Scored) -> pd.DataFrame:
    """One row per disease of one ECG, as in ``Prediction``."""
    rows = []
    for code, (logit, probability, percentile) in scored.diseases.items():
        row = {"code": code, "name": predictor.tasks[code].disease, "score": float(risk(logit))}
        row |= {"probability": probability, "meaning": calibrate.in_words(probability), "percentile": percentile}
        known = predictor.calibration(code, scored.leads)
        if isinstance(known, DiseaseCalibration):
            counts = {"test_n": known.n_test, "test_positives": known.cases_test}
            row |= {"test_auc": known.auc, **{name: predictor.limit.count(n) for name, n in counts.items()}}
        rows.append(row)
    return pd.DataFrame(rows)
