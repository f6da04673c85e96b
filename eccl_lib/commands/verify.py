"""``eccl verify``: read every file of runs and stores and compare its checksum."""

from pathlib import Path

import click

from eccl_lib.checks import integrity
from eccl_lib.commands.cli import EXIT_FAILED, guarded
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.errors import ConfigError
from eccl_lib.io import paths
from eccl_lib.io.progress import say


@eccl_command("verify")
@click.argument("places", nargs=-1, type=click.Path(path_type=Path), metavar="[PLACE...]")
@guarded
def command(places: tuple[Path, ...]) -> int:
    """Read every file of runs and stores and compare it with its checksum.

    PLACE is a run, a store, or a folder of them, also a copy on another disk; by default all results. Each damaged file
    is named with what to delete or rebuild. Exit status 1 if there is any.

    \b
    eccl verify
    eccl verify runs/demo-synthetic/align
    """
    damaged, count = [], 0
    for place in places or (paths.runs_root(),):
        if not place.exists():
            raise ConfigError(f"there is no folder {place}; correct the path")
        found, read = integrity.check(place)
        if places and not read:
            raise ConfigError(f"there is no run and no store in {place}; correct the path")
        damaged, count = damaged + found, count + read
    for damage in damaged:
        say(damage, error=True)
    say(f"{count:,} files checked, {len(damaged)} damaged")
    return EXIT_FAILED if damaged else 0
