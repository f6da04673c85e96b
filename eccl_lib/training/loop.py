"""fit(): the only training loop. It can be killed at any moment; the same call goes on to the same bytes.

All randomness of a step comes from (seed, epoch, step), so no generator has a history to lose: the state kept is
weights, optimiser, best weights, history, epoch and position. Within an epoch the host never waits for the device: the
losses stay there until a state is written.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import RuntimeConfig, TrainingConfig
from eccl_lib.config.seeds import seed_of
from eccl_lib.io.progress import Log, silent
from eccl_lib.models.heads import Supervised
from eccl_lib.training import checkpoints, distributed, microbatches, pace, performance
from eccl_lib.training.microbatches import Logs, Pieces, Step
from eccl_lib.training.optim import build_optimizer, learning_rate
from eccl_lib.training.state import DivergedError, MetricAccumulator, State

__all__ = ["DivergedError", "Recipe", "Source", "fit", "trial_loop"]
DEFAULTS = RuntimeConfig()


class Source(Protocol):
    """What a step reads from. waited: seconds in which nothing else could go on."""

    waited: float

    def ahead(self, batches: Sequence[np.ndarray]) -> AbstractContextManager: ...


@dataclass(frozen=True)
class Recipe:
    """What a stage hands to the loop.

    batches: epoch -> the row numbers of each step. step: rows, generator -> loss and parts of it to log.
    validate: -> measures; the one called ``score`` chooses the best epoch, higher is better. sources: what it reads.
    """

    model: nn.Module
    batches: Callable[[int], list[np.ndarray]]
    step: Step
    validate: Callable[[], dict[str, float]]
    sources: tuple[Source, ...] = ()


def fit(
    recipe: Recipe,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    fingerprint: str,
    runtime: RuntimeConfig = DEFAULTS,
    log: Log = print,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train ``recipe.model`` and leave it with its best weights by validation.

    Returns the history, one row per epoch, and the timing. Raises DivergedError on a loss that is not a number.
    """
    loop = Loop(recipe, config, seed, folder, fingerprint, runtime, log)
    devices = [loop.device] if loop.device.type == "cuda" else []
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)  # ``timing`` says the most that this training held
    with torch.random.fork_rng(devices=devices):
        loop.resume()
        try:
            loop.compile()
            while loop.state.epoch < config.epochs and not loop.out_of_patience():
                loop.run_epoch()
        except KeyboardInterrupt:
            log(f"interrupted in epoch {loop.state.epoch + 1}; run it again and it goes on from the last checkpoint")
            raise
        timing = loop.timing()
    recipe.model.load_state_dict(loop.best)
    recipe.model.eval()
    history = pd.DataFrame(loop.state.history)
    first = ["epoch", "lr", "loss"]
    return history[first + sorted(set(history.columns) - set(first))], timing


class Loop:
    """One training under way; ``fit`` drives it."""

    def __init__(
        self,
        recipe: Recipe,
        config: TrainingConfig,
        seed: int,
        folder: Path,
        fingerprint: str,
        runtime: RuntimeConfig,
        log: Log,
    ) -> None:
        self.recipe, self.config, self.seed, self.folder = recipe, config, seed, folder
        self.fingerprint, self.runtime, self.log = fingerprint, runtime, log
        self.parameters = {n: p for n, p in recipe.model.named_parameters() if p.requires_grad}
        self.device = next(iter(self.parameters.values())).device
        self.optimiser = build_optimizer(list(self.parameters.values()), config)
        self.state = State()
        self.ledger = MetricAccumulator(self.device)
        microbatches.check(recipe.model, recipe.step, runtime.accumulate)
        performance.recompute(recipe.model, runtime.recompute)
        self.forward = distributed.parallel(recipe.model, recipe.step)
        self.best = _copy(recipe.model.state_dict())
        self.watch = pace.Stopwatch(self.state.pace)
        self._mark = (time.perf_counter(), time.process_time())
        self._saved_at = time.perf_counter()

    def run_epoch(self) -> None:
        state, epoch = self.state, self.state.epoch
        batches = self.recipe.batches(epoch)
        self.recipe.model.train()
        with ExitStack() as stack:
            for source in self.recipe.sources:
                stack.enter_context(source.ahead(self.own_pieces(batches[state.step :])))
            self.watch.start(self.waited())
            while state.step < len(batches):
                self.run_step(batches[state.step], epoch + state.step / len(batches))
                state.step += 1
                late = time.perf_counter() - self._saved_at > self.runtime.checkpoint_seconds
                if late and state.step < len(batches):
                    self.look(batches)
                    self.save()
                    self.watch.start(self.waited())
            self.look(batches)
        self.recipe.model.eval()
        with torch.no_grad(), performance.evaluation_precision(self.device):
            measures = self.recipe.validate()
        self.close_epoch(len(batches), measures)

    def run_step(self, rows: np.ndarray, progress: float) -> None:
        """One update. rows: of the cohort; progress: epochs so far, with the fraction."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, progress)
        parts = distributed.mean(self.backward(rows))
        self.optimiser.step()
        self.ledger.add(parts)
        self.state.pace.samples += len(rows)

    def backward(self, rows: np.ndarray) -> Logs:
        """The gradient of one batch; returns its loss and the loss's parts, on the device."""
        self.optimiser.zero_grad(set_to_none=True)
        cast = lambda: performance.autocast(self.device, self.runtime)  # noqa: E731
        batch = Pieces(rows, self.runtime.accumulate, self.generator, cast)
        if batch.count > 1:
            parts = microbatches.backward(self.recipe.step, batch)
            distributed.average(self.parameters.values())
            return parts
        for own, generator in batch:
            with cast():
                loss, logs = self.forward(own, generator)
        loss.backward()
        return {"loss": loss, **logs}

    def generator(self, piece: int) -> torch.Generator:
        """Of a step's augmentation and masks. Dropout and drop path draw from the global one, seeded here as well."""
        place = self.seed, self.state.epoch, self.state.step
        other = (distributed.rank(), piece) if piece else (distributed.rank(),) if distributed.rank() else ()
        torch.manual_seed(seed_of(*place, 1, *other))
        return torch.Generator(self.device).manual_seed(seed_of(*place, 2))

    def own_pieces(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """What this process reads, in order."""
        return [own for rows in batches for own in distributed.own_pieces(rows, self.runtime.accumulate)]

    def waited(self) -> float:
        return sum(source.waited for source in self.recipe.sources)

    def compile(self) -> None:
        """torch.compile where it is asked for and gains."""
        model, batches = self.recipe.model, self.recipe.batches(self.state.epoch)
        left = max(0, len(batches) * (self.config.epochs - self.state.epoch) - self.state.step)
        model.train()
        work = model.encoder if isinstance(model, Supervised) else model
        performance.compile_if_faster(work, lambda: self.backward(batches[0]), left, self.runtime, self.log)
        self.optimiser.zero_grad(set_to_none=True)

    def timing(self) -> dict[str, float]:
        """Of the whole training; the work of a sample is counted on one more batch. Weights and buffers move."""
        model, rows = self.recipe.model, self.recipe.batches(0)[0]
        model.train()
        performance.undo_compile_and_recompute(model)
        flops = performance.flops(lambda: self.backward(rows)) * distributed.world_size() / len(rows)
        self.optimiser.zero_grad(set_to_none=True)
        whole = {"seconds": round(self.state.seconds, 3), "cpu_seconds": round(self.state.cpu_seconds, 3)}
        found = pace.timing(self.state.pace, flops, self.device, self.runtime)
        self.log(pace.line(found))
        return whole | found

    def look(self, batches: list[np.ndarray]) -> None:
        """Wait for the device and judge the steps since the last look. Raises DivergedError at the first bad one."""
        self.state.sums = self.ledger.look(batches, self.state, self.parameters.values(), self.folder)
        self.watch.stop(self.waited())

    def close_epoch(self, steps: int, measures: dict[str, float]) -> None:
        state = self.state
        means = {name: total / steps for name, total in state.sums.items()}
        lr = learning_rate(self.config, state.epoch + 1 - 1 / steps)
        # Where validation cannot choose (a split with one class scores NaN), the latest weights stay.
        undecided = math.isnan(measures["score"]) and state.best_score == -math.inf
        if measures["score"] > state.best_score or undecided:
            self.best = _copy(self.recipe.model.state_dict())
            state.best_score = -math.inf if undecided else measures["score"]
            state.best_epoch = state.epoch + 1
        state.history.append({"epoch": state.epoch + 1, "lr": lr, **means, **measures})
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self.ledger = MetricAccumulator(self.device)
        seconds = self.save()
        score = f"score {measures['score']:.4f}  best {state.best_score:.4f} (epoch {state.best_epoch})"
        if undecided:
            score = "score not defined (one class in validation), latest weights kept"
        self.log(f"epoch {state.epoch}/{self.config.epochs}  loss {means['loss']:.4f}  {score}  {seconds:.1f} s")

    def out_of_patience(self) -> bool:
        patience = self.config.patience
        return bool(patience and self.state.epoch - self.state.best_epoch >= patience)

    def save(self) -> float:
        """Put weights, optimiser and position on disk; it counts once the manifest is renamed. Returns seconds."""
        now = (time.perf_counter(), time.process_time())
        elapsed = now[0] - self._mark[0]
        self.state.seconds += elapsed
        self.state.cpu_seconds += now[1] - self._mark[1]
        self._mark = now
        if distributed.is_main_process():
            checkpoints.write(self.folder, self.fingerprint, dataclasses.asdict(self.state), self.tensors())
        self._saved_at = time.perf_counter()
        return elapsed

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": tensor for name, tensor in self.recipe.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.parameters.items():
            for key, tensor in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = tensor
        return tensors

    def resume(self) -> None:
        """Go on from the folder's last state, if it holds one.

        Raises DamagedError where its sum does not fit, ConfigError where ranks see different ones.
        """
        found = checkpoints.read(self.folder)
        place = None if found is None else [found[0]["epoch"], found[0]["step"]]
        if distributed.broadcast(lambda: place) != place:
            late = "the shared disk is late; run the same command again in a minute"
            raise ConfigError(f"{self.folder}: this process finds another checkpoint ({place}) than the first: {late}")
        if found is None:
            return
        state, tensors = found
        self.recipe.model.load_state_dict(checkpoints.under(tensors, "model"))
        self.best = {key: tensor.to(self.device) for key, tensor in checkpoints.under(tensors, "best").items()}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            for parameter, tensor in checkpoints.under(tensors, f"optimiser.{key}").items():
                owner = self.parameters[parameter]
                self.optimiser.state[owner][key] = _like(tensor, owner, key)
        self.state = State(**state | {"pace": pace.Throughput(**state.get("pace", {}))})
        self.watch = pace.Stopwatch(self.state.pace)
        self.ledger = MetricAccumulator(self.device, self.state.sums)
        where = f"epoch {self.state.epoch + 1}" + (f", step {self.state.step + 1}" if self.state.step else "")
        if self.state.epoch < self.config.epochs:
            self.log(f"going on at {where}")


def trial_loop(recipe: Recipe, config: TrainingConfig, folder: Path, runtime: RuntimeConfig = DEFAULTS) -> Loop:
    """A loop for steps that are only tried; it may write into ``folder``, and its weights move."""
    return Loop(recipe, config, 0, folder, "", runtime, silent)


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _like(tensor: Tensor, parameter: nn.Parameter, key: str) -> Tensor:
    """A moment in its parameter's memory layout; the step count stays a plain scalar on the parameter's device."""
    if key == "step":
        return tensor.to(parameter.device)
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(tensor)
