"""joblib's own Dask backend, with three of its gaps closed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib._dask import DaskDistributedBackend


class SteadyDask(DaskDistributedBackend):
    """Runs on the cluster even where it has one worker yet, raises where Dask gave a task up, leaves none behind.

    joblib 1.6 runs everything in the calling process where there is one worker, waits for ever for a task that killed
    its workers, and lets tasks of an aborted call run on.
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
