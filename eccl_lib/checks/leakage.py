"""Check a cohort and its runs for eight kinds of data leakage: ``eccl leakage``."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.load import essentials
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.leaks import Leak, epoch_not_best_on_validation, predictions_outside_test, scaler_fitted_beyond_train
from eccl_lib.data.splits import splits_of
from eccl_lib.io import paths
from eccl_lib.io.files import read_json
from eccl_lib.tasks import TASKS, build_targets


def check_runs(config: Config, data: Cohort) -> list[Leak]:
    """Leaks in training and finished runs: trait standardization, predicted participants, selected epoch.

    Unfinished runs, and those of another synthetic cohort, are left out.
    """
    train = data.index("train")

    def fit(values: np.ndarray) -> Iterable[np.ndarray]:
        targets = build_targets(TASKS["traits"], data.labels, values, train)
        return targets.centre, targets.spread

    measured = np.isfinite(data.traits[train]).any()  # a store of ECGs alone has no traits
    leaks = scaler_fitted_beyond_train(fit, np.asarray(data.traits, dtype=np.float64), train) if measured else []
    for manifest in sorted(paths.scale_root(config.scale, config.cohort).glob("*/*/*/seed*/manifest.json")):
        run, place = manifest.parent, "/".join(manifest.parts[-5:-1])
        content = read_json(run / "config.json") if (run / "config.json").is_file() else {}
        if read_json(manifest).get("status") == "training" or _is_of_another_cohort(content, config):
            continue
        stated = {"split_salt": config.store.split_salt, "test_fold": 0} | content.get("store", {})
        split = {name: stated[name] for name in ("split_salt", "test_fold")}
        own = replace(config, store=replace(config.store, **split))
        table = data.table.assign(split=splits_of(data.table, own).to_numpy())  # each split has runs of its own
        of_run = _check_run(run, read_json(run / "metrics.json"), table)
        leaks += [Leak(leak.kind, leak.level, f"{leak.message} ({place})") for leak in of_run]
    return leaks


def _is_of_another_cohort(content: dict[str, Any], config: Config) -> bool:
    """Whether a run's config names other synthetic participants; such runs lie in the same folder."""
    own = essentials(config)["synthetic"]
    return config.cohort == "synthetic" and content.get("synthetic", own) != own


def _check_run(run: Path, metrics: dict[str, Any], table: pd.DataFrame) -> list[Leak]:
    """Leaks in the predictions and the history of one finished run."""
    leaks = []
    if (run / "predictions.parquet").is_file():
        leaks += predictions_outside_test(pd.read_parquet(run / "predictions.parquet", columns=["eid"])["eid"], table)
    history = pd.read_csv(run / "history.csv") if (run / "history.csv").is_file() else pd.DataFrame()
    if "score" in history and "best_epoch" in metrics:
        leaks += epoch_not_best_on_validation(int(metrics["best_epoch"]), history["score"].to_numpy())
    return leaks
