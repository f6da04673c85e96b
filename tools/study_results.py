"""figures/study: tables and test predictions of the study, from its runs, to be committed as they come.

``python -m tools.study_results`` reads the runs of ``eccl study`` (ECCL_RUNS). Table 1 and all that is computed from it
cover the seeds whose cells are all finished; ``provenance.csv`` and the predictions cover every finished cell. The
tables of the finished experiments are copied and drawn. The whole study takes about 40 MB.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS, Config
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import experiments, supplement, table1
from eccl_lib.evaluation.predictions import measured_and_predicted
from eccl_lib.figures.style import stamp_synthetic
from eccl_lib.io import paths
from eccl_lib.io.files import sha256, write_atomically, write_json
from eccl_lib.io.progress import print_line, silent
from eccl_lib.notebooks.notebook import write_figure
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec
from eccl_lib.training.runs import Run

SEEDS = range(5)  # docs/study.md
MADE_WITH = ("commit", "clean", "cpu", "instruction_set", "threads", "torch")
RENAMED = {"table1_differences.csv": "differences.csv", "table1_traits.csv": "traits.csv"}
Cells = dict[tuple[str, str, int], Run]


def finished(config: Config) -> Cells:
    """The finished runs of the table's cells, by row key, task and seed."""
    data, found = open_cohort.load(config, silent), {}
    for key in METHODS:
        for task in TASKS:
            for seed in SEEDS:
                run = spec(replace(config, disease=task, seed=seed), key).run(data)
                if run.done:
                    found[key, task, seed] = run
    return found


def complete_seeds(cells: Cells) -> list[int]:
    """The seeds of which every row and task is finished, counted from the first one."""
    seeds = []
    for seed in SEEDS:
        if not all((key, task, seed) in cells for key in METHODS for task in TASKS):
            break
        seeds.append(seed)
    return seeds


def provenance(key: str, task: str, seed: int, run: Run) -> dict[str, object]:
    """One line of provenance.csv."""
    metrics, made_with = run.metrics, run.manifest()["made_with"]
    scores = {"test": metrics["test"], "validation": metrics["val"], "n": metrics["n"]["test"]}
    course = {"best_epoch": metrics["best_epoch"], "updates": metrics["updates"]}
    seconds = {"cpu_seconds": run.timing["cpu_seconds"]}
    return {"row": METHODS[key].row, "task": task, "seed": seed, **scores, **course, **seconds} | {
        name: made_with[name] for name in MADE_WITH
    }


def export(cells: Cells, folder: Path) -> pd.DataFrame:
    """Write the finished cells into ``folder`` and return provenance.csv. Predictions: float16, in the task's units."""
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    measured: dict[str, np.ndarray] = {}
    for key, task in dict.fromkeys((key, task) for key, task, _ in cells):
        arrays = {}
        for seed in SEEDS:
            if (key, task, seed) in cells:
                values, predicted = measured_and_predicted(cells[key, task, seed])
                arrays[f"seed{seed}"], measured[task] = predicted.astype(np.float16), values.astype(np.float32)
        _save(folder / "predictions" / f"{key}-{task}.npz", arrays)
    _save(folder / "measured.npz", measured)
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*.npz"))}
    write_json(folder / "sums.json", sums)  # the privacy check accepts these files alone
    frame = pd.DataFrame([provenance(*name, run) for name, run in cells.items()])
    write_atomically(folder / "provenance.csv", lambda path: frame.to_csv(path, index=False, float_format="%.6g"))
    return frame


def write_table(config: Config, seeds: list[int], folder: Path) -> None:
    """Table 1 of the complete seeds, its claims and other tables, and the figure of differences."""
    cells = table1.write(config, tuple(METHODS), TASKS, seeds, folder, print_line)
    (folder / "table1.md").unlink()  # the page of this folder is docs/study.md
    for old, new in RENAMED.items():
        (folder / old).replace(folder / new)
    _draw(supplement.forest(pd.read_csv(folder / "differences.csv"), cells), folder, "differences")


def write_autoencoders(config: Config, folder: Path) -> None:
    """The masked autoencoders of the study: seed, share of the masked variance that they explain, updates, time."""
    data, records = open_cohort.load(config, silent), []
    for seed in SEEDS:
        run = spec(replace(config, seed=seed), "pretrain_ecg").run(data)
        if run.done:
            facts = {"seed": seed, "r2_masked": run.metrics["r2_masked"], "updates": run.metrics["updates"]}
            records.append(facts | {"cpu_seconds": run.timing["cpu_seconds"]})
    frame = pd.DataFrame(records)
    write_atomically(folder / "autoencoders.csv", lambda path: frame.to_csv(path, index=False, float_format="%.4g"))


def copy_experiments(config: Config, folder: Path) -> list[str]:
    """Copy and draw the tables of the finished experiments. Returns their names."""
    source = paths.figures_dir(config.scale, config.cohort)
    n = {split: len(open_cohort.load(config, silent).index(split)) for split in ("val", "test")}
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in experiments.NAMES:
        tables = sorted(source.glob(f"{name}*.csv"))
        for path in tables:
            shutil.copyfile(path, folder / path.name)
        if tables:
            found.append(name)
            _draw(_figure(name, folder, n), folder, name)
    return found


def _figure(name: str, folder: Path, n: dict[str, int]) -> Figure:
    if name == experiments.ENCODERS:
        return figures.fig2b_patches_and_size(pd.read_csv(folder / f"{name}.csv"), n=n["test"])
    experiment = experiments.EXPERIMENTS[name]
    means, differences = (pd.read_csv(folder / f"{name}_{kind}.csv") for kind in ("means", "differences"))
    size = {"n": n[experiment.split], "seeds": experiment.seeds}
    if not experiment.x:
        return figures.option_differences(differences, **size)
    return figures.learning_curves(means, differences, x=experiment.x, **size)


def _draw(figure: Figure, folder: Path, name: str) -> None:
    stamp_synthetic(figure)
    write_figure(figure, folder, name)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="study")
    parser.add_argument("--folder", type=Path, default=paths.STUDY_FIGURES)
    parsed = parser.parse_args()
    config = load(parsed.scale)
    cells = finished(config)
    export(cells, parsed.folder)
    write_autoencoders(config, parsed.folder)
    seeds = complete_seeds(cells)
    if seeds:
        write_table(config, seeds, parsed.folder)
    copied = copy_experiments(config, parsed.folder)
    total = len(METHODS) * len(TASKS) * len(SEEDS)
    print(f"{len(cells)} of {total} cells, {len(seeds)} complete seeds, experiments: {', '.join(copied) or 'none'}")


if __name__ == "__main__":
    main()
