"""Table 1: which rows on which tasks with which seeds, run in order of need, and the table of what came out.

Command: ``python -m eccl_lib.table1 --scale demo``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import joblib
import pandas as pd

from eccl_lib import command, demographics, methods, paths, stages
from eccl_lib.config import DISEASES, Config, ConfigError
from eccl_lib.config import TASKS as TASK_KEYS
from eccl_lib.data import cohort
from eccl_lib.methods import METHODS
from eccl_lib.relay import Relay, append
from eccl_lib.runs import Run
from eccl_lib.storage import write_atomically, write_json
from eccl_lib.tasks import TASKS

Log = Callable[[str], None]
Job = tuple[str, Config]  # a stage or a method's key, and its parameters


def plan(config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> list[list[Job]]:
    """Jobs in waves: what several cells share first, then the cells. Within a wave no job needs another."""
    cells = [replace(config, disease=task, seed=seed) for seed in seeds for task in tasks]
    arms = [METHODS[key].arm for key in rows]
    shared: list[Job] = []
    if any(arm is None or arm.contrast for arm in arms):
        shared += [("cmr_sup", cell) for cell in cells]
    if any(arm is not None and arm.ecg_pretraining for arm in arms):
        shared += [("pretrain_ecg", replace(config, seed=seed)) for seed in seeds]
    return [shared, [(key, cell) for cell in cells for key in rows if METHODS[key].arm is not None]]


def run_job(job: Job, log: Log = print) -> Run:
    """One job, here and now."""
    key, config = job
    return stages.pretrain_ecg(config, log) if key == "pretrain_ecg" else methods.run(config, key, log)


def expected_run(job: Job, data: cohort.Cohort) -> Run:
    """The folder a job's result is or will be in."""
    key, config = job
    return stages.ecg_run(config, data) if key == "pretrain_ecg" else methods.expected(config, key, data)


def run_jobs(waves: list[list[Job]], config: Config, log: Log = print, epochs: Log | None = None) -> None:
    """Run what is not done, ``config.runtime.workers`` processes side by side.

    log: a line per run with the time remaining. epochs: also a line per epoch, as it comes from the workers.
    """
    data = cohort.load(config, log)
    todo = [[job for job in wave if not expected_run(job, data).done] for wave in waves]
    total, done, start = sum(map(len, todo)), 0, time.monotonic()
    log(f"{total} of {sum(map(len, waves))} runs to do, {config.runtime.workers} at a time")
    with Relay(epochs or _silent) as relay, warnings.catch_warnings():
        # loky renews a worker that grew by 300 MB, as one does that imports torch; no job is lost by that.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        for wave in filter(None, todo):
            workers = min(config.runtime.workers, len(wave))
            parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
            for name, seconds in parallel(joblib.delayed(_timed)(job, relay.path) for job in wave):
                done += 1
                left = (time.monotonic() - start) / done * (total - done)
                log(f"run {done}/{total}  {name}  {seconds:.0f} s  about {left:.0f} s left")


def _timed(job: Job, lines: Path) -> tuple[str, float]:
    start = time.monotonic()
    run = run_job(job, log=partial(append, lines))
    return run.name, time.monotonic() - start


def _silent(line: str) -> None:
    """For those who do not want the lines."""


def table(config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Finished cells in long form: row, task, column, metric, mean, std, seeds, n, positives.

    Raises MissingError with the command where a cell is not there.
    """
    reading = replace(config, runtime=replace(config.runtime, build_missing=False))
    records = []
    for key in rows:
        for task in tasks:
            cells = [replace(reading, disease=task, seed=seed) for seed in seeds]
            records.append(_cell(key, task, [methods.finished(cell, key, _silent).metrics for cell in cells]))
    return pd.DataFrame(records).astype({"positives": "Int64"})


def _cell(key: str, task: str, metrics: list[dict]) -> dict[str, object]:
    scores = pd.Series([m["test"] for m in metrics])
    return {
        "row": METHODS[key].row,
        "task": task,
        "column": TASKS[task].column,
        "metric": TASKS[task].metric,
        "mean": scores.mean(),
        "std": scores.std(ddof=1) if len(scores) > 1 else float("nan"),
        "seeds": len(scores),
        "n": metrics[0]["n"]["test"],
        "positives": metrics[0].get("positives", {}).get("test"),
    }


def published() -> pd.DataFrame:
    """Table 1 as printed in the paper, in the long form of ``table``: row, task, mean, std."""
    wide = pd.read_csv(paths.PAPER_TABLE)
    stems = {"mi_auc": "I21", "cm_auc": "I42", "af_auc": "I48", "hf_auc": "I50", "mean_r": "traits"}
    parts = [
        pd.DataFrame({"row": wide["row"], "task": task, "mean": wide[f"{stem}_mean"], "std": wide[f"{stem}_std"]})
        for stem, task in stems.items()
    ]
    return pd.concat(parts, ignore_index=True)


def wide(long: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Rows of Table 1 by column, each cell a mean, with +- standard deviation where there are several seeds."""
    cells = long.assign(
        text=[
            f"{m:.{digits}f}" + ("" if pd.isna(s) else f" ± {s:.{digits}f}")
            for m, s in zip(long["mean"], long["std"], strict=True)
        ],
        heading=[TASKS[task].column + (" AUC" if TASKS[task].is_disease else "") for task in long["task"]],
    )
    order = [TASKS[t].column + (" AUC" if TASKS[t].is_disease else "") for t in TASK_KEYS if t in set(long["task"])]
    return cells.pivot(index="row", columns="heading", values="text").loc[list(dict.fromkeys(long["row"])), order]


def build(
    config: Config,
    rows: Sequence[str] = tuple(METHODS),
    tasks: Sequence[str] = TASK_KEYS,
    seeds: Sequence[int] = (0,),
    log: Log = print,
    epochs: Log | None = None,
) -> pd.DataFrame:
    """Run what is missing, then the table with the line of sex and age alone below the rows.

    Also written among the run's figures: table1.csv, and table1.json with n, prevalence and seeds.
    """
    run_jobs(plan(config, rows, tasks, seeds), config, log, epochs)
    data = cohort.load(config, _silent)
    result = pd.concat([table(config, rows, tasks, seeds), demographics.table(data, tasks)], ignore_index=True)
    folder = paths.figures_dir(config.scale, config.cohort)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table1.csv", lambda path: result.to_csv(path, index=False, float_format="%.4f"))
    facts = {
        "cohort_fingerprint": data.fingerprint,
        "participants": len(data.table),
        "test": len(data.index("test")),
        "seeds": len(seeds),
    }
    prevalence = dict(zip(DISEASES, data.labels.mean(axis=0).round(4).tolist(), strict=True))
    write_json(
        folder / "table1.json", facts | {"prevalence": prevalence, "cohort": config.cohort, "scale": config.scale}
    )
    return result


def main(arguments: list[str] | None = None) -> None:
    """``python -m eccl_lib.table1 --scale demo --seeds 1``."""
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.table1", description="Train every cell of Table 1.")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--rows", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tasks", nargs="+", default=list(TASK_KEYS), choices=TASK_KEYS)
    command.add_parameters(parser, disease=False)
    parsed = parser.parse_args(arguments)
    config = command.config(parsed)
    if parsed.seeds < 1:
        raise ConfigError(f"--seeds is {parsed.seeds}; give 1 or more")
    seeds = range(parsed.seed, parsed.seed + parsed.seeds)
    print(wide(build(config, parsed.rows, parsed.tasks, seeds, epochs=print)).to_string())


if __name__ == "__main__":
    command.run(main)
