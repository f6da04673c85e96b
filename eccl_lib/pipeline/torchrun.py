"""Start a training on several processes of this machine from a single process, such as a notebook's kernel.

It runs ``eccl train`` under torchrun and passes the output on to the log.
"""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import as_dict
from eccl_lib.config.schema import Config
from eccl_lib.io.progress import Log
from eccl_lib.training.runs import Run

KEPT = 200  # last lines of output, which are searched for an error
LAUNCHER = re.compile(r"[WEI]\d{4} |Traceback|error:")  # start of a line that follows an error message
PATIENCE = 20.0  # seconds between interrupting the processes and killing them


class LaunchError(ConfigError):
    """The processes ended without a finished run; the message holds their last output."""


def train(run: Run, name: str, config: Config, log: Log = print) -> None:
    """Train a run on ``config.runtime.ranks`` processes. name: for ``eccl train``. Raises LaunchError on failure."""
    ranks = config.runtime.ranks
    log(f"{run.name}: training on {ranks} processes")
    under_torchrun(arguments(name, config), ranks, config.runtime.threads, log)
    if not run.done:
        raise LaunchError(f"{run.name}: its {ranks} processes ended, but the run is not finished")


def arguments(name: str, config: Config) -> list[str]:
    """Module and arguments that train a run with this config in one process of a group."""
    runtime = {key: value for key, value in as_dict(config)["runtime"].items() if key != "ranks"}
    settings = [f"--set=runtime.{key}={json.dumps(value)}" for key, value in runtime.items()]
    return ["eccl_lib", "train", name, "--no-summary", *shlex.split(command_line.line(config)), *settings]


def under_torchrun(words: Sequence[str], ranks: int, threads: int = 1, log: Log = print) -> None:
    """Run ``torchrun --nproc-per-node RANKS -m WORDS`` with its output in the log. An interrupt ends the processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(  # noqa: S603 (this interpreter, without a shell; the words are a checked config)
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
    """The first error message of a process, or else all lines."""
    for k, line in enumerate(lines):
        if line.startswith("error:"):
            rest = itertools.takewhile(lambda text: not LAUNCHER.match(text), lines[k + 1 :])
            return "\n".join([line, *rest])
    return "\n".join(lines)


def _end(process: subprocess.Popen) -> None:
    """End all processes: an interrupt first, so that they finish a checkpoint in progress."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
