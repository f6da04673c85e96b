"""figures/study: tables and figures of the study, to be committed as its runs finish.

``python -m tools.study_results`` adds the finished runs of ``eccl study`` (ECCL_RUNS) to the committed predictions
(``tools/study_archive.py``). Table 1 and all that is computed from it cover the seeds whose cells are all committed,
also those whose runs are not there any more. The experiments are kept in the same way. The whole study takes about
40 MB.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from eccl_lib import figures
from eccl_lib.config.load import load
from eccl_lib.config.schema import Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import experiments, provenance, supplement, table1
from eccl_lib.figures.style import stamp_synthetic
from eccl_lib.io import paths
from eccl_lib.io.files import write_atomically, write_json
from eccl_lib.io.progress import silent
from eccl_lib.notebooks.notebook import write_figure
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec
from tools import study_archive
from tools.study_archive import MADE_WITH, SEEDS

RENAMED = {"table1_differences.csv": "differences.csv", "table1_traits.csv": "traits.csv"}


def write_table(config: Config, data: Cohort, seeds: Sequence[int], folder: Path) -> None:
    """Table 1 of the complete seeds, its claims and other tables, and the figure of differences."""
    scores, latents = study_archive.read_scores(folder, seeds), study_archive.read_latents(folder, seeds)
    cells = table1.write_tables(config, data, scores, latents, folder)
    write_json(folder / "table1.json", facts(config, data, seeds, folder))
    for old, new in RENAMED.items():
        (folder / old).replace(folder / new)
    _draw(supplement.forest(pd.read_csv(folder / "differences.csv"), cells), folder, "differences")


def facts(config: Config, data: Cohort, seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """Content of table1.json, from the archive."""
    lines = study_archive.read_provenance(folder)
    lines = lines[lines["seed"].isin(seeds)].sort_values("run")
    runs = {key: study_archive.run_of(config, data, *key) for key in study_archive.places(seeds)}
    stages = study_archive.read_costs(folder).groupby("stage", sort=False)[["runs", "seconds"]].sum()
    cost = {"total": round(float(stages["seconds"].sum()), 1), "stages": stages.to_dict("index")}
    return provenance.of_cohort(config, data) | {
        "rows": list(METHODS),
        "seeds": list(seeds),
        "runs": lines["run"].tolist(),
        "runs_sha256": provenance.digest(run.fingerprint for run in sorted(runs.values(), key=lambda run: run.name)),
        "made_with": lines[list(MADE_WITH)].drop_duplicates().to_dict("records"),
        "cpu_seconds": cost,
    }


def write_autoencoders(config: Config, data: Cohort, folder: Path) -> None:
    """The masked autoencoders of the study: seed, share of the masked variance that they explain, updates, time."""
    path, records = folder / "autoencoders.csv", []
    for seed in SEEDS:
        run = spec(replace(config, seed=seed), "pretrain_ecg").run(data)
        if run.done:
            of_run = {"seed": seed, "r2_masked": run.metrics["r2_masked"], "updates": run.metrics["updates"]}
            records.append(of_run | {"cpu_seconds": run.timing["cpu_seconds"]})
    parts = [pd.DataFrame(records), *([pd.read_csv(path)] if path.is_file() else [])]
    frame = pd.concat(parts, ignore_index=True)
    if len(frame):
        frame = frame.drop_duplicates("seed").sort_values("seed")
        write_atomically(path, lambda beside: frame.to_csv(beside, index=False, float_format="%.4g"))


def write_experiments(config: Config, data: Cohort, folder: Path) -> dict[str, int]:
    """Add the finished runs of the experiments, and write and draw the tables of their complete seeds.

    Returns the number of complete seeds of each experiment that has any.
    """
    n = {split: len(data.index(split)) for split in ("val", "test")}
    complete = {}
    for name in experiments.NAMES:
        measured = study_archive.add_experiment(name, config, data, folder)
        tables = experiments.tables(name, config, measured) if len(measured.frame) else {}
        for stem, table in tables.items():
            if not stem.endswith("_scores"):  # NAME_runs.csv has them
                write_atomically(folder / f"{stem}.csv", partial(table.to_csv, index=False, float_format="%.6g"))
        if tables:
            seeds = next(iter(tables.values()))["seed"].nunique()
            complete[name] = seeds
            _draw(_figure(name, folder, n, seeds), folder, name)
    gain = experiments.ECCL, experiments.SSL
    varied = {
        name: experiment.x
        for name, experiment in experiments.EXPERIMENTS.items()
        if name in complete and experiment.x and gain in experiment.pairs
    }
    if varied:
        differences = {x: pd.read_csv(folder / f"{name}_differences.csv") for name, x in varied.items()}
        size = {"n": n["test"], "seeds": [complete[name] for name in varied]}
        _draw(figures.alignment_gains(differences, one=gain[0], other=gain[1], **size), folder, "alignment_gains")
    return complete


def _figure(name: str, folder: Path, n: dict[str, int], seeds: int) -> Figure:
    if name == experiments.ENCODERS:
        return figures.fig2b_patches_and_size(pd.read_csv(folder / f"{name}.csv"), n=n["test"])
    experiment = experiments.EXPERIMENTS[name]
    means, differences = (pd.read_csv(folder / f"{name}_{kind}.csv") for kind in ("means", "differences"))
    size = {"n": n[experiment.split], "seeds": seeds}
    if not experiment.x:
        split = {"val": "validation", "test": "test"}[experiment.split]
        return figures.option_differences(differences, split=split, **size)
    return figures.learning_curves(means, differences, x=experiment.x, **size)


def _draw(figure: Figure, folder: Path, name: str) -> None:
    stamp_synthetic(figure)
    write_figure(figure, folder, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="study")
    parser.add_argument("--folder", type=Path, default=paths.STUDY_FIGURES)
    parsed = parser.parse_args()
    config = load(parsed.scale)
    data = open_cohort.load(config, silent)
    lines = study_archive.add(config, data, parsed.folder)
    write_autoencoders(config, data, parsed.folder)
    seeds = study_archive.complete_seeds(lines)
    if seeds:
        write_table(config, data, seeds, parsed.folder)
    complete = write_experiments(config, data, parsed.folder)
    study_archive.write_sums(parsed.folder)
    total = len(list(study_archive.places(SEEDS)))
    found = ", ".join(f"{name} ({count} seeds)" for name, count in complete.items())
    print(f"{len(lines)} of {total} cells, {len(seeds)} complete seeds, experiments: {found or 'none'}")


if __name__ == "__main__":
    main()
