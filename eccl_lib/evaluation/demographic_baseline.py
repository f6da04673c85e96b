"""Baseline from sex and age alone.

Sex and age can be inferred from an ECG, so an ECG model adds information only where it exceeds this baseline.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from eccl_lib.config.schema import TASKS as TASK_KEYS
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import table_cell
from eccl_lib.metrics import bootstrap
from eccl_lib.metrics.calibration import Prior
from eccl_lib.tasks import TASKS, Targets, build_targets

ROW = "sex and age alone"


def features(table: pd.DataFrame) -> np.ndarray:
    """Predictors (N, 4) float64: male, age, age squared, male x age; age in decades from 60. table: cohort table."""
    male = (table["sex"].to_numpy() == "male").astype(np.float64)
    age = np.nan_to_num((table["age"].to_numpy(np.float64) - 60) / 10)
    return np.column_stack([male, age, age**2, male * age])


def predict(data: Cohort, targets: Targets) -> np.ndarray:
    """Outputs (n, outputs) for the test participants of a linear model fitted on the training participants."""
    from sklearn.linear_model import LogisticRegression, Ridge

    x, train, test = features(data.table), data.index("train"), data.index("test")
    if targets.task.is_disease:
        model = LogisticRegression().fit(x[train], targets.values[train, 0] > 0.5)
        return model.decision_function(x[test])[:, None]
    # A missing trait is set to its mean, which is 0 after standardization.
    model = Ridge().fit(x[train], np.nan_to_num(targets.standardize().numpy()[train]))
    return targets.to_units(model.predict(x[test]))


def table(data: Cohort, tasks: Sequence[str] = TASK_KEYS, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """One row per task, columns as in ``table1.cells``. The fit has no seed, so std is missing."""
    records = []
    for key in tasks:
        targets = build_targets(TASKS[key], data.labels, data.traits, data.index("train"))
        facts = {"row": ROW, "task": key, "column": targets.task.column, "metric": targets.task.metric}
        records.append(facts | _cell(data, targets, draws))
    return pd.DataFrame(records).astype({"positives": "Int64"} if "positives" in records[0] else {})


def _cell(data: Cohort, targets: Targets, draws: int) -> dict[str, float]:
    predicted, measured = predict(data, targets), targets.values[data.index("test")].astype(np.float64)
    if targets.task.is_disease:
        prevalence = float(targets.values[data.index("train")].mean())  # the fit uses all participants: no shift
        return table_cell.of_disease(predicted.T, measured[:, 0] > 0.5, Prior(prevalence, prevalence))
    return table_cell.of_traits(predicted[None], measured, bootstrap.r_draws(predicted[None], measured, draws))
