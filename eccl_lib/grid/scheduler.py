"""The grid of Table 1: its runs, their order and predicted time, and their execution on any workers."""

import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import joblib

from eccl_lib.config.errors import ConfigError, DamagedError, MissingError
from eccl_lib.config.schema import ARRAYS, Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.grid.forecast import EPOCH, Forecast, Progress, from_finished_runs, like, wall_seconds
from eccl_lib.grid.log_follower import LogFollower, append
from eccl_lib.io import disk, paths
from eccl_lib.io.progress import Log, format_seconds, silent
from eccl_lib.io.workers import Pool, Setting, Workers, entered, pool
from eccl_lib.models.build import visible_gpus
from eccl_lib.pipeline.stages import RunSpec, spec, waves

Waves = list[list[RunSpec]]
PROGRESS = re.compile(rf"{EPOCH.pattern}|resuming at .*")
STARTED = "started"  # log line that a run writes at each start
STATUS_SECONDS = 15.0  # between two lines that only report progress


class GridError(RuntimeError):
    """Some runs failed; the message lists them with their reasons."""


def plan(config: Config, rows: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> Waves:
    """All runs that the cells of Table 1 need, in waves. rows: keys of ``methods.METHODS``."""
    cells = [replace(config, disease=task, seed=seed) for seed in seeds for task in tasks]
    return waves([spec(cell, key) for cell in cells for key in rows])


def show_plan(own: RunSpec, log: Log = print) -> float:
    """Log time and memory of a run and its prerequisites, without finished runs. Returns the seconds.

    The cohort must exist.
    """
    planned, total, most = waves([own]), 0.0, 0
    data = open_cohort.load(own.config, log, needs=_needs(planned))
    for run in [run for wave in to_do(planned, data) for run in wave]:
        if run.is_features:
            seconds = run.estimate(data)
            log(f"{name(run, data)}: about {format_seconds(seconds)}")
        else:
            plan = run.plan(data)
            seconds, most = plan.seconds, max(most, plan.memory)
            log(f"{name(run, data)}: {plan}")
        total += seconds
    log(f"all: about {format_seconds(total)}, {most / 1e9:.2g} GB at most" if total else "nothing to do")
    return total


def run_jobs(
    waves: Waves,
    config: Config,
    log: Log = print,
    epochs: Log | None = None,
    workers: Workers | None = None,
    forecast: Forecast | None = None,
) -> None:
    """Run all unfinished runs. log: receives the forecast, then a line per run with the time left. epochs: receives
    the log of each training.

    workers: by default those of ``local_workers``. forecast: from ``predict``; without it, one is made. If runs fail,
    all runs that do not depend on them are still finished; then GridError is raised.
    """
    if not any(waves):
        return
    workers = workers or local_workers(config)
    data = open_cohort.load(config, log, needs=_needs(waves))
    todo = to_do(waves, data)
    if not any(todo):
        log(f"0 of {sum(map(len, waves))} runs to do; all are reused")
        return
    with pool(workers, _shared(config), log) as crew:
        forecast = forecast or _forecast(waves, data, crew, log)
        grid = _Grid(longest_first(todo, forecast), forecast, data, crew, log, epochs)
        with LogFollower(_shared(config), grid.read_line) as follower:
            grid.run(follower)
    grid.close()


def local_workers(config: Config, jobs: int | None = None) -> Workers:
    """Processes of this machine: ``jobs``, by default one per visible GPU, or ``runtime.workers`` on a CPU."""
    gpus = visible_gpus(config)
    return Workers(jobs=jobs if jobs is not None else len(gpus) or config.runtime.workers, gpus=gpus)


def train_all(specs: Sequence[RunSpec], config: Config, log: Log = print) -> None:
    """Train the unfinished ones of these runs and their prerequisites on this machine. Raises GridError."""
    run_jobs(waves(specs), config, log, epochs=log)


def predict(waves: Waves, config: Config, log: Log = print, workers: Workers | None = None) -> Forecast:
    """Log what ``run_jobs`` would run and for how long, without running it. The forecast also serves parts of it."""
    workers = workers or local_workers(config)
    data = open_cohort.load(config, log, needs=_needs(waves))
    with pool(workers, _shared(config), log) as crew:
        return _forecast(waves, data, crew, log)


def _needs(waves: Waves) -> set[str]:
    """The arrays of a cohort that these runs read."""
    return {name for wave in waves for job in wave for name in job.arrays} or set(ARRAYS)


def to_do(waves: Waves, data: Cohort) -> Waves:
    """The runs that are not finished. A damaged run is included, because running it reports the damage."""
    return [[job for job in wave if not _done(job, data)] for wave in waves]


def _done(job: RunSpec, data: Cohort) -> bool:
    try:
        return job.done(data)
    except DamagedError:
        return False


def longest_first(waves: Waves, forecast: Forecast) -> Waves:
    """Each wave sorted by predicted time, longest first, so that no long run starts last."""
    return [sorted(wave, key=forecast.of, reverse=True) for wave in waves if wave]


def _shared(config: Config) -> Path:
    return paths.scale_root(config.scale, config.cohort)


def _forecast(waves: Waves, data: Cohort, crew: Pool, log: Log) -> Forecast:
    """Seconds by kind of run, from finished runs or from trial steps on a worker; logged as a table and as a time."""
    jobs, todo = [job for wave in waves for job in wave], to_do(waves, data)
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
        log("a worker process ended during the trial steps, usually for lack of memory; average times are assumed")
    log(forecast.table(jobs, waiting))
    wall = format_seconds(_wall(longest_first(todo, forecast), forecast, crew))
    log(f"about {wall} with {crew.size} at a time")
    return forecast


def _wall(waves: Waves, forecast: Forecast, crew: Pool) -> float:
    return wall_seconds([[forecast.of(job) for job in wave] for wave in waves], crew.size)


def _try(job: RunSpec, setting: Setting) -> tuple[RunSpec, float | None]:
    """CPU seconds of a run from trial steps; None where they fail, since the run itself reports the reason."""
    with entered(setting):
        try:
            return job, job.estimate(open_cohort.load(job.config, silent, needs=job.arrays))
        except Exception:
            return job, None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. error: one line, empty on success."""

    number: int
    seconds: float
    cpu_seconds: float
    error: str


def _run(number: int, job: RunSpec, lines: Path, setting: Setting) -> Outcome:
    """One run, in a worker."""
    with entered(setting):
        began, cpu = time.monotonic(), time.process_time()
        try:
            _start(lines)
            job.train(partial(append, lines))
            error = ""
        except Exception as fault:
            error = reason(fault)
        return Outcome(number, time.monotonic() - began, time.process_time() - cpu, error)


def _start(lines: Path) -> None:
    """Log the start. Raises GridError where the run killed two workers without progress in between."""
    if not lines.parent.is_dir():
        raise MissingError(f"{lines.parent} does not exist on this worker: its disk is not the shared one")
    tries = lines.read_text().split(f"{STARTED}\n")[1:] if lines.is_file() else []
    if len(tries) > 1 and _progress(tries[-1]) == _progress(tries[-2]):
        raise GridError("its worker process was killed twice, usually for lack of memory; use fewer workers")
    append(lines, STARTED)


def _progress(text: str) -> list[str]:
    """The epochs and places of resumption in the log of one attempt, without its measured times."""
    return [found[0] for line in text.splitlines() if (found := PROGRESS.search(line))]


def reason(error: Exception) -> str:
    """An error in one line, with its type where the message is not one of ours."""
    first = (disk.explain(error).strip().splitlines() or [""])[0]
    known = isinstance(error, ConfigError | MissingError | DamagedError | GridError | OSError)
    return first if known else f"{type(error).__name__}: {first}"


def name(job: RunSpec, data: Cohort) -> str:
    """The run's path below ``runs/<scale>-<cohort>``; for features, the path of their encoder."""
    place = job.run(data).name
    return f"cmr_features of {place}" if job.is_features else place


class _Grid:
    """One execution of the waves."""

    def __init__(
        self, waves: Waves, forecast: Forecast, data: Cohort, crew: Pool, log: Log, epochs: Log | None
    ) -> None:
        self.waves, self.forecast, self.crew, self.log, self.epochs = waves, forecast, crew, log, epochs
        self.jobs = [job for wave in waves for job in wave]
        self.names = [name(job, data) for job in self.jobs]
        self.number = {job: k for k, job in enumerate(self.jobs)}
        self.wall = _wall(waves, forecast, crew)
        self.progress = Progress([forecast.of(job) for job in self.jobs], self.wall)
        self.outcomes: dict[RunSpec, Outcome] = {}
        self.started: set[RunSpec] = set()
        self.starts = 0  # number of starts, including repeated starts of a run
        self.skipped: set[RunSpec] = set()
        self._began = self._logged = time.monotonic()

    def run(self, follower: LogFollower) -> None:
        for wave in self.waves:
            failed = self.skipped | {job for job, outcome in self.outcomes.items() if outcome.error}
            blocked = {job for job in wave if failed.intersection(job.parents())}
            self.skipped |= blocked
            self.run_wave([job for job in wave if job not in blocked], follower)

    def run_wave(self, wave: list[RunSpec], follower: LogFollower) -> None:
        """Run a wave to its end. If a local worker is killed, the started runs resume one by one.

        A run that kills its worker again then interrupts no other run.
        """
        groups = [wave] if wave else []
        while groups:
            group, starts = groups.pop(0), self.starts
            try:
                self.run_group(group, follower)
            except self.crew.lost:
                follower.poll()
                rest = [job for job in group if job not in self.outcomes]
                if self.starts == starts:
                    fault = "worker processes end before their first run starts, usually for lack of memory"
                    raise GridError(f"{fault}; use fewer workers") from None
                suspects = [job for job in rest if job in self.started] if self.crew.local else []
                self.log(f"a worker process was killed; {len(rest)} runs resume from their last checkpoints")
                rest = [job for job in rest if job not in suspects]
                groups = [*([job] for job in suspects), *([rest] if rest else []), *groups]

    def run_group(self, group: list[RunSpec], follower: LogFollower) -> None:
        setting = Setting.here(self.crew)
        numbers = [self.number[job] for job in group]
        calls = [joblib.delayed(_run)(k, self.jobs[k], follower.path(k), setting) for k in numbers]
        with closing(self.crew(calls)) as outcomes:  # an interrupt ends the workers at once
            for outcome in outcomes:
                self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        self.outcomes[self.jobs[outcome.number]] = outcome
        self.progress.end(outcome.number)
        result = f"failed: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
        count = f"run {len(self.outcomes)}/{len(self.jobs)}"
        self.write(f"{count}  {self.names[outcome.number]}  {result}  {self.progress}")

    def read_line(self, number: int, line: str) -> None:
        """Process a line from the log of a run."""
        if line == STARTED:
            self.started.add(self.jobs[number])
            self.starts += 1
        elif self.epochs:
            self.epochs(line)
        if self.progress.read_line(number, line) and time.monotonic() - self._logged > STATUS_SECONDS:
            self.write(f"{self.progress}; {line}")

    def write(self, line: str) -> None:
        self._logged = time.monotonic()
        self.log(line)

    def close(self) -> None:
        """Log the predicted and the actual time. Raises GridError where runs failed."""
        spent = sum(outcome.cpu_seconds for outcome in self.outcomes.values())
        expected = sum(self.forecast.of(job) for job in self.outcomes)
        wall = format_seconds(time.monotonic() - self._began)
        cpu = f"CPU {expected:.0f} s predicted, {spent:.0f} s taken"
        self.log(f"predicted {format_seconds(self.wall)}, took {wall}; {cpu}")
        failed = [outcome for outcome in self.outcomes.values() if outcome.error]
        if failed:
            lines = [f"  {self.names[outcome.number]}: {outcome.error}" for outcome in failed]
            skipped = f", {len(self.skipped)} that depend on them were not started" if self.skipped else ""
            head = f"{len(failed)} of {len(self.jobs)} runs failed{skipped}:"
            raise GridError("\n".join([head, *lines, "Run the same command again: it runs only the missing runs."]))
