"""``eccl study``: the traits column of Table 1 at study scale."""

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.table1 import command as table1_command

ROWS = ("scratch", "ssl", "cl", "eccl", "cmr_sup")


@eccl_command("study")
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="number of seeds")
@click.option("--plan", is_flag=True, help="estimate the time and stop")
@click.pass_context
def command(context: click.Context, seeds: int, plan: bool) -> None:
    """Train the traits column of Table 1 at study scale: five rows, an hour on two cores.

    The same as: eccl table1 --scale study --tasks traits --rows scratch ssl cl eccl cmr_sup. It first
    prints the predicted time, and resumes after an interruption.

    \b
    eccl study --plan
    """
    context.invoke(table1_command, scale="study", tasks=("traits",), rows=ROWS, seeds=seeds, plan=plan)
