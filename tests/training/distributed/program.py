"""What each rank of the tests runs: ``torchrun ... tests/distributed/program.py WHAT OUT``."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from eccl_lib.data import open_cohort
from eccl_lib.io.progress import silent
from eccl_lib.models.build import new_ecg_model
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import Problem, Targets
from eccl_lib.training import distributed
from eccl_lib.training.datasets import CineDataset, EcgDataset
from eccl_lib.training.job import Course
from eccl_lib.training.microbatches import Pieces, backward
from tests.conftest import tiny_config

PLAIN = {"ecg.dropout": 0.0, "cmr.dropout": 0.0, "cmr.attention_dropout": 0.0, "cmr.drop_path": 0.0}
KINDS = ("eccl", "triplet", "scratch", "traits", "learned", "pretrain_ecg", "authors", "swin", "resnet50", "pair")
IN_PIECES = ("eccl", "triplet", "scratch", "traits", "learned", "pretrain_ecg", "swin")
ROWS = 17  # odd, so that two ranks have unequal parts


def course_of(kind: str) -> Course:
    """A training at its first weights, every source of randomness on but dropout."""
    config = tiny_config(
        "traits" if kind == "traits" else "I48",
        **PLAIN,
        **({"align.learn_temperature": True} if kind == "learned" else {}),
        **({"mae.loss_on": "all", "mae.correlation_weight": 0.1} if kind == "authors" else {}),
        **({"cmr.architecture": "resnet50"} if kind == "resnet50" else {}),
    )
    data = open_cohort.load(config, silent)
    if kind in ("pretrain_ecg", "authors"):
        return stages.ecg_course(config, data)
    if kind in ("swin", "resnet50"):
        return stages.cmr_course(config, data)
    if kind == "pair":
        return stages.pair_course(config, data, {})
    arm = METHODS[{"traits": "eccl", "learned": "eccl"}.get(kind, kind)].arm
    model, features = new_ecg_model(Problem.of(config, data), arm), None
    if arm.teacher:
        width = model.project_cmr.in_features
        features = np.random.default_rng(0).normal(size=(len(data), width)).astype(str(torch.get_default_dtype())[6:])
    return stages.arm_course(config, arm, data, model, features)


def distances(kind: str, dtype: torch.dtype) -> dict[str, float]:
    """Between the gradient of one process on the batch and that of the team, as a share of its norm; and the rest."""
    wanted.dtype = dtype
    one = course_of(kind)
    model = one.recipe.model.to(dtype).train()
    rows = np.concatenate(one.recipe.batches(0))[:ROWS]  # all different: a heart that is there twice ties in a triplet
    draw = lambda: torch.Generator().manual_seed(5)  # noqa: E731
    state = {name: value.clone() for name, value in model.state_dict().items()}
    plain = lambda: one.recipe.step(rows, draw())  # noqa: E731
    alone, loss_alone = gradients(model, plain)
    alone_buffers = {name: value.clone() for name, value in model.named_buffers()}
    model.load_state_dict(state)
    forward = distributed.parallel(model, one.recipe.step)

    def in_team():
        with distributed.shard(rows) as own:
            assert len(own) in (ROWS // 2, ROWS // 2 + 1)
            loss, logs = forward(own, draw())
        parts.update(distributed.mean({"loss": loss, **logs}))
        return loss, logs

    parts: dict[str, torch.Tensor] = {}
    together, _ = gradients(model, in_team)
    in_pieces = distance(accumulated(one, model, rows, draw), alone) if kind in IN_PIECES else 0.0
    assert alone.keys() == together.keys()
    buffers = [(alone_buffers[name] - value).abs().max() for name, value in model.named_buffers()]
    return {
        "gradient": distance(together, alone),
        "pieces": in_pieces,
        "norm": float(flat(alone).norm()),
        "loss": abs(float(parts["loss"]) - loss_alone),
        "buffers": max(map(float, buffers), default=0.0),
    }


def accumulated(one: Course, model, rows: np.ndarray, draw) -> dict[str, torch.Tensor]:
    """Gradients of the same batch, each rank's rows in three pieces."""
    model.zero_grad()
    backward(one.recipe.step, Pieces(rows, 3, lambda piece: draw(), contextlib.nullcontext))
    distributed.average(model.parameters())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def gradients(model, call) -> tuple[dict[str, torch.Tensor], float]:
    model.zero_grad()
    loss, _ = call()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, float(loss.detach())


def flat(found: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([found[name].flatten().double() for name in sorted(found)])


def distance(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    return float((flat(found) - flat(wanted)).norm() / flat(wanted).norm())


class wanted:
    """The type that inputs, targets and features come in."""

    dtype = torch.float32


def cast(owner: type, name: str) -> None:
    original = getattr(owner, name)
    setattr(owner, name, lambda *arguments: original(*arguments).to(wanted.dtype))


def compare(out: Path) -> None:
    read = [(owner, name) for owner in (EcgDataset, CineDataset) for name in ("of", "augmented")]
    for owner, name in (*read, (Targets, "scaled")):
        cast(owner, name)
    found = {}
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        found[str(dtype)[6:]] = {kind: distances(kind, dtype) for kind in KINDS}
    if distributed.is_main_process():
        out.write_text(json.dumps(found))


def train(stage: str, stop: int = 0, pause: float = 0.0) -> None:
    """A stage. stop: an epoch after which all ranks end as by Ctrl-C; pause: seconds before each batch is read."""
    read = EcgDataset.of

    def slowly(self, rows):
        time.sleep(pause)
        return read(self, rows)

    def log(line: str) -> None:
        if distributed.is_main_process():
            print(line, flush=True)
        if stop and f"epoch {stop}/" in line:
            raise KeyboardInterrupt

    EcgDataset.of = slowly
    print(f"rank {distributed.rank()} is process {os.getpid()}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        stages.STAGES[stage](tiny_config(**PLAIN), log=log)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    with distributed.process_group(15.0):
        if what == "compare":
            compare(Path(words[0]))
        else:
            train(words[0], int(words[1]), float(words[2]))
