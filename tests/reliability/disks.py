"""Disks that are full, read-only, too small, over quota or gone, while a chain of work writes to them."""

import contextlib
import errno
import io
import os
import resource
import signal
import subprocess

import pytest

from tests.conftest import HANG, tiny_config
from tests.reliability.kills import CONTEXT

OVERRIDES = {"runtime.checkpoint_seconds": 0.0, "runtime.workers": 1, "synthetic.file_participants": 4}


def chain():
    """Build the cohort with some of UK Biobank's files, train an alignment with its parents, and write a figure."""
    import pandas as pd
    from matplotlib.figure import Figure

    from eccl_lib.io.progress import silent
    from eccl_lib.notebooks import notebook
    from eccl_lib.pipeline import stages

    config = tiny_config(**OVERRIDES, **{"runtime.build_missing": True})
    run = stages.train(config, "eccl", silent)
    figure = Figure()
    figure.subplots().plot(run.history["loss"])
    notebook.write_figure(figure, run.folder.parents[3] / "figures", "loss")
    notebook.save_table(pd.DataFrame(run.history), "losses", config)


def attempt(runs, fault=None):
    """The chain in a process of its own under a fault (a function of this module). Returns status and stderr."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_enter, args=(runs, sender, fault))
    process.start()
    process.join(HANG)
    return process.exitcode, receiver.recv()


def _enter(runs, sender, fault):
    from eccl_lib.commands.cli import guard

    os.environ["ECCL_RUNS"] = str(runs)
    if fault:
        fault[0](*fault[1:])
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        try:
            status = guard(chain)
        except BaseException as error:
            status = 70
            stream.write(f"Traceback: {type(error).__name__}: {error}")
    sender.send(stream.getvalue())
    os._exit(status)


# Faults.


def limit_file_size(size):
    """As ``ulimit -f``: no file above ``size`` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def fail_on_sync(number, at):
    """From the ``at``-th fsync on, the disk answers with an error number, as a full network disk does."""
    original, calls = os.fsync, []

    def counted(file):
        calls.append(file)
        if len(calls) >= at:
            raise OSError(number, os.strerror(number))
        original(file)

    os.fsync = counted


def delete_runs(runs, at):
    """At the ``at``-th fsync, somebody deletes the folder of runs."""
    import shutil

    original, calls = os.fsync, []

    def counted(file):
        original(file)
        calls.append(file)
        if len(calls) == at:
            shutil.rmtree(runs, ignore_errors=True)

    os.fsync = counted


@contextlib.contextmanager
def disk(folder, size):
    """A disk of ``size`` bytes at ``folder``. Skips the test where this account may not mount one."""
    folder.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this account may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder, option):
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


NUMBERS = {name: getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "ESTALE")}
