"""Training speed: settings (precision, recomputation, compilation) and measures (FLOPs, matrix rate, throughput)."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.io.progress import Log
from eccl_lib.training import distributed

WORTH_IT = 1.1  # smallest gain in speed for which a compiled model is kept
# A trial is made only if this many seconds of training remain: inductor compiles for about a minute at the paper's
# sizes, and a gain of 1.1 x saves one minute in eleven.
LONG_ENOUGH = 600.0
CUBLAS_WORKSPACE = ":4096:8"  # buffers of fixed size, with which cuBLAS is deterministic (NVIDIA's documentation)
BACKEND = "inductor"  # of torch.compile
BLOCKS = (Block, SwinTransformerBlock)  # of all transformer encoders here

# Switches.


def set_up(runtime: RuntimeConfig) -> None:
    """Set torch's threads and, with ``runtime.deterministic``, its deterministic algorithms for this process.

    cuBLAS reads its setting when a process first uses it, so this comes before any work on a GPU.
    """
    torch.set_num_threads(runtime.threads)
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(runtime.deterministic)


def uses_bf16(device: torch.device, runtime: RuntimeConfig) -> bool:
    """Whether steps use bf16. auto: bf16 on a GPU, fp32 on a CPU, where bf16 is slower."""
    return runtime.precision == "bf16" or (runtime.precision == "auto" and device.type == "cuda")


def autocast(device: torch.device, runtime: RuntimeConfig) -> torch.autocast:
    """The precision context of a training step."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(device, runtime))


@contextmanager
def evaluation_precision(device: torch.device) -> Any:
    """Precision of validation, test and features: TF32 on a GPU (8 times the resolution of bf16), fp32 on a CPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def recompute(model: nn.Module, on: bool = True) -> int:
    """Let each transformer block store its input only and recompute its activations in the backward pass.

    Loss and gradients do not change: dropout is repeated. It takes a third more work and a fraction of the memory.
    Returns the number of blocks: 0 for convolutional encoders, whose batch norms would count each batch twice.
    """
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    for block in blocks:
        block.__dict__.pop("forward", None)
        if on:
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def undo_compile_and_recompute(model: nn.Module) -> None:
    """Undo ``recompute`` and ``compile_if_faster``."""
    recompute(model, False)
    for module in model.modules():
        module._compiled_call_impl = None


def worth_a_trial(device: torch.device, runtime: RuntimeConfig) -> bool:
    """Whether torch.compile is worth a trial; on a CPU it gains nothing over channels_last.

    False with several ranks: if one rank's compiler failed, its all-reduces would not match the others.
    """
    if distributed.world_size() > 1:
        return False
    return runtime.compile == "on" or (runtime.compile == "auto" and device.type == "cuda")


def compile_if_faster(
    part: nn.Module, trial: Callable[[], None], updates: int, runtime: RuntimeConfig, log: Log
) -> bool:
    """Compile a part of a model with torch.compile, following ``runtime.compile``. Returns whether it is compiled.

    auto: on a GPU, if the remaining ``updates`` take ten minutes and ``trial`` (forward and backward, no update) is 1.1
    times faster. A part that cannot be compiled stays as it is; the log says so. Weights and buffers do not change.
    """
    device = next(part.parameters()).device
    if not worth_a_trial(device, runtime):
        if runtime.compile == "on":
            log(f"torch.compile is not used with several ranks ({distributed.world_size()} here)")
        return False
    before = {name: value.detach().clone() for name, value in part.state_dict().items()}
    timed = runtime.compile == "auto"
    plain = seconds(trial, device) if timed else 0.0
    if not timed or plain * updates >= LONG_ENOUGH:
        _try(part, trial, plain, device, log)
    part.load_state_dict(before)
    return part._compiled_call_impl is not None


def _try(part: nn.Module, trial: Callable[[], None], plain: float, device: torch.device, log: Log) -> None:
    """Compile a part; keep it compiled if that is faster. plain: seconds before; 0: keep it in any case."""
    try:
        torch._dynamo.config.suppress_errors = False  # an earlier training may have set it; trial errors must raise
        part.compile(backend=BACKEND)
        trial()
        gain = plain / seconds(trial, device) if plain else WORTH_IT
    except Exception as error:  # a compiler may raise anything; the training continues without it
        part._compiled_call_impl = None
        log(f"torch.compile does not work here ({type(error).__name__}); continuing without it")
    else:
        torch._dynamo.config.suppress_errors = True  # batches of another length may fail: they run uncompiled
        if gain < WORTH_IT:
            part._compiled_call_impl = None


def seconds(function: Callable[[], object], device: torch.device, trials: int = 5) -> float:
    """Wall-clock seconds of one call: the median of ``trials``, after two for warm-up."""
    found = []
    for _ in range(trials + 2):
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return sorted(found[2:])[trials // 2]


# Measures.


# FLOPs of the CPU's fused attention by shapes, which torch's own table lacks.
ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *rest, **options: sdpa_flop_count(q, k, v)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *rest, **options: sdpa_backward_flop_count(gradient, q, k, v)
    ),
}


def flops(function: Callable[[], object]) -> int:
    """Floating-point operations of one call in matrix products, convolutions and attention; 2 per multiply-add."""
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        function()
    return counter.get_total_flops()


@functools.cache
def matrix_rate(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of this machine in matrix products, measured once: the best of several trials.

    On a CPU per second of CPU time, so that the load of the machine does not matter. threads: of torch.
    """
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    found = []
    for _ in range(6):
        began = clock()
        for _ in range(4):
            left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(clock() - began)
    return 4 * 2 * size**3 / min(found[1:])


# Throughput of a training.


@dataclass
class Throughput:
    """Totals of all steps so far, also before restarts, without validation and checkpoints."""

    samples: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    waited: float = 0.0  # seconds in which steps waited for data


class Stopwatch:
    """Adds the steps between ``start`` and ``stop`` to a throughput, without waiting for the device in between."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput
        self._began: tuple[float, float, float] | None = None

    def start(self, waited: float) -> None:
        """waited: seconds of waiting for data so far."""
        self._began = (time.perf_counter(), time.process_time(), waited)

    def stop(self, waited: float) -> None:
        """Call this after the device has finished."""
        clock, cpu, before = self._began
        self.throughput.seconds += time.perf_counter() - clock
        self.throughput.cpu_seconds += time.process_time() - cpu
        self.throughput.waited += waited - before


def report(
    throughput: Throughput, flops_per_sample: float, device: torch.device, runtime: RuntimeConfig
) -> dict[str, float]:
    """The entries of ``timing.json`` about the steps.

    utilisation: share of this machine's rate in matrix products; on a CPU per second of CPU time.
    """
    dtype = torch.bfloat16 if uses_bf16(device, runtime) else torch.float32
    rate = matrix_rate(device, dtype, torch.get_num_threads())
    busy = throughput.seconds if device.type == "cuda" else throughput.cpu_seconds
    entries = {
        "samples": throughput.samples,
        "step_seconds": throughput.seconds,
        "step_cpu_seconds": throughput.cpu_seconds,
        "samples_per_second": throughput.samples / max(throughput.seconds, 1e-9),
        "data_wait": throughput.waited / max(throughput.seconds, 1e-9),
        "gflop_per_sample": flops_per_sample / 1e9,
        "matrix_gflop_per_second": rate / 1e9,
        "utilisation": throughput.samples * flops_per_sample / max(busy, 1e-9) / rate,
    }
    if device.type == "cuda":
        entries["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return {name: float(f"{value:.4g}") for name, value in entries.items()}


def samples_per_second(timing: dict[str, float]) -> str:
    """The rate of a ``report`` as text; rates below 10 have two digits."""
    rate = timing["samples_per_second"]
    return f"{rate:,.0f} samples/s" if rate >= 10 else f"{rate:.2g} samples/s"


def report_line(timing: dict[str, float]) -> str:
    """A ``report`` as one line for the log."""
    return (
        f"{samples_per_second(timing)}, data wait {timing['data_wait']:.1%} of a step, "
        f"{timing['utilisation']:.0%} of the machine's "
        f"{timing['matrix_gflop_per_second']:,.0f} GFLOP/s in matrix products"
    )
