"""The grid of Table 1: its runs, their order, a forecast of the time, and running them on any workers."""

from eccl_lib.grid.scheduler import GridError, plan, predict, run_jobs, train_all

__all__ = ["GridError", "plan", "predict", "run_jobs", "train_all"]
