"""Several processes that train one model: gradients, numbers drawn, history and files are those of one process.

Each rank works on its own rows of every batch. The rule that makes the gradient one process's: the mean over ranks of
what a step returns is the loss of the whole batch. DistributedDataParallel takes that mean of the gradients. Outside a
team, and in a team of one, every function here is the plain thing. Command: ``torchrun --nproc-per-node N -m
eccl_lib.pipeline.stages align ...``; from a notebook ``runtime.ranks``.
"""

from __future__ import annotations

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
from eccl_lib.training.sync_batchnorm import share_statistics

T = TypeVar("T")
TIMEOUT = 600.0  # seconds that ranks wait for one another inside a step; ours


class LostRankError(ConnectionError):
    """Another rank of the team has ended or does not answer."""


@dataclass
class Team:
    """This process among those that train together. store: keys and values that all ranks see."""

    rank: int
    world_size: int
    store: Any
    turns: int = 0  # of the store, counted alike on all ranks

    def turn(self) -> str:
        """A key that no other turn has."""
        self.turns += 1
        return f"turn{self.turns}"


@dataclass(frozen=True)
class Batch:
    """How a batch is shared out. rows: all; sizes: of each rank; first: where those in hand begin; own: how many."""

    rows: np.ndarray
    sizes: tuple[int, ...]
    first: int
    own: int

    @property
    def whole(self) -> int:
        return len(self.rows)


_team: Team | None = None
_batch: Batch | None = None


# The team.


@contextlib.contextmanager
def process_group(timeout: float = TIMEOUT, gpu: bool = False) -> Iterator[None]:
    """Join the processes that torchrun started; alone, do nothing. timeout: seconds without an answer in a step.

    gpu: each takes one of this machine's. Raises ConfigError where there are too few, LostRankError where another rank
    ended or hangs, instead of waiting for it.
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
        dist.destroy_process_group()  # after an error its other ranks are gone, and it would wait for them
    except RuntimeError as error:
        if not _of_connection(error):
            raise
        raise LostRankError(
            f"rank {rank} lost another of the {world_size} ranks: it ended, or gave no answer for {timeout:.0f} s. Its own "
            "message tells why; the same command goes on from the last checkpoint"
        ) from error
    finally:
        _team = None


def _take_gpu(number: int) -> None:
    if number >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise ConfigError(f"process {number + 1} of this machine finds {there} GPUs; use as many ranks, or fewer")
    torch.cuda.set_device(number)


def _of_connection(error: RuntimeError) -> bool:
    known = isinstance(error, dist.DistError)
    return known or any(word in str(error) for word in ("gloo", "NCCL", "Connection closed", "Connection reset"))


def world_size() -> int:
    """Processes that train together, 1: this one alone."""
    return 1 if _team is None else _team.world_size


def rank() -> int:
    """This process's number among them, from 0."""
    return 0 if _team is None else _team.rank


def is_main_process() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


def main_process_log(log: Log) -> Log:
    """The log on the first rank; the others say nothing."""
    return log if is_main_process() else silent


# One acts, the others wait.


def on_main_process(act: Callable[[], T]) -> T | None:
    """The first rank acts, however long; the others wait and get None. Raises on all ranks where it failed."""
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
    """The first rank acts, then the others do the same and find what it left on disk."""
    result = on_main_process(act)
    return result if is_main_process() else act()


def broadcast(ask: Callable[[], Any]) -> Any:
    """What the first rank finds, on all ranks: files may change between two looks. The answer fits into JSON."""
    if _team is None:
        return ask()
    key = _team.turn()
    answer = on_main_process(lambda: _team.store.set(key, json.dumps(ask())))
    del answer
    return json.loads(_team.store.get(key))


@contextlib.contextmanager
def held_by_main_process(lock: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """The first rank holds a lock while all ranks are inside."""
    with contextlib.ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(lock()))
        yield
        on_main_process(lambda: None)


def _wait(key: str) -> None:
    """Until the first rank has set the key. If that rank ends, torchrun ends this one."""
    pause = 0.01
    while not _team.store.check([key]):
        time.sleep(pause)
        pause = min(1.5 * pause, 0.5)
    if _team.store.get(key) == b"failed":
        raise LostRankError("the first rank stopped; its message tells why")


def map_over_ranks(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """``function`` of every item, in order, on all ranks; each rank does its part. Results are picklable."""
    if _team is None:
        return [function(item) for item in items]
    own = [function(item) for item in items[_team.rank :: _team.world_size]]
    found: list[list[Any]] = [[] for _ in range(_team.world_size)]
    dist.all_gather_object(found, own)
    return [found[k % _team.world_size][k // _team.world_size] for k in range(len(items))]


# One batch.


@contextlib.contextmanager
def shard(rows: np.ndarray, piece: int = 0, pieces: int = 1) -> Iterator[np.ndarray]:
    """This rank's rows of a batch: neighbours, in their order, as many as any other's within one.

    pieces: into how many those are cut again, one after another; piece: which. Raises ConfigError where there are fewer
    rows than ranks, or than pieces of a rank.
    """
    global _batch
    if _team is None and pieces == 1:
        yield rows
        return
    parts = np.array_split(rows, world_size())
    if min(map(len, parts)) < pieces:
        what = f"{world_size()} ranks" if pieces == 1 else f"{pieces} pieces on each of {world_size()} ranks"
        raise ConfigError(f"a batch of {len(rows)} rows for {what}; use fewer or a larger batch")
    cut = np.array_split(parts[rank()], pieces)
    before = sum(map(len, parts[: rank()])) + sum(map(len, cut[:piece]))
    _batch = Batch(rows, tuple(map(len, parts)), before, len(cut[piece]))
    try:
        yield cut[piece]
    finally:
        _batch = None


def whole(own: np.ndarray) -> np.ndarray:
    """The rows of the batch that those in hand belong to."""
    return own if _batch is None else _batch.rows


def own_pieces(rows: np.ndarray, pieces: int) -> list[np.ndarray]:
    """All that ``shard`` gives this rank of one batch, piece by piece."""
    found = []
    for piece in range(pieces):
        with shard(rows, piece, pieces) as own:
            found.append(own)
    return found


def all_gather(part: Tensor) -> Tensor:
    """A tensor of the whole batch from every rank's part of it, with gradient. part: (own rows, ...), not a piece."""
    return part if _team is None or _batch is None else _Gathered.apply(part, _batch)


def part(mean: Tensor, terms: float | Tensor | None = None, of: float | Tensor | None = None) -> Tensor:
    """A mean over the rows in hand, weighted: its sum over pieces, then mean over ranks, is the mean over the batch.

    terms, of: what the mean is over here and in the whole batch, where that is not rows.
    """
    if _batch is None:
        return mean
    share = _batch.own / _batch.whole if terms is None else terms / of
    return mean * (share * len(_batch.sizes))


def rand(*shape: int, generator: torch.Generator, device: torch.device | str | None = None, samples: int = 0) -> Tensor:
    """``torch.rand`` of which each row of the batch gets the same numbers on however many ranks.

    shape: of this rank's part; samples: which dimension counts rows.
    """
    if _batch is None:
        return torch.rand(*shape, generator=generator, device=device)
    whole = [_batch.whole if k == samples else n for k, n in enumerate(shape)]
    drawn = torch.rand(*whole, generator=generator, device=device)
    return drawn.narrow(samples, _batch.first, _batch.own)


class _Gathered(torch.autograd.Function):
    """All parts on all ranks. All ranks go on to the same loss, so the gradient of a part is its own slice.

    It is scaled by the number of ranks, by which the mean over ranks divides it.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, batch: Batch) -> Tensor:
        ctx.batch = batch
        padded = part.new_zeros(max(batch.sizes), *part.shape[1:])
        padded[: batch.own] = part
        found = [torch.empty_like(padded) for _ in batch.sizes]
        dist.all_gather(found, padded)
        return torch.cat([rows[:count] for rows, count in zip(found, batch.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        batch = ctx.batch
        return gradient[batch.first : batch.first + batch.own] * len(batch.sizes), None


# One model.


class _StepModule(nn.Module):
    """A step as a module, so that DistributedDataParallel sees the model's parameters whatever the step calls."""

    def __init__(self, model: nn.Module, step: Callable) -> None:
        super().__init__()
        self.model, self.step = model, step

    def forward(self, *arguments: Any) -> Any:
        return self.step(*arguments)


def parallel(model: nn.Module, step: Callable) -> Callable:
    """The step, its gradients averaged over ranks during backward; batch norms take the whole batch's statistics."""
    if _team is None:
        return step
    share_statistics(model)
    # Buffers need no sending at each step: running statistics follow from the whole batch on every rank.
    return DistributedDataParallel(_StepModule(model, step), forward_sync_buffers=False)


def average(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over ranks, for steps that go backward by themselves, outside ``parallel``."""
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
