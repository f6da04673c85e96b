"""Check the runs trained on a cohort for leakage: ``eccl leakage``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.leaks import (
    Leak,
    epoch_not_best_on_validation,
    predictions_outside_test,
    scaler_fitted_beyond_train,
)
from eccl_lib.io import paths
from eccl_lib.io.files import read_json
from eccl_lib.tasks import TASKS, build_targets


def check_runs(config: Config, data: Cohort) -> list[Leak]:
    """What training and its finished runs show: how traits are scaled, whom runs predicted, which epoch they kept."""
    train = data.index("train")

    def fit(values: np.ndarray) -> Iterable[np.ndarray]:
        targets = build_targets(TASKS["traits"], data.labels, values, train)
        return targets.centre, targets.spread

    measured = np.isfinite(data.traits[train]).any()  # ECGs alone have no traits to scale
    found = scaler_fitted_beyond_train(fit, np.asarray(data.traits, dtype=np.float64), train) if measured else []
    for manifest in sorted(paths.scale_root(config.scale, config.cohort).glob("*/*/*/seed*/manifest.json")):
        run, metrics = manifest.parent, read_json(manifest.parent / "metrics.json")
        leaks = _check_run(run, metrics, data.table)
        found += [Leak(leak.kind, leak.level, f"{leak.message} ({'/'.join(run.parts[-4:])})") for leak in leaks]
    return found


def _check_run(run: Path, metrics: dict[str, Any], table: pd.DataFrame) -> list[Leak]:
    found = []
    if (run / "predictions.parquet").is_file():
        found += predictions_outside_test(pd.read_parquet(run / "predictions.parquet", columns=["eid"])["eid"], table)
    history = pd.read_csv(run / "history.csv") if (run / "history.csv").is_file() else pd.DataFrame()
    if "score" in history and "best_epoch" in metrics:
        found += epoch_not_best_on_validation(int(metrics["best_epoch"]), history["score"].to_numpy())
    return found
