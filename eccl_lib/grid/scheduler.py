"""The grid of Table 1: which runs it takes, in which order, how long, and running them wherever there are workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import joblib
import torch

from eccl_lib.config.errors import ConfigError, DamagedError, MissingError
from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.grid.forecast import Forecast, Progress, from_finished_runs, like, wall_seconds
from eccl_lib.grid.jobs import FEATURES, Job
from eccl_lib.grid.log_follower import Relay, append
from eccl_lib.grid.workers import Pool, Setting, Workers, entered, pool
from eccl_lib.io import paths
from eccl_lib.io.progress import Log, format_seconds, silent

Waves = list[list[Job]]
STARTED = "started"  # a job's first line, once for each time that it was begun
STATUS_SECONDS = 15.0  # between two lines that only say how far it is


class GridError(RuntimeError):
    """Some runs failed; the message lists them with their reasons."""


def plan(config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> Waves:
    """All jobs behind the cells of Table 1, in waves. rows: keys of ``methods.METHODS``."""
    cells = [replace(config, disease=task, seed=seed) for seed in seeds for task in tasks]
    return waves([Job(key, cell) for cell in cells for key in rows])


def waves(jobs: Sequence[Job]) -> Waves:
    """The jobs and all that they hang on, each once: what others need first, by depth, the rest last.

    Within a wave no job needs another.
    """
    depth: dict[Job, int] = {}
    needed: set[Job] = set()

    def visit(job: Job) -> int:
        if job not in depth:
            parents = job.parents()
            needed.update(parents)
            depth[job] = max((visit(parent) + 1 for parent in parents), default=0)
        return depth[job]

    for job in jobs:
        visit(job)
    levels = range(max(depth.values(), default=-1) + 1)
    shared = [[job for job in depth if job in needed and depth[job] == level] for level in levels]
    return [wave for wave in (*shared, [job for job in depth if job not in needed]) if wave]


def run_jobs(
    waves: Waves, config: Config, log: Log = print, epochs: Log | None = None, workers: Workers | None = None
) -> None:
    """Run what is not done. log: what is ahead, a line a run with the time left, how far it is. epochs: each epoch too.

    workers: by default processes of this machine, ``config.runtime.workers`` of them. Raises GridError in the end
    where runs failed; all that does not hang on those is done by then.
    """
    workers = workers or Workers(jobs=config.runtime.workers)
    data = open_cohort.load(config, log)
    todo = left(waves, data)
    if not any(todo):
        log(f"0 of {sum(map(len, waves))} runs to do")
        return
    with pool(workers, _shared(config), log) as crew:
        forecast = _predict(waves, data, crew, log)
        course = _Course(ordered(todo, forecast), forecast, data, crew, log, epochs)
        with Relay(_shared(config), course.hear) as relay:
            course.run(relay)
    course.close()


def predict(waves: Waves, config: Config, log: Log = print, workers: Workers | None = None) -> Forecast:
    """What ``run_jobs`` has ahead of it, said line by line and not run."""
    workers = workers or Workers(jobs=config.runtime.workers)
    data = open_cohort.load(config, log)
    with pool(workers, _shared(config), log) as crew:
        return _predict(waves, data, crew, log)


def left(waves: Waves, data: cohort.Cohort) -> Waves:
    """The jobs that are not done. One whose folder is damaged counts: it is the one to complain of that."""
    return [[job for job in wave if not _done(job, data)] for wave in waves]


def _done(job: Job, data: cohort.Cohort) -> bool:
    try:
        return job.done(data)
    except DamagedError:
        return False


def ordered(waves: Waves, forecast: Forecast) -> Waves:
    """Within each wave the longest first, so that no long job begins when the others are through."""
    return [sorted(wave, key=forecast.of, reverse=True) for wave in waves if wave]


def _shared(config: Config) -> Path:
    return paths.scale_root(config.scale, config.cohort)


def _predict(waves: Waves, data: cohort.Cohort, crew: Pool, log: Log) -> Forecast:
    """Seconds by kind, from finished runs or else from trial steps on a worker; said as a table and as a time."""
    jobs, todo = [job for wave in waves for job in wave], left(waves, data)
    waiting = [job for wave in todo for job in wave]
    forecast = from_finished_runs(jobs, data)
    unknown = {like(job): job for job in waiting if not forecast.knows(job)}
    if unknown:
        log(f"predicting the time: trial steps of {len(unknown)} kinds of runs")
    try:
        calls = [joblib.delayed(_try)(job, Setting.here(crew)) for job in unknown.values()]
        with closing(crew(calls)) as trials:
            for job, seconds in trials:
                if seconds is not None:
                    forecast.add_trial(job, seconds)
    except crew.lost:
        log("a worker process ended during the trial steps, most often for lack of memory; what it tried is guessed")
    log(forecast.table(jobs, waiting))
    log(f"about {format_seconds(_wall(ordered(todo, forecast), forecast, crew))} with {crew.size} at a time")
    return forecast


def _wall(waves: Waves, forecast: Forecast, crew: Pool) -> float:
    return wall_seconds([[forecast.of(job) for job in wave] for wave in waves], crew.size)


def _try(job: Job, setting: Setting) -> tuple[Job, float | None]:
    """CPU seconds of a job by trial steps; None where it cannot be tried: its own run will say why."""
    with entered(setting):
        try:
            torch.set_num_threads(job.config.runtime.threads)
            return job, job.estimate(open_cohort.load(job.config, silent))
        except Exception:
            return job, None


@dataclass(frozen=True)
class Outcome:
    """How a job ended. error: one line, empty where all is well."""

    number: int
    seconds: float
    cpu_seconds: float
    error: str


def _run(number: int, job: Job, lines: Path, setting: Setting) -> Outcome:
    """One job, in a worker."""
    with entered(setting):
        began, cpu = time.monotonic(), time.process_time()
        try:
            _start(lines)
            job.run(partial(append, lines))
            error = ""
        except Exception as fault:
            error = reason(fault)
        return Outcome(number, time.monotonic() - began, time.process_time() - cpu, error)


def _start(lines: Path) -> None:
    """Note that the job begins here. Raises GridError where it took two workers down and came no further meanwhile."""
    if not lines.parent.is_dir():
        raise MissingError(f"{lines.parent} is not seen here: this worker has another disk than the others")
    tries = lines.read_text().split(f"{STARTED}\n")[1:] if lines.is_file() else []
    if len(tries) > 1 and tries[-1] == tries[-2]:
        raise GridError("its worker process was killed twice, most often for lack of memory; run fewer side by side")
    append(lines, STARTED)


def reason(error: Exception) -> str:
    """An error in one line, with its kind where the message is not one of ours."""
    first = (str(error).strip().splitlines() or [""])[0]
    known = isinstance(error, ConfigError | MissingError | DamagedError | GridError)
    return first if known else f"{type(error).__name__}: {first}"


def name(job: Job, data: cohort.Cohort) -> str:
    """The run's place below ``runs/<scale>-<cohort>``; features lie in that of their encoder."""
    place = job.expected(data).name
    return f"{FEATURES} of {place}" if job.key == FEATURES else place


class _Course:
    """One going through the waves."""

    def __init__(
        self, waves: Waves, forecast: Forecast, data: cohort.Cohort, crew: Pool, log: Log, epochs: Log | None
    ) -> None:
        self.waves, self.forecast, self.crew, self.log, self.epochs = waves, forecast, crew, log, epochs
        self.jobs = [job for wave in waves for job in wave]
        self.names = [name(job, data) for job in self.jobs]
        self.number = {job: k for k, job in enumerate(self.jobs)}
        self.wall = _wall(waves, forecast, crew)
        self.progress = Progress([forecast.of(job) for job in self.jobs], self.wall)
        self.outcomes: dict[Job, Outcome] = {}
        self.started: set[Job] = set()
        self.starts = 0  # more than jobs where some were begun again
        self.skipped: set[Job] = set()
        self._began = self._spoke = time.monotonic()

    def run(self, relay: Relay) -> None:
        for wave in self.waves:
            fallen = self.skipped | {job for job, outcome in self.outcomes.items() if outcome.error}
            hanging = {job for job in wave if fallen.intersection(job.parents())}
            self.skipped |= hanging
            self.run_wave([job for job in wave if job not in hanging], relay)

    def run_wave(self, wave: list[Job], relay: Relay) -> None:
        """A wave, to its end whoever dies. Jobs under way where a process of ours died go on one by one.

        So the one that kills its worker kills no other job with it.
        """
        groups = [wave] if wave else []
        while groups:
            group, begun = groups.pop(0), self.starts
            try:
                self.run_group(group, relay)
            except self.crew.lost:
                relay.look()
                rest = [job for job in group if job not in self.outcomes]
                if self.starts == begun:
                    raise GridError("worker processes end before their first job begins: too little memory?") from None
                suspects = [job for job in rest if job in self.started] if self.crew.local else []
                self.log(f"a worker process was killed; {len(rest)} runs go on from their last checkpoints")
                rest = [job for job in rest if job not in suspects]
                groups = [*([job] for job in suspects), *([rest] if rest else []), *groups]

    def run_group(self, group: list[Job], relay: Relay) -> None:
        setting = Setting.here(self.crew)
        numbers = [self.number[job] for job in group]
        calls = [joblib.delayed(_run)(k, self.jobs[k], relay.path(k), setting) for k in numbers]
        with closing(self.crew(calls)) as outcomes:  # whatever interrupts this ends the workers at once
            for outcome in outcomes:
                self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        self.outcomes[self.jobs[outcome.number]] = outcome
        self.progress.end(outcome.number)
        how = f"failed: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
        self.say(f"run {len(self.outcomes)}/{len(self.jobs)}  {self.names[outcome.number]}  {how}  {self.progress}")

    def hear(self, number: int, line: str) -> None:
        """A line from a job's process."""
        if line == STARTED:
            self.started.add(self.jobs[number])
            self.starts += 1
        elif self.epochs:
            self.epochs(line)
        if self.progress.hear(number, line) and time.monotonic() - self._spoke > STATUS_SECONDS:
            self.say(f"{self.progress}; {line}")

    def say(self, line: str) -> None:
        self._spoke = time.monotonic()
        self.log(line)

    def close(self) -> None:
        """What was predicted and what it took. Raises GridError where runs failed."""
        took = sum(outcome.cpu_seconds for outcome in self.outcomes.values())
        expected = sum(self.forecast.of(job) for job in self.outcomes)
        wall = format_seconds(time.monotonic() - self._began)
        self.log(
            f"predicted {format_seconds(self.wall)}, took {wall}; CPU {expected:.0f} s predicted, {took:.0f} s taken"
        )
        failed = [outcome for outcome in self.outcomes.values() if outcome.error]
        if failed:
            lines = [f"  {self.names[outcome.number]}: {outcome.error}" for outcome in failed]
            hanging = f", {len(self.skipped)} that hang on them were not begun" if self.skipped else ""
            head = f"{len(failed)} of {len(self.jobs)} runs failed{hanging}:"
            raise GridError("\n".join([head, *lines, "The same command runs what is missing and nothing else."]))
