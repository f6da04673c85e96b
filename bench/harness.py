"""Run one case: compare the two results, time the two functions alternately, measure memory, check targets."""

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
SHORTEST = 0.1  # seconds; a shorter call is repeated until one timing takes this long


@dataclass(frozen=True)
class Target:
    """A bound on one measure. least: a lower bound. form: format of the value; ``time``: in s, ms or µs."""

    measure: str
    bound: float
    least: bool
    form: str

    def met(self, measures: dict[str, Any]) -> bool:
        """Whether the measure is within the bound; NaN is not."""
        value = measures[self.measure]
        return value >= self.bound if self.least else value <= self.bound

    def wanted(self) -> str:
        """The bound in words, such as ``at least 10 x``."""
        return f"{'at least' if self.least else 'at most'} {self.said(self.bound)}"

    def said(self, value: float) -> str:
        """The value as text."""
        if self.form == "time":
            return seconds(value)
        text = self.form.format(value)
        return f"{value:,.0f}{text[text.index(' ') :]}" if "e+" in text else text


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
    """Two functions for the same work. same: raises an error if their results differ.

    per: units of work in one call. reference_per: the same for the reference, if its number differs. device: of both
    functions, ``cpu`` or ``cuda``.
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

    place: position of the row; rows with the same place are sorted by name. on_gpu: targets of a second row for the
    same work on a GPU; ``prepare`` then takes the device after the folder. device: the device of this row.
    """

    title: str
    reference: str
    prepare: Callable[..., Pair | dict[str, Any]]
    targets: tuple[Target, ...]
    threads: int = 1
    memory: bool = False
    minutes: float = 8.0  # wall-clock limit; the case is then killed
    place: int = 50
    on_gpu: tuple[Target, ...] = ()
    device: str = "cpu"

    def there(self) -> Case:
        """The GPU row of this case."""
        prepare = partial(self.prepare, device="cuda")
        title = f"{self.title}, on a GPU"
        return replace(self, title=title, prepare=prepare, targets=self.on_gpu, on_gpu=(), device="cuda")


def run(case: Case, folder: Path) -> dict[str, Any]:
    """Run a case; returns its measures."""
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
    """Compare the results, then time both alternately.

    ratio and spread: median and range of the ratio over the rounds.
    """
    results: list[Any] = []
    repeats = []
    timed = meter(pair.device).seconds
    for call in (pair.ours, pair.reference):
        first = timed(lambda call=call: results.append(call()))
        if pair.device != "cpu":
            first = timed(call)  # the first call also loads and selects kernels
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
    """Number of repeats of a call that gives a timing of at least SHORTEST seconds."""
    return max(1, math.ceil(SHORTEST / max(timed(call), 1e-6)))


@dataclass(frozen=True)
class Meter:
    """Measurement on a device. seconds: (call, repeats) to the time of one call; peak_mb: call to its peak memory.

    Seconds are CPU time on a CPU, and wall-clock time on a GPU.
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
    """Time and memory of a GPU. cuda: ``torch.cuda``; clock: a function that returns seconds."""

    def __init__(self, cuda: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self.cuda, self.clock = cuda, clock

    def seconds(self, call: Callable[[], Any], repeats: int = 1) -> float:
        """Wall-clock seconds of one call until the device has finished; earlier work of the device is not counted."""
        gc.collect()
        self.cuda.synchronize()
        began = self.clock()
        for _ in range(repeats):
            call()
        self.cuda.synchronize()
        return (self.clock() - began) / repeats

    def peak_mb(self, call: Callable[[], Any]) -> float:
        """Peak memory of the device's tensors during a call, above their memory before it, in MB."""
        gc.collect()
        self.cuda.synchronize()
        self.cuda.reset_peak_memory_stats()
        before = self.cuda.memory_allocated()
        call()
        self.cuda.synchronize()
        return (self.cuda.max_memory_allocated() - before) / 2**20


def cpu(call: Callable[[], Any], repeats: int = 1) -> float:
    """CPU seconds of one call, including the processes that it starts and waits for."""
    gc.collect()
    before = _used()
    for _ in range(repeats):
        call()
    return (_used() - before) / repeats


def _used() -> float:
    some = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in some)


def peak_mb(call: Callable[[], Any]) -> float:
    """Peak memory of this process during a call, above its memory before it, in MB; NaN if unknown."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back to the system; reused, it would not be counted
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        call()
        return max(0.0, (_status("VmHWM") - before) / 1024)
    except (OSError, AttributeError, LookupError):
        return math.nan


def _status(name: str) -> int:
    """A field of this process's status, in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def has_gpu() -> bool:
    """Whether this machine can measure GPU rows."""
    import torch

    return torch.cuda.is_available()


def machine(device: str = "cpu") -> str:
    """One line with processor, cores, and versions of Python, numpy and torch; for a GPU row the GPU's name first."""
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch"))
    found = f"{cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"
    if device == "cpu" or not has_gpu():
        return found
    import torch

    return f"{torch.cuda.get_device_name()}, {found}"
