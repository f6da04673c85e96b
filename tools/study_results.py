"""figures/study: scores and test predictions of the study's finished cells, to be committed as they come.

``python -m tools.study_results`` reads the runs of ``eccl study`` (ECCL_RUNS) and writes cells.csv, measured.npz and
one archive of predictions per row and task. The whole study takes about 40 MB.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS, Config
from eccl_lib.data import open_cohort
from eccl_lib.evaluation.predictions import measured_and_predicted
from eccl_lib.io import paths
from eccl_lib.io.files import write_atomically
from eccl_lib.io.progress import silent
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec
from eccl_lib.training.runs import Run

FOLDER = paths.ROOT / "figures" / "study"
SEEDS = range(5)  # docs/study.md
MADE_WITH = ("commit", "clean", "cpu", "instruction_set", "threads", "torch")


def finished(config: Config) -> dict[tuple[str, str, int], Run]:
    """The finished runs of the table's cells, by row key, task and seed."""
    data, found = open_cohort.load(config, silent), {}
    for key in METHODS:
        for task in TASKS:
            for seed in SEEDS:
                run = spec(replace(config, disease=task, seed=seed), key).run(data)
                if run.done:
                    found[key, task, seed] = run
    return found


def cell(key: str, task: str, seed: int, run: Run) -> dict[str, object]:
    """One line of cells.csv."""
    metrics, made_with = run.metrics, run.manifest()["made_with"]
    scores = {"test": metrics["test"], "validation": metrics["val"], "n": metrics["n"]["test"]}
    course = {"best_epoch": metrics["best_epoch"], "updates": metrics["updates"]}
    seconds = {"cpu_seconds": run.timing["cpu_seconds"]}
    return {"row": METHODS[key].row, "task": task, "seed": seed, **scores, **course, **seconds} | {
        name: made_with[name] for name in MADE_WITH
    }


def export(config: Config, folder: Path) -> pd.DataFrame:
    """Write the finished cells into ``folder`` and return cells.csv. Predictions are float16, in the task's units."""
    runs = finished(config)
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    measured: dict[str, np.ndarray] = {}
    for key, task in dict.fromkeys((key, task) for key, task, _ in runs):
        arrays = {}
        for seed in SEEDS:
            if (key, task, seed) in runs:
                values, predicted = measured_and_predicted(runs[key, task, seed])
                arrays[f"seed{seed}"], measured[task] = predicted.astype(np.float16), values.astype(np.float32)
        _save(folder / "predictions" / f"{key}-{task}.npz", arrays)
    _save(folder / "measured.npz", measured)
    frame = pd.DataFrame([cell(*name, run) for name, run in runs.items()])
    write_atomically(folder / "cells.csv", lambda path: frame.to_csv(path, index=False, float_format="%.6g"))
    return frame


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="study")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parsed = parser.parse_args()
    frame = export(load(parsed.scale), parsed.folder)
    print(f"{len(frame)} of {len(METHODS) * len(TASKS) * len(SEEDS)} cells: {parsed.folder}")


if __name__ == "__main__":
    main()
