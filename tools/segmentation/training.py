"""Train the segmentation network on generated images, with the training loop of the library.

    python -m tools.segmentation.training --minutes 60 --seed 0

An epoch is one chunk of images: its hearts are drawn from (seed, chunk), and half of their images are shuffled into
batches, since drawing an image takes much less time than training with it.
The schedule is a number of steps: ``--minutes`` measures the speed once and chooses this number, which is stored with
the checkpoint and in weights.json. ``--steps`` with the same number and seed gives the same weights. An interrupted
run resumes from its last chunk with the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from eccl_lib.commands.cli import guard
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import digest
from eccl_lib.config.schema import RuntimeConfig, TrainingConfig
from eccl_lib.data.segmentation.unet.model import CLASSES, UNet, extended
from eccl_lib.io import paths
from eccl_lib.io.files import read_json, sha256, write_atomically, write_json
from eccl_lib.io.progress import Log, print_line
from eccl_lib.training.batch import Batch
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.loop import fit, trial_loop
from eccl_lib.training.microbatches import Losses, Outputs, Step
from tools.segmentation import images, validation

HEARTS = 6  # hearts per draw
DRAWS = 10  # draws per chunk, whose images are shuffled together
USED = 0.5  # share of a chunk's images that are used
ENDS = 2.0  # weight of end diastole and end systole among the phases
SMOOTH = 10.0  # pixels added to both sides of an image's Dice, so that few wrong pixels of an absent label cost little
WARM_UP = 100  # steps
EMA = 0.995
CLIP = 2.0  # largest norm of the gradient
VALIDATION_SEED = 10**6  # larger than the seeds of all training chunks
PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """All settings that determine the weights."""

    seed: int = 0
    steps: int = 4000
    batch: int = 12
    lr: float = 3e-3
    weight_decay: float = 1e-3
    size: int = images.SIZE
    draws: int = DRAWS
    start: str = ""  # sha256 of the initial weights, or ""

    @property
    def images_per_chunk(self) -> int:
        return self.draws * HEARTS * images.SLICES * images.PHASES

    @property
    def steps_per_chunk(self) -> int:
        return int(USED * self.images_per_chunk) // self.batch

    @property
    def chunks(self) -> int:
        return math.ceil(self.steps / self.steps_per_chunk)


class Averaged(nn.Module):
    """The network and the exponential moving average of its weights."""

    def __init__(self, plan: Plan, start: Path | None = None) -> None:
        super().__init__()
        torch.manual_seed(plan.seed)
        self.network, self.average = UNet(), UNet()
        if start is not None:
            self.network.load_state_dict(extended(load_file(start)))
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False)


class Images:
    """Generated images by number; those of one chunk are drawn together and kept until the next chunk."""

    device, waited = torch.device("cpu"), 0.0

    def __init__(self, plan: Plan) -> None:
        self.plan, self._chunk = plan, -1
        self._inputs = self._labels = torch.empty(0)

    def of(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Inputs (B, P, H, W) and labels (B, H, W). numbers: (B,), all of one chunk."""
        chunk = int(numbers[0]) // self.plan.images_per_chunk
        if chunk != self._chunk:
            first = (self.plan.seed * 100_003 + chunk) * self.plan.draws + 1
            drawn = [images.draw(first + k, HEARTS, self.plan.size) for k in range(self.plan.draws)]
            self._inputs = torch.cat([d.inputs.flatten(0, 2) for d in drawn])
            self._labels = torch.cat([d.labels.flatten(0, 2) for d in drawn])
            self._chunk = chunk
        rows = torch.from_numpy(numbers % self.plan.images_per_chunk)
        return self._inputs[rows], self._labels[rows].long()

    def augmented(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The images of a batch with their labels, all rotated and mirrored in the same random way."""
        turns, mirror = torch.randint(0, 4, (2,), generator=batch.generator).tolist()
        inputs, labels = self.of(batch.rows)
        inputs, labels = torch.rot90(inputs, turns, (2, 3)), torch.rot90(labels, turns, (1, 2))
        return (inputs.flip(3), labels.flip(2)) if mirror % 2 else (inputs, labels)

    def ahead(self, batches: Sequence[np.ndarray]) -> AbstractContextManager:
        """Nothing is read ahead."""
        return nullcontext()


class SegmentationStep(Step):
    """Label every pixel."""

    def __init__(self, model: Averaged, data: Images) -> None:
        self.model, self.images = model, data

    def encode(self, batch: Batch) -> Outputs:
        inputs, labels = self.images.augmented(batch)
        return self.model.network(inputs), labels

    def loss(self, outputs: Outputs, batch: Batch) -> Losses:
        return {"loss": loss(*outputs)}


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the three foreground labels.

    The Dice is the mean of that over the batch and that of each image, in which small structures count as much as large
    ones. logits: (B, 4, H, W), labels: (B, H, W).
    """
    probability = logits.softmax(1)[:, 1:]
    target = functional.one_hot(labels, CLASSES).movedim(3, 1)[:, 1:].to(probability.dtype)
    both, size = (probability * target).sum((2, 3)), (probability + target).sum((2, 3))
    batch = (2 * both.sum(0) + 1) / (size.sum(0) + 1)
    single = (2 * both + SMOOTH) / (size + SMOOTH)
    return functional.cross_entropy(logits, labels) + 1 - (batch.mean() + single.mean()) / 2


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to 1 % of the maximum."""
    part = max(step - WARM_UP, 0) / max(plan.steps - WARM_UP, 1)
    return plan.lr * min((step + 1) / WARM_UP, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


class SegmentationJob(TrainingJob):
    """One epoch per chunk. The weights of the last epoch are used, so there is no validation score."""

    def __init__(self, plan: Plan, start: Path | None = None, chunks: int | None = None) -> None:
        model, data = Averaged(plan, start), Images(plan)
        epochs = min(plan.chunks, chunks or plan.chunks)
        schedule = TrainingConfig(epochs=epochs, lr=plan.lr, batch=plan.batch, weight_decay=plan.weight_decay)
        super().__init__(model, SegmentationStep(model, data), schedule, (data,))
        self.plan, self.step_number = plan, 0

    def batches(self, epoch: int) -> list[np.ndarray]:
        plan, first = self.plan, epoch * self.plan.images_per_chunk
        weight = np.array([ENDS, *[1.0] * len(images.BETWEEN), ENDS] * (plan.images_per_chunk // images.PHASES))
        random = np.random.default_rng((plan.seed, epoch))
        used = plan.steps_per_chunk * plan.batch
        order = first + random.choice(plan.images_per_chunk, used, replace=False, p=weight / weight.sum())
        count = min(plan.steps_per_chunk, plan.steps - epoch * plan.steps_per_chunk)
        return [order[k * plan.batch : (k + 1) * plan.batch] for k in range(count)]

    def learning_rate(self, progress: float) -> float:
        epoch = int(progress)
        in_chunk = round((progress - epoch) * len(self.batches(epoch)))
        self.step_number = epoch * self.plan.steps_per_chunk + in_chunk
        return learning_rate(self.plan, self.step_number)

    def before_update(self) -> None:
        nn.utils.clip_grad_norm_(self.model.network.parameters(), CLIP)

    def after_update(self) -> None:
        decay = min(EMA, (self.step_number + 1) / (self.step_number + 10))
        average = self.model.average.state_dict()
        for name, weights in self.model.network.state_dict().items():
            average[name].lerp_(weights, 1 - decay)

    def validate(self) -> dict[str, float]:
        return {"score": math.nan}


@dataclass(frozen=True)
class Trained:
    """A finished training. average: the weights to export."""

    plan: Plan
    average: dict[str, Tensor]
    steps: int
    seconds: float
    cpu_seconds: float


def train(
    plan: Plan, folder: Path, start: Path | None = None, chunks: int | None = None, log: Log = print_line
) -> Trained:
    """Train to the end, or to the end of chunk ``chunks``; resumes from the folder's checkpoint.

    Raises ConfigError where the folder contains a run of another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = read_json(folder / PLAN) if (folder / PLAN).is_file() else asdict(plan)
    if stored != asdict(plan):
        raise ConfigError(f"{folder} contains a run of another plan, {stored}: give another --folder")
    write_json(folder / PLAN, asdict(plan))
    job = SegmentationJob(plan, start, chunks)
    runtime = RuntimeConfig(device="cpu", precision="fp32", compile="off")
    mark = digest(asdict(plan))
    history, timing = fit(job, seed=plan.seed, folder=folder, fingerprint=mark, runtime=runtime, log=log)
    steps = sum(len(job.batches(epoch)) for epoch in range(len(history)))
    return Trained(plan, job.model.average.state_dict(), steps, timing["seconds"], timing["cpu_seconds"])


def steps_in(minutes: float, plan: Plan) -> int:
    """Number of steps that fit into some minutes, from the time of the second of two trial chunks."""
    with tempfile.TemporaryDirectory() as folder:
        loop, seconds = trial_loop(SegmentationJob(plan, chunks=2), Path(folder)), []
        for _ in range(2):
            start = time.perf_counter()
            loop.run_epoch()
            seconds.append(time.perf_counter() - start)
    return max(int(minutes * 60 / seconds[-1] * plan.steps_per_chunk), plan.steps_per_chunk)


def export(trained: Trained, path: Path, line: str, draws: int = 20, start: Path | None = None) -> dict[str, object]:
    """Write the averaged weights, and their metadata to a .json file beside them; returns the metadata.

    line: the training command. draws: for the validation. start: weights of an earlier phase, whose metadata is stored
    as ``before``.
    """
    plan, model = trained.plan, UNet()
    model.load_state_dict(trained.average)
    model.eval()
    tensors = {name: value.contiguous() for name, value in trained.average.items()}
    write_atomically(path, lambda beside: save_file(tensors, beside))
    facts = {
        "command": line,
        "plan": asdict(plan),
        "parameters": sum(value.numel() for value in tensors.values()),
        "pictures": trained.steps * plan.batch,
        "wall_seconds": round(trained.seconds),
        "cpu_seconds": round(trained.cpu_seconds),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "sha256": sha256(path),
        "generated": {
            name: validation.evaluate(model, VALIDATION_SEED, draws, mode) for name, mode in validation.MODES.items()
        },
    }
    if start is not None and start.with_suffix(".json").is_file():
        facts["before"] = read_json(start.with_suffix(".json"))
    write_json(path.with_suffix(".json"), facts)
    return facts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.segmentation.training", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration; chooses the number of steps")
    parser.add_argument("--steps", type=int, help="number of steps, instead of --minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=Plan.lr)
    parser.add_argument("--stop", type=int, help="stop after the chunk with this step, to train in phases")
    parser.add_argument("--start", type=Path, help="initial weights")
    parser.add_argument("--folder", type=Path, help="folder of the checkpoints; default: heart/seed<k> in the runs")
    parser.add_argument("--out", type=Path, help="file of the weights; default: weights.safetensors in --folder")
    parser.add_argument("--draws", type=int, default=20, help="number of validation draws of twelve hearts")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # gives a fixed order of summation
    folder = given.folder or paths.runs_root() / "heart" / f"seed{given.seed}"
    plan = Plan(seed=given.seed, lr=given.lr, start=sha256(given.start) if given.start else "")
    plan = replace(plan, steps=_steps(given, plan, folder))
    trained = train(plan, folder, given.start, math.ceil(given.stop / plan.steps_per_chunk) if given.stop else None)
    line = f"python -m tools.segmentation.training --steps {plan.steps} --seed {plan.seed} --lr {plan.lr:g}"
    line += f" --stop {trained.steps}" if trained.steps < plan.steps else ""
    line += f" --start {given.start.name}" if given.start else ""
    facts = export(trained, given.out or folder / "weights.safetensors", line, given.draws, given.start)
    print(json.dumps(facts, indent=1, sort_keys=True))


def _steps(given: argparse.Namespace, plan: Plan, folder: Path) -> int:
    """Number of steps: from --steps, else from the checkpoint, else from --minutes."""
    if given.steps:
        return given.steps
    if (folder / PLAN).is_file():
        return int(read_json(folder / PLAN)["steps"])
    return steps_in(given.minutes, plan)


if __name__ == "__main__":
    sys.exit(guard(main))
