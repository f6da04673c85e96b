"""Estimate the time and memory of a training on this machine from a few trial steps.

A trial uses the job's own batches, data, steps, validation batches and checkpoints with its runtime settings, except
compilation. Where a full batch would take too long (a paper-size model on a CPU), only part of it is timed, and the
cost is assumed to grow linearly with the rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.io import paths
from eccl_lib.io.files import temporary_folder
from eccl_lib.io.progress import format_seconds
from eccl_lib.training.datasets import EVALUATION_BATCH
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.loop import DEFAULTS, trial_loop

TRIALS = 4  # timed steps, after one for warm-up
PATIENCE = 20.0  # seconds for all trial steps of a run; ours
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Plan:
    """The cost of a training. Seconds are CPU time, or wall-clock time on a GPU. memory: peak, in bytes."""

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
        """The whole training, without opening the cohort and building the model."""
        return self.updates * self.update + self.epochs * (self.validation + self.checkpoint) + self.scores

    def __str__(self) -> str:
        where = "on the GPU" if self.gpu else "of CPU time"
        updates = f"{self.updates:,} updates of {format_seconds(self.update)}"
        parts = f"{updates}, {self.epochs} validations of {format_seconds(self.validation)}"
        return f"about {format_seconds(self.seconds)} {where}, {self.memory / 1e9:.2g} GB ({parts})"


def plan(job: TrainingJob, done: int = 0, runtime: RuntimeConfig = DEFAULTS) -> Plan:
    """Estimate the cost of a job from trial steps. done: finished epochs. Weights and random state do not change."""
    model, schedule = job.model, job.schedule
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copies = sum(tensor.nbytes for tensor in weights.values())
    device = next(model.parameters()).device
    gpus, root = [device] if device.type == "cuda" else [], paths.runs_root()
    with temporary_folder(root, "trial") as folder, torch.random.fork_rng(devices=gpus):
        loop = trial_loop(job, folder, runtime)
        model.train()
        batches = [job.batches(epoch) for epoch in range(done, schedule.epochs)]
        rows = batches[0][0] if batches else job.batches(0)[0]
        step = lambda part: loop.run_step(part, schedule.warmup_epochs)  # noqa: E731
        update, step_memory = _cost(step, rows, device, least=2 * runtime.accumulate)
        model.eval()
        with torch.no_grad():
            rows = job.rows("val")[:EVALUATION_BATCH]
            validation, validation_memory = _cost(job.predict_batch, rows, device)
        checkpoint = seconds_of(loop.save, device)
    model.load_state_dict(weights)
    per_row = validation / len(rows)
    count = {split: len(job.rows(split)) for split in ("val", "test")}
    return Plan(
        updates=sum(map(len, batches)),
        update=update,
        epochs=len(batches),
        validation=per_row * count["val"],
        checkpoint=checkpoint,
        scores=per_row * (count["val"] + 2 * count["test"]),
        memory=max(step_memory, validation_memory) - copies,
        gpu=device.type == "cuda",
    )


def _cost(
    act: Callable[[np.ndarray], object], rows: np.ndarray, device: torch.device, least: int = 2
) -> tuple[float, int]:
    """Seconds and bytes of ``act`` on all rows, extrapolated from as many rows as ``PATIENCE`` allows.

    least: the smallest number of rows to try; half of it can be tried too.
    """
    few = rows[: min(least, len(rows))]
    act(few)  # warms up
    one = seconds_of(lambda: act(few), device) / len(few)
    most = int(PATIENCE / (TRIALS + 1) / max(one, 1e-9))
    some = rows[: max(len(few), min(len(rows), most))]
    release_memory()
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
    """Seconds of one call: CPU time, or wall-clock time on a GPU."""
    if device.type != "cuda":
        began = time.process_time()
        act()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    act()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def release_memory() -> None:
    """Return freed memory to the system (glibc), so that its next use counts as growth."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """Peak memory inside its block, in ``bytes``: of the GPU, or of this process without mapped files."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes = device, 0

    def __enter__(self) -> Peak:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif CLEAR.exists():
            CLEAR.write_text("5")  # Linux: reset the high-water mark
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated()
        elif STATUS.exists():
            self.bytes = _status("VmHWM") - _status("RssFile") - _status("RssShmem")
        else:
            self.bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def anonymous(device: torch.device) -> int:
    """Bytes in use: of the GPU, or of this process without mapped files, whose pages the system can take back."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated()
    return _status("RssAnon") if STATUS.exists() else 0


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])
