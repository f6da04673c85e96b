"""What makes a training fast, as switches, and what shows whether it is: work done, the machine's rate, memory kept."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.io.progress import Log
from eccl_lib.models.blocks import BLOCKS
from eccl_lib.training import distributed

WORTH_IT = 1.1  # a compiled model has to be so many times faster in a trial
# Seconds that a training's plain steps still have to take before a trial: inductor takes a minute or so for the paper's
# models, forward and backward, and a gain of 1.1 x brings a minute back in eleven.
LONG_ENOUGH = 600.0
BACKEND = "inductor"  # of torch.compile

# Switches.


def uses_bf16(device: torch.device, runtime: RuntimeConfig) -> bool:
    """Whether steps are in bf16: ``runtime.precision``; auto is bf16 on a GPU, fp32 on a CPU, where bf16 is slower."""
    return runtime.precision == "bf16" or (runtime.precision == "auto" and device.type == "cuda")


def autocast(device: torch.device, runtime: RuntimeConfig) -> torch.autocast:
    """A step's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(device, runtime))


@contextmanager
def evaluation_precision(device: torch.device) -> Any:
    """For models that are only read: matrices of a GPU in TF32, eight times bf16's resolution; a CPU as it is."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def recompute(model: nn.Module, on: bool = True) -> int:
    """Let each transformer block keep its input alone and compute the rest again on the way back.

    The same loss and gradients, dropout replayed; a third more work for a fraction of the memory. Returns the number of
    blocks; convolutional encoders have none (a batch norm would count each batch twice).
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
    """Whether torch.compile is worth a trial; on CPUs it gains nothing over channels_last.

    Never in a team: a rank whose compiler fails alone would take part in other all-reduces than the rest.
    """
    if distributed.world_size() > 1:
        return False
    return runtime.compile == "on" or (runtime.compile == "auto" and device.type == "cuda")


def compile_if_faster(
    part: nn.Module, trial: Callable[[], None], updates: int, runtime: RuntimeConfig, log: Log
) -> bool:
    """torch.compile on the part of a model that does the work, as ``runtime.compile`` says; whether it is now.

    auto: on a GPU, where ``updates`` that are left take ten minutes and ``trial`` (one forward and backward, no update)
    gains 1.1 x. What cannot be compiled is left as it is, with one line in the log. Weights and buffers are as before.
    """
    device = next(part.parameters()).device
    if not worth_a_trial(device, runtime):
        if runtime.compile == "on":
            log(f"torch.compile is left out where several processes train together, here {distributed.world_size()}")
        return False
    before = {name: value.detach().clone() for name, value in part.state_dict().items()}
    timed = runtime.compile == "auto"
    plain = seconds(trial, device) if timed else 0.0
    if not timed or plain * updates >= LONG_ENOUGH:
        _try(part, trial, plain, device, log)
    part.load_state_dict(before)
    return part._compiled_call_impl is not None


def _try(part: nn.Module, trial: Callable[[], None], plain: float, device: torch.device, log: Log) -> None:
    """Compile and keep it where it gains. plain: seconds of the trial without; 0: keep it whatever it gains."""
    try:
        torch._dynamo.config.suppress_errors = False  # as an earlier training may have left it: a trial fails aloud
        part.compile(backend=BACKEND)
        trial()
        gain = plain / seconds(trial, device) if plain else WORTH_IT
    except Exception as error:  # whatever a compiler may raise, the training goes on without it
        part._compiled_call_impl = None
        log(f"torch.compile does not work here ({type(error).__name__}); going on without")
    else:
        torch._dynamo.config.suppress_errors = True  # batches of another length may still fail: they then run plainly
        if gain < WORTH_IT:
            part._compiled_call_impl = None


def seconds(function: Callable[[], object], device: torch.device, trials: int = 5) -> float:
    """Clock seconds of one call: the median of a few, after two that warm up."""
    found = []
    for _ in range(trials + 2):
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return sorted(found[2:])[trials // 2]


# Measures.


def _attention(q: torch.Size, k: torch.Size, v: torch.Size, *rest: Any, **options: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(*shapes: Any, **options: Any) -> int:
    return sdpa_backward_flop_count(*shapes[:4])  # of the gradient, q, k, v


# The fused attention of a CPU, which torch's own table lacks; of shapes.
ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def flops(function: Callable[[], object]) -> int:
    """Floating-point operations of one call in matrix products, convolutions and attention; 2 a multiply-add."""
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        function()
    return counter.get_total_flops()


@functools.cache
def matrix_rate(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of this machine in plain matrix products, measured once: the best of a few.

    On a CPU per second of processor, so that a busy machine does not look slow. threads: of torch.
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


def saved_bytes(function: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps between forward and backward of one call, parameters not counted.

    Works on fake tensors as well: no memory is then needed to learn how much would be.
    """
    seen: dict[Any, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and not (tensor._base is not None and tensor._base.is_leaf):
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()
            kept.append(storage)  # so that no other tensor takes its place, and number
        return tensor

    kept: list[Any] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(seen.values())
