"""One case: check that both sides give the same, time them in turn, measure their memory, hold them to targets."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from eccl_lib.io.machine import cpu_model

ROUNDS = 5
SHORTEST = 0.1  # seconds of one timing; shorter calls are repeated within it


@dataclass(frozen=True)
class Target:
    """A bound on one measure. form: how the measure is written; ``time``: seconds, ms or µs with three digits."""

    measure: str
    bound: float
    least: bool
    form: str

    def met(self, measures: dict[str, Any]) -> bool:
        """Whether the measure keeps the bound; a measure that is no number does not."""
        value = measures[self.measure]
        return value >= self.bound if self.least else value <= self.bound

    def wanted(self) -> str:
        """In words: ``at least 10 x``."""
        return f"{'at least' if self.least else 'at most'} {self.said(self.bound)}"

    def said(self, value: float) -> str:
        """The measure as it is written."""
        return seconds(value) if self.form == "time" else self.form.format(value)


def at_least(measure: str, bound: float, form: str = "{:.3g} x") -> Target:
    """The measure must reach the bound."""
    return Target(measure, bound, True, form)


def at_most(measure: str, bound: float, form: str = "time") -> Target:
    """The measure must stay under the bound."""
    return Target(measure, bound, False, form)


def seconds(value: float) -> str:
    """A duration with three digits: ``4.21 ms``."""
    unit, size = next((pair for pair in (("s", 1.0), ("ms", 1e-3)) if value >= pair[1]), ("µs", 1e-6))
    return f"{value / size:.3g} {unit}"


@dataclass(frozen=True)
class Pair:
    """Two functions for the same work. same: raises where their results differ.

    per: units of work in a call. reference_per: of the reference's, where it does another number of them. device: where
    both work, ``cpu`` or ``cuda``.
    """

    ours: Callable[[], Any]
    reference: Callable[[], Any]
    same: Callable[[Any, Any], None]
    per: float = 1
    reference_per: float | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Case:
    """A row of the table. prepare: makes data in a folder and returns a Pair, or the measures themselves.

    place: rows stand in this order, those of one place by name. on_gpu: targets of a second row, of the same work on a
    GPU; ``prepare`` then takes the device after the folder. device: what this row measures.
    """

    title: str
    reference: str
    prepare: Callable[..., Pair | dict[str, Any]]
    targets: tuple[Target, ...]
    threads: int = 1
    memory: bool = False
    minutes: float = 8.0  # of clock, after which it is ended
    place: int = 50
    on_gpu: tuple[Target, ...] = ()
    device: str = "cpu"

    def there(self) -> Case:
        """The row of the GPU."""
        prepare = partial(self.prepare, device="cuda")
        title = f"{self.title}, on a GPU"
        return replace(self, title=title, prepare=prepare, targets=self.on_gpu, on_gpu=(), device="cuda")


def run(case: Case, folder: Path) -> dict[str, Any]:
    """The case's measures."""
    prepared = case.prepare(folder)
    if isinstance(prepared, dict):
        return prepared
    measures = compare(prepared)
    if case.memory:
        held = meter(prepared.device).peak_mb
        measures["peak_mb"] = held(prepared.ours)
        measures["reference_peak_mb"] = held(prepared.reference)
    return measures


def compare(pair: Pair, rounds: int = ROUNDS) -> dict[str, Any]:
    """Check, then time both in turn. ratio and spread are of neighbours in time: median, least, greatest."""
    results: list[Any] = []
    repeats = []
    timed = meter(pair.device).seconds
    for call in (pair.ours, pair.reference):
        first = timed(lambda call=call: results.append(call()))
        if pair.device != "cpu":
            first = timed(call)  # the first call also loads kernels and chooses among them
        repeats.append(1 if first > 10 * SHORTEST else _repeats(call, timed))
    pair.same(*results)
    results.clear()
    units = pair.per, pair.reference_per or pair.per
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for k, call in enumerate((pair.ours, pair.reference)):
            times[k].append(timed(call, repeats[k]) / units[k])
    ratios = [theirs / ours for ours, theirs in zip(*times, strict=True)]
    ours, theirs = (statistics.median(some) for some in times)
    spread = [min(ratios), max(ratios)]
    return {"ratio": statistics.median(ratios), "spread": spread, "seconds": ours, "reference_seconds": theirs}


def _repeats(call: Callable[[], Any], timed: Callable[..., float]) -> int:
    """How often a call must be repeated to be timed well."""
    return max(1, math.ceil(SHORTEST / max(timed(call), 1e-6)))


@dataclass(frozen=True)
class Meter:
    """How work on a device is measured. seconds: call, repeats -> of one call; peak_mb: call -> what it holds at most.

    Of a CPU seconds are CPU time, of a GPU the clock.
    """

    seconds: Callable[..., float]
    peak_mb: Callable[[Callable[[], Any]], float]


def meter(device: str) -> Meter:
    """The meter of ``cpu`` or ``cuda``."""
    if device == "cpu":
        return Meter(cpu, peak_mb)
    import torch

    gpu = Gpu(torch.cuda)
    return Meter(gpu.seconds, gpu.peak_mb)


class Gpu:
    """Clock and memory of a GPU. cuda: ``torch.cuda``; clock: in seconds."""

    def __init__(self, cuda: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self.cuda, self.clock = cuda, clock

    def seconds(self, call: Callable[[], Any], repeats: int = 1) -> float:
        """Clock seconds of one call, until the device has finished; what it was given before is not counted."""
        gc.collect()
        self.cuda.synchronize()
        began = self.clock()
        for _ in range(repeats):
            call()
        self.cuda.synchronize()
        return (self.clock() - began) / repeats

    def peak_mb(self, call: Callable[[], Any]) -> float:
        """Most memory of the device's tensors during a call above what they had before, MB."""
        gc.collect()
        self.cuda.synchronize()
        self.cuda.reset_peak_memory_stats()
        before = self.cuda.memory_allocated()
        call()
        self.cuda.synchronize()
        return (self.cuda.max_memory_allocated() - before) / 2**20


def cpu(call: Callable[[], Any], repeats: int = 1) -> float:
    """CPU seconds of one call, processes that it starts and waits for included."""
    gc.collect()
    before = _used()
    for _ in range(repeats):
        call()
    return (_used() - before) / repeats


def _used() -> float:
    some = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in some)


def peak_mb(call: Callable[[], Any]) -> float:
    """Most memory of this process during a call above what it had before, MB; NaN where the system does not tell."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed goes back, so that it is not taken for free
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        before = _status("VmRSS")
        call()
        return max(0.0, (_status("VmHWM") - before) / 1024)
    except (OSError, AttributeError, LookupError):
        return math.nan


def _status(name: str) -> int:
    """kB of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def has_gpu() -> bool:
    """Whether rows of a GPU can be measured here."""
    import torch

    return torch.cuda.is_available()


def machine(device: str = "cpu") -> str:
    """Processor, its cores, Python, numpy and torch, in a line; of a row on a GPU its name first."""
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch"))
    found = f"{cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"
    if device == "cpu" or not has_gpu():
        return found
    import torch

    return f"{torch.cuda.get_device_name()}, {found}"
