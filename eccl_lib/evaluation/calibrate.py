"""Prediction intervals of traits and probabilities of diseases for finished models, from validation participants.

The models saw the validation participants only to choose the best epoch, so their residuals are close to those of new
participants; what the intervals and probabilities are worth is measured on the test participants, which no step saw.
The result is written once beside the weights (``calibration-*.json``): counts, and quantiles whose ends are the scores
of single participants.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eccl_lib.config.load import digest
from eccl_lib.config.schema import LEADS, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import Limit
from eccl_lib.evaluation import prior
from eccl_lib.io.files import read_json, write_sealed
from eccl_lib.metrics import bootstrap, calibration, conformal, scores
from eccl_lib.models.build import device
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.portable import EcgModel
from eccl_lib.tasks import cohort_targets, task_of
from eccl_lib.training.datasets import EcgDataset, predict_in_batches

MOST = 2_000  # participants of a split that are used, drawn by a fixed seed; the interval of a coverage is then +-1 %
MOST_FEWER = 1_000  # the same for ECGs with fewer leads, whose outputs are computed twice; ours
LEAST_CASES = 20  # cases, and controls, for a logistic regression with two parameters (ten for each); ours
STEPS = 200  # quantiles of the test scores that are kept
PLATT, PRIOR = "logistic regression on validation participants", "prior shift"


@dataclass(frozen=True)
class TraitCalibration:
    """Of each trait, (traits,). radius: half width of the 95 % interval; coverage: of the test participants' values.

    r: Pearson r on the test participants; mean, spread: of the measured values of the training participants; n_train,
    n_val, n_test: participants with a measured value. whole: the score of the same test participants with all leads.
    """

    radius: np.ndarray
    coverage: np.ndarray
    r: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    n_train: np.ndarray
    n_val: np.ndarray
    n_test: np.ndarray
    whole: float

    def shown(self, limit: Limit) -> "TraitCalibration":
        """Without the numbers of traits with few participants. A small count becomes the largest one that is small."""
        hides = [np.array([limit.hides(n) for n in counts]) for counts in (self.n_train, self.n_val, self.n_test)]
        content = asdict(self)
        if limit.hides(self.n_test.max()):
            content["whole"] = np.nan
        for names, few in ((("mean", "spread"), hides[0]), (("radius",), hides[1]), (("coverage", "r"), hides[2])):
            content |= {name: np.where(few, np.nan, content[name]) for name in names}
        for name, few in zip(("n_train", "n_val", "n_test"), hides, strict=True):
            content[name] = np.where(few, limit.least - 1, content[name])
        return TraitCalibration(**content)

    @property
    def score(self) -> float:
        """Mean r over the traits with test participants, NaN where it is withheld."""
        return float(np.nanmean(self.r)) if np.isfinite(self.r).any() else float("nan")


@dataclass(frozen=True)
class DiseaseCalibration:
    """Of one disease: probability = sigmoid(slope * logit + intercept), and what it is worth on test participants.

    method: PLATT, or PRIOR where the validation participants have too few cases. quantiles: of the test participants'
    logits, (STEPS + 1,). auc, auc_low, auc_high: 95 % interval. predicted, observed: mean probability and share of
    cases; brier, test_slope: Brier score, and slope of a logistic regression of the outcome (1 is ideal). whole: AUC of
    the same test participants with all leads.
    """

    method: str
    slope: float
    intercept: float
    n_val: int
    cases_val: int
    n_test: int
    cases_test: int
    quantiles: np.ndarray
    auc: float
    auc_low: float
    auc_high: float
    predicted: float
    observed: float
    brier: float
    test_slope: float
    whole: float

    def probability(self, logit: np.ndarray) -> np.ndarray:
        """Probability of the diagnosis at the cohort's prevalence. logit: (n,)."""
        return calibration.risk(self.slope * np.asarray(logit, dtype=np.float64) + self.intercept)

    def percentile(self, logit: np.ndarray) -> np.ndarray:
        """Share of the test participants with a lower score, in percent. logit: (n,)."""
        return np.interp(logit, self.quantiles, np.linspace(0, 100, len(self.quantiles)))

    def shown(self, limit: Limit) -> "DiseaseCalibration":
        """Without the numbers that few cases or controls determine, and without their number."""
        content = asdict(self) | {"quantiles": _coarse(self.quantiles, self.n_test, limit.least)}
        if limit.hides(self.cases_val, self.n_val - self.cases_val):
            content |= {"slope": np.nan, "intercept": np.nan}
        if limit.hides(self.cases_test, self.n_test - self.cases_test):
            hidden = ("auc", "auc_low", "auc_high", "predicted", "observed", "brier", "test_slope", "whole")
            content |= dict.fromkeys(hidden, np.nan)
        for split in ("val", "test"):
            content[f"cases_{split}"] = _small(content[f"cases_{split}"], content[f"n_{split}"], limit)
        return DiseaseCalibration(**content)

    @property
    def score(self) -> float:
        return self.auc


def _small(cases: int, n: int, limit: Limit) -> int:
    """The number of cases; if cases or controls are few, the largest number of them that is small."""
    if limit.hides(cases):
        return limit.least - 1
    return n - (limit.least - 1) if limit.hides(n - cases) else cases


def _coarse(quantiles: np.ndarray, n: int, least: int) -> np.ndarray:
    """Quantiles of n scores that ``least`` participants or more lie between, without the lowest and highest score."""
    if not least:
        return quantiles
    at = np.linspace(0, 1, len(quantiles))
    shown = np.linspace(0, 1, max(2, min(STEPS, n // least)) + 1)[1:-1]
    return np.interp(at, shown, np.interp(shown, at, quantiles))


Calibration = TraitCalibration | DiseaseCalibration


def of(
    models: Sequence[EcgModel], present: Sequence[str], open_cohort: Callable[[], Cohort] | None
) -> Calibration | None:
    """The calibration of the mean of models of one task, for ECGs with these leads; computed once and kept.

    models: one per seed. present: leads with a signal; the others are zero in the model's input, as for the ECG.
    open_cohort: opens the models' cohort; None where it is not at hand: the result is then None, unless it was kept.
    Raises DamagedError where the file differs from its checksum.
    """
    name = file_name(models, present)
    kinds = {True: TraitCalibration, False: DiseaseCalibration}
    kind = kinds[not models[0].binary[0]]
    for run in (model.run for model in models):
        if (run.folder / name).is_file():
            return kind(**{key: _array(value) for key, value in read_json(run.folder / name).items()})
    if open_cohort is None:
        return None
    found = _compute(models, present, open_cohort())
    first = min((model.run for model in models), key=lambda run: run.seed)
    with contextlib.suppress(OSError):  # where it cannot be written, such as read-only, it is computed again
        write(first.folder, name, found)
    return found


def file_name(models: Sequence[EcgModel], present: Sequence[str]) -> str:
    """Name of the file of a calibration, by the fingerprints of the models and the leads."""
    marks = sorted(model.run.fingerprint for model in models)
    return f"calibration-{digest(marks, [lead for lead in LEADS if lead in present])[:8]}.json"


def write(folder: Path, name: str, found: Calibration) -> None:
    """Keep a calibration beside the weights."""
    content = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(found).items()}
    write_sealed(folder / name, content)


def _array(value: object) -> object:
    return np.array(value) if isinstance(value, list) else value


def _compute(models: Sequence[EcgModel], present: Sequence[str], data: Cohort) -> Calibration:
    first = models[0]
    task, absent = task_of(first.config, first.run.task), [k for k, lead in enumerate(LEADS) if lead not in present]
    train = data.index("train")
    targets = cohort_targets(task, data)
    rows = {split: _drawn(data.index(split), MOST_FEWER if absent else MOST) for split in ("val", "test")}
    predicted = {split: mean_outputs(models, data, rows[split], absent) for split in rows}
    measured = {split: targets.values[rows[split]].astype(np.float64) for split in rows}
    whole = targets.score(mean_outputs(models, data, rows["test"], ()), rows["test"]) if absent else None
    if not task.is_disease:
        found = of_traits(measured, predicted, targets.values[train])
        return found if whole is None else replace(found, whole=whole)
    logits, cases = ({split: found[split][:, 0] for split in rows} for found in (predicted, measured))
    key = first.run.variant if first.run.variant in METHODS else "eccl"
    shift = prior.of_row(first.config, data, task.key, key).shift
    found = of_disease(logits, {split: found > 0.5 for split, found in cases.items()}, shift)
    return found if whole is None else replace(found, whole=whole)


def _drawn(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, in order."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


def mean_outputs(models: Sequence[EcgModel], data: Cohort, rows: np.ndarray, absent: Sequence[int]) -> np.ndarray:
    """Outputs of the mean of models for cohort rows, (n, outputs), with these leads (numbers) set to zero."""
    return np.mean([_outputs(model, data, rows, absent) for model in models], axis=0, dtype=np.float64)


def _outputs(model: EcgModel, data: Cohort, rows: np.ndarray, absent: Sequence[int]) -> np.ndarray:
    config: Config = model.config
    model, ecgs = model.to(device(config)), EcgDataset(data, config)

    def predict(part: np.ndarray) -> torch.Tensor:
        scaled = ecgs.of(part)
        scaled[:, list(absent)] = 0
        return model.outputs(scaled)

    return predict_in_batches(predict, rows, source=ecgs)


def of_traits(measured: dict[str, np.ndarray], predicted: dict[str, np.ndarray], train: np.ndarray) -> TraitCalibration:
    """Intervals from the validation participants, coverage and r on the test participants.

    measured, predicted: ``val`` and ``test``, each (n, traits), NaN if missing. train: (n, traits) measured values.
    """
    residuals = {split: measured[split] - predicted[split] for split in ("val", "test")}
    radius = conformal.radius(residuals["val"])
    n = {split: (~np.isnan(values)).sum(axis=0) for split, values in {**residuals, "train": train}.items()}
    empty = n["train"] == 0
    known = np.where(empty, 0.0, train.astype(np.float64))
    mean, spread = (np.where(empty, np.nan, reduce(known, axis=0)) for reduce in (np.nanmean, np.nanstd))
    coverage = np.where(np.isfinite(radius), conformal.coverage(residuals["test"], radius), np.nan)
    r = scores.pearson(predicted["test"], measured["test"])
    whole = scores.mean_r(predicted["test"], measured["test"])
    return TraitCalibration(radius, coverage, r, mean, spread, n["train"], n["val"], n["test"], whole)


def of_disease(logits: dict[str, np.ndarray], cases: dict[str, np.ndarray], shift: float) -> DiseaseCalibration:
    """Probabilities from the validation participants, and their worth on the test participants.

    logits, cases: ``val`` and ``test``, each (n,). shift: of the prior (``Prior.shift``), used where the validation
    participants have too few cases or controls, or the regression has no positive slope. The regression is preferred:
    a network's logits are too extreme, which a shift does not mend, and the validation participants have the cohort's
    prevalence, because the split is random.
    """
    slope, intercept, method = 1.0, shift, PRIOR
    count = {split: int(found.sum()) for split, found in cases.items()}
    if min(count["val"], len(cases["val"]) - count["val"]) >= LEAST_CASES:
        fitted = calibration.slope(logits["val"], cases["val"])
        if fitted[0] > 0:  # False for NaN as well
            (slope, intercept), method = fitted, PLATT
    calibrated = slope * logits["test"] + intercept
    probability = calibration.risk(calibrated)
    both = 0 < count["test"] < len(cases["test"])
    auc = scores.auc(logits["test"], cases["test"])
    drawn = bootstrap.auc_draws(logits["test"], cases["test"]) if both else np.array([np.nan])
    low, high = bootstrap.percentile(drawn) if both else (np.nan, np.nan)
    return DiseaseCalibration(
        method,
        slope,
        intercept,
        n_val=len(cases["val"]),
        cases_val=count["val"],
        n_test=len(cases["test"]),
        cases_test=count["test"],
        quantiles=np.quantile(logits["test"], np.linspace(0, 1, STEPS + 1)),
        auc=auc,
        auc_low=float(low),
        auc_high=float(high),
        predicted=float(probability.mean()),
        observed=float(cases["test"].mean()),
        brier=calibration.brier(probability, cases["test"]),
        test_slope=calibration.slope(calibrated, cases["test"])[0] if both else float("nan"),
        whole=auc,
    )


def in_words(probability: float) -> str:
    """The meaning of a calibrated probability of a diagnosis, in words."""
    if not np.isfinite(probability):
        return "the calibration is withheld or not available"
    whole = next((whole for whole in (100, 1_000, 10_000) if probability * whole >= 0.95), 10_000)
    count = round(probability * whole)
    about = f"about {count:,}" if count else "fewer than 1"
    have = "has" if count <= 1 else "have"
    return f"of {whole:,} participants of the training cohort with this score, {about} {have} the diagnosis"
