"""fit(): the only training loop. It can be killed at any moment; the same call goes on to the same bytes.

All randomness of a step comes from (seed, epoch, step), so no generator has a history to lose: the state kept is
weights, optimiser, best weights, history, epoch and position. Within an epoch the host never waits for the device: the
losses stay there until a state is written.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eccl_lib import distributed
from eccl_lib.config import ConfigError, TrainingConfig
from eccl_lib.runs import MANIFEST, save_tensors
from eccl_lib.storage import read_json, sha256, verify, write_json

Step = Callable[[np.ndarray, torch.Generator], tuple[Tensor, dict[str, Tensor]]]


class DivergedError(ConfigError):
    """The loss is no longer a number; the message names the batch, the last good state is kept."""


@dataclass(frozen=True)
class Recipe:
    """What a stage hands to the loop.

    batches: epoch -> the row numbers of each step. step: rows, generator -> loss and parts of it to log.
    validate: -> measures; the one called ``score`` chooses the best epoch, higher is better.
    """

    model: nn.Module
    batches: Callable[[int], list[np.ndarray]]
    step: Step
    validate: Callable[[], dict[str, float]]


@dataclass
class State:
    """Where a training stands."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's logs
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def fit(
    recipe: Recipe,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    fingerprint: str,
    checkpoint_seconds: float = 120.0,
    log: Callable[[str], None] = print,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train ``recipe.model`` and leave it with its best weights by validation.

    Returns the history, one row per epoch, and the timing. Raises DivergedError on a loss that is not a number.
    """
    loop = _Loop(recipe, config, seed, folder, fingerprint, checkpoint_seconds, log)
    devices = [loop.device] if loop.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        loop.resume()
        try:
            while loop.state.epoch < config.epochs and not loop.out_of_patience():
                loop.run_epoch()
        except KeyboardInterrupt:
            log(f"interrupted in epoch {loop.state.epoch + 1}; run it again and it goes on from the last checkpoint")
            raise
    recipe.model.load_state_dict(loop.best)
    recipe.model.eval()
    timing = {"seconds": round(loop.state.seconds, 3), "cpu_seconds": round(loop.state.cpu_seconds, 3)}
    history = pd.DataFrame(loop.state.history)
    first = ["epoch", "lr", "loss"]
    return history[first + sorted(set(history.columns) - set(first))], timing


class _Loop:
    def __init__(
        self,
        recipe: Recipe,
        config: TrainingConfig,
        seed: int,
        folder: Path,
        fingerprint: str,
        checkpoint_seconds: float,
        log: Callable[[str], None],
    ) -> None:
        self.recipe, self.config, self.seed, self.folder = recipe, config, seed, folder
        self.fingerprint, self.checkpoint_seconds, self.log = fingerprint, checkpoint_seconds, log
        self.parameters = {n: p for n, p in recipe.model.named_parameters() if p.requires_grad}
        self.device = next(iter(self.parameters.values())).device
        self.optimiser = optimiser(list(self.parameters.values()), config)
        self.state = State()
        self.sums: dict[str, Tensor] = {}  # of this epoch's logs, on the device
        self.losses: list[Tensor] = []  # of the steps that nobody has looked at
        self.forward = distributed.parallel(recipe.model, recipe.step)
        self.best = _copy(recipe.model.state_dict())
        self._mark = (time.perf_counter(), time.process_time())
        self._saved_at = time.perf_counter()

    def run_epoch(self) -> None:
        state, epoch = self.state, self.state.epoch
        batches = self.recipe.batches(epoch)
        self.recipe.model.train()
        while state.step < len(batches):
            self.run_step(batches[state.step], epoch + state.step / len(batches))
            state.step += 1
            if time.perf_counter() - self._saved_at > self.checkpoint_seconds and state.step < len(batches):
                self.look(batches)
                self.save()
        self.look(batches)
        self.recipe.model.eval()
        with torch.no_grad():
            measures = self.recipe.validate()
        self.close_epoch(len(batches), measures)

    def run_step(self, rows: np.ndarray, progress: float) -> None:
        """One update. rows: of the cohort; progress: epochs so far, with the fraction."""
        place, rank = (self.seed, self.state.epoch, self.state.step), distributed.rank()
        # Dropout and drop path draw from the global generator; each further rank has its own.
        torch.manual_seed(seed_of(*place, 1, rank) if rank else seed_of(*place, 1))
        generator = torch.Generator(self.device).manual_seed(seed_of(*place, 2))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, progress)
        with distributed.shared(rows) as own, autocast(self.device):
            loss, logs = self.forward(own, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        parts = distributed.mean({"loss": loss, **logs})
        self.losses.append(parts["loss"])
        for name, part in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + part.double()

    def look(self, batches: list[np.ndarray]) -> None:
        """Wait for the device and judge the steps since the last look. Raises DivergedError at the first bad one."""
        values = torch.stack(self.losses).tolist() if self.losses else []
        first = self.state.step - len(values)
        for k, value in enumerate(values):
            if not math.isfinite(value):
                raise DivergedError(self.diverged(f"loss is {value}", first + k, batches))
        if not bool(torch.stack([p.detach().isfinite().all() for p in self.parameters.values()]).all()):
            raise DivergedError(self.diverged("weights are no longer numbers", self.state.step - 1, batches))
        self.losses = []
        self.state.sums = {name: float(total) for name, total in self.sums.items()}

    def diverged(self, what: str, step: int, batches: list[np.ndarray]) -> str:
        rows = batches[step]
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        return (
            f"{what} at epoch {self.state.epoch + 1}, step {step + 1}, cohort rows {shown}. "
            f"The last good state is kept in {self.folder}. Look at those rows, or lower the learning rate."
        )

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
        state.epoch, state.step, state.sums, self.sums = state.epoch + 1, 0, {}, {}
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
        if distributed.first():
            self.write()
        self._saved_at = time.perf_counter()
        return elapsed

    def write(self) -> None:
        path = self.folder / f"state-{self.state.epoch:04d}-{self.state.step:06d}.safetensors"
        save_tensors(path, self.tensors())
        manifest = {
            "status": "training",
            "fingerprint": self.fingerprint,
            "files": {path.name: sha256(path)},
            "state": vars(self.state),
        }
        write_json(self.folder / MANIFEST, manifest)
        for old in self.folder.glob("state-*.safetensors"):
            if old != path:
                old.unlink()

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": tensor for name, tensor in self.recipe.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.parameters.items():
            for key, tensor in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = tensor
        return tensors

    def resume(self) -> None:
        """Go on from the folder's last state, if it holds one. Raises DamagedError where its sum does not fit."""
        if not (self.folder / MANIFEST).is_file():
            return
        manifest = read_json(self.folder / MANIFEST)
        ((name, digest),) = manifest["files"].items()
        verify(self.folder / name, digest)
        tensors = load_file(self.folder / name)
        self.recipe.model.load_state_dict(_under(tensors, "model"))
        self.best = {key: tensor.to(self.device) for key, tensor in _under(tensors, "best").items()}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            for parameter, tensor in _under(tensors, f"optimiser.{key}").items():
                owner = self.parameters[parameter]
                self.optimiser.state[owner][key] = _like(tensor, owner, key)
        self.state = State(**manifest["state"])
        for name, total in self.state.sums.items():
            self.sums[name] = torch.tensor(total, dtype=torch.float64, device=self.device)
        where = f"epoch {self.state.epoch + 1}" + (f", step {self.state.step + 1}" if self.state.step else "")
        if self.state.epoch < self.config.epochs:
            self.log(f"going on at {where}")


def trial_loop(recipe: Recipe, config: TrainingConfig, folder: Path) -> _Loop:
    """A loop for steps that are only tried; it may write into ``folder``, and its weights move."""
    return _Loop(recipe, config, 0, folder, "", math.inf, lambda line: None)


def optimiser(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam as in Sec. 3.1, in one fused update; AdamW where weight decay is above 0."""
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    return kind(parameters, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True)


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Linear warm-up, then half a cosine down to zero (Sec. 3.1). progress: epochs so far, with the fraction."""
    if progress < config.warmup_epochs:
        return config.lr * progress / config.warmup_epochs
    left = max(config.epochs - config.warmup_epochs, 1e-9)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min((progress - config.warmup_epochs) / left, 1.0)))


def seed_of(*parts: int) -> int:
    """One 63-bit seed from several numbers, as unlike for neighbours as for strangers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def even_batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows in their order, in as few batches of at most ``size`` as hold them, of equal length within one."""
    return np.array_split(rows, max(1, math.ceil(len(rows) / size)))


def autocast(device: torch.device) -> torch.autocast:
    """bf16 on a GPU, plain fp32 on a CPU, where bf16 is slower."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}


def _like(tensor: Tensor, parameter: nn.Parameter, key: str) -> Tensor:
    """A moment in its parameter's memory layout; the step count stays a plain scalar on the parameter's device."""
    if key == "step":
        return tensor.to(parameter.device)
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(tensor)
