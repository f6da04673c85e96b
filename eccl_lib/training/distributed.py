"""Several processes (ranks) that train one model, with the gradients, random numbers and files of one process.

Each rank works on its own rows of every batch. The mean over ranks of the losses is the loss of the whole batch, and
DistributedDataParallel takes the same mean of the gradients. In a single process no function here
communicates. Command: ``torchrun --nproc-per-node N -m eccl_lib train eccl ...``; from a notebook: ``runtime.ranks``.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eccl_lib.config.errors import ConfigError
from eccl_lib.io.progress import Log, silent
from eccl_lib.training.batch import Shard
from eccl_lib.training.sync_batchnorm import share_statistics

T = TypeVar("T")
TIMEOUT = 600.0  # seconds that a rank waits for another inside a step; ours


class LostRankError(ConnectionError):
    """Another rank has ended or does not answer."""


@dataclass
class Team:
    """The process group. store: a key-value store that all ranks share."""

    rank: int
    world_size: int
    store: Any
    turns: int = 0  # number of messages so far, equal on all ranks

    def turn(self) -> str:
        """A key for the next message."""
        self.turns += 1
        return f"turn{self.turns}"


_team: Team | None = None


# The process group.


@contextlib.contextmanager
def process_group(timeout: float = TIMEOUT, gpu: bool = False) -> Iterator[None]:
    """Join the processes that torchrun started; in a single process, do nothing.

    timeout: seconds to wait for another rank in a step. gpu: each process takes one GPU of this machine. Raises
    ConfigError where there are too few GPUs, LostRankError where another rank ended or hangs.
    """
    global _team
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield
        return
    limit = timedelta(seconds=timeout)
    store, rank, world_size = next(dist.rendezvous("env://", timeout=limit))
    if gpu:
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(
        backend, store=dist.PrefixStore("c10d", store), rank=rank, world_size=world_size, timeout=limit
    )
    _team = Team(rank, world_size, dist.PrefixStore("eccl", store))
    try:
        yield
        dist.destroy_process_group()  # not after an error: it would wait for ranks that have ended
    except RuntimeError as error:
        if not _of_connection(error):
            raise
        raise LostRankError(
            f"rank {rank} lost one of the {world_size} ranks: that rank ended, or did not answer for {timeout:.0f} s. "
            "Its own message states the reason. Run the same command again to resume from the last checkpoint"
        ) from error
    finally:
        _team = None


def _take_gpu(number: int) -> None:
    there = torch.cuda.device_count()
    if number >= there:
        raise ConfigError(f"process {number + 1} needs a GPU, but this machine has {there}; use at most {there} ranks")
    torch.cuda.set_device(number)


def _of_connection(error: RuntimeError) -> bool:
    known = isinstance(error, dist.DistError)
    return known or any(word in str(error) for word in ("gloo", "NCCL", "Connection closed", "Connection reset"))


def world_size() -> int:
    """Number of ranks; 1 in a single process."""
    return 1 if _team is None else _team.world_size


def rank() -> int:
    """The number of this process, from 0."""
    return 0 if _team is None else _team.rank


def is_main_process() -> bool:
    """Whether this process writes the files and the log."""
    return rank() == 0


def main_process_log(log: Log) -> Log:
    """The log on the main process; a silent log on the others."""
    return log if is_main_process() else silent


# Actions of the main process, for which the other ranks wait.


def on_main_process(act: Callable[[], T]) -> T | None:
    """Run ``act`` on the main process; the others wait and get None. Raises on all ranks if it fails."""
    if _team is None:
        return act()
    key = _team.turn()
    if _team.rank:
        _wait(key)
        return None
    try:
        result = act()
    except BaseException:
        _team.store.set(key, "failed")
        raise
    _team.store.set(key, "done")
    return result


def main_process_first(act: Callable[[], T]) -> T:
    """Run ``act`` on the main process, then on the others, which find its files on disk."""
    result = on_main_process(act)
    return result if is_main_process() else act()


def broadcast(ask: Callable[[], Any]) -> Any:
    """Send the main process's answer to all ranks, since files may change between reads. ask: returns JSON types."""
    if _team is None:
        return ask()
    key = _team.turn()
    on_main_process(lambda: _team.store.set(key, json.dumps(ask())))
    return json.loads(_team.store.get(key))


@contextlib.contextmanager
def held_by_main_process(lock: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """Hold a lock on the main process while all ranks are inside the block."""
    with contextlib.ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(lock()))
        yield
        on_main_process(lambda: None)


def _wait(key: str) -> None:
    """Wait until the main process has set the key. If that process ends, torchrun ends this one."""
    pause = 0.01
    while not _team.store.check([key]):
        time.sleep(pause)
        pause = min(1.5 * pause, 0.5)
    if _team.store.get(key) == b"failed":
        raise LostRankError("the main process stopped; the reason is in its message")


def map_over_ranks(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Apply ``function`` to items, divided among ranks. Returns all results, in order, on all ranks; picklable."""
    if _team is None:
        return [function(item) for item in items]
    own = [function(item) for item in items[_team.rank :: _team.world_size]]
    found: list[list[Any]] = [[] for _ in range(_team.world_size)]
    dist.all_gather_object(found, own)
    return [found[k % _team.world_size][k // _team.world_size] for k in range(len(items))]


# One batch.


def shards(size: int, microbatches: int = 1) -> list[Shard]:
    """This rank's rows of a batch of ``size`` rows, split into microbatches.

    Each rank has consecutive rows; their numbers differ by at most one between ranks. Raises ConfigError where a rank
    would have fewer rows than microbatches.
    """
    parts = np.array_split(np.arange(size), world_size())
    if min(map(len, parts)) < microbatches:
        ranks = f"{world_size()} ranks"
        target = ranks if microbatches == 1 else f"{microbatches} microbatches on each of {ranks}"
        raise ConfigError(f"a batch of {size} rows cannot be split over {target}; use fewer or a larger batch")
    sizes = tuple(map(len, parts))
    return [Shard(int(rows[0]), int(rows[-1]) + 1, sizes) for rows in np.array_split(parts[rank()], microbatches)]


def all_gather(part: Tensor, shard: Shard) -> Tensor:
    """The tensor of the whole batch from every rank's part of it, with gradient. part: (rows of this rank, ...)."""
    return part if len(shard.rank_sizes) == 1 else _AllGather.apply(part, shard)


class _AllGather(torch.autograd.Function):
    """Send all parts to all ranks. All ranks compute the same loss, so the gradient of a part is its slice.

    The slice is multiplied by the number of ranks, because the later mean over ranks divides by this number.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, shard: Shard) -> Tensor:
        ctx.shard = shard
        padded = part.new_zeros(max(shard.rank_sizes), *part.shape[1:])
        padded[: shard.size] = part
        gathered = [torch.empty_like(padded) for _ in shard.rank_sizes]
        dist.all_gather(gathered, padded)
        return torch.cat([rows[:count] for rows, count in zip(gathered, shard.rank_sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        shard = ctx.shard
        return gradient[shard.start : shard.stop] * len(shard.rank_sizes), None


# One model.


class _StepModule(nn.Module):
    """A step as a module, so that DistributedDataParallel sees the model's parameters."""

    def __init__(self, model: nn.Module, step: Callable) -> None:
        super().__init__()
        self.model, self.step = model, step

    def forward(self, *arguments: Any) -> Any:
        return self.step(*arguments)


def parallel(model: nn.Module, step: Callable) -> Callable:
    """The step, with gradients averaged over ranks during backward and batch norms over the whole batch."""
    if _team is None:
        return step
    share_statistics(model)
    # Buffers need no synchronisation: every rank computes running statistics from the whole batch.
    return DistributedDataParallel(_StepModule(model, step), forward_sync_buffers=False)


def average(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over ranks, for microbatches, whose backward passes run outside of ``parallel``."""
    gradients = [p.grad for p in parameters if p.grad is not None] if _team is not None else []
    if gradients:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = (flat / world_size()).split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))


def mean(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars averaged over ranks, without gradient."""
    plain = {name: value.detach() for name, value in parts.items()}
    if _team is None:
        return plain
    stacked = torch.stack([value.to(torch.float64) for value in plain.values()])
    dist.all_reduce(stacked)
    return dict(zip(plain, stacked / world_size(), strict=True))
