"""Cardiac traits and disease scores of ECG files (``eccl predict FILES``), with intervals and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from eccl_lib.data import ecg
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation.calibrate import DiseaseCalibration, TraitCalibration
from eccl_lib.evaluation.ecg_files import NotRead, Reading
from eccl_lib.evaluation.predictor import ALL_LEADS, CALIBRATE, Predictor

WARNING = (
    "The models were trained on a synthetic cohort. The traits and scores show that the software runs on this file; "
    "they have no meaning for the person whose ECG this is."
)
RESEARCH = "Research software, not a medical device."
BATCH = 64  # ECGs that pass through the models together
# Of an interval: volumes, areas, masses and the like are not negative; strains can be. Cutting there loses no coverage.
LOWEST = np.array([-np.inf if trait.group in ("Ecc", "Err", "Ell") else 0.0 for trait in TRAITS])


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
        ecg.silence_unusable(ecg_of_one, reading.leads)
    return stored


def _one(predictor: Predictor, outputs: dict[str, np.ndarray], present: tuple[str, ...]) -> Scored:
    """outputs: of one ECG, task to (outputs,). present: its leads with a signal.

    All numbers are NaN where the models read none of these leads.
    """
    traits, diseases = None, {}
    for task, values in outputs.items():
        if predictor.reads(task) & {*present}:
            known = predictor.calibration(task, present)
        else:
            known, values = None, np.full_like(values, np.nan)
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


def limits(predictor: Predictor) -> list[str]:
    """What the predictions are not, one sentence a limit."""
    return [RESEARCH, WARNING] if predictor.is_synthetic else [RESEARCH]


def _reliability(predictor: Predictor, task: str) -> str:
    known, title = predictor.calibration(task), predictor.tasks[task].title
    if known is None:
        return f"{title}: no interval and no probability: the run's folder has no calibration ({CALIBRATE})"
    count = predictor.limit.count(known.n_test.max() if isinstance(known, TraitCalibration) else known.n_test)
    n = f"{count:,} test participants" if isinstance(count, int) else f"{count} test participants"
    if isinstance(known, TraitCalibration):
        covered = known.coverage[np.isfinite(known.coverage)]
        if not len(covered):
            return f"{title}: the coverage of the intervals is withheld"
        spread = f"{covered.min():.1%} to {covered.max():.1%} by trait"
        return f"{title}: 95 % intervals contain {covered.mean():.1%} of the measured values of {n} ({spread})"
    if not np.isfinite(known.observed):
        return f"{title}: the calibration is withheld"
    means = f"mean probability {known.predicted:.1%}, observed {known.observed:.1%}, Brier score {known.brier:.3f}"
    return f"{title}: probabilities by {known.method}; on {n}: {means}, slope {known.test_slope:.2f}"
