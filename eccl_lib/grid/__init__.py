"""The grid of Table 1: what has to run, in which order, for how long, and running it wherever there are workers."""

from eccl_lib.grid.scheduler import GridError, Log, plan, predict, run_jobs, waves

__all__ = ["GridError", "Log", "plan", "predict", "run_jobs", "waves"]
