"""The command that turns what UK Biobank sent into the store: ``python -m eccl_lib.data.ukb``."""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from eccl_lib import command
from eccl_lib.config import Config, ConfigError
from eccl_lib.data import biobank, report, tables, withdrawals
from eccl_lib.data.engine import Engine, clock
from eccl_lib.data.inventory import Source
from eccl_lib.data.purge import purge
from eccl_lib.data.records import UnreadableError
from eccl_lib.log import aloud
from eccl_lib.storage import DamagedError

ENDS = """Goes on where it was stopped; run it again after each download: only what is new or changed is read.
Afterwards every stage takes --cohort ukb. Nothing leaves this machine. docs/data.md has the details."""


def main(words: list[str] | None = None) -> int:
    """Build the store and its report. 0: done; 1: nobody could be read; 2: the user can mend it; 130: interrupted."""
    given = _parser().parse_intermixed_args(words)
    before = signal.signal(signal.SIGTERM, _stop)  # a cluster's polite way to end a job
    try:
        config, source = _config(given), _source(given)
        eids = tables.read_withdrawals(given.withdrawals) if given.withdrawals else frozenset()
        purge(withdrawals.add(eids))
        return _build(config, source, Engine(given.workers, given.cluster), given.retry_quarantined)
    except (ConfigError, UnreadableError, DamagedError, LookupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _build(config: Config, source: Source, engine: Engine, retry: bool) -> int:
    start = time.monotonic()
    folder, found = biobank.build(config, source, engine, aloud, retry)
    data = biobank.load(config, aloud)
    page = report.write(config, data, found)
    spent = clock(time.monotonic() - start)
    aloud(f"{len(data):,} participants in the store, {len(data.quarantine):,} lines in quarantine, {spent}")
    aloud(f"report: {page}\nstore:  {folder}")
    return 0 if len(data) else 1


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _config(given: argparse.Namespace) -> Config:
    given.cohort, given.seed = "ukb", 0
    return command.config(given)


def _source(given: argparse.Namespace) -> Source:
    """Absolute paths, so that the command can be said again from anywhere. Raises UnreadableError on a wrong one."""
    if given.until:
        try:
            datetime.date.fromisoformat(given.until)
        except ValueError:
            raise UnreadableError(f"--until {given.until} is no date", "Write 2022-10-31.") from None
    for folder in (*given.folders, *given.segmentations):
        if not folder.is_dir():
            raise UnreadableError(f"there is no folder {folder}", "Correct the path.")
    absolute = [tuple(str(path.expanduser().resolve()) for path in some) for some in (given.folders, given.tables)]
    masks = tuple(str(path.expanduser().resolve()) for path in given.segmentations)
    return Source(*absolute, masks, given.until)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.data.ukb", description=__doc__, epilog=ENDS)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="searched for files by name, any nesting"
    )
    parser.add_argument(
        "--table",
        dest="tables",
        action="extend",
        nargs="+",
        type=Path,
        required=True,
        help="tabular exports, any dialect",
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--withdrawals", type=Path, metavar="FILE", help="UK Biobank's latest list, one id a line")
    who.add_argument("--no-withdrawals", action="store_true", help="you have received no list; one given before holds")
    parser.add_argument(
        "--segmentations", action="extend", nargs="+", type=Path, default=[], metavar="FOLDER", help="seg_sa.nii.gz"
    )
    parser.add_argument("--retry-quarantined", action="store_true", help="read again what could not be read")
    parser.add_argument("--until", metavar="DATE", help="the day on which the diagnoses end, such as 2022-10-31")
    parser.add_argument("--scale", default="paper", choices=command.SCALES, help="whose pixels; paper also serves demo")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--cluster", default="", metavar="ADDRESS", help="a Dask scheduler, such as tcp://node1:8786")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="such as store.crop=fixed_80px"
    )
    return parser
