"""``eccl cohort``: build or open a cohort."""

from typing import Any

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.cli import config_of, guarded, parameters
from eccl_lib.data import open_cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.io.progress import print_line, say
from eccl_lib.tasks import counts


@eccl_command("cohort")
@click.option("--verify", is_flag=True, help="read every file of the store and compare its checksum")
@parameters(disease=False)
@guarded
def command(verify: bool, **options: Any) -> None:
    """Build the synthetic cohort, or open a store that eccl ingest built; print its folder, size and cases.

    \b
    eccl cohort --scale study
    eccl cohort --cohort ukb --verify
    """
    config = config_of(**options)
    data = open_cohort.load(config, print_line, needs=())
    if verify:
        open_cohort.verify_all(config, data)
        say("all files match their checksums")
    limit, positives = limit_of(config), {code: int(data.label_of(code).sum()) for code in config.codes}
    sizes = ", ".join(f"{split} {count}" for split, count in limit.parts(counts(data)).items())
    cases = ", ".join(f"{disease} {n}" for disease, n in limit.counts(positives).items())
    say(f"{data.folder}\n{sizes}; {cases}")
