"""What a training will cost on this machine, from a few trial steps: time and memory.

A trial takes the run's own batches, reads, steps, validation pieces and checkpoints, with the run's own switches (but
not compiled). Where one full batch would take too long, as a paper-size model on a CPU, a part of it is tried and cost
is taken to grow with rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.io import paths
from eccl_lib.io.progress import format_seconds
from eccl_lib.training.datasets import EVALUATION_BATCH
from eccl_lib.training.loop import DEFAULTS, trial_loop

if TYPE_CHECKING:
    from eccl_lib.training.job import Course

TRIALS = 4  # steps that are timed, after one that warms up
PATIENCE = 20.0  # seconds that the trial steps of one run may take in all; ours
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Plan:
    """A training's cost. seconds: of CPU time, on a GPU of the clock; memory: bytes, the greatest need at a time."""

    updates: int
    update: float  # seconds of one
    epochs: int
    validation: float  # seconds of one
    checkpoint: float  # seconds of one
    scores: float  # seconds of validation and test at the end
    memory: int
    gpu: bool

    @property
    def seconds(self) -> float:
        """All of it but what reads and builds first."""
        return self.updates * self.update + self.epochs * (self.validation + self.checkpoint) + self.scores

    def __str__(self) -> str:
        where = "on the GPU" if self.gpu else "of CPU time"
        parts = f"{self.updates:,} updates of {format_seconds(self.update)}, {self.epochs} validations of {format_seconds(self.validation)}"
        return f"about {format_seconds(self.seconds)} {where}, {self.memory / 1e9:.2g} GB ({parts})"


def plan(course: Course, done: int = 0, runtime: RuntimeConfig = DEFAULTS) -> Plan:
    """Try a course. done: epochs that are behind it. The model and the caller's random numbers stay as they are."""
    recipe, training = course.recipe, course.training
    kept = {name: tensor.clone() for name, tensor in recipe.model.state_dict().items()}
    extra = sum(tensor.nbytes for tensor in kept.values())
    device = next(recipe.model.parameters()).device
    with tempfile.TemporaryDirectory(dir=_folder()) as folder, torch.random.fork_rng(devices=_cuda(device)):
        loop = trial_loop(recipe, training, Path(folder), runtime)
        recipe.model.train()
        batches = [recipe.batches(epoch) for epoch in range(done, training.epochs)]
        rows = batches[0][0] if batches else recipe.batches(0)[0]
        act = lambda some: loop.run_step(some, training.warmup_epochs)  # noqa: E731
        update, step_memory = _cost(act, rows, device, least=2 * runtime.accumulate)
        recipe.model.eval()
        with torch.no_grad():
            piece = course.checked("val")[:EVALUATION_BATCH]
            look, look_memory = _cost(lambda some: course.look(some), piece, device)
        checkpoint = seconds_of(loop.save, device)
    recipe.model.load_state_dict(kept)
    each = look / len(piece)
    count = {split: len(course.checked(split)) for split in ("val", "test")}
    return Plan(
        updates=sum(map(len, batches)),
        update=update,
        epochs=len(batches),
        validation=each * count["val"],
        checkpoint=checkpoint,
        scores=each * (count["val"] + 2 * count["test"]),
        memory=max(step_memory, look_memory) - extra,
        gpu=device.type == "cuda",
    )


def _cost(
    act: Callable[[np.ndarray], object], rows: np.ndarray, device: torch.device, least: int = 2
) -> tuple[float, int]:
    """Seconds of ``act`` on all rows, and bytes of memory while it acts. Tried on as many as fit into the patience.

    least: rows that it is tried on at least, if there are so many; half of them can be tried as well.
    """
    few = rows[: min(least, len(rows))]
    act(few)  # warms up
    one = seconds_of(lambda: act(few), device) / len(few)
    most = int(PATIENCE / (TRIALS + 1) / max(one, 1e-9))
    some = rows[: max(len(few), min(len(rows), most))]
    give_back()
    before = anonymous(device)
    with Peak(device) as peak:
        act(some)
        seconds = _median(lambda: act(some), device)
    grown = max(0, peak.bytes - before)
    if len(some) < len(rows):
        half = some[: max(least // 2, len(some) // 2)]
        a_row = max(0.0, seconds - _median(lambda: act(half), device)) / (len(some) - len(half))
        seconds += a_row * (len(rows) - len(some))
    return seconds, before + math.ceil(grown * len(rows) / len(some))


def _median(act: Callable[[], object], device: torch.device) -> float:
    began, times = time.perf_counter(), []
    while len(times) < TRIALS and (not times or time.perf_counter() - began < PATIENCE / 2):
        times.append(seconds_of(act, device))
    return float(np.median(times))


def seconds_of(act: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: of CPU time; of the clock where a GPU works."""
    if device.type != "cuda":
        began = time.process_time()
        act()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    act()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def give_back() -> None:
    """Return freed memory to the system (glibc), so that what is used anew counts as growth."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """The most memory at a time within its block: of the GPU, or of this process beside mapped files. ``bytes``."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes = device, 0

    def __enter__(self) -> Peak:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif CLEAR.exists():
            CLEAR.write_text("5")  # Linux: the high-water mark begins anew
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated()
        elif STATUS.exists():
            self.bytes = _status("VmHWM") - _status("RssFile") - _status("RssShmem")
        else:
            self.bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def anonymous(device: torch.device) -> int:
    """Bytes in use now: of the GPU, or of this process beside mapped files, whose pages can be given back."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated()
    return _status("RssAnon") if STATUS.exists() else 0


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def _folder() -> Path:
    root = paths.runs_root()
    root.mkdir(parents=True, exist_ok=True)
    return root


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
