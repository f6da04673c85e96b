"""``eccl table1``: all cells of Table 1."""

from collections.abc import Sequence
from typing import Any

import click
import pandas as pd

from eccl_lib import grid
from eccl_lib.commands.cli import EXIT_FAILED, Names, Several, TaskNames, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.diseases import check_task
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import Config
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import table1, table1_text
from eccl_lib.grid.forecast import Forecast
from eccl_lib.io import paths
from eccl_lib.io.progress import Log, print_line, say
from eccl_lib.io.workers import BACKENDS, Workers
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import default_tasks, tasks_of


def build(
    config: Config,
    rows: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    log: Log = print_line,
    workers: Workers | None = None,
    forecast: Forecast | None = None,
) -> pd.DataFrame:
    """Train the missing runs and write Table 1 to the folder of figures. Returns its cells. Raises GridError.

    rows: keys of METHODS, by default all. tasks: by default those of ``default_tasks``. forecast: as in ``run_jobs``.
    """
    rows, tasks = rows or tuple(METHODS), tasks or default_tasks(config)
    open_cohort.require_arrays(config.cohort)
    grid.run_jobs(grid.plan(config, rows, tasks, seeds), config, log, workers=workers, forecast=forecast)
    return table1.write(config, rows, tasks, seeds, paths.figures_dir(config.scale, config.cohort), log)


@eccl_command("table1")
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="number of seeds, counted from --seed")
@click.option("--rows", cls=Several, type=Names(METHODS.keys), metavar="ROW...", help="by default all")
@click.option(
    "--tasks", cls=Several, type=TaskNames(), metavar="TASK...", help="by default the paper's five and your diseases"
)
@click.option("--backend", type=click.Choice(BACKENDS), default="loky", help="loky: this machine; dask: a cluster")
@click.option(
    "--jobs", type=int, help="processes of loky; 1: this process  [default: one per GPU, else runtime.workers]"
)
@click.option("--scheduler", default="", metavar="ADDRESS", help="Dask scheduler, such as tcp://10.0.0.5:8786")
@click.option("--resource", cls=Several, metavar="NAME=AMOUNT...", help="resources of each Dask task, such as GPU=1")
@click.option("--plan", is_flag=True, help="estimate the time and stop")
@parameters(disease=False)
@guarded
def command(
    seeds: int,
    rows: tuple[str, ...],
    tasks: tuple[str, ...],
    backend: str,
    jobs: int | None,
    scheduler: str,
    resource: tuple[str, ...],
    plan: bool,
    seed: int,
    **options: Any,
) -> int:
    """Train all cells of Table 1 and write the table beside the figures.

    It first prints the predicted time. Finished runs are reused; interrupted runs resume. Exit status 1 where a run
    failed: the same command then runs what is missing.

    \b
    eccl table1 --seeds 5
    eccl table1 --rows ssl eccl --tasks traits --plan
    """
    config, numbers = config_of(seed=seed, **options), range(seed, seed + seeds)
    local = grid.local_workers(config, jobs)
    workers = Workers(backend, local.jobs, scheduler, dict(map(_resource, resource)), local.gpus)
    rows, tasks = rows or tuple(METHODS), tasks or default_tasks(config)
    for task in tasks:
        check_task(task, config.diseases, "--tasks")
    try:
        if plan:
            grid.predict(grid.plan(config, rows, tasks, numbers), config, print_line, workers)
            return 0
        cells = build(config, rows, tasks, numbers, print_line, workers)
    except grid.GridError as error:
        say(f"\n{error}", error=True)
        return EXIT_FAILED
    own = tasks_of(config)
    say(table1_text.shown(table1.wide(cells, own), tasks=own).to_string())
    return 0


def _resource(item: str) -> tuple[str, float]:
    name, _, amount = item.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise ConfigError(f"--resource {item}: give NAME=AMOUNT, such as GPU=1") from None
