"""How fast a training went: samples a second, waiting for data, share of the machine's matrix rate."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.training import performance


@dataclass
class Throughput:
    """Of the steps so far, over all processes that a training was killed in; validation and checkpoints left out."""

    samples: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    waited: float = 0.0  # seconds in which the loop stood still until a batch was read


class Stopwatch:
    """Adds the steps between ``start`` and ``stop`` to a pace; in between nobody waits for the device."""

    def __init__(self, pace: Throughput) -> None:
        self.pace = pace
        self._began: tuple[float, float, float] | None = None

    def start(self, waited: float) -> None:
        """waited: seconds that reading has taken so far."""
        self._began = (time.perf_counter(), time.process_time(), waited)

    def stop(self, waited: float) -> None:
        """Call it when the device has finished."""
        clock, cpu, before = self._began
        self.pace.seconds += time.perf_counter() - clock
        self.pace.cpu_seconds += time.process_time() - cpu
        self.pace.waited += waited - before


def timing(pace: Throughput, flops_per_sample: float, device: torch.device, runtime: RuntimeConfig) -> dict[str, float]:
    """What ``timing.json`` says of the steps.

    utilisation: of the rate that this machine reaches in plain matrix products, on a CPU by seconds of processor.
    """
    dtype = torch.bfloat16 if performance.uses_bf16(device, runtime) else torch.float32
    rate = performance.matrix_rate(device, dtype, torch.get_num_threads())
    busy = pace.seconds if device.type == "cuda" else pace.cpu_seconds
    found = {
        "samples": pace.samples,
        "step_seconds": pace.seconds,
        "step_cpu_seconds": pace.cpu_seconds,
        "samples_per_second": pace.samples / max(pace.seconds, 1e-9),
        "data_wait": pace.waited / max(pace.seconds, 1e-9),
        "gflop_per_sample": flops_per_sample / 1e9,
        "matrix_gflop_per_second": rate / 1e9,
        "utilisation": pace.samples * flops_per_sample / max(busy, 1e-9) / rate,
    }
    if device.type == "cuda":
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def line(timing: dict[str, float]) -> str:
    """The same for a reader."""
    return (
        f"{_digits(timing['samples_per_second'])} samples/s, data wait {timing['data_wait']:.1%} of a step, "
        f"{timing['utilisation']:.0%} of the {timing['matrix_gflop_per_second']:,.0f} GFLOP/s that matrices reach here"
    )


def _digits(value: float) -> str:
    """Whole, or with the two digits that a slow machine leaves."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
