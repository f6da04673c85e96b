"""Table 1 from nothing: plan the grid, run what is missing, write the numbers.

Command: ``python -m eccl_lib.commands.table1 --scale demo --seeds 5``, on a cluster with ``--backend dask --scheduler ADDRESS``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from eccl_lib import grid
from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import TASKS, Config
from eccl_lib.evaluation import table1, table1_text
from eccl_lib.grid.scheduler import Log
from eccl_lib.grid.workers import BACKENDS, Workers
from eccl_lib.io import paths
from eccl_lib.io.progress import print_line
from eccl_lib.pipeline.methods import METHODS


def build(
    config: Config,
    rows: Sequence[str] = tuple(METHODS),
    tasks: Sequence[str] = TASKS,
    seeds: Sequence[int] = (0,),
    log: Log = print,
    workers: Workers | None = None,
) -> pd.DataFrame:
    """Run what is missing, write all files of the table among the run's figures, return its cells in long form.

    Raises GridError where a run failed: there is no table with a hole in it.
    """
    grid.run_jobs(grid.plan(config, rows, tasks, seeds), config, log, workers=workers)
    return table1.write(config, rows, tasks, seeds, paths.figures_dir(config.scale, config.cohort), log)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eccl_lib.commands.table1", description="Train every cell of Table 1."
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--rows", nargs="+", default=list(METHODS), choices=METHODS, metavar="ROW")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, metavar="TASK")
    parser.add_argument("--backend", default="loky", choices=BACKENDS, help="loky: this machine; dask: a cluster")
    parser.add_argument("--jobs", type=int, help="loky's processes side by side; 1: none but this one")
    parser.add_argument("--scheduler", default="", metavar="ADDRESS", help="Dask's, such as tcp://10.0.0.5:8786")
    parser.add_argument("--resource", action="append", default=[], metavar="NAME=AMOUNT", help="of Dask, such as GPU=1")
    parser.add_argument("--plan", action="store_true", help="say what would run and how long, and stop")
    command_line.add_parameters(parser, disease=False)
    return parser.parse_args(words)


def _workers(given: argparse.Namespace, config: Config) -> Workers:
    jobs = config.runtime.workers if given.jobs is None else given.jobs
    return Workers(given.backend, jobs, given.scheduler, dict(map(_resource, given.resource)))


def _resource(item: str) -> tuple[str, float]:
    name, _, amount = item.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise ConfigError(f"--resource {item}: give NAME=AMOUNT, such as GPU=1") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m eccl_lib.commands.table1 --scale demo --seeds 5``; exit status 1 where a run failed."""
    given = _arguments(arguments)
    if given.seeds < 1:
        raise ConfigError(f"--seeds is {given.seeds}; give 1 or more")
    config, seeds = command_line.config(given), range(given.seed, given.seed + given.seeds)
    workers = _workers(given, config)
    try:
        if given.plan:
            grid.predict(grid.plan(config, given.rows, given.tasks, seeds), config, print_line, workers)
            return
        cells = build(config, given.rows, given.tasks, seeds, print_line, workers)
    except grid.GridError as error:
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(table1_text.shown(table1.wide(cells)).to_string())


if __name__ == "__main__":
    command_line.run(main)
