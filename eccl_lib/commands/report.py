"""``eccl report``: a finished Table 1 as one HTML page."""

from pathlib import Path
from typing import Any

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.cli import config_of, guarded, parameters
from eccl_lib.evaluation.prediction_table import check_target
from eccl_lib.evaluation.table1_page import page
from eccl_lib.evaluation.table1_report import gather_content
from eccl_lib.io.files import write_text
from eccl_lib.io.progress import print_line, say


@eccl_command("report")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="file of the page, .html  [default: report.html beside the table]",
)
@parameters(disease=False)
@guarded
def command(out: Path | None, **options: Any) -> None:
    """Write a finished Table 1 as one self-contained HTML page.

    The page has the table with intervals, differences, claims with verdicts, participants, subgroups, figures with
    captions, departures from the paper, parameters, runs, environment and times, and three reporting checklists
    (TRIPOD+AI, CLAIM, ML reproducibility) with what the runs recorded. It shows no single participant.

    \b
    eccl report
    eccl report --scale study --out study.html
    """
    if out:
        check_target(out, (".html", ".htm"), replaces=True)
    content = gather_content(config_of(build=False, **options), print_line)
    path = out or content.folder / "report.html"
    write_text(path, page(content))
    say(f"{path}")
