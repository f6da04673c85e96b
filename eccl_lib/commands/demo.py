"""``eccl demo``: run the notebooks."""

import os
import time
from dataclasses import replace
from typing import Any

import click

from eccl_lib import grid
from eccl_lib.commands.cli import EXIT_FAILED, Several, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import TASKS, Config
from eccl_lib.evaluation import fig2b
from eccl_lib.io import paths
from eccl_lib.io.progress import say
from eccl_lib.notebooks import run
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import RunSpec, spec, waves

DEFAULTS = {"scale": "demo", "cohort": "synthetic", "seed": 0}


@eccl_command("demo")
@click.option("--only", cls=Several, metavar="NN...", help="notebooks by number or name, such as 04")
@click.option("--models", is_flag=True, help="build the cohort, train the models of all notebooks and stop")
@click.option("--refresh", is_flag=True, help="also update notebooks/ and figures/demo of the checkout")
@parameters(disease=False)
@guarded
def command(only: tuple[str, ...], models: bool, refresh: bool, settings: tuple[str, ...], **options: Any) -> int:
    """Run the notebooks and name the tables, figures and executed notebooks that they wrote.

    Notebook 01 builds the cohort. Then all models are trained, two at a time, and the other notebooks show them.
    Finished trainings are reused, so a second call takes two minutes.

    \b
    eccl demo
    eccl demo --only 04 07 --seed 1
    """
    began = time.perf_counter()
    os.environ["ECCL_RUNS"] = str(paths.runs_root())  # for the kernels, whose current folder is another one
    config = config_of(settings=settings, build=False, **options)  # raises on a wrong parameter before notebook 01
    # A parameter that equals the notebook's own is not passed, so that papermill adds no cell.
    parameters = {name: value for name, value in options.items() if value != DEFAULTS[name]}
    if overrides := command_line.overrides(settings):
        parameters["overrides"] = overrides
    if refresh and parameters:
        raise ConfigError("--refresh updates the committed demo: give no other scale, cohort, seed or setting")
    if refresh and not paths.IN_CHECKOUT:
        raise ConfigError("--refresh needs a checkout of the repository, installed with pip install --editable")
    names = run.chosen(only)
    moment = time.time() - 1  # file systems may round times down
    folder, train = paths.notebooks_dir(config.scale, config.cohort), not only and config.runtime.build_missing
    try:
        if models:
            grid.run_jobs(waves(_all_runs(config)), config, _say)
            return 0
        executed = run.run_all(names[:1], parameters, folder, _say)
        if train:
            grid.run_jobs(waves(_all_runs(config)), config, _say)
        executed += run.run_all(names[1:], parameters, folder, _say, jobs=config.runtime.workers if train else 1)
    except (run.NotebookError, grid.GridError) as error:
        say(f"\n{error}", error=True)
        return EXIT_FAILED
    written = run.written_since(paths.figures_dir(options["scale"], options["cohort"]), moment)
    if refresh:
        run.refresh(executed, written)
    run.report(written, executed, _say)
    _say(f"all in {time.perf_counter() - began:.0f} s")
    return 0


def _all_runs(config: Config) -> list[RunSpec]:
    """The runs of every notebook: the cells of Table 1 and the points of Fig. 2b."""
    cells = [replace(config, disease=task) for task in TASKS]
    return [*(spec(cell, key) for cell in cells for key in METHODS), *fig2b.specs(config)]


def _say(line: str) -> None:
    """Print to standard error, where the notebooks' progress lines also go, so that the order is kept."""
    say(line, error=True)
