"""Part of the grid, for real: the same bytes in one process, in several, on a Dask cluster, and after every death."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from eccl_lib.grid import scheduler as grid
from eccl_lib.io.files import sha256
from eccl_lib.io.workers import Workers
from eccl_lib.training.runs import FILES
from tests.conftest import HANG, TINY, link_cohort, tiny_config

SMALL = {"cmae.epochs": 2, "cmae.warmup_epochs": 1}
CONFIG = tiny_config(**SMALL)
ROWS, TASKS, SEEDS = ("cmae", "triplet", "cmr_sup"), ("I48",), (0,)


def quiet(line):
    pass


def files(runs):
    """Sums of every finished run's files and of cached features, by path."""
    root = runs / "demo-synthetic"
    done = [path.parent for path in root.glob("*/*/*/*/manifest.json") if '"done"' in path.read_text()]
    sums = {folder / name: sha256(folder / name) for folder in done for name in FILES}
    sums |= {path: sha256(path) for path in root.glob("pretrain_cmr/*/*/*/features.npy")}
    return {path.relative_to(root): digest for path, digest in sums.items()}


@pytest.fixture(scope="module")
def alone(tiny_store, tmp_path_factory):
    """The files of these cells when all is run in this process, undisturbed."""
    with pytest.MonkeyPatch.context() as patch:
        runs = link_cohort(tiny_store, tmp_path_factory.mktemp("alone") / "runs", patch)
        grid.run_jobs(grid.plan(CONFIG, ROWS, TASKS, SEEDS), CONFIG, quiet, workers=Workers(jobs=1))
    found = files(runs)
    assert len(found) == 7 * len(FILES) + 1  # three CMAE parents, MAE, CMR encoder, its features, two cells
    return found


def test_processes_side_by_side_give_the_bytes_of_one(alone, tiny_runs):
    grid.run_jobs(grid.plan(CONFIG, ROWS, TASKS, SEEDS), CONFIG, quiet, workers=Workers(jobs=2))
    assert files(tiny_runs) == alone


def test_a_dask_cluster_gives_the_bytes_of_one_process(alone, tiny_runs):
    distributed = pytest.importorskip("distributed")
    shape = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**shape) as cluster:
        there = Workers("dask", scheduler=cluster.scheduler_address)
        grid.run_jobs(grid.plan(CONFIG, ROWS, TASKS, SEEDS), CONFIG, quiet, workers=there)
    assert files(tiny_runs) == alone


class Command:
    """``eccl table1`` on the tiny cohort, in a process group of its own, with a checkpoint at every step."""

    def __init__(self, runs, log):
        fields = {**TINY, **SMALL, "runtime.checkpoint_seconds": 0.0}
        words = ["--jobs", "2", "--rows", *ROWS, "--tasks", *TASKS]
        words += [word for name, value in fields.items() for word in ("--set", f"{name}={str(value).lower()}")]
        self.runs, self.log = runs, log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eccl_lib", "table1", *words],
            env={**os.environ, "ECCL_RUNS": str(runs)},
            cwd=Path(__file__).parents[2],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Who starts the tests in the background hands down an ignored Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def until_training(self, stage):
        """Wait until this command has a run of the stage half-way; all its processes."""
        lines = re.compile(rf"^{stage}/.*epoch 1/", re.MULTILINE)
        own = f"demo-synthetic/.grid-*-{self.process.pid}/*"
        while not any(lines.search(path.read_text()) for path in self.runs.glob(own)):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self):
        return self.process.wait(600), self.log.read_text()


def test_whoever_is_killed_the_same_command_goes_on_to_the_same_bytes(alone, tiny_runs, tmp_path):
    command = Command(tiny_runs, tmp_path / "killed")
    children = command.until_training("autoencode")
    os.kill(command.process.pid, signal.SIGKILL)
    command.end()
    assert psutil.wait_procs(children, timeout=HANG)[1] == []  # no orphan goes on training
    assert not set(files(tiny_runs)) >= set(alone)

    command = Command(tiny_runs, tmp_path / "interrupted")
    children = command.until_training("pretrain_cmr")
    os.killpg(command.process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    status, said = command.end()
    assert status == 130 and "run the same command again to resume" in said and "Traceback" not in said
    assert psutil.wait_procs(children, timeout=HANG)[1] == []

    command = Command(tiny_runs, tmp_path / "went_on")
    workers = [child for child in command.until_training("pretrain_pair") if "loky" in " ".join(child.cmdline())]
    busy = max(workers, key=lambda child: child.cpu_percent(0.1))
    busy.kill()
    status, said = command.end()
    assert status == 0, said
    assert "a worker process was killed; " in said
    assert re.search(r"CPU \d+ s predicted, \d+ s taken", said)
    assert files(tiny_runs) == alone
    assert not list((tiny_runs / "demo-synthetic").glob(".grid-*"))
