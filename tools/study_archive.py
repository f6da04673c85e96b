"""The committed results of the study in figures/study: added to from runs, and read back without them.

Seeds are trained on different days and machines, so the runs of all seeds are never needed at once. The archive has,
for every finished cell, the predictions for the test participants (float16, in the task's units) and one line of
``provenance.csv``; for every seed with a finished ECCL, ranks and purities of its embeddings (``latent/``), and the CPU
time of each stage (``costs.csv``). Of the experiments it has the score of every finished run (``NAME_runs.csv``), also
in each bootstrap draw of participants (``NAME_draws.npz``, float32).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.schema import TASKS, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import experiments, latent_scores, provenance
from eccl_lib.evaluation.latent_scores import WHEN, ByTaskAndSeed, LatentScores
from eccl_lib.evaluation.measured_runs import MeasuredRuns
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.io import paths
from eccl_lib.io.files import sha256, write_atomically, write_json
from eccl_lib.metrics.retrieval import DIRECTIONS
from eccl_lib.metrics.scores import RECALLS
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import RunSpec, spec
from eccl_lib.tasks import TASKS as DETAILS
from eccl_lib.training.run_scores import measured_and_predicted
from eccl_lib.training.runs import Run

SEEDS = range(5)  # of the table; docs/study.md
MADE_WITH = ("commit", "clean", "cpu", "instruction_set", "threads", "torch", "python", "device", "ranks", "eccl_lib")
NAMING = ["row", "task", "seed"]
Cells = dict[tuple[str, str, int], Run]


class OtherRuns(ValueError):
    """A run has other settings than the committed one of the same cell."""


@dataclass(frozen=True)
class Kept:
    """A run whose folder need not exist: its name and scores, in place of ``Run`` in ``Scores``."""

    name: str
    metrics: Mapping[str, Any]


def finished(config: Config, data: Cohort) -> Cells:
    """The finished runs of the table's cells, by row key, task and seed."""
    found = {place: run_of(config, data, *place) for place in places(SEEDS)}
    return {place: run for place, run in found.items() if run.done}


def places(seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    """Row key, task and seed of every cell."""
    return [(key, task, seed) for key in METHODS for task in TASKS for seed in seeds]


def run_of(config: Config, data: Cohort, key: str, task: str, seed: int) -> Run:
    """The run of a cell, whether it exists here or not."""
    return spec(replace(config, disease=task, seed=seed), key).run(data)


def add(config: Config, data: Cohort, folder: Path) -> pd.DataFrame:
    """Add all that is finished under ECCL_RUNS to the archive. Returns provenance.csv.

    Raises OtherRuns if a finished run has other settings than the committed one of the same cell.
    """
    cells = finished(config, data)
    frame = _provenance(cells, folder)
    _add_predictions(cells, folder)
    for seed in SEEDS:
        ranks = folder / "latent" / f"seed{seed}.npz"
        if not ranks.is_file() and all(("eccl", task, seed) in cells for task in TASKS):
            _save(ranks, _arrays(latent_scores.measure(config, data, TASKS, [seed])))
        if all((key, task, seed) in cells for key in METHODS for task in TASKS):
            _add_costs(config, data, seed, folder)
    return frame


def write_sums(folder: Path) -> None:
    """sums.json: the checksum of each .npz file. The privacy check accepts these files alone."""
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*.npz"))}
    write_json(folder / "sums.json", sums)


def _provenance(cells: Cells, folder: Path) -> pd.DataFrame:
    """provenance.csv with the lines of these cells added or replaced."""
    lines = pd.DataFrame([_line(*place, run) for place, run in cells.items()])
    if (folder / "provenance.csv").is_file():
        lines = merged(read_provenance(folder), lines)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "provenance.csv", lambda path: lines.to_csv(path, index=False, float_format="%.6g"))
    return lines


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Lines of provenance, the new one where both have a cell, in the order of Table 1.

    Raises OtherRuns if both have a cell whose runs have different names, since a name contains the fingerprint.
    """
    if len(new):
        _check_same(old, new, NAMING)
    lines = pd.concat([new, old], ignore_index=True).drop_duplicates(NAMING)
    rows = [method.row for method in METHODS.values()]
    order = [(rows.index(row), list(TASKS).index(task), seed) for row, task, seed in lines[NAMING].to_numpy()]
    return lines.iloc[sorted(range(len(lines)), key=order.__getitem__)].reset_index(drop=True)


def _check_same(old: pd.DataFrame, new: pd.DataFrame, naming: list[str]) -> None:
    """Raise OtherRuns if the runs of one place have different names, since a name contains the fingerprint."""
    both = old.merge(new, on=naming, suffixes=("_old", "_new"))
    other = both[both["run_old"] != both["run_new"]]
    if len(other):
        one = other.iloc[0]
        raise OtherRuns(
            f"{one.run_new} was trained with other settings than {one.run_old}, which is committed. One table needs "
            "one set of settings: start an empty --folder, or use the code of the committed runs."
        )


def _line(key: str, task: str, seed: int, run: Run) -> dict[str, object]:
    metrics, made_with = run.metrics, run.manifest()["made_with"]
    scores = {"test": metrics["test"], "validation": metrics["val"], "n": metrics["n"]["test"]}
    course = {name: metrics[name] for name in ("best_epoch", "epochs", "updates")}
    seconds = {"cpu_seconds": run.timing["cpu_seconds"]}
    place = {"row": METHODS[key].row, "task": task, "seed": seed, "run": run.name}
    return place | scores | course | seconds | {name: made_with[name] for name in MADE_WITH}


def read_provenance(folder: Path) -> pd.DataFrame:
    """provenance.csv."""
    return pd.read_csv(folder / "provenance.csv")


def _add_predictions(cells: Cells, folder: Path) -> None:
    measured = _load(folder / "measured.npz")
    for key, task in dict.fromkeys((key, task) for key, task, _ in cells):
        path = folder / "predictions" / f"{key}-{task}.npz"
        arrays = _load(path)
        for seed in (seed for seed in SEEDS if (key, task, seed) in cells):
            values, predicted = measured_and_predicted(cells[key, task, seed])
            arrays[f"seed{seed}"], found = predicted.astype(np.float16), values.astype(np.float32)
            if not np.array_equal(measured.setdefault(task, found), found, equal_nan=True):
                raise OtherRuns(f"{cells[key, task, seed].name} scored other participants than measured.npz has")
        _save(path, {name: arrays[name] for name in sorted(arrays)})
    _save(folder / "measured.npz", measured)


def _add_costs(config: Config, data: Cohort, seed: int, folder: Path) -> None:
    """CPU seconds of the stages of a whole seed, in place of an earlier measurement of this seed alone."""
    stages = provenance.cpu_seconds(config, data, {task: list(METHODS) for task in TASKS}, [seed])["stages"]
    lines = [
        {"seeds": str(seed), "stage": name, "runs": part["runs"], "seconds": part["seconds"]}
        for name, part in stages.items()
    ]
    old = read_costs(folder)
    covered = {int(each) for each in " ".join(old.loc[old["seeds"] != str(seed), "seeds"]).split()}
    if seed not in covered:  # by a measurement of several seeds together
        frame = pd.concat([old[old["seeds"] != str(seed)], pd.DataFrame(lines)], ignore_index=True)
        write_atomically(folder / "costs.csv", lambda path: frame.to_csv(path, index=False, float_format="%.1f"))


def add_experiment(name: str, config: Config, data: Cohort, folder: Path) -> MeasuredRuns:
    """Add the finished runs of an experiment under ECCL_RUNS to the archive. Returns all that it has.

    A run that is also a cell of the table is taken from the table's predictions, if its folder is not there.

    Raises OtherRuns if a finished run has other settings than the committed one of the same place.
    """
    table, draws, naming = folder / f"{name}_runs.csv", folder / f"{name}_draws.npz", experiments.naming(name)
    new, old = experiments.measure(name, config, data, _seeds_at_hand(config)), _read_runs(table, draws)
    if len(new.frame) and len(old.frame):
        _check_same(old.frame, new.frame, list(naming))
    kept = new.merged(old, naming)
    if len(kept.frame):
        kept = _in_order(kept.merged(_of_table(name, config, data, kept.frame, folder), naming), name)
        _save(draws, {"drawn": kept.drawn.astype(np.float32)})
        write_atomically(table, lambda path: kept.frame.to_csv(path, index=False, float_format="%.6g"))
    return _read_runs(table, draws)  # as rounded in the files: the same tables with and without the runs


def _of_table(name: str, config: Config, data: Cohort, known: pd.DataFrame, folder: Path) -> MeasuredRuns:
    """The runs of an experiment that are cells of the archived table, scored by their committed predictions.

    known: measured runs; the others of the same seeds are returned.
    """
    cells = _cells_of_table(name, folder)
    if not len(cells):
        return MeasuredRuns(pd.DataFrame(), np.empty((0, 0)))
    keys = {method.row: key for key, method in METHODS.items()}
    measured = _load(folder / "measured.npz")
    autoencoders = pd.read_csv(folder / "autoencoders.csv").set_index("seed")["r2_masked"]

    def score(own: RunSpec) -> tuple[dict[str, object], np.ndarray] | None:
        run = own.run(data)
        if run.name not in cells.index:
            return None
        cell = cells.loc[run.name]
        predicted = _load(folder / "predictions" / f"{keys[cell.row]}-{cell.task}.npz")[f"seed{cell.seed}"]
        has_autoencoder = any(parent.stage == "pretrain_ecg" for parent in own.parents())
        facts = {"score": cell.test, "updates": cell.updates, "cpu_seconds": round(cell.cpu_seconds), "run": run.name}
        facts["r2_masked"] = autoencoders[cell.seed] if has_autoencoder else np.nan
        facts |= {name: cell[name] for name in experiments.MADE_WITH}
        return facts, experiments.drawn_scores(cell.task, measured[cell.task].astype(float), predicted.astype(float))

    seeds, measured_places = sorted(set(known["seed"].tolist())), set(_places(known))
    places = experiments.places(name, config, seeds)
    left = [(names, own) for names, own in places if tuple(names.values()) not in measured_places]
    return MeasuredRuns.of(left, score, experiments.DRAWS)


def _places(frame: pd.DataFrame) -> Iterable[tuple]:
    """Series, x, task and seed of measured runs."""
    return frame[[*experiments.PLACE, "seed"]].itertuples(index=False, name=None)


def _in_order(measured: MeasuredRuns, name: str) -> MeasuredRuns:
    """The runs in the order of the experiment's points and their seeds, in whatever order they were added."""
    if name == experiments.ENCODERS:
        return measured
    points = {(each.series, each.x, each.task): k for k, each in enumerate(experiments.EXPERIMENTS[name].points)}
    keys = [(points[series, x, task], seed) for series, x, task, seed in _places(measured.frame)]
    return measured.rows(np.array(sorted(range(len(keys)), key=keys.__getitem__)))


def _cells_of_table(name: str, folder: Path) -> pd.DataFrame:
    """provenance.csv by name of the run, for an experiment that is scored on test participants as the table is."""
    scored = name != experiments.ENCODERS and experiments.EXPERIMENTS[name].split == "test"
    if not scored or not (folder / "provenance.csv").is_file():
        return pd.DataFrame()
    return read_provenance(folder).set_index("run", drop=False)


def runs_of(name: str, folder: Path) -> set[str]:
    """The names of an experiment's runs whose scores the archive has or has the predictions for."""
    table = folder / f"{name}_runs.csv"
    kept = set(pd.read_csv(table)["run"]) if table.is_file() else set()
    return kept | set(_cells_of_table(name, folder).index)


def _seeds_at_hand(config: Config) -> list[int]:
    """The seeds that have a run under ECCL_RUNS; those of an experiment are counted from ``--seed``."""
    return paths.seeds_of(paths.scale_root(config.scale, config.cohort).glob("*/*/*/seed*-*"))


def _read_runs(table: Path, draws: Path) -> MeasuredRuns:
    """The measured runs of an experiment that the archive has. table, draws: their files."""
    if not table.is_file():
        return MeasuredRuns(pd.DataFrame(), np.empty((0, 0)))
    return MeasuredRuns(pd.read_csv(table), _load(draws)["drawn"].astype(np.float64))


def read_costs(folder: Path) -> pd.DataFrame:
    """costs.csv: seeds (numbers with a space between), stage, runs, seconds."""
    path = folder / "costs.csv"
    columns = ["seeds", "stage", "runs", "seconds"]
    return pd.read_csv(path, dtype={"seeds": str}) if path.is_file() else pd.DataFrame(columns=columns)


def complete_seeds(frame: pd.DataFrame) -> list[int]:
    """The seeds of which every row and task is finished, counted from the first one. frame: provenance.csv."""
    seeds, whole = [], len(METHODS) * len(TASKS)
    for seed in SEEDS:
        if (frame["seed"] == seed).sum() < whole:
            break
        seeds.append(seed)
    return seeds


def read_scores(folder: Path, seeds: Sequence[int]) -> dict[str, Scores]:
    """The committed predictions of all rows, by task."""
    lines, measured = read_provenance(folder).set_index(NAMING), _load(folder / "measured.npz")
    gathered = {}
    for task in TASKS:
        arrays = {key: _load(folder / "predictions" / f"{key}-{task}.npz") for key in METHODS}
        predicted = np.stack([[arrays[key][f"seed{seed}"] for seed in seeds] for key in METHODS]).astype(np.float64)
        runs = tuple(
            tuple(_kept(lines.loc[(method.row, task, seed)], task) for seed in seeds) for method in METHODS.values()
        )
        values = measured[task].astype(np.float64)
        gathered[task] = Scores(DETAILS[task], tuple(METHODS), tuple(seeds), values, predicted, runs)
    return gathered


def _kept(line: pd.Series, task: str) -> Kept:
    scores = {"metric": DETAILS[task].metric, "test": line["test"], "val": line["validation"]}
    return Kept(line["run"], scores | {"best_epoch": line["best_epoch"], "epochs": line["epochs"]})


def read_latents(folder: Path, seeds: Iterable[int]) -> ByTaskAndSeed:
    """Ranks and purities of those seeds that the archive has them of."""
    found = {}
    for seed in seeds:
        arrays = _load(folder / "latent" / f"seed{seed}.npz")
        found |= {(task, seed): _latent(arrays, task) for task in TASKS if arrays}
    return found


def _arrays(latents: ByTaskAndSeed) -> dict[str, np.ndarray]:
    """Scores of one seed as arrays whose names have a task, a moment, and a direction or nothing."""
    arrays = {}
    for (task, _), each in latents.items():
        for when in WHEN:
            for direction in DIRECTIONS:
                ranks, recalls = each.ranked[when][direction]
                arrays[f"{task}, {when}, {direction}, rank"] = ranks.astype(np.float32)
                arrays |= {f"{task}, {when}, {direction}, {k}": part.astype(np.float32) for k, part in recalls.items()}
        arrays |= {f"{task}, {when}, purity": part.astype(np.float32) for when, part in each.purity.items()}
    return arrays


def _latent(arrays: Mapping[str, np.ndarray], task: str) -> LatentScores:
    def part(*names: str) -> np.ndarray:
        return arrays[", ".join((task, *names))].astype(np.float64)

    names = [f"recall_at_{k}" for k in RECALLS]
    ranked = {
        when: {
            direction: (part(when, direction, "rank"), {name: part(when, direction, name) for name in names})
            for direction in DIRECTIONS
        }
        for when in WHEN
    }
    return LatentScores(ranked, {when: part(when, "purity") for when in WHEN if f"{task}, {when}, purity" in arrays})


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; none if there is no file."""
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays compressed, unless the file has the same ones: its bytes would differ by their time alone."""
    old = _load(path)
    same = old.keys() == arrays.keys()
    if same and all(np.array_equal(old[k], arrays[k], equal_nan=True) for k in old):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(path, lambda beside: beside.write_bytes(content.getvalue()))
