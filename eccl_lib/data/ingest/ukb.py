"""The command that builds the store of UK Biobank's files: ``python -m eccl_lib.data.ukb``."""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError, DamagedError, UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data.ingest import report
from eccl_lib.data.ingest.purge import purge
from eccl_lib.data.segmentation import masks, onnx_network, providers
from eccl_lib.data.store import sharded
from eccl_lib.data.store.plan import OPTIONS, Source
from eccl_lib.data.ukb import tables, withdrawals
from eccl_lib.io.progress import format_seconds, print_line
from eccl_lib.io.workers import Engine

ENDS = """Interrupted builds resume. Run the command again after each download; it reads only new and changed files.
Then use --cohort ukb with all stages. No data leave this machine. docs/data.md has the details."""


def main(words: list[str] | None = None) -> int:
    """Build the store and its report. 0: done; 1: nobody could be read; 2: the user can mend it; 130: interrupted."""
    given = _parser().parse_intermixed_args(words)

    def work() -> int:
        config, source = config_of(given, "ukb"), _source(given)
        eids = tables.read_withdrawals(given.withdrawals) if given.withdrawals else frozenset()
        purge(withdrawals.add(eids))
        return build(config, source, given)

    return guarded(work)


def guarded(work: Callable[[], int]) -> int:
    """Do it; what the user can mend ends in one line and status 2, an interruption in status 130."""
    before = signal.signal(signal.SIGTERM, _stop)  # a cluster's polite way to end a job
    try:
        return work()
    except (ConfigError, UnreadableError, DamagedError, LookupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def build(config: Config, source: sharded.Source, given: argparse.Namespace) -> int:
    """The store and its report by the options of ``add_options``. 0: done; 1: nobody could be read."""
    if given.workers < 1:
        raise ConfigError(f"--workers {given.workers}: give 1 or more")
    start = time.monotonic()
    engine = Engine(given.workers, given.cluster)
    folder, found = sharded.build(config, source, engine, print_line, given.retry_quarantined)
    data = sharded.load(config, print_line)
    page = report.write(config, data, found)
    spent = format_seconds(time.monotonic() - start)
    print_line(f"{len(data):,} participants in the store, {len(data.quarantine):,} lines in quarantine, {spent}")
    if len(data.quarantine):
        print_line(f"most often in quarantine: {report.most_frequent(data.quarantine)}")
    print_line(f"report: {page}\nstore:  {folder}")
    return 0 if len(data) else 1


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def config_of(given: argparse.Namespace, cohort: str) -> Config:
    """The config whose store is built."""
    given.cohort, given.seed = cohort, 0
    return command_line.config(given)


def _source(given: argparse.Namespace) -> Source:
    """Absolute paths, so that the command can be said again from anywhere. Raises UnreadableError on a wrong one."""
    if given.until:
        try:
            datetime.date.fromisoformat(given.until)
        except ValueError:
            raise UnreadableError(f"--until {given.until} is no date", "Write 2022-10-31.") from None
    folders, drawn = folders_of(given.folders), folders_of(given.segmentations)
    tables_ = tuple(str(path.expanduser().resolve()) for path in given.tables)
    return Source(folders, tables_, drawn, given.until, segmenter_of(given))


def folders_of(given: Iterable[Path]) -> tuple[str, ...]:
    """Absolute. Raises UnreadableError on one that is not there."""
    found = [path.expanduser().resolve() for path in given]
    for folder in found:
        if not folder.is_dir():
            raise UnreadableError(f"there is no folder {folder}", "Correct the path.")
    return tuple(map(str, found))


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
    parser.add_argument("--until", metavar="DATE", help="the day on which the diagnoses end, such as 2022-10-31")
    add_segmenter(parser)
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """How a store is built, whatever of."""
    parser.add_argument("--retry-quarantined", action="store_true", help="read again what could not be read")
    parser.add_argument(
        "--scale", default="paper", choices=command_line.SCALES, help="whose pixels; paper also serves demo"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--cluster", default="", metavar="ADDRESS", help="a Dask scheduler, such as tcp://node1:8786")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="such as store.crop=fixed_80px"
    )


def segmenter_of(given: argparse.Namespace) -> providers.Segmenter:
    """What ``add_segmenter`` was told. Raises UnreadableError where it cannot work."""
    asked = {name: getattr(given, name) for name in OPTIONS}
    asked["onnx"] = str(Path(given.onnx).expanduser().resolve()) if given.onnx else ""
    segmenter = providers.Segmenter(**asked)
    segmenter.check()
    return segmenter


def add_segmenter(parser: argparse.ArgumentParser) -> None:
    """The options that say who finds the heart; each is a field of ``segment.Segmenter``."""
    group, usual = parser.add_argument_group("where the heart is"), providers.AUTO
    orders = list(masks.ORDERS)

    def add(name: str, **more: object) -> None:
        group.add_argument(OPTIONS[name], dest=name, default=getattr(usual, name), **more)

    add("provider", choices=providers.CHOICES, help="auto: a mask where one is given, else the network, else voting")
    add("mask_labels", choices=orders, help="what the masks' labels mean; acdc: 1 RV, 2 wall, 3 LV")
    add("onnx", metavar="PATH", help="a short-axis network of your own, for --segmenter onnx")
    add("onnx_labels", choices=orders, help="what its outputs mean")
    add("onnx_scaling", choices=onnx_network.SCALINGS, help="of its input; range: 0 to 1")
    add("onnx_pixel_mm", type=float, metavar="MM", help="its pixel size; 0: the picture fills its input")
