"""Read hostile and damaged files: ``python -m tests.reliability.hostile_files`` prints a table with time and memory.

Each file is written, then read in a process of its own, by the function that reads it in ``eccl ingest`` or ``eccl
predict``. A refused file gives one line with file, fault and cure. Nothing is written.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import selectors
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import load
from eccl_lib.data.store import fill
from eccl_lib.data.store.fill import Quarantine

REFUSED, READ = "refused", "read"
LONGEST_SECONDS = 60  # after which a process counts as hanging
MOST_MB, FEW_SECONDS = 200, 2.0  # aims: additional peak memory, and time on an idle machine
MOST_MEMORY = 4 * 2**30  # bytes of address space that a process may add, so that none exhausts the machine
# Imported before the processes split, so that their memory does not count as a file's.
READERS = ("nibabel", "pydicom", "pydicom.pixels", "pydicom.waveforms", "wfdb", "edfio", "pandas", "scipy.signal")
READERS += ("scipy.ndimage", "eccl_lib.data.segmentation.unet.network", "eccl_lib.data.ingest.unpaired")
READERS += ("lzma", "bz2", "eccl_lib.commands.cli", "eccl_lib.evaluation.predict")


@dataclass(frozen=True)
class Case:
    """One hostile file. write: makes it in a folder; read: reads it from there, and raises the library's error.

    outcome: REFUSED, or READ for a large but valid file of which only a part is needed.
    """

    area: str
    what: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    outcome: str = REFUSED

    @property
    def name(self) -> str:
        """Unique name."""
        return f"{self.area}: {self.what}"


@dataclass(frozen=True)
class Result:
    """What happened. outcome: REFUSED, READ, ``crashed`` or ``hung``; mb: additional peak memory; wrote: new files."""

    name: str
    expected: str
    outcome: str
    seconds: float = 0.0
    mb: float = 0.0
    file: str = ""
    reason: str = ""
    cure: str = ""
    wrote: tuple[str, ...] = ()

    @property
    def in_limits(self) -> bool:
        """Whether time and memory are within the aims."""
        return self.seconds < FEW_SECONDS and self.mb <= MOST_MB


def ingest(kind: str, path: Path, **more: Path) -> str:
    """Read one file as ``eccl ingest ecg`` or ``eccl ingest cmr`` does. kind: ecg or cine."""
    config = load("demo", cohort="ecg-x" if kind == "ecg" else "cmr-x")
    files = {kind: [path], **{name: [extra] for name, extra in more.items()}}
    _, facts = fill.process(fill.participant("1", files), config)
    return str(facts["notes"])


def run(case: Case) -> Result:
    """Write and read one case, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, elsewhere = Path(name) / "files", Path(name) / "elsewhere"
        folder.mkdir()
        elsewhere.mkdir()
        if fault := _apart(lambda: _write(case, folder), elsewhere).get("crash"):
            raise RuntimeError(f"{case.name} cannot be written: {fault}")
        before = sorted(map(str, Path(name).rglob("*")))
        told = _apart(lambda: _outcome(case, folder), elsewhere)
        wrote = tuple(path for path in sorted(map(str, Path(name).rglob("*"))) if path not in before)
    if "crash" in told:
        told = {"outcome": "crashed", "reason": told["crash"]}
    return Result(case.name, case.outcome, wrote=wrote, **told)


def _write(case: Case, folder: Path) -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that write what is not valid
        case.write(folder)
    return {}


def _outcome(case: Case, folder: Path) -> dict[str, object]:
    """Read a case in this process; returns fields of its Result."""
    before, start = _peak(), time.monotonic()
    told: dict[str, object] = {"outcome": READ}
    try:
        told["reason"] = str(case.read(folder))
    except Quarantine as error:
        told = {"outcome": REFUSED, "file": error.file, "reason": error.reason, "cure": error.cure}
        if error.reason.startswith("unexpected error"):
            told["outcome"] = "crashed"
    except UnreadableError as error:
        told = {"outcome": REFUSED, "reason": error.reason, "cure": error.cure}
    return told | {"seconds": time.monotonic() - start, "mb": (_peak() - before) / 1024}


def _peak() -> int:
    """Largest memory of this process so far, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _apart(call: Callable[[], dict[str, object]], folder: Path) -> dict[str, object]:
    """The result of a call in a forked process, whose current folder, home and temporary folder are ``folder``."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since Python 3.12, of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            os.environ |= {"TMPDIR": str(folder), "HOME": str(folder), "ECCL_RUNS": str(folder)}
            tempfile.tempdir = None
            with Path("/proc/self/statm").open() as file:
                now = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, resource.RLIM_INFINITY))
            told = call()
        except BaseException as error:
            told = {"crash": "".join(traceback.format_exception_only(error)) + traceback.format_exc()[-1500:]}
        with os.fdopen(writing, "w") as out:
            json.dump(told, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer, selectors.DefaultSelector() as ready:
        ready.register(answer, selectors.EVENT_READ)
        hung = not ready.select(LONGEST_SECONDS)
        if hung:
            os.kill(child, signal.SIGKILL)
        content = answer.read()
    _, status = os.waitpid(child, 0)
    if hung:
        return {"outcome": "hung", "seconds": float(LONGEST_SECONDS)}
    return json.loads(content) if content else {"crash": f"the process ended with status {status}"}


def cases() -> list[Case]:
    """All cases."""
    from tests.reliability import hostile_cine, hostile_ecg, hostile_signals, hostile_tables

    return [*hostile_ecg.CASES, *hostile_signals.CASES, *hostile_cine.CASES, *hostile_tables.CASES]


def results(part: str = "") -> Iterator[Result]:
    """Results of the cases whose names contain ``part``."""
    chosen = [case for case in cases() if part in case.name]
    for module in READERS:
        importlib.import_module(module)
    for case in chosen:
        yield run(case)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.hostile_files", description=__doc__)
    parser.add_argument("part", nargs="?", default="", help="a part of the names of the files to try")
    parser.add_argument("--json", action="store_true", help="one JSON object per file instead of the table")
    given = parser.parse_args()
    found = []
    if not given.json:
        print("| file | outcome | s | MB | message |\n|---|---|---|---|---|")
    for result in results(given.part):
        found.append(result)
        if given.json:
            print(json.dumps(asdict(result)), flush=True)
            continue
        message = " ".join(f"{result.file}: {result.reason}. {result.cure}".split()) if result.reason else ""
        limits = f"{result.seconds:.2f} | {result.mb:.0f}"
        print(f"| {result.name} | {result.outcome} | {limits} | {ascii(message)[1:200]} |", flush=True)
    good = [result for result in found if result.outcome == result.expected and not result.wrote]
    if not given.json:
        fine = sum(result.in_limits for result in good)
        print(f"\n{len(good)} of {len(found)} as expected; {fine} of them under {FEW_SECONDS:g} s and {MOST_MB} MB.")
        print("\n".join(f"not as expected: {r.name} ({r.outcome}; wrote {r.wrote})" for r in found if r not in good))
        print(
            "\n".join(f"over the limits: {r.name} ({r.seconds:.2f} s, {r.mb:.0f} MB)" for r in good if not r.in_limits)
        )
    return int(len(good) < len(found))


if __name__ == "__main__":
    sys.exit(main())
