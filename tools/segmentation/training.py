"""Train the heart network on generated pictures alone.

    python -m tools.segmentation.training --minutes 60 --seed 0

The work is cut into chunks: a chunk's hearts are drawn from (seed, chunk), its pictures shuffled into batches. The
schedule is a number of steps, never a clock: ``--minutes`` only measures the speed once and chooses that number, which
is kept with the checkpoint and in weights.json, and ``--steps`` with the same seed gives the same weights again.
A killed run goes on from its last chunk with the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from eccl_lib.commands.cli import guard
from eccl_lib.config.errors import ConfigError
from eccl_lib.data.segmentation.unet.model import CLASSES, UNet
from eccl_lib.io import paths
from eccl_lib.io.files import read_json, sha256, write_atomically, write_json
from tools.segmentation import images, validation

HEARTS = 6  # drawn at a time
DRAWS = 8  # in a chunk, whose pictures are shuffled together
WARM_UP = 100  # steps
EMA = 0.995
CLIP = 2.0  # of the gradient's norm
VALIDATION_SEED = 10**6  # no training chunk reaches it


@dataclass(frozen=True)
class Plan:
    """What the weights follow from."""

    seed: int = 0
    steps: int = 4000
    batch: int = 12
    lr: float = 3e-3
    weight_decay: float = 1e-3
    size: int = images.SIZE
    draws: int = DRAWS
    start: str = ""  # sha256 of the weights it starts from, or nothing

    @property
    def steps_per_chunk(self) -> int:
        return self.draws * HEARTS * images.PHASES // self.batch

    @property
    def chunks(self) -> int:
        return math.ceil(self.steps / self.steps_per_chunk)


def chunk(plan: Plan, number: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of inputs (B, 3, H, W) and labels (B, H, W) of one chunk, each turned or mirrored by chance."""
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
    """Cross-entropy plus one minus the soft Dice over the batch of the three foreground labels."""
    probability = logits.softmax(1)[:, 1:]
    wanted = functional.one_hot(labels, CLASSES).movedim(3, 1)[:, 1:].to(probability.dtype)
    both = (probability * wanted).sum((0, 2, 3))
    dice = (2 * both + 1) / (probability.sum((0, 2, 3)) + wanted.sum((0, 2, 3)) + 1)
    return functional.cross_entropy(logits, labels) + 1 - dice.mean()


def learning_rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then half a cosine to nearly nothing."""
    part = max(step - WARM_UP, 0) / max(plan.steps - WARM_UP, 1)
    return plan.lr * min((step + 1) / WARM_UP, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


class Training:
    """The model, its running average and the optimiser's moments; ``run`` goes from checkpoint to the end."""

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
        """All chunks that are left, or up to chunk ``stop``; a checkpoint after each."""
        while self.done < min(self.plan.chunks, stop or self.plan.chunks):
            wall, cpu = time.perf_counter(), time.process_time()
            value = self.run_chunk()
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            self.done += 1
            self.save()
            self.log(f"step {self.step} of {self.plan.steps}  loss {value:.4f}  {self.wall:.0f} s")

    def run_chunk(self) -> float:
        """Mean loss of a chunk's steps."""
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
        """One file of tensors, then the count that makes it valid; both survive a kill."""
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
        """Go on where the folder's checkpoint ends. Raises ConfigError where it belongs to another plan."""
        content = read_json(self.folder / "state.json")
        if content["plan"] != asdict(self.plan):
            raise ConfigError(f"{self.folder} holds a run of another plan, {content['plan']}: give another --folder")
        self.done, self.wall, self.cpu = content["done"], content["wall"], content["cpu"]
        tensors = load_file(self.folder / f"state{self.done}.safetensors")
        self.model.load_state_dict(_under(tensors, "model."))
        self.average = _under(tensors, "average.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "moments.").items():
            state.setdefault(int(name.split(".")[0]), {})[name.split(".")[1]] = value
        for moments in state.values():
            for name in ("exp_avg", "exp_avg_sq"):  # weights are channels_last, so their moments are
                if moments[name].dim() == 4:
                    moments[name] = moments[name].contiguous(memory_format=torch.channels_last)
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.log(f"goes on from step {self.step} of {self.plan.steps}")


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def steps_in(minutes: float, plan: Plan) -> int:
    """How many steps fit: two chunks of a spare model are timed, the first of which only warms up."""
    trial = Training(plan, None, log=lambda line: None)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        trial.run_chunk()
        seconds.append(time.perf_counter() - began)
    return max(int(minutes * 60 / seconds[-1] * plan.steps_per_chunk), plan.steps_per_chunk)


def export(training: Training, path: Path, line: str, draws: int = 20, start: Path | None = None) -> dict[str, object]:
    """Write the running average's weights and, beside them, how they came about: weights.json.

    start: weights of an earlier phase, whose .json is kept as ``before``.
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
            "with the beat": validation.judge(model, VALIDATION_SEED, draws),
            "single frames": validation.judge(model, VALIDATION_SEED, draws, with_time=False),
        },
    }
    if start is not None and start.with_suffix(".json").is_file():
        facts["before"] = read_json(start.with_suffix(".json"))
    write_json(path.with_suffix(".json"), facts)
    return facts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.segmentation.training", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="chooses the number of steps from the speed")
    parser.add_argument("--steps", type=int, help="instead of --minutes: the same number gives the same weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=Plan.lr)
    parser.add_argument("--stop", type=int, help="at the end of the chunk of this step: the first of two phases")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--folder", type=Path, help="of the checkpoints; default: heart/seed<k> among the runs")
    parser.add_argument("--out", type=Path, help="the weights' file; default: weights.safetensors in --folder")
    parser.add_argument("--draws", type=int, default=20, help="twelve hearts each, on which the weights are judged")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # so that the sums have one order
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
    """What was asked for; of a run that goes on, what it began with."""
    if given.steps:
        return given.steps
    if (folder / "state.json").is_file():
        return int(read_json(folder / "state.json")["plan"]["steps"])
    return steps_in(given.minutes, plan)


if __name__ == "__main__":
    sys.exit(guard(main))
