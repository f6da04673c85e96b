"""Where many runs run: in this process, in processes beside it (loky) or on a Dask cluster; joblib drives them all."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib

from eccl_lib.config.errors import ConfigError
from eccl_lib.io import paths
from eccl_lib.io.files import write_text

BACKENDS = ("loky", "dask")
Call = tuple[Callable[..., Any], tuple, dict]  # what joblib.delayed makes


@dataclass(frozen=True)
class Workers:
    """jobs: processes beside this one, 1: this one itself. scheduler: Dask's address, its workers are all used.

    resources: what each job takes of a Dask worker's, such as {"GPU": 1}.
    """

    backend: str = "loky"
    jobs: int = 2
    scheduler: str = ""
    resources: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(f"backend is {self.backend!r}; choose one of {', '.join(BACKENDS)}")
        if self.jobs < 1:
            raise ConfigError(f"--jobs is {self.jobs}; give 1 or more")
        if (self.backend == "dask") != bool(self.scheduler):
            raise ConfigError("a Dask cluster is given as --backend dask --scheduler ADDRESS, both together")


class Pool:
    """Runs calls side by side. size: at a time; lost: what it raises where a worker died; local: started by us."""

    def __init__(self, size: int, backend: Callable[[], Any], lost: type[Exception], local: bool) -> None:
        self.size, self.lost, self.local, self._backend = size, lost, local, backend

    def __call__(self, calls: Iterable[Call]) -> Iterator[Any]:
        """Results as they come. The calls start in their order."""
        options = {"batch_size": 1, "pre_dispatch": "all", "return_as": "generator_unordered"}
        yield from joblib.Parallel(n_jobs=self.size, backend=self._backend(), **options)(calls)


@contextlib.contextmanager
def pool(workers: Workers, shared: Path, log: Callable[[str], None] = print) -> Iterator[Pool]:
    """The pool of these workers. shared: a folder that each of them has to see. Raises ConfigError where one cannot."""
    if workers.backend == "loky":
        with warnings.catch_warnings():
            # loky renews a worker that grew by 300 MB, as one does that imports torch; no job is lost by that.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
            warnings.filterwarnings("ignore", message=".*tasks (which were still|have been successfully)")
            yield Pool(workers.jobs, lambda: "loky", BrokenProcessPool, local=True)
        return
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise ConfigError("--backend dask needs dask and distributed: pip install 'eccl-lib[cluster]'") from None
    from eccl_lib.grid.dask_backend import SteadyDask

    try:
        client = Client(workers.scheduler, set_as_default=False)
    except OSError as error:
        raise ConfigError(
            f"no Dask scheduler answers at {workers.scheduler} ({error}); start it, or mend --scheduler"
        ) from None
    with client:
        if not client.nthreads():
            log(f"waiting for the first worker of {workers.scheduler}")
            client.wait_for_workers(1)
        _check(client, shared)
        given = {"resources": workers.resources} if workers.resources else {}
        backend = functools.partial(SteadyDask, client=client, **given)
        yield Pool(len(client.nthreads()), backend, KilledWorker, local=False)


def _check(client: Any, shared: Path) -> None:
    """One job at a time on each worker, and the same disk under all. Raises ConfigError."""
    for address, threads in client.nthreads().items():
        if threads != 1:
            raise ConfigError(
                f"Dask worker {address} would run {threads} jobs in one process. Start workers with --nthreads 1: "
                f"a job takes runtime.threads of its own."
            )
    token = uuid.uuid4().hex
    path = shared / f".seen-{token}"
    write_text(path, token)
    try:
        answers = client.run(_unseen, path, token, on_error="return")
    finally:
        path.unlink()
    for address, answer in answers.items():
        if isinstance(answer, BaseException):
            raise ConfigError(f"Dask worker {address} cannot run jobs: {type(answer).__name__}: {answer}")
        if answer:
            raise ConfigError(
                f"Dask worker {address} does not see {answer}. All workers need the folder of runs under one path: "
                f"put it on a disk they share, export ECCL_RUNS=/that/folder"
            )


def _unseen(path: Path, token: str) -> str:
    """On a worker: the folder that it does not see, with the machine's name. token: what ``path`` holds."""
    seen = path.is_file() and path.read_text() == token
    return "" if seen else f"{path.parent} on {platform.node()}"


@dataclass(frozen=True)
class Setting:
    """What a worker takes over from the process that sends it jobs. parent: the process that it must not outlive."""

    runs: str  # ECCL_RUNS: its default hangs on where the package lies, so it is always said
    parent: int | None

    @classmethod
    def here(cls, pool: Pool) -> Setting:
        """Of this process."""
        return cls(str(paths.runs_root()), os.getpid() if pool.local else None)


_one_job = threading.Lock()  # torch's random numbers belong to the process, not to a thread


@contextlib.contextmanager
def entered(setting: Setting) -> Iterator[None]:
    """In a worker: one job at a time, with the sender's folder of runs, and no longer than the sender lives."""
    with _one_job:
        if setting.parent != os.getpid():
            os.environ["ECCL_RUNS"] = setting.runs
            if setting.parent is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sender, which ends its workers
                _end_with(setting.parent)
        yield


@functools.cache
def _end_with(parent: int) -> None:
    """From now on end this process when its parent is gone: what it trains has its checkpoints."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
