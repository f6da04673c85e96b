"""Forecast the time of a grid: seconds of each kind of run, from finished runs or trial steps; and the time left."""

import heapq
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from eccl_lib.config.errors import DamagedError
from eccl_lib.config.load import essentials
from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.io.files import read_json
from eccl_lib.io.progress import format_seconds
from eccl_lib.pipeline.stages import RunSpec, seconds_in

EPOCH = re.compile(r"epoch (\d+)/(\d+)")  # in the log lines of a training
Like = tuple[str, Config]  # runs with equal values cost the same


def like(job: RunSpec) -> Like:
    """The kind of a run and its parameters except seed and disease."""
    return job.kind, replace(job.config, seed=0, disease=DISEASES[0], diseases=())


@dataclass
class Forecast:
    """CPU seconds by kind of run. trial: kinds measured in trial steps; all others come from finished runs."""

    seconds: dict[Like, float] = field(default_factory=dict)
    trial: set[Like] = field(default_factory=set)

    def add_trial(self, job: RunSpec, seconds: float) -> None:
        self.seconds[like(job)] = seconds
        self.trial.add(like(job))

    def knows(self, job: RunSpec) -> bool:
        return like(job) in self.seconds

    def of(self, job: RunSpec) -> float:
        """Predicted seconds of one run; the average of all kinds where its own kind is unknown."""
        known = self.seconds.values()
        return self.seconds.get(like(job), sum(known) / len(known) if known else 1.0)

    def table(self, jobs: Sequence[RunSpec], todo: Sequence[RunSpec]) -> str:
        """One line per kind, longest first: runs, runs to do, seconds of one and of all, source of the estimate."""
        lines = [f"{'kind':32} {'jobs':>5} {'to do':>6} {'s each':>7} {'CPU s':>8}"]
        totals = {kind: sum(map(self.of, _of_kind(todo, kind))) for kind in {job.kind for job in todo}}
        for kind in sorted(totals, key=totals.get, reverse=True):
            count = len(_of_kind(todo, kind))
            figures = f"{len(_of_kind(jobs, kind)):5} {count:6} {totals[kind] / count:7.1f} {totals[kind]:8.0f}"
            lines.append(f"{kind:32} {figures}  {self._source(_of_kind(todo, kind)[0])}")
        lines.append(f"{'all':32} {len(jobs):5} {len(todo):6} {'':7} {sum(totals.values()):8.0f}")
        return "\n".join(lines)

    def _source(self, job: RunSpec) -> str:
        return "a guess" if not self.knows(job) else "trial steps" if like(job) in self.trial else "finished runs"


def _of_kind(jobs: Sequence[RunSpec], kind: str) -> list[RunSpec]:
    return [job for job in jobs if job.kind == kind]


def from_finished_runs(jobs: Iterable[RunSpec], data: Cohort) -> Forecast:
    """Mean seconds (``RunSpec.seconds``) of finished runs here that differ from the given ones in seed or disease."""
    places = {(like(job), job.run(data).folder.parent): job for job in jobs if not job.is_features}
    found: dict[Like, list[float]] = {}
    for (kind, folder), job in places.items():
        wanted = _but_for_seed(essentials(job.config))
        for path in sorted(folder.glob("seed*-*/timing.json")):
            try:
                if _but_for_seed(read_json(path.with_name("config.json"))) == wanted:
                    found.setdefault(kind, []).append(seconds_in(read_json(path), job.config))
            except (OSError, DamagedError):
                continue  # the run is in progress or damaged; opening it reports the damage
    return Forecast({kind: sum(seconds) / len(seconds) for kind, seconds in found.items()})


def _but_for_seed(config: dict) -> dict:
    return {name: value for name, value in config.items() if name not in ("seed", "disease", "diseases", "runtime")}


def wall_seconds(waves: Sequence[Sequence[float]], workers: int) -> float:
    """Wall-clock time of waves of runs, in order, each on the first free worker. waves: seconds of each run."""
    total = 0.0
    for wave in waves:
        free = [0.0] * workers
        for seconds in wave:
            heapq.heapreplace(free, free[0] + seconds)
        total += max(free)
    return total


class Progress:
    """Progress of a grid as a share of predicted seconds. seconds: of each run; wall: wall-clock time of all runs."""

    def __init__(self, seconds: Sequence[float], wall: float) -> None:
        self._seconds, self._wall, self._began = list(seconds), wall, time.monotonic()
        self._parts = [0.0] * len(self._seconds)

    def read_line(self, number: int, line: str) -> bool:
        """Update from a line of a run's log. Returns whether the line reports an epoch."""
        found = EPOCH.search(line)
        if found:
            self._parts[number] = max(self._parts[number], int(found[1]) / int(found[2]))
        return bool(found)

    def end(self, number: int) -> None:
        self._parts[number] = 1.0

    @property
    def share(self) -> float:
        """Finished share of the predicted seconds, 0 to 1."""
        total = sum(self._seconds)
        return sum(s * part for s, part in zip(self._seconds, self._parts, strict=True)) / total if total else 1.0

    def left(self, elapsed: float | None = None) -> float:
        """Predicted seconds left, scaled by the speed so far. elapsed: seconds since the start."""
        elapsed = time.monotonic() - self._began if elapsed is None else elapsed
        trust = 0.05 * self._wall  # weight of the prediction before the first run has finished
        pace = (elapsed + trust) / (self._wall * self.share + trust) if self._wall else 1.0
        return self._wall * (1 - self.share) * pace

    def __str__(self) -> str:
        return f"{self.share:.0%}, about {format_seconds(self.left())} left"
