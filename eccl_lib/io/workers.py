"""Run calls in this process, in local worker processes (loky) or on a Dask cluster, always through joblib."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import platform
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eccl_lib.config.errors import ConfigError, install
from eccl_lib.io import paths
from eccl_lib.io.files import write_text

BACKENDS = ("loky", "dask")
Call = tuple[Callable[..., Any], tuple, dict]  # the result of joblib.delayed


@dataclass(frozen=True)
class Workers:
    """The workers that run the calls.

    jobs: number of processes on this machine; 1 is this process itself. scheduler: address of a Dask scheduler; all its
    workers are used. resources: what each call takes of a Dask worker, such as {"GPU": 1}. gpus: values of
    CUDA_VISIBLE_DEVICES; each local process keeps one for itself while there are enough.
    """

    backend: str = "loky"
    jobs: int = 2
    scheduler: str = ""
    resources: dict[str, float] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(f"backend is {self.backend!r}; choose one of {', '.join(BACKENDS)}")
        if self.jobs < 1:
            raise ConfigError(f"--jobs is {self.jobs}; give 1 or more")
        if (self.backend == "dask") != bool(self.scheduler):
            raise ConfigError("a Dask cluster needs both --backend dask and --scheduler ADDRESS")


class Pool:
    """Runs calls in parallel. size: number of workers; lost: error after a worker's death; local: on this machine.

    gpus: of this machine, shared out among local workers.
    """

    def __init__(
        self, size: int, backend: Callable[[], Any], lost: type[Exception], local: bool, gpus: tuple[str, ...] = ()
    ) -> None:
        self.size, self.lost, self.local, self.gpus, self._backend = size, lost, local, gpus, backend

    def __call__(self, calls: Iterable[Call], pre_dispatch: str = "all") -> Iterator[Any]:
        """Results in the order in which the calls finish. The calls start in order."""
        import joblib

        options = {"batch_size": 1, "pre_dispatch": pre_dispatch, "return_as": "generator_unordered"}
        if self.local:
            options["inner_max_num_threads"] = 1  # threads of BLAS in a worker process
            # Before its first call, since a worker may wait for it when this process is killed.
            options |= {"initializer": _follow, "initargs": (os.getpid(),)}
        yield from joblib.Parallel(n_jobs=self.size, backend=self._backend(), **options)(calls)


@contextlib.contextmanager
def pool(workers: Workers, shared: Path, log: Callable[[str], None] = print) -> Iterator[Pool]:
    """The pool of these workers. shared: a folder that each must see. Raises ConfigError if one does not."""
    if workers.backend == "loky":
        with warnings.catch_warnings():
            # loky replaces a worker that grew by 300 MB, for example by importing torch; no call is lost.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
            warnings.filterwarnings("ignore", message=".*tasks (which were still|have been successfully)")
            yield Pool(workers.jobs, lambda: "loky", BrokenExecutor, local=True, gpus=workers.gpus)
        return
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise ConfigError(f"Dask is not installed. Install it: {install('cluster')}") from None
    _check_certificate(workers.scheduler)
    try:
        client = Client(workers.scheduler, set_as_default=False)
    except OSError as error:
        raise ConfigError(
            f"no Dask scheduler answers at {workers.scheduler} ({error}); start it, or correct --scheduler"
        ) from None
    with client:
        if not client.nthreads():
            log(f"waiting for the first worker of {workers.scheduler}")
            client.wait_for_workers(1)
        _check(client, shared)
        resources = {"resources": workers.resources} if workers.resources else {}
        backend = functools.partial(_dask_backend(), client=client, **resources)
        yield Pool(len(client.nthreads()), backend, KilledWorker, local=False)


def _check_certificate(scheduler: str) -> None:
    """Raise ConfigError for an address with TLS where Dask's settings name no certificate."""
    from distributed.security import Security

    if scheduler.startswith("tls://") and Security().get_connection_args("client")["ssl_context"] is None:
        cure = "set the certificates as docs/cluster.md describes under Security"
        raise ConfigError(f"{scheduler} needs TLS, but Dask's settings here name no certificate; {cure}")


def _check(client: Any, shared: Path) -> None:
    """Check that each worker runs one call at a time and sees the shared folder. Raises ConfigError."""
    for address, threads in client.nthreads().items():
        if threads != 1:
            raise ConfigError(
                f"Dask worker {address} would run {threads} jobs in one process. Start workers with --nthreads 1: "
                f"a job uses runtime.threads threads of its own."
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
                f"put it on a shared disk and export ECCL_RUNS=/that/folder"
            )


def _unseen(path: Path, token: str) -> str:
    """In a worker: folder and machine if it does not see the folder, else "". token: content of ``path``."""
    seen = path.is_file() and path.read_text() == token
    return "" if seen else f"{path.parent} on {platform.node()}"


@dataclass(frozen=True)
class Setting:
    """Settings that a worker takes from the process that sends calls. sender: its process id on this machine."""

    runs: str  # ECCL_RUNS; the default depends on where the package lies, so it is always set
    sender: int | None
    gpus: tuple[str, ...] = ()

    @classmethod
    def here(cls, pool: Pool) -> Setting:
        """The settings of this process."""
        return cls(str(paths.runs_root()), os.getpid() if pool.local else None, pool.gpus)


_one_call = threading.Lock()  # torch has one random state per process, not per thread


@contextlib.contextmanager
def entered(setting: Setting) -> Iterator[None]:
    """In a worker: one call at a time, with the sender's folder of runs."""
    with _one_call:
        if setting.sender != os.getpid():
            os.environ["ECCL_RUNS"] = setting.runs
            if setting.gpus:
                _take_gpu(setting.gpus, Path(setting.runs))
        yield


_claims: list[Any] = []  # the locked file of this process's GPU; the lock ends with the process


@functools.cache
def _take_gpu(gpus: tuple[str, ...], runs: Path) -> str:
    """Restrict this process to one GPU, before CUDA is initialised: a free one, else one that others use as well.

    gpus: values of CUDA_VISIBLE_DEVICES. runs: folder of the lock files.
    """
    runs.mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        file = (runs / f".gpu-{gpu.replace('/', '_')}.lock").open("w")  # a MIG device has slashes in its name
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _claims.append(file)
        break
    else:
        gpu = gpus[os.getpid() % len(gpus)]
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    return gpu


def _follow(parent: int) -> None:
    """In a local worker: end this process after its parent has ended; a training can resume from its checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends its workers
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def run_all(calls: Iterable[tuple[Any, ...]], workers: Workers, shared: Path, finished: Callable[[Any], None]) -> None:
    """Run calls (function, arguments...) in parallel, read when needed; ``finished`` receives each result.

    shared: a folder that all workers must see. Raises BrokenExecutor if a worker dies.
    """
    import joblib

    with pool(workers, shared) as crew:
        setting = Setting.here(crew)
        tasks = (joblib.delayed(_call)(setting, function, arguments) for function, *arguments in calls)
        try:
            with contextlib.closing(crew(tasks, pre_dispatch="2*n_jobs")) as results:
                for result in results:
                    finished(result)
        except crew.lost as error:
            raise BrokenExecutor(f"a worker died: {error}") from error


def _call(setting: Setting, function: Callable[..., Any], arguments: list[Any]) -> Any:
    with entered(setting):
        return function(*arguments)


@functools.cache
def _dask_backend() -> type:
    from joblib._dask import DaskDistributedBackend

    class SteadyDask(DaskDistributedBackend):
        """joblib's Dask backend without three of its defects (joblib 1.6).

        It runs on the cluster even with one worker, raises if Dask gave up a task instead of waiting forever, and
        cancels the tasks of an aborted call.
        """

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Future:
            def tell(done: Future) -> None:
                if done.exception() is not None:
                    callback(done.exception())

            future = super().submit(func, callback)
            future.add_done_callback(tell)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

        def abort_everything(self, ensure_ready: bool = True) -> None:
            self.client.cancel(list(self._results))
            super().abort_everything(ensure_ready)

    return SteadyDask
