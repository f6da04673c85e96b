"""Train the segmentation network on generated images.

    python -m tools.segmentation.training --minutes 60 --seed 0

Training consists of chunks. The hearts of a chunk are drawn from (seed, chunk), and their images are shuffled into
batches. The schedule is a number of steps: ``--minutes`` measures the speed once and chooses this number, which is
stored in the checkpoint and in weights.json. ``--steps`` with the same number and seed gives the same weights.
Interrupted runs resume from their last chunk with the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.data.segmentation.unet.model import CLASSES, UNet
from eccl_lib.io import paths
from eccl_lib.io.files import read_json, sha256, write_atomically, write_json
from tools.segmentation import images, validation

HEARTS = 6  # hearts per draw
DRAWS = 8  # draws per chunk, whose images are shuffled together
WARM_UP = 100  # steps
EMA = 0.995
CLIP = 2.0  # largest norm of the gradient
VALIDATION_SEED = 10**6  # larger than the seeds of all training chunks


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
    def steps_per_chunk(self) -> int:
        return self.draws * HEARTS * images.PHASES // self.batch

    @property
    def chunks(self) -> int:
        return math.ceil(self.steps / self.steps_per_chunk)


def chunk(plan: Plan, number: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches of inputs (B, 3, H, W) and labels (B, H, W), randomly rotated and mirrored."""
    first = (plan.seed * 100_003 + number) * plan.draws + 1
    drawn = [images.draw(first + k, HEARTS, plan.size) for k in range(plan.draws)]
    inputs = torch.cat([d.inputs.flatten(0, 1) for d in drawn])
    labels = torch.cat([d.labels.flatten(0, 1) for d in drawn])
    generator = torch.Generator().manual_seed(first)
    order = torch.randperm(len(inputs), generator=generator)
    for rows in order.split(plan.batch)[: plan.steps_per_chunk]:
        turns, mirror = torch.randint(0, 4, (2,), generator=generator).tolist()
        x, y = torch.rot90(inputs[rows], turns, (2, 3)), torch.rot90(labels[rows], turns, (1, 2))
        yield (x.flip(3), y.flip(2).long()) if mirror % 2 else (x, y.long())


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the three foreground labels over the batch.

    logits: (B, 4, H, W), labels: (B, H, W).
    """
    probability = logits.softmax(1)[:, 1:]
    target = functional.one_hot(labels, CLASSES).movedim(3, 1)[:, 1:].to(probability.dtype)
    both = (probability * target).sum((0, 2, 3))
    dice = (2 * both + 1) / (probability.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
    return functional.cross_entropy(logits, labels) + 1 - dice.mean()


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to 1 % of the maximum."""
    part = max(step - WARM_UP, 0) / max(plan.steps - WARM_UP, 1)
    return plan.lr * min((step + 1) / WARM_UP, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


class Training:
    """The model, its running average and the optimiser; ``run`` trains from the last checkpoint to the end."""

    def __init__(self, plan: Plan, folder: Path | None, start: Path | None = None, log: Callable[[str], None] = print):
        self.plan, self.folder, self.log = plan, folder, log
        torch.manual_seed(plan.seed)
        self.model = UNet()
        if start is not None:
            self.model.load_state_dict(load_file(start))
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay)
        self.done, self.wall, self.cpu = 0, 0.0, 0.0  # chunks, seconds
        if folder is not None and (folder / "state.json").is_file():
            self.resume()

    @property
    def step(self) -> int:
        return min(self.done * self.plan.steps_per_chunk, self.plan.steps)

    def run(self, stop: int | None = None) -> None:
        """Train the remaining chunks, or up to chunk ``stop``, with a checkpoint after each."""
        while self.done < min(self.plan.chunks, stop or self.plan.chunks):
            wall, cpu = time.perf_counter(), time.process_time()
            value = self.run_chunk()
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            self.done += 1
            self.save()
            self.log(f"step {self.step} of {self.plan.steps}  loss {value:.4f}  {self.wall:.0f} s")

    def run_chunk(self) -> float:
        """Train one chunk and return its mean loss."""
        self.model.train()
        values = []
        for k, (inputs, labels) in enumerate(chunk(self.plan, self.done)):
            step = self.step + k
            if step >= self.plan.steps:
                break
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.plan, step)
            value = loss(self.model(inputs), labels)
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimiser.step()
            decay = min(EMA, (step + 1) / (step + 10))
            for name, now in self.model.state_dict().items():
                self.average[name].lerp_(now, 1 - decay)
            values.append(value.item())
        return sum(values) / len(values)

    def save(self) -> None:
        """Write the checkpoint: first the tensors, then state.json, which makes it valid; both atomically."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for k, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"moments.{k}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"state{self.done}.safetensors"
        write_atomically(path, lambda beside: save_file(tensors, beside))
        content = {"plan": asdict(self.plan), "done": self.done, "wall": self.wall, "cpu": self.cpu}
        write_json(self.folder / "state.json", content)
        for old in self.folder.glob("state*.safetensors"):
            if old != path:
                old.unlink()

    def resume(self) -> None:
        """Load the folder's checkpoint. Raises ConfigError if it belongs to another plan."""
        content = read_json(self.folder / "state.json")
        if content["plan"] != asdict(self.plan):
            raise ConfigError(f"{self.folder} contains a run of another plan, {content['plan']}: give another --folder")
        self.done, self.wall, self.cpu = content["done"], content["wall"], content["cpu"]
        tensors = load_file(self.folder / f"state{self.done}.safetensors")
        self.model.load_state_dict(_under(tensors, "model."))
        self.average = _under(tensors, "average.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "moments.").items():
            state.setdefault(int(name.split(".")[0]), {})[name.split(".")[1]] = value
        for moments in state.values():
            for name in ("exp_avg", "exp_avg_sq"):  # moments have the memory layout of the weights, channels_last
                if moments[name].dim() == 4:
                    moments[name] = moments[name].contiguous(memory_format=torch.channels_last)
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.log(f"resumes at step {self.step} of {self.plan.steps}")


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def steps_in(minutes: float, plan: Plan) -> int:
    """Number of steps that fit into some minutes, from the time of the second of two trial chunks."""
    trial = Training(plan, None, log=lambda line: None)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        trial.run_chunk()
        seconds.append(time.perf_counter() - start)
    return max(int(minutes * 60 / seconds[-1] * plan.steps_per_chunk), plan.steps_per_chunk)


def export(training: Training, path: Path, line: str, draws: int = 20, start: Path | None = None) -> dict[str, object]:
    """Write the averaged weights, and their metadata to a .json file beside them; returns the metadata.

    line: the training command. draws: for the validation. start: weights of an earlier phase, whose metadata is stored
    as ``before``.
    """
    plan = training.plan
    model = UNet()
    model.load_state_dict(training.average)
    model.eval()
    tensors = {name: value.contiguous() for name, value in training.average.items()}
    write_atomically(path, lambda beside: save_file(tensors, beside))
    facts = {
        "command": line,
        "plan": asdict(plan),
        "parameters": sum(value.numel() for value in tensors.values()),
        "pictures": training.step * plan.batch,
        "wall_seconds": round(training.wall),
        "cpu_seconds": round(training.cpu),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "sha256": sha256(path),
        "generated": {
            "with the beat": validation.evaluate(model, VALIDATION_SEED, draws),
            "single frames": validation.evaluate(model, VALIDATION_SEED, draws, with_time=False),
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
    training = Training(plan, folder, given.start, log=lambda text: print(text, flush=True))
    training.run(math.ceil(given.stop / plan.steps_per_chunk) if given.stop else None)
    line = f"python -m tools.segmentation.training --steps {plan.steps} --seed {plan.seed} --lr {plan.lr:g}"
    line += f" --stop {training.step}" if training.step < plan.steps else ""
    line += f" --start {given.start.name}" if given.start else ""
    facts = export(training, given.out or folder / "weights.safetensors", line, given.draws, given.start)
    print(json.dumps(facts, indent=1, sort_keys=True))


def _steps(given: argparse.Namespace, plan: Plan, folder: Path) -> int:
    """Number of steps: from --steps, else from the checkpoint, else from --minutes."""
    if given.steps:
        return given.steps
    if (folder / "state.json").is_file():
        return int(read_json(folder / "state.json")["plan"]["steps"])
    return steps_in(given.minutes, plan)


if __name__ == "__main__":
    command_line.run(main)
