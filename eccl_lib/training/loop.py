"""The training loop, ``fit``. After a kill at any moment, the same call resumes and writes the same bytes.

The random numbers of a step depend only on (seed, epoch, step), so a checkpoint holds no random state: it holds
weights, optimiser, best weights, history and position. Within an epoch the host never waits for the device:
losses stay on the device until a checkpoint is written.
"""

import dataclasses
import math
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.config.seeds import seed_of
from eccl_lib.io.progress import Log, StepLine, silent
from eccl_lib.models.heads import Supervised
from eccl_lib.training import distributed, microbatches, performance
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.microbatches import Losses, Microbatches, shard_losses
from eccl_lib.training.optim import build_optimizer
from eccl_lib.training.performance import Stopwatch, Throughput
from eccl_lib.training.runs import with_prefix
from eccl_lib.training.state import MetricAccumulator, State, read_checkpoint, write_checkpoint

DEFAULTS = RuntimeConfig()
FLOP_ROWS = 4  # rows on each rank with which the FLOPs of a sample are counted; more than one for batch norms


def fit(
    job: TrainingJob,
    *,
    seed: int,
    folder: Path,
    fingerprint: str,
    runtime: RuntimeConfig = DEFAULTS,
    log: Log = print,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train ``job.model`` and leave it with its best weights by validation.

    folder: for the checkpoints. Returns the history, one row per epoch, and the timing. Raises DivergedError where the
    loss is not finite.
    """
    loop = Loop(job, seed, folder, fingerprint, runtime, log)
    devices = [loop.device] if loop.device.type == "cuda" else []
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)  # for the peak memory of this training
    with torch.random.fork_rng(devices=devices):
        loop.resume()
        try:
            loop.compile()
            while loop.state.epoch < job.schedule.epochs and not loop.out_of_patience():
                loop.run_epoch()
        except KeyboardInterrupt:
            log(f"interrupted in epoch {loop.state.epoch + 1}; the same command resumes from the last checkpoint")
            raise
        timing = loop.timing()
    job.model.load_state_dict(loop.best)
    job.model.eval()
    history = pd.DataFrame(loop.state.history)
    first = ["epoch", "lr", "loss"]
    return history[first + sorted(set(history.columns) - set(first))], timing


class Loop:
    """The state and the steps of one training, called by ``fit``."""

    def __init__(
        self, job: TrainingJob, seed: int, folder: Path, fingerprint: str, runtime: RuntimeConfig, log: Log
    ) -> None:
        self.job, self.seed, self.folder = job, seed, folder
        self.fingerprint, self.runtime, self.log = fingerprint, runtime, log
        self.parameters = {n: p for n, p in job.model.named_parameters() if p.requires_grad}
        self.device = next(iter(self.parameters.values())).device
        self.optimizer = build_optimizer(list(self.parameters.values()), job.schedule)
        self.state = State()
        self.metrics = MetricAccumulator(self.device)
        microbatches.check(job.model, job.step, runtime.accumulate)
        performance.recompute(job.model, runtime.recompute)
        self.forward = distributed.parallel(job.model, lambda batch: shard_losses(job.step, batch))
        self.best = _copy(job.model.state_dict())
        self.watch = Stopwatch(self.state.throughput)
        self._mark = (time.perf_counter(), time.process_time())
        self._saved_at = time.perf_counter()

    def run_epoch(self) -> None:
        """All remaining steps of the epoch, then validation and a checkpoint."""
        state, batches = self.state, self.job.batches(self.state.epoch)
        self.job.model.train()
        with ExitStack() as stack:
            for dataset in self.job.datasets:
                stack.enter_context(dataset.ahead(self.own_rows(batches[state.step :])))
            self.watch.start(self.waited())
            while state.step < len(batches):
                self.run_step(batches[state.step], state.epoch + state.step / len(batches))
                state.step += 1
                late = time.perf_counter() - self._saved_at > self.runtime.checkpoint_seconds
                if late and state.step < len(batches):
                    self.check_finite(batches)
                    self.save()
                    self.watch.start(self.waited())
            self.check_finite(batches)
        self.job.model.eval()
        with torch.no_grad(), performance.evaluation_precision(self.device):
            validation = self.job.validate()
        self.close_epoch(len(batches), validation)

    def run_step(self, rows: np.ndarray, progress: float) -> None:
        """One update. rows: cohort rows of the batch; progress: as in ``TrainingJob.learning_rate``."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.job.learning_rate(progress)
        losses = distributed.mean(self.backward(rows))
        self.job.before_update()
        self.optimizer.step()
        self.job.after_update()
        self.metrics.add(losses)
        self.state.throughput.samples += len(rows)

    def backward(self, rows: np.ndarray) -> Losses:
        """Compute the gradient of one batch. Returns its losses, on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        split = Microbatches(rows, self.runtime.accumulate, self.generator, self.precision)
        if split.count > 1:
            losses = microbatches.backward(self.job.step, split)
            distributed.average(self.parameters.values())
            return losses
        for batch in split:
            with self.precision():
                losses = self.forward(batch)
        losses["loss"].backward()
        return losses

    def precision(self) -> torch.autocast:
        """The context of a forward pass."""
        return performance.autocast(self.device, self.runtime)

    def generator(self, microbatch: int) -> torch.Generator:
        """Generator for augmentation and masks of a step. Also seeds torch's global generator, which dropout uses."""
        place = self.seed, self.state.epoch, self.state.step
        rank = distributed.rank()
        stream = (rank, microbatch) if microbatch else (rank,) if rank else ()
        torch.manual_seed(seed_of(*place, 1, *stream))
        return torch.Generator(self.device).manual_seed(seed_of(*place, 2))

    def own_rows(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """The rows that this process reads, in order."""
        split = [(rows, distributed.shards(len(rows), self.runtime.accumulate)) for rows in batches]
        return [rows[shard.start : shard.stop] for rows, shards in split for shard in shards]

    def waited(self) -> float:
        """Seconds of waiting for data so far."""
        return sum(dataset.waited for dataset in self.job.datasets)

    def compile(self) -> None:
        """Apply torch.compile where it is configured and faster."""
        model, batches = self.job.model, self.job.batches(self.state.epoch)
        left = max(0, len(batches) * (self.job.schedule.epochs - self.state.epoch) - self.state.step)
        model.train()
        part = model.encoder if isinstance(model, Supervised) else model
        performance.compile_if_faster(part, lambda: self.backward(batches[0]), left, self.runtime, self.log)
        self.optimizer.zero_grad(set_to_none=True)

    def timing(self) -> dict[str, float]:
        """Time and throughput of the training. Counts FLOPs in one more backward pass, which changes the model.

        The pass has a few rows only, so that it fits where recomputation was needed; a failure does not end the run.
        """
        counted = max(FLOP_ROWS, self.runtime.accumulate) * distributed.world_size()  # each microbatch needs a row
        model, rows = self.job.model, self.job.batches(0)[0][:counted]
        model.train()
        performance.undo_compile_and_recompute(model)
        try:
            flops = performance.flops(lambda: self.backward(rows)) * distributed.world_size() / len(rows)
        except RuntimeError as error:  # out of memory, for example
            self.log(f"the cost of a sample could not be measured ({type(error).__name__})")
            flops = float("nan")
        self.optimizer.zero_grad(set_to_none=True)
        total = {"seconds": round(self.state.seconds, 3), "cpu_seconds": round(self.state.cpu_seconds, 3)}
        total["resumed"] = self.state.resumed
        throughput = performance.report(self.state.throughput, flops, self.device, self.runtime)
        self.log(performance.report_line(throughput))
        return total | throughput

    def check_finite(self, batches: list[np.ndarray]) -> None:
        """Wait for the device and check all steps since the last check. Raises DivergedError if one is not finite."""
        self.state.sums = self.metrics.check_finite(batches, self.state, self.parameters.values(), self.folder)
        self.watch.stop(self.waited())

    def close_epoch(self, steps: int, validation: dict[str, float]) -> None:
        """Keep the best weights, extend the history, write a checkpoint."""
        state = self.state
        means = {name: total / steps for name, total in state.sums.items()}
        lr = self.job.learning_rate(state.epoch + 1 - 1 / steps)
        # Where the validation score is not defined (the split has one class), the latest weights are kept.
        undecided = math.isnan(validation["score"]) and state.best_score == -math.inf
        if validation["score"] > state.best_score or undecided:
            self.best = _copy(self.job.model.state_dict())
            state.best_score = -math.inf if undecided else validation["score"]
            state.best_epoch = state.epoch + 1
        state.history.append({"epoch": state.epoch + 1, "lr": lr, **means, **validation})
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self.metrics = MetricAccumulator(self.device)
        seconds = self.save()
        score = f"score {validation['score']:.4f}  best {state.best_score:.4f} (epoch {state.best_epoch})"
        if undecided:
            score = "score not defined; latest weights kept"
        epochs = self.job.schedule.epochs
        line = f"epoch {state.epoch}/{epochs}  loss {means['loss']:.4f}  {score}  {seconds:.1f} s"
        self.log(StepLine(line, state.epoch, epochs))

    def out_of_patience(self) -> bool:
        """Whether validation has not improved for ``patience`` epochs."""
        patience = self.job.schedule.patience
        return bool(patience and self.state.epoch - self.state.best_epoch >= patience)

    def save(self) -> float:
        """Write a checkpoint. Returns the seconds since the last one."""
        now = (time.perf_counter(), time.process_time())
        elapsed = now[0] - self._mark[0]
        self.state.seconds += elapsed
        self.state.cpu_seconds += now[1] - self._mark[1]
        self._mark = now
        if distributed.is_main_process():
            write_checkpoint(self.folder, self.fingerprint, dataclasses.asdict(self.state), self.tensors())
        self._saved_at = time.perf_counter()
        return elapsed

    def tensors(self) -> dict[str, Tensor]:
        """Weights, best weights and the optimiser's moments, by name."""
        tensors = {f"model.{name}": tensor for name, tensor in self.job.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.parameters.items():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = tensor
        return tensors

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one.

        Raises DamagedError where its checksum does not match, ConfigError where ranks see different checkpoints.
        """
        checkpoint = read_checkpoint(self.folder)
        position = None if checkpoint is None else [checkpoint[0]["epoch"], checkpoint[0]["step"]]
        if distributed.broadcast(lambda: position) != position:
            cure = "the shared disk is delayed; run the same command again in a minute"
            raise ConfigError(f"{self.folder}: this rank and the main process see different checkpoints; {cure}")
        if checkpoint is None:
            return
        saved, tensors = checkpoint
        self.job.model.load_state_dict(with_prefix(tensors, "model"))
        self.best = {key: tensor.to(self.device) for key, tensor in with_prefix(tensors, "best").items()}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            for name, tensor in with_prefix(tensors, f"optimiser.{key}").items():
                parameter = self.parameters[name]
                self.optimizer.state[parameter][key] = _like(tensor, parameter, key)
        throughput = saved.pop("throughput", saved.pop("pace", {}))  # pace: checkpoints of earlier versions
        self.state = State(**saved, throughput=Throughput(**throughput))
        self.state.resumed += 1
        self.watch = Stopwatch(self.state.throughput)
        self.metrics = MetricAccumulator(self.device, self.state.sums)
        step = f", step {self.state.step + 1}" if self.state.step else ""
        if self.state.epoch < self.job.schedule.epochs:
            self.log(f"resuming at epoch {self.state.epoch + 1}{step}")


def trial_loop(job: TrainingJob, folder: Path, runtime: RuntimeConfig = DEFAULTS) -> Loop:
    """A loop for trial steps; it may write into ``folder``, and its weights change."""
    return Loop(job, 0, folder, "", runtime, silent)


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _like(tensor: Tensor, parameter: nn.Parameter, key: str) -> Tensor:
    """A moment in its parameter's memory layout; the step count stays a scalar on the parameter's device."""
    if key == "step":
        return tensor.to(parameter.device)
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(tensor)
