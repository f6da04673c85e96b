"""Start a training on several processes of this machine from a process that is not one of them, such as a notebook.

A kernel cannot be torchrun itself: this runs the stage's own command under torch's launcher and passes its lines on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

from eccl_lib.config import command_line as command
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import as_dict
from eccl_lib.config.schema import Config
from eccl_lib.io.progress import Log, print_line
from eccl_lib.models.build import device
from eccl_lib.training import distributed
from eccl_lib.training.runs import Run

KEPT = 200  # last lines, among which an error is looked for
LAUNCHER = re.compile(r"[WEI]\d{4} |Traceback|error:")  # how what follows an error begins
PATIENCE = 20.0  # seconds between asking processes to end and ending them


class LaunchError(ConfigError):
    """The processes ended without a finished run; the message holds what they said last."""


def command_line(train: Callable[[Config, Log], Run], parsed: argparse.Namespace) -> None:
    """Train what a command asks for, alone or as one of torchrun's processes, and print its score."""
    config = command.config(parsed)
    gpu = device(config).type == "cuda"
    with distributed.process_group(config.runtime.rank_timeout_seconds, gpu):
        run = train(config, distributed.main_process_log(print_line))
        if distributed.is_main_process():
            metrics = run.metrics
            print(f"{run.name}: {metrics['metric']} {metrics['test']:.4f} on {metrics['n']['test']} test participants")


def train(run: Run, config: Config, log: Log = print) -> None:
    """Train a run on ``config.runtime.ranks`` processes. Raises LaunchError where that fails."""
    ranks = config.runtime.ranks
    log(f"{run.name}: on {ranks} processes")
    under_torchrun(words(run, config), ranks, config.runtime.threads, log)
    if not run.done:
        raise LaunchError(f"{run.name}: its {ranks} processes ended, yet the run is not done")


def words(run: Run, config: Config) -> list[str]:
    """The module and arguments that train a run with this config, but for the number of processes."""
    stage = f"{run.stage}_{run.variant}" if run.stage == "autoencode" else run.stage
    of_arm = run.stage in ("align", "finetune", "third_stage")
    start = ["eccl_lib.pipeline.methods", run.variant] if of_arm else ["eccl_lib.pipeline.stages", stage]
    runtime = {name: value for name, value in as_dict(config)["runtime"].items() if name != "ranks"}
    settings = [f"--set=runtime.{name}={json.dumps(value)}" for name, value in runtime.items()]
    return [*start, *shlex.split(command.line(config)), *settings]


def under_torchrun(words: Sequence[str], ranks: int, threads: int = 1, log: Log = print) -> None:
    """``torchrun --nproc-per-node RANKS -m WORDS``, its lines to the log. Interrupted, it ends its processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, *launcher, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=KEPT)
    try:
        for line in map(str.rstrip, process.stdout):
            last.append(line)
            log(line)
        code = process.wait()
    finally:
        _end(process)
    if code:
        raise LaunchError(f"{ranks} processes ended with status {code}:\n{_reason(list(last))}")


def _reason(lines: list[str]) -> str:
    """The first error that one of the processes told, or else all lines."""
    for k, line in enumerate(lines):
        if line.startswith("error:"):
            rest = itertools.takewhile(lambda text: not LAUNCHER.match(text), lines[k + 1 :])
            return "\n".join([line, *rest])
    return "\n".join(lines)


def _end(process: subprocess.Popen) -> None:
    """All of them: asked first, so that checkpoints that are being written are whole."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
