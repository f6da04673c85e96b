"""Many participants side by side: processes of this machine or a Dask cluster, by one setting; and the time left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from eccl_lib.io.progress import Log, format_seconds

SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Engine:
    """Who works. workers: processes side by side. cluster: address of a Dask scheduler; empty: this machine alone."""

    workers: int = 1
    cluster: str = ""


@dataclass
class Bar:
    """Progress with the time that is left; prints at most a line every few seconds."""

    what: str
    done: int
    total: int
    progress: Log
    start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.before, self.last = self.done, 0.0
        if self.done and self.done < self.total:
            self.progress(f"{self.what}: {self.done:,} of {self.total:,} participants are there already")

    def add(self, count: int) -> None:
        """That many more are done."""
        self.done += count
        spent = time.monotonic() - self.start
        if spent - self.last > SECONDS_BETWEEN_LINES or self.done == self.total:
            self.last = spent
            left = spent * (self.total - self.done) / max(self.done - self.before, 1)
            count = f"{self.what}: {self.done:,} of {self.total:,} participants"
            self.progress(f"{count}, {format_seconds(spent)}, about {format_seconds(left)} left")


def run_all(jobs: Iterable[tuple[Any, ...]], count: int, engine: Engine, finished: Callable[[Any], None]) -> None:
    """Run jobs (function, arguments...), one thread each; ``finished`` gets each result, in the order they end."""
    from joblib import Parallel, delayed

    if not count:
        return
    with _backend(engine):
        pool = Parallel(n_jobs=_side_by_side(engine, count), return_as="generator_unordered", batch_size=1)
        for result in pool(delayed(job)(*arguments) for job, *arguments in jobs):
            finished(result)


def _side_by_side(engine: Engine, count: int) -> int:
    return -1 if engine.cluster else min(engine.workers, count)


@contextlib.contextmanager
def _backend(engine: Engine) -> Iterator[None]:
    from joblib import parallel_config

    if not engine.cluster:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            yield
        return
    from distributed import Client

    with Client(engine.cluster, set_as_default=False) as client, parallel_config(backend="dask", client=client):
        yield
