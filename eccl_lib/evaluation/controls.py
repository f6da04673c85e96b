"""Controls beside the nine rows: ridge regression on simple features of each participant.

A learned ECG model adds something only where it exceeds sex and age, classical measurements and an untrained encoder.
In the synthetic cohort, ridge on the noise-free signals shows how much information a linear model finds in each
modality; it is no upper bound for other models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eccl_lib.config.method_schema import Arm
from eccl_lib.config.schema import TASKS as PAPER_TASKS
from eccl_lib.config.schema import Config
from eccl_lib.data import ecg_measurements
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.synthetic import FIRST_EID, draw
from eccl_lib.data.synthetic.truth import cine_features, ecg_features
from eccl_lib.evaluation import table_cell
from eccl_lib.evaluation.claims import Resampled
from eccl_lib.metrics import bootstrap
from eccl_lib.metrics.calibration import Prior
from eccl_lib.metrics.linear import ridge_on_known
from eccl_lib.metrics.scores import pearson
from eccl_lib.models.build import new_ecg_model
from eccl_lib.tasks import TASKS, Targets, Task, cohort_targets, task_of
from eccl_lib.training.datasets import EcgDataset, predict_in_batches

DEMOGRAPHICS = "sex and age"


def demographics(config: Config, data: Cohort) -> np.ndarray:
    """Male, age and male x age; age in decades from 60. Returns (N, 3)."""
    male = (data.table["sex"].to_numpy() == "male").astype(np.float64)
    age = np.nan_to_num((data.table["age"].to_numpy(np.float64) - 60) / 10)
    return np.column_stack([male, age, male * age])


def measurements(config: Config, data: Cohort) -> np.ndarray:
    """Heart rate, intervals, amplitudes and axes of each ECG. Returns (N, 83)."""
    return ecg_measurements.measure(data.ecg_view(config.view), config.view.ecg_rate)


def untrained_features(config: Config, data: Cohort) -> np.ndarray:
    """Mean and SD over the tokens of the ECG encoder at its random initial weights. Returns (N, 2 D)."""
    encoder = new_ecg_model(config, 1, Arm("scratch")).encoder.eval()
    ecgs = EcgDataset(data, config)

    def pooled(rows: np.ndarray) -> Tensor:
        tokens = encoder.encode(encoder.tokens(ecgs.of(rows)))[:, 1:]  # (B, L, D)
        return torch.cat([tokens.mean(dim=1), tokens.std(dim=1)], dim=1)

    return predict_in_batches(pooled, np.arange(len(data)), source=ecgs).astype(np.float64)


def true_ecg(config: Config, data: Cohort) -> np.ndarray:
    """The noise-free beat and rhythm of each participant of the synthetic cohort."""
    return ecg_features(config.synthetic, _hearts(config, data), voltage=True)


def true_cine(config: Config, data: Cohort) -> np.ndarray:
    """The noise-free contours of each participant of the synthetic cohort."""
    return cine_features(config.synthetic, _hearts(config, data), cropped=False)


def _hearts(config: Config, data: Cohort):
    return draw(config.synthetic, data.table["eid"].to_numpy().astype(int) - FIRST_EID)


Features = Callable[[Config, Cohort], np.ndarray]
CONTROLS: dict[str, Features] = {
    DEMOGRAPHICS: demographics,
    "ECG measurements": measurements,
    "untrained ECG encoder": untrained_features,
}
# Of the synthetic cohort only, where the truth is known.
NOISE_FREE: dict[str, Features] = {"noise-free ECG": true_ecg, "noise-free CMR": true_cine}


def predict(
    config: Config, data: Cohort, features: np.ndarray, tasks: Mapping[str, Task] = TASKS
) -> dict[str, np.ndarray]:
    """Ridge predictions for the test participants, by task. features: (N, F) of all participants.

    tasks: by key. Returns task -> (n, outputs): traits in their units, a disease as the logit of its calibrated risk.
    """
    splits = [data.index(name) for name in ("train", "val", "test")]
    targets = {key: cohort_targets(task, data) for key, task in tasks.items()}
    standard = np.column_stack([each.standardize().numpy() for each in targets.values()])
    places = np.cumsum([each.task.outputs for each in targets.values()])
    scores = np.split(ridge_on_known(features, standard, *splits[:2]), places, axis=1)
    fitted, test = np.concatenate(splits[:2]), splits[2]
    return {key: _finished(targets[key], score, fitted, test) for key, score in zip(targets, scores, strict=False)}


def _finished(targets: Targets, scores: np.ndarray, fitted: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Standardised scores of the test rows in the task's units; a disease is calibrated on the ``fitted`` rows."""
    if not targets.task.is_disease:
        return targets.to_units(scores[test])
    from sklearn.linear_model import LogisticRegression

    # The scores of a strong penalty have a small range, on which the solver would stop at once.
    scores = (scores - scores[fitted].mean()) / max(scores[fitted].std(), 1e-12)
    calibration = LogisticRegression(C=np.inf).fit(scores[fitted], targets.values[fitted, 0] > 0.5)  # Platt scaling
    return calibration.decision_function(scores[test])[:, None]


def noise_free_r(config: Config, data: Cohort) -> dict[str, np.ndarray]:
    """r of each trait by ridge on the noise-free signals of the synthetic cohort, each (82,); empty for other cohorts.

    Names are those of ``NOISE_FREE``.
    """
    if config.cohort != "synthetic":
        return {}
    measured, traits = data.traits[data.index("test")].astype(np.float64), {"traits": TASKS["traits"]}
    predicted = {name: predict(config, data, of(config, data), traits)["traits"] for name, of in NOISE_FREE.items()}
    return {f"{name}, ridge": np.nan_to_num(pearson(values, measured)) for name, values in predicted.items()}


@dataclass(frozen=True)
class Control:
    """One control on one task. cell: as in ``table1.cells``, from the column on.

    resampled: its score, and of each draw of participants.
    """

    name: str
    task: str
    cell: dict[str, object]
    resampled: Resampled


def evaluate(
    config: Config, data: Cohort, tasks: Sequence[str] = PAPER_TASKS, draws: int = bootstrap.DRAWS
) -> list[Control]:
    """Every control on every task. Those on noise-free signals exist for the synthetic cohort only."""
    known = CONTROLS | (NOISE_FREE if config.cohort == "synthetic" else {})
    config, test, found = replace(config, seed=0), data.index("test"), []
    by_key = {key: task_of(config, key) for key in tasks}
    for name, features in known.items():
        by_task = predict(config, data, features(config, data), by_key)
        for task in by_key.values():
            targets = cohort_targets(task, data)
            measured, predicted = targets.values[test].astype(np.float64), by_task[task.key]
            score = np.array([targets.score(predicted, test)])
            if task.is_disease:
                prevalence = float(targets.values[data.index("train")].mean())
                prior = Prior(prevalence, prevalence)  # all training participants are seen: no shift
                cell = table_cell.of_disease(predicted.T, measured[:, 0] > 0.5, prior)
                drawn = bootstrap.auc_draws(predicted[:, 0], measured[:, 0] > 0.5, draws)[None]
            else:
                drawn = bootstrap.mean_r_draws(predicted[None], measured, draws)[None]
                cell = table_cell.of_traits(predicted[None], measured, drawn)
            cell = {"column": task.column, "metric": task.metric} | cell
            found.append(Control(name, task.key, cell, Resampled(score, drawn)))
    return found


def table(controls: Sequence[Control]) -> pd.DataFrame:
    """One row per control and task, columns as in ``table1.cells``. A control has no seed, so std is missing."""
    frame = pd.DataFrame([{"row": each.name, "task": each.task} | each.cell for each in controls])
    return frame.astype({"positives": "Int64"}) if "positives" in frame else frame
