"""``eccl withdraw``: remove withdrawn participants."""

from pathlib import Path

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.cli import guarded
from eccl_lib.data.ingest.purge import purge
from eccl_lib.data.ukb import tables, withdrawals
from eccl_lib.io.progress import print_line, say


@eccl_command("withdraw")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--none", is_flag=True, help="you have received no list so far")
@guarded
def command(file: Path | None, none: bool) -> None:
    """Remove withdrawn participants from all stores, caches, predictions and figures of UK Biobank.

    FILE is UK Biobank's list, one id per line. The ids are added to the list of withdrawals, which every later command
    honours.

    \b
    eccl withdraw w12345_20260101.csv
    eccl withdraw --none
    """
    if none == (file is not None):
        raise click.UsageError("give either FILE or --none")
    withdrawn = withdrawals.add(frozenset() if none else tables.read_withdrawals(file))
    say(f"{len(withdrawn):,} participants are on the list of withdrawals")
    purge(withdrawn, print_line)
