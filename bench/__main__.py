"""``python -m bench [CASE...] [--save]``: run cases, each in its own process; see ``bench/__init__.py``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import harness, page
from eccl_lib.io.files import read_json, write_json
from eccl_lib.io.paths import ROOT

RESULTS = ROOT / "bench" / "results.json"
FOLDER = Path(__file__).parent / "cases"
ON_GPU = "_gpu"  # suffix of the names of GPU rows
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def names() -> list[str]:
    """Names of all rows, in the order of the files; a case with GPU targets has two rows."""
    files = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return [row for name in files for row in ([name, name + ON_GPU] if case(name).on_gpu else [name])]


def here() -> list[str]:
    """Names of the rows that this machine can measure."""
    gpu = harness.has_gpu()
    return [name for name in names() if gpu or case(name).device == "cpu"]


def case(name: str) -> harness.Case:
    """The case of one row."""
    found = import_module(f"bench.cases.{name.removesuffix(ON_GPU)}").CASE
    return found.there() if name.endswith(ON_GPU) else found


def measure(name: str) -> dict[str, Any]:
    """Run one case in this process; returns its measures or the error, with machine and load."""
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ECCL_RUNS"] = f"{folder}/runs"
        one = case(name)
        try:
            found: dict[str, Any] = {"measures": harness.run(one, Path(folder))}
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    loads.append(os.getloadavg()[0])
    return found | {"machine": harness.machine(one.device), "load": [round(load, 2) for load in loads]}


def in_a_process(name: str, one: harness.Case) -> dict[str, Any]:
    """``measure`` in a process of its own, with the case's number of threads and time limit."""
    environment = dict(os.environ) | dict.fromkeys(THREADS, str(one.threads))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        words = [sys.executable, "-m", "bench", "--measure", name, str(path)]
        process = subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True)
        try:
            process.wait(60 * one.minutes)
        except subprocess.TimeoutExpired:
            return _nothing(f"not finished after {one.minutes:g} minutes", one)
        finally:
            _end(process)
        return read_json(path) if path.is_file() else _nothing(f"ended with code {process.returncode}", one)


def _nothing(reason: str, one: harness.Case) -> dict[str, Any]:
    return {"error": reason, "machine": harness.machine(one.device), "load": [round(os.getloadavg()[0], 2)] * 2}


def _end(process: subprocess.Popen) -> None:
    """Kill the process of a case and the processes that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    """The command line. Returns 0 if every case ran and its two results were the same."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed and memory.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one or more of {', '.join(names())}; default: all")
    parser.add_argument("--save", action="store_true", help="also write results and page if cases are given")
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "PATH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        Path(given.measure[1]).write_text(json.dumps(measure(given.measure[0])))
        return 0
    if unknown := set(given.cases) - set(names()):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; choose from {', '.join(names())}")
    able = here()
    if without := [name for name in given.cases if name not in able]:
        parser.error(f"{', '.join(without)}: this machine has no GPU; leave these cases out")
    found, began = {}, time.monotonic()
    for name in given.cases or able:
        one, clock = case(name), time.monotonic()
        found[name] = in_a_process(name, one)
        print(page.table({name: one}, found).splitlines()[2], f"{time.monotonic() - clock:.0f} s", flush=True)
    print(f"{len(found)} cases in {(time.monotonic() - began) / 60:.1f} minutes; {harness.machine()}")
    if given.save or not given.cases:
        save(found)
    return 1 if any("error" in one for one in found.values()) else 0


def merged(known: dict[str, dict[str, Any]], found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Results by processor and case, with new ones in place of this processor's old ones. found: by case."""
    kept = {where: dict(results) for where, results in known.items()}
    for name, one in found.items():
        kept.setdefault(one["machine"].partition(",")[0], {})[name] = one
    return {
        where: {name: one for name, one in sorted(results.items()) if name in names()}
        for where, results in sorted(kept.items())
    }


def save(found: dict[str, Any]) -> None:
    """Add the results to those of other cases and processors, and update the tables of the page."""
    kept = merged(read_json(RESULTS) if RESULTS.is_file() else {}, found)
    write_json(RESULTS, kept)
    page.update({name: case(name) for name in names()}, kept)


if __name__ == "__main__":
    raise SystemExit(main())
