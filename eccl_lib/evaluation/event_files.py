"""TensorBoard event files of finished runs: the learning rate, losses and validation score of every epoch.

The files are written with torch's own writer. Nothing is sent to a server; ``tensorboard`` shows them on this machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.errors import ConfigError, DamagedError, MissingError, install
from eccl_lib.config.load import of_run
from eccl_lib.evaluation import run_summary
from eccl_lib.io import paths
from eccl_lib.io.files import read_json, write_atomically
from eccl_lib.training.runs import MANIFEST, Run

INSTALL = install("tensorboard")
EVENTS = "events.out.tfevents.eccl"  # one name, so that writing again replaces the file; TensorBoard reads *tfevents*
LEVELS = 5  # of folders between runs/ and a run


def find(place: Path) -> tuple[list[Path], int]:
    """Folders of the finished runs at or below a folder, and the number of unfinished ones.

    A run whose manifest is damaged is among the finished ones; opening it then names the damage. Raises MissingError
    where there is no finished run.
    """
    if not place.is_dir():
        raise MissingError(f"there is no folder {place}; correct the path")
    patterns = [MANIFEST, *(f"{'*/' * level}seed*-*/{MANIFEST}" for level in range(LEVELS))]
    manifests = sorted(path for pattern in patterns for path in place.glob(pattern))
    finished = [path.parent for path in manifests if _is_finished(path)]
    if not finished:
        raise MissingError(f"there is no finished run in {place}; train one first, such as: eccl train pretrain_ecg")
    return finished, len(manifests) - len(finished)


def _is_finished(manifest: Path) -> bool:
    try:
        return read_json(manifest).get("status") == "done"
    except DamagedError:
        return True


def scalars(run: Run) -> pd.DataFrame:
    """One row per epoch, from 1, one column per tag: learning rate, losses, validation score. NaN: not defined.

    A validation score of few UK Biobank participants is withheld, as in the training curves.
    """
    table = run_summary.history_table(run, of_run(run.config)).set_index("epoch")
    return table.rename(columns=_tag)


def _tag(column: str) -> str:
    """Name of a column in TensorBoard, which groups the tags by the word before the slash."""
    for group in ("training", "validation"):
        if column.startswith(f"{group} "):
            return f"{group}/{column.removeprefix(f'{group} ')}"
    return f"training/{column}"


def folder_of(run: Run) -> Path:
    """Where the events of a run go: ``runs/tensorboard`` and the run's path below ``runs``."""
    folder, root = run.folder.resolve(), paths.runs_root()
    inside = folder.is_relative_to(root)
    return paths.tensorboard_dir() / (folder.relative_to(root) if inside else f"{folder.name}-{run.fingerprint[:8]}")


def write(run: Run, writer: Any) -> Path:
    """Write the event file of a finished run, in place of an earlier one. Returns its path. writer: ``writer_class()``.

    Raises DamagedError where a file of the run is damaged, ConfigError for a run of a later version.
    """
    path = folder_of(run) / EVENTS
    points = list(_points(scalars(run)))
    written_at = (run.folder / "history.csv").stat().st_mtime  # the history has no time of each epoch
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, partial(_write, writer, points, written_at))
    return path


def writer_class() -> Any:
    """torch's writer of event files. Raises ConfigError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(f"TensorBoard is not installed. Install it: {INSTALL}") from None
    return SummaryWriter


def _points(table: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    for tag, column in table.items():
        yield from ((str(tag), float(value), int(epoch)) for epoch, value in column.items() if np.isfinite(value))


def _write(writer: Any, points: list[tuple[str, float, int]], written_at: float, target: Path) -> None:
    """Write the points into a folder of their own, since the writer chooses the file's name; then move the file."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with writer(folder) as events:
            for tag, value, epoch in points:
                events.add_scalar(tag, value, epoch, walltime=written_at)
        (made,) = Path(folder).iterdir()
        made.replace(target)
