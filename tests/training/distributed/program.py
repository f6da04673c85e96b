"""What each rank of the tests runs: ``torchrun ... tests/distributed/program.py WHAT OUT``."""

import contextlib
import functools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.io.progress import silent
from eccl_lib.pipeline import stages
from eccl_lib.tasks import Targets
from eccl_lib.training import distributed
from eccl_lib.training.batch import Batch
from eccl_lib.training.datasets import CineDataset, EcgDataset
from eccl_lib.training.job import TrainingJob
from eccl_lib.training.microbatches import Microbatches, backward, shard_losses
from tests.conftest import tiny_config

PLAIN = {"ecg.dropout": 0.0, "cmr.dropout": 0.0, "cmr.attention_dropout": 0.0, "cmr.drop_path": 0.0}
KINDS = ("eccl", "triplet", "scratch", "traits", "learned", "pretrain_ecg", "authors", "swin", "resnet50", "pair")
IN_PIECES = ("eccl", "triplet", "scratch", "traits", "learned", "pretrain_ecg", "swin")
ROWS = 17  # odd, so that two ranks have unequal parts


def job_of(kind: str, data: Cohort | None = None) -> TrainingJob:
    """A training at its first weights, every source of randomness on but dropout. data: the tiny cohort by default."""
    config = tiny_config(
        "traits" if kind == "traits" else "I48",
        **PLAIN,
        **({"align.learn_temperature": True} if kind == "learned" else {}),
        **({"mae.loss_on": "all", "mae.correlation_weight": 0.1} if kind == "authors" else {}),
        **({"cmr.architecture": "resnet50"} if kind == "resnet50" else {}),
    )
    data = data or open_cohort.load(config, silent)
    names = {"authors": "pretrain_ecg", "swin": "pretrain_cmr", "resnet50": "pretrain_cmr", "pair": "pretrain_pair"}
    names |= {"traits": "eccl", "learned": "eccl"}
    job = stages.spec(config, names.get(kind, kind)).job(data, pretrained=False)
    if hasattr(job.step, "cmr_features"):
        job.step.cmr_features.features = job.step.cmr_features.features.to(torch.get_default_dtype())
    return job


def distances(kind: str, dtype: torch.dtype) -> dict[str, float]:
    """Between the gradient of one process on the batch and that of the team, as a share of its norm; and the rest."""
    job = job_of(kind)
    model = job.model.to(dtype).train()
    rows = np.concatenate(job.batches(0))[:ROWS]  # all different: a heart that is there twice ties in a triplet
    draw = lambda: torch.Generator().manual_seed(5)  # noqa: E731
    state = {name: value.clone() for name, value in model.state_dict().items()}
    plain = lambda: shard_losses(job.step, Batch.of(rows, draw()))  # noqa: E731
    alone, loss_alone = gradients(model, plain)
    alone_buffers = {name: value.clone() for name, value in model.named_buffers()}
    model.load_state_dict(state)
    forward = distributed.parallel(model, lambda batch: shard_losses(job.step, batch))

    def in_team():
        (shard,) = distributed.shards(len(rows))
        assert shard.size in (ROWS // 2, ROWS // 2 + 1)
        losses = forward(Batch(rows, shard, draw()))
        parts.update(distributed.mean(losses))
        return losses

    parts: dict[str, torch.Tensor] = {}
    together, _ = gradients(model, in_team)
    in_pieces = distance(accumulated(job, model, rows, draw), alone) if kind in IN_PIECES else 0.0
    assert alone.keys() == together.keys()
    buffers = [(alone_buffers[name] - value).abs().max() for name, value in model.named_buffers()]
    return {
        "gradient": distance(together, alone),
        "pieces": in_pieces,
        "norm": float(flat(alone).norm()),
        "loss": abs(float(parts["loss"]) - loss_alone),
        "buffers": max(map(float, buffers), default=0.0),
    }


def accumulated(job: TrainingJob, model, rows: np.ndarray, draw) -> dict[str, torch.Tensor]:
    """Gradients of the same batch, each rank's rows in three pieces."""
    model.zero_grad()
    backward(job.step, Microbatches(rows, 3, lambda number: draw(), contextlib.nullcontext))
    distributed.average(model.parameters())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def gradients(model, call) -> tuple[dict[str, torch.Tensor], float]:
    model.zero_grad()
    loss = call()["loss"]
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


@functools.cache
def cast_inputs() -> None:
    """Let all inputs and targets come in ``wanted.dtype``."""
    read = [(owner, name) for owner in (EcgDataset, CineDataset) for name in ("of", "augmented")]
    for owner, name in (*read, (Targets, "standardize")):
        cast(owner, name)


def use(dtype: torch.dtype) -> None:
    """Compute in this type: weights, inputs and targets."""
    cast_inputs()
    torch.set_default_dtype(dtype)
    wanted.dtype = dtype


def compare(out: Path) -> None:
    found = {}
    for dtype in (torch.float32, torch.float64):
        use(dtype)
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
        stages.train(tiny_config(**PLAIN), stage, log)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    with distributed.process_group(15.0):
        if what == "compare":
            compare(Path(words[0]))
        else:
            train(words[0], int(words[1]), float(words[2]))
