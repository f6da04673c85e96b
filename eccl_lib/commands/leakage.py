"""``eccl leakage``: check a cohort and its runs for leakage."""

from typing import Any

from eccl_lib.checks import leakage
from eccl_lib.commands.cli import EXIT_FAILED, config_of, guarded, parameters
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.data import leaks, open_cohort
from eccl_lib.io.progress import say


@eccl_command("leakage")
@parameters(disease=False)
@guarded
def command(**options: Any) -> int:
    """Check a cohort and the runs trained on it for the eight kinds of leakage of Kapoor and Narayanan (2023).

    Exit status 1 where there is an error; warnings alone have status 0.

    \b
    eccl leakage --scale paper --cohort ukb
    """
    config = config_of(build=False, **options)
    data = open_cohort.load(config, needs=())
    found = leaks.check(config, data) + leakage.check_runs(config, data)
    for leak in found:
        say(leak, error=True)
    errors = sum(leak.level == "error" for leak in found)
    say(f"leakage: {errors} errors, {len(found) - errors} warnings")
    return EXIT_FAILED if errors else 0
