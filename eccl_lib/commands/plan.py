"""``eccl plan``: time and memory before training."""

from typing import Any

import click

from eccl_lib.commands.cli import Names, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.grid.scheduler import show_plan
from eccl_lib.io.progress import print_line
from eccl_lib.pipeline import stages


@eccl_command("plan")
@click.argument("name", type=Names(stages.names), metavar="NAME")
@parameters()
@guarded
def command(name: str, **options: Any) -> None:
    """Estimate time and memory of a stage or a row of Table 1 and of its prerequisites, from trial steps here.

    Nothing is trained. The cohort must exist (eccl cohort). For the whole table: eccl table1 --plan.

    \b
    eccl plan eccl --scale paper --disease traits
    """
    show_plan(stages.spec(config_of(**options), name), print_line)
