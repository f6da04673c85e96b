"""``eccl tensorboard``: the training curves of finished runs as TensorBoard event files."""

import shlex
from pathlib import Path
from typing import Any

import click

from eccl_lib.commands.cli import EXIT_FAILED, guarded
from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.config.errors import ConfigError, DamagedError, MissingError
from eccl_lib.evaluation import event_files
from eccl_lib.io import paths
from eccl_lib.io.files import REPEAT
from eccl_lib.io.progress import say
from eccl_lib.training.runs import Run


@eccl_command("tensorboard")
@click.argument("place", required=False, type=click.Path(path_type=Path), metavar="[RUN_FOLDER_OR_RUNS]")
@guarded
def command(place: Path | None) -> int:
    """Write the training curves of finished runs for TensorBoard.

    RUN_FOLDER_OR_RUNS is the folder of a run, or a folder of runs; by default all results. The learning rate, losses
    and validation score of each epoch go to runs/tensorboard; writing again replaces them. The last line is the command
    that shows them in a browser. Nothing is uploaded. A damaged run is named, with exit status 1.

    \b
    eccl tensorboard
    eccl tensorboard runs/demo-synthetic/align
    """
    folders, unfinished = event_files.find(place or paths.runs_root())
    writer = event_files.writer_class()
    faults = [fault for folder in folders if (fault := _write(folder, writer))]
    for fault in faults:
        say(fault, error=True)
    written = len(folders) - len(faults)
    say(f"runs: {written:,} written, {unfinished:,} unfinished, {len(faults):,} that cannot be used", error=True)
    if written:
        say(f"tensorboard --logdir {shlex.quote(str(paths.tensorboard_dir()))}")
    return EXIT_FAILED if faults else 0


def _write(folder: Path, writer: Any) -> str:
    """Write the events of one run. Returns why it cannot be used, else ""."""
    try:
        event_files.write(Run.at(folder), writer)
    except (DamagedError, MissingError) as error:
        return str(error)
    except ConfigError as error:
        return f"{folder}: {error}"
    except FileNotFoundError as error:
        return f"{error.filename} is missing. {REPEAT}"
    return ""
