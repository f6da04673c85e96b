"""Cardiac traits and disease scores of one ECG file (``eccl predict ECG``)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.method_schema import ECCL
from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data import cohort, ecg, open_cohort, original
from eccl_lib.data.formats import detect
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.small_counts import Limit, limit_of
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation.predictions import measured_and_predicted
from eccl_lib.io import regular
from eccl_lib.io.progress import Log
from eccl_lib.metrics.calibration import risk
from eccl_lib.models.build import device
from eccl_lib.pipeline import models, stages
from eccl_lib.tasks import DISEASE_NAMES, TASKS, build_targets
from eccl_lib.training.runs import Run

WARNING = (
    "The models were trained on a synthetic cohort. The traits and scores show that the software runs on this file; "
    "they have no meaning for the person whose ECG this is."
)


@dataclass(frozen=True)
class Prediction:
    """Predictions of the aligned ECG models for one recording.

    signal: (12, 5000) mV at 500 Hz as recorded. stored: (12, 5000) int16 uV after baseline removal, the model input.
    traits: one row per trait: field_id, name, short_name, unit, group, value, cohort_mean, cohort_sd, z, test_r.
    diseases: one row per disease: code, name, score (0 to 1, not a probability), percentile among the test
    participants, test_auc, test_n, test_positives. cohort_scores: code to (scores, labels) of the test participants,
    without diseases with small counts (``data/small_counts.py``).
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


def predict(config: Config, path: Path | str, log: Log = print) -> Prediction:
    """Read one ECG file and predict with the ECCL models of this config.

    Missing models are trained first if the scale allows it; otherwise MissingError names the command. Raises
    UnreadableError if the file is not a usable ECG.
    """
    with regular.named(path):
        record = detect.read_ecg(Path(path))
    return predict_record(config, record, log)


def read_or_example(config: Config, path: str, log: Log = print) -> tuple[EcgRecord, str]:
    """The ECG of a file, or of the first test participant if path is empty; and its name for a figure title."""
    if path:
        with regular.named(path):
            return detect.read_ecg(Path(path)), Path(path).name
    data = open_cohort.load(config, log)
    return original.ecg_of(config, data, data.index("test")[0]), "first test participant"


def predict_record(config: Config, record: EcgRecord, log: Log = print) -> Prediction:
    """As ``predict``, for a recording in memory."""
    signal = ecg.standardise(record)
    stored, heart_rate, flags = ecg.preprocess(record)
    data = open_cohort.load(config, log)
    configs = {task: replace(config, disease=task) for task in TASKS}
    outputs = {task: _outputs(configs[task], data, stored, log) for task in TASKS}
    runs = {task: stages.expected(configs[task], "eccl", data) for task in TASKS}
    remarks = (*record.notes, *ecg.warnings(flags))
    limit, scores = limit_of(config), {code: _test_scores(runs[code]) for code in DISEASES}
    traits = _traits(runs["traits"], data, outputs["traits"], limit)
    diseases = pd.DataFrame([_disease(runs[code], code, outputs[code], *scores[code], limit) for code in DISEASES])
    scores = {code: pair for code, pair in scores.items() if not limit.hides_class(pair[1])}
    return Prediction(
        signal, stored, heart_rate, flags, remarks, traits, diseases, cohort_scores=scores, least=limit.least
    )


def _outputs(config: Config, data: cohort.Cohort, stored: np.ndarray, log: Log) -> np.ndarray:
    """Model outputs (outputs,) of one ECG: traits in their units, or the logit. stored: (12, 5000) int16."""
    stages.require(stages.spec(config, "eccl"), log)
    model = models.ecg_model(config, ECCL, data)
    view = torch.from_numpy(ecg.to_view(stored, config.view.ecg_rate)[None]).to(device(config))
    with torch.no_grad():
        outputs = model(ecg.scale(view, config.view)).float().cpu().numpy()
    targets = build_targets(TASKS[config.disease], data.labels, data.traits, data.index("train"))
    return targets.to_units(outputs)[0]


def _traits(run: Run, data: cohort.Cohort, values: np.ndarray, limit: Limit) -> pd.DataFrame:
    """Predicted values, mean and standard deviation of the training participants, and r on the test participants."""
    measured = data.traits[data.index("train")]
    mean, spread = np.nanmean(measured, axis=0), np.nanstd(measured, axis=0)
    test, traits = run.predictions, pd.DataFrame(TRAITS)
    r = [test[f"score_{field}"].corr(test[f"target_{field}"]) for field in traits["field_id"]]
    few = np.array([limit.hides(n) for n in (~np.isnan(measured)).sum(axis=0)])
    mean, spread = np.where(few, np.nan, mean), np.where(few, np.nan, spread)
    r = np.where([limit.hides(test[f"target_{field}"].count()) for field in traits["field_id"]], np.nan, r)
    z = (values - mean) / np.where(spread > 0, spread, 1)
    return traits.assign(value=values, cohort_mean=mean, cohort_sd=spread, z=z, test_r=r)


def _test_scores(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Scores in 0 to 1 and labels of the test participants, both (n,)."""
    measured, predicted = measured_and_predicted(run)
    return risk(predicted[:, 0]), measured[:, 0] > 0.5


def _disease(
    run: Run, code: str, logit: np.ndarray, others: np.ndarray, positive: np.ndarray, limit: Limit
) -> dict[str, object]:
    score = float(risk(logit)[0])
    percentile = 100 * float((others < score).mean())
    counts = {"test_n": limit.count(len(positive)), "test_positives": limit.count(positive.sum())}
    facts = {"code": code, "name": DISEASE_NAMES[code], "score": score, "percentile": percentile}
    return {**facts, "test_auc": np.nan if limit.hides_class(positive) else run.metrics["test"], **counts}
