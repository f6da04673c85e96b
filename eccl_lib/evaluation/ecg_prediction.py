"""The prediction from one ECG, with all that a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import calibrate
from eccl_lib.evaluation.calibrate import DiseaseCalibration, TraitCalibration
from eccl_lib.evaluation.ecg_files import Reading
from eccl_lib.evaluation.predict import Scored, score
from eccl_lib.evaluation.predictor import Predictor
from eccl_lib.metrics.calibration import risk
from eccl_lib.training.run_scores import measured_and_predicted
from eccl_lib.training.runs import Run

TEST_FILE = "predictions.parquet"


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
