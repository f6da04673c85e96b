"""``--plan`` of a stage: what it and all it hangs on would cost here, before anything is trained."""

from __future__ import annotations

from eccl_lib.config.schema import ARRAYS, Config
from eccl_lib.data import open_cohort
from eccl_lib.grid.jobs import FEATURES, Job
from eccl_lib.grid.scheduler import left, waves
from eccl_lib.io.progress import Log, format_seconds
from eccl_lib.pipeline import stages


def show(stage: str, config: Config, log: Log = print) -> float:
    """A line for each run that is not done, and the sum. Returns it, in seconds. The cohort has to be there."""
    data, total, most = open_cohort.load(config, log, needs=stages.NEEDS.get(stage, ARRAYS)), 0.0, 0
    for job in [job for wave in left(waves([_job(stage, config)]), data) for job in wave]:
        if job.key == FEATURES:
            seconds = job.estimate(data)
            log(f"{FEATURES} of {job.expected(data).name}: about {format_seconds(seconds)}")
        else:
            plan = job.plan(data)
            seconds, most = plan.seconds, max(most, plan.memory)
            log(f"{job.expected(data).name}: {plan}")
        total += seconds
    log(f"all: about {format_seconds(total)}, {most / 1e9:.2g} GB at most" if total else "nothing to do")
    return total


def _job(stage: str, config: Config) -> Job:
    return Job({"align": "eccl"}.get(stage, stage), config)
