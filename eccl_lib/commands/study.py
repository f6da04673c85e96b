"""``eccl study``: the study of docs/study.md."""

import click

from eccl_lib import grid
from eccl_lib.commands.cli import EXIT_FAILED, guarded
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.table1 import build
from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import experiments, table1, table1_text
from eccl_lib.io.progress import print_line, say
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS

SEEDS = 5  # of the table


@eccl_command("study")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="the first seed")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="number of seeds, counted from --seed  [default: 5, or those of the experiment]",
)
@click.option(
    "--experiment",
    type=click.Choice(experiments.NAMES),
    help="train this experiment of docs/study.md instead of the table",
)
@click.option("--plan", is_flag=True, help="estimate the time and stop")
@guarded
def command(seed: int, seeds: int | None, experiment: str | None, plan: bool) -> int:
    """Train all rows and tasks of Table 1 at study scale with five seeds: hours on two cores.

    It says first how long it will take, and resumes after an interruption. Seeds are trained one after another, and the
    table is written after each. Another machine can train other seeds. docs/study.md is the protocol, also of the
    experiments around the table.

    \b
    eccl study --plan
    eccl study --seed 3 --seeds 2
    eccl study --experiment updates
    eccl study --experiment updates --seed 2 --seeds 1
    """
    config = load("study", seed=seed, overrides={"runtime.build_missing": True})
    data = open_cohort.load(config, print_line)
    try:
        if experiment:
            waves = stages.waves(experiments.specs(experiment, config, seeds))
            grid.predict(waves, config, print_line) if plan else grid.run_jobs(waves, config, print_line)
            say("" if plan else experiments.write(experiment, config, data, seeds).to_string(index=False))
            return 0
        numbers = range(seed, seed + (seeds or SEEDS))
        forecast = grid.predict(grid.plan(config, METHODS, TASKS, numbers), config, print_line)
        for last in () if plan else numbers:
            cells = build(config, seeds=range(seed, last + 1), forecast=forecast if last == seed else None)
            say(table1_text.shown(table1.wide(cells)).to_string())
    except grid.GridError as error:
        say(f"\n{error}", error=True)
        return EXIT_FAILED
    return 0
