"""``eccl privacy``: check the repository for participants' data."""

import subprocess
from pathlib import Path

import click

from eccl_lib.checks import privacy
from eccl_lib.commands.cli import EXIT_FAILED, guarded
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.errors import ConfigError
from eccl_lib.io.progress import say


@eccl_command("privacy")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--history", is_flag=True, help="check every commit too")
@guarded
def command(paths: tuple[Path, ...], history: bool) -> int:
    """Check the files that git tracks for participants' ids, names, birth dates, home paths and data files.

    PATHS are checked too: a report, logs, executed notebooks. A finding names its place and never repeats the content.
    Exit status 1 where something was found.

    \b
    eccl privacy --history
    eccl privacy runs/ukb/report
    """
    try:
        findings = privacy.check_tracked() + (privacy.check_history() if history else [])
    except (OSError, subprocess.CalledProcessError):
        raise ConfigError(f"{privacy.ROOT} is not a git checkout: clone the repository and check the clone") from None
    findings += [finding for path in paths for finding in privacy.check_tree(path)]
    for finding in findings:
        say(finding, error=True)
    say(f"privacy: {len(findings)} findings" if findings else "privacy: nothing found")
    return EXIT_FAILED if findings else 0
