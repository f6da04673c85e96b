"""The training loop: schedule, randomness, checkpoints, and a real SIGKILL at three points."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from eccl_lib.config.errors import ConfigError, DamagedError
from eccl_lib.config.schema import RuntimeConfig, TrainingConfig
from eccl_lib.config.seeds import seed_of
from eccl_lib.io.files import read_json, sha256
from eccl_lib.io.paths import ROOT
from eccl_lib.pipeline import stages
from eccl_lib.training import distributed, performance
from eccl_lib.training.loop import Loop, fit
from eccl_lib.training.optim import build_optimizer, even_batches, learning_rate
from eccl_lib.training.state import DivergedError
from tests.conftest import HANG, tiny_config
from tests.pipeline.tiny_jobs import FunctionJob, FunctionStep

TOY = """
import sys, time
import numpy as np, torch
from pathlib import Path
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import RuntimeConfig, TrainingConfig
from eccl_lib.training import distributed
from eccl_lib.training.loop import fit
from eccl_lib.training.runs import save_tensors
from tests.pipeline.tiny_jobs import FunctionJob, FunctionStep

folder, pause = Path(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
x = torch.randn(40, 4)

def losses(batch):
    time.sleep(pause)
    rows = batch.rows
    noise = 0.1 * torch.randn(len(rows), 4, generator=batch.generator)
    loss = (model(x[rows] + noise) - x[rows].sum(1, keepdim=True)).square().mean()
    return {"loss": loss, "half": loss / 2}

def validate():
    return {"score": -float((model(x) - x.sum(1, keepdim=True)).square().mean())}

batches = lambda epoch: np.array_split(np.random.default_rng(epoch).permutation(40), 5)
config = TrainingConfig(epochs=6, warmup_epochs=1, lr=1e-2, batch=8)
job = FunctionJob(model, FunctionStep(losses), config, (), batches, validate)
runtime = RuntimeConfig(checkpoint_seconds=0.0)
history, _ = fit(job, folder=folder, seed=3, fingerprint="toy", runtime=runtime)
history.to_csv(folder / "history.csv", index=False)
save_tensors(folder / "model.safetensors", model.state_dict())
"""


def toy(folder, pause=0.0):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", TOY, str(folder), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def results(folder):
    return [sha256(folder / name) for name in ("history.csv", "model.safetensors")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert toy(folder).wait(HANG) == 0
    return results(folder)


@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_bytes(tmp_path, undisturbed, epoch):
    process = toy(tmp_path, pause=0.05)
    deadline, state = time.monotonic() + HANG, {}
    while not (state.get("epoch", -1) >= epoch and state["step"] >= 2):  # until a checkpoint of that epoch is on disk
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
        state = read_json(tmp_path / "manifest.json")["state"] if (tmp_path / "manifest.json").exists() else {}
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    again = toy(tmp_path)
    printed, _ = again.communicate(timeout=HANG)
    assert again.returncode == 0 and "resuming at epoch" in printed
    assert results(tmp_path) == undisturbed


def small_job(step=None):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    x = torch.randn(12, 3)

    def plain(batch):
        return {"loss": (model(x[batch.rows]) - 1).square().mean()}

    def batches(epoch):
        return even_batches(np.arange(12), 4)

    validate = lambda: {"score": -float((model(x) - 1).square().mean())}  # noqa: E731
    return FunctionJob(model, FunctionStep(step(model, x) if step else plain), CONFIG, (), batches, validate)


CONFIG = TrainingConfig(epochs=4, warmup_epochs=1, lr=0.05, batch=4)


def run(job, folder, **options):
    return fit(job, seed=0, folder=folder, fingerprint="x", log=lambda line: None, **options)


def test_a_loss_that_is_not_a_number_names_the_batch_and_keeps_the_last_good_state(tmp_path):
    def poisoned(model, x):
        calls = []

        def step(batch):
            calls.append(batch.rows)
            scale = math.nan if len(calls) == at else 1.0
            return {"loss": (model(x[batch.rows]) - 1).square().mean() * scale}

        return step

    at = 1
    with pytest.raises(DivergedError, match="cohort rows") as first:
        run(small_job(poisoned), tmp_path / "other")
    assert "checkpoint" not in str(first.value)  # there is none yet
    at = 8
    with pytest.raises(DivergedError, match=r"epoch 3, step 2, cohort rows 4, 5, 6, 7\. The last checkpoint is"):
        run(small_job(poisoned), tmp_path)
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["state"]["epoch"] == 2
    history, _ = run(small_job(), tmp_path)  # cured, the same command goes on
    assert len(history) == 4


@pytest.mark.parametrize("seconds", [120.0, 0.0])
def test_weights_that_are_no_numbers_never_reach_the_disk(tmp_path, seconds):
    def overflowing(model, x):
        calls = []

        def step(batch):
            calls.append(batch.rows)
            loss = (model(x[batch.rows]) - 1).square().mean()
            steep = (model.weight - model.weight.detach()).sum().sqrt()  # 0, with an infinite gradient
            return {"loss": loss + steep if len(calls) == 6 else loss}

        return step

    job = small_job(overflowing)
    with pytest.raises(DivergedError, match=r"epoch 2, step 3, cohort rows 8, 9, 10, 11"):
        run(job, tmp_path, runtime=RuntimeConfig(checkpoint_seconds=seconds))
    (state,) = tmp_path.glob("state-*.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in load_file(state).values())


def test_the_best_epoch_by_validation_is_what_remains(tmp_path):
    scores = iter([0.1, 0.9, 0.3, 0.2])
    job = small_job()
    seen = []

    def validate():
        seen.append(job.model.weight.detach().clone())
        return {"score": next(scores)}

    run(replace(job, validation=validate), tmp_path)
    assert torch.equal(job.model.weight, seen[1]) and not torch.equal(seen[1], seen[3])


def test_patience_stops_a_run_that_no_longer_gains(tmp_path):
    job = small_job()
    scores = iter([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    schedule = TrainingConfig(epochs=6, warmup_epochs=0, lr=0.05, patience=2)
    history, _ = run(replace(job, schedule=schedule, validation=lambda: {"score": next(scores)}), tmp_path)
    assert len(history) == 3


def test_a_damaged_checkpoint_is_refused(tmp_path):
    run(small_job(), tmp_path)
    (state,) = tmp_path.glob("state-*.safetensors")
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    with pytest.raises(DamagedError, match="has changed"):
        run(small_job(), tmp_path)


def test_a_rank_that_sees_another_checkpoint_than_the_first_is_stopped(tmp_path, monkeypatch):
    assert toy(tmp_path).wait(HANG) == 0
    model = torch.nn.Linear(2, 1)
    step = FunctionStep(lambda batch: {"loss": model.weight.sum()})
    job = FunctionJob(model, step, TrainingConfig(epochs=8), (), lambda epoch: [np.arange(4)], dict)
    # The main process is at epoch 5; here all six epochs are finished.
    monkeypatch.setattr(distributed, "broadcast", lambda ask: [5, 0])
    with pytest.raises(ConfigError, match="see different checkpoints; the shared disk is delayed"):
        fit(job, folder=tmp_path, seed=0, fingerprint="toy", log=lambda line: None)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    job = small_job()
    torch.manual_seed(5)
    run(job, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_schedule_warms_up_linearly_and_ends_at_zero():
    config = TrainingConfig(epochs=200, warmup_epochs=40, lr=8e-5)
    assert learning_rate(config, 0) == 0
    assert learning_rate(config, 20) == pytest.approx(4e-5)
    assert learning_rate(config, 40) == pytest.approx(8e-5)
    assert learning_rate(config, 120) == pytest.approx(4e-5)
    assert learning_rate(config, 200) == pytest.approx(0, abs=1e-12)


def test_the_fused_update_is_adams(tmp_path):
    job = small_job()
    weight = job.model.weight.detach().clone()
    moments = [torch.zeros_like(weight), torch.zeros_like(weight)]
    literal = job.model.weight.detach().clone()
    update = build_optimizer([job.model.weight], CONFIG)
    for t in range(1, 4):
        gradient = torch.full_like(weight, 0.3 * t)
        job.model.weight.grad = gradient.clone()
        update.step()
        moments = [0.9 * moments[0] + 0.1 * gradient, 0.999 * moments[1] + 0.001 * gradient**2]
        corrected = [moments[0] / (1 - 0.9**t), moments[1] / (1 - 0.999**t)]
        literal = literal - CONFIG.lr * corrected[0] / (corrected[1].sqrt() + 1e-8)
    assert torch.allclose(job.model.weight, literal, atol=1e-6)


def test_seeds_of_neighbouring_steps_differ():
    assert len({seed_of(s, e, t) for s in range(5) for e in range(20) for t in range(20)}) == 2000


def test_batches_are_even_and_hold_each_row_once():
    batches = even_batches(np.arange(361), 60)
    assert sorted(np.concatenate(batches)) == list(range(361))
    assert max(map(len, batches)) - min(map(len, batches)) <= 1 and max(map(len, batches)) <= 60


def test_a_training_is_finished_although_its_cost_cannot_be_measured(tiny_runs, monkeypatch):
    def out_of_memory(function):
        raise torch.OutOfMemoryError("no memory for a whole backward pass")

    monkeypatch.setattr(performance, "flops", out_of_memory)
    lines = []
    run = stages.train(tiny_config(**{"align.epochs": 1, "align.warmup_epochs": 0}), "scratch", lines.append)
    assert run.done and any("the cost of a sample could not be measured (OutOfMemoryError)" in line for line in lines)


def test_the_cost_is_counted_on_a_few_rows(tiny_runs, monkeypatch):
    seen, backward = [], Loop.backward

    def spied(loop, rows):
        seen.append(len(rows))
        return backward(loop, rows)

    monkeypatch.setattr(Loop, "backward", spied)
    stages.train(tiny_config(**{"align.epochs": 1, "align.warmup_epochs": 0}), "scratch", lambda line: None)
    assert seen[-1] == 4 < max(seen)


def test_the_timing_says_how_often_the_training_was_resumed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(small_job(interrupted), tmp_path)
    assert run(small_job(), tmp_path)[1]["resumed"] == 1
    (tmp_path / "other").mkdir()
    assert run(small_job(), tmp_path / "other")[1]["resumed"] == 0


def interrupted(model, x):
    """A step that is interrupted in the third epoch."""
    calls = []

    def step(batch):
        calls.append(batch.rows)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return {"loss": (model(x[batch.rows]) - 1).square().mean()}

    return step
