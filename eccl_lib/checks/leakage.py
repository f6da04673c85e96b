"""Check a cohort and its runs for eight kinds of data leakage: ``python -m eccl_lib.checks.leakage``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config import command_line
from eccl_lib.config.schema import Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.leaks import Leak, check, chosen_elsewhere, fitted_on_others, not_of_the_test_set
from eccl_lib.io import paths
from eccl_lib.io.files import read_json
from eccl_lib.tasks import TASKS, build_targets


def check_runs(config: Config, data: Cohort) -> list[Leak]:
    """Leaks in training and finished runs: trait standardization, predicted participants, selected epoch."""
    train = data.index("train")

    def fit(values: np.ndarray) -> Iterable[np.ndarray]:
        targets = build_targets(TASKS["traits"], data.labels, values, train)
        return targets.centre, targets.spread

    measured = np.isfinite(data.traits[train]).any()  # a store of ECGs alone has no traits
    leaks = fitted_on_others(fit, np.asarray(data.traits, dtype=np.float64), train) if measured else []
    for manifest in sorted(paths.scale_root(config.scale, config.cohort).glob("*/*/*/seed*/manifest.json")):
        run, metrics = manifest.parent, read_json(manifest.parent / "metrics.json")
        name = "/".join(run.parts[-4:])
        of_run = _check_run(run, metrics, data.table)
        leaks += [Leak(leak.kind, leak.level, f"{leak.what} ({name})") for leak in of_run]
    return leaks


def _check_run(run: Path, metrics: dict[str, Any], table: pd.DataFrame) -> list[Leak]:
    """Leaks in the predictions and the history of one finished run."""
    leaks = []
    if (run / "predictions.parquet").is_file():
        leaks += not_of_the_test_set(pd.read_parquet(run / "predictions.parquet", columns=["eid"])["eid"], table)
    history = pd.read_csv(run / "history.csv") if (run / "history.csv").is_file() else pd.DataFrame()
    if "score" in history and "best_epoch" in metrics:
        leaks += chosen_elsewhere(int(metrics["best_epoch"]), history["score"].to_numpy())
    return leaks


def main(words: list[str] | None = None) -> int:
    """The command line. 0: no error, perhaps warnings; 1: an error."""
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.checks.leakage", description=__doc__)
    command_line.add_parameters(parser, disease=False)
    config = command_line.config(parser.parse_args(words), build=False)
    data = open_cohort.load(config, needs=())
    found = check(config, data) + check_runs(config, data)
    for leak in found:
        print(leak, file=sys.stderr)
    errors = sum(leak.level == "error" for leak in found)
    print(f"leakage: {errors} errors, {len(found) - errors} warnings")
    return 1 if errors else 0


if __name__ == "__main__":
    command_line.run(lambda: sys.exit(main()))
