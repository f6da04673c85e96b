"""The grid of Table 1: its runs, their order, the predicted time, and their execution on any workers."""

from eccl_lib.grid.scheduler import GridError, local_workers, plan, predict, run_jobs, train_all

__all__ = ["GridError", "local_workers", "plan", "predict", "run_jobs", "train_all"]
