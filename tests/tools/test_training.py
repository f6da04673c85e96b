"""The training command of the segmentation network: seed and steps determine the weights, also after a kill."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from eccl_lib.config.errors import DamagedError

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from eccl_lib.config.errors import ConfigError  # noqa: E402
from eccl_lib.data.segmentation.unet import network  # noqa: E402
from eccl_lib.io import files  # noqa: E402
from eccl_lib.io.progress import silent  # noqa: E402
from eccl_lib.training.batch import Batch  # noqa: E402
from tools.segmentation import images, training  # noqa: E402

TINY = training.Plan(seed=3, steps=8, size=32, draws=1)  # two chunks of four steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("through")


@pytest.fixture(scope="module")
def through(folder) -> training.Trained:
    return training.train(TINY, folder, log=silent)


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_and_steps_give_the_same_weights(through, tmp_path):
    assert same(through.average, training.train(TINY, tmp_path, log=silent).average)
    other = training.train(replace(TINY, seed=4), tmp_path / "other", log=silent)
    assert not same(through.average, other.average)


def test_a_killed_run_resumes_to_the_same_weights(through, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(self) -> None:
        if self.step_number == 6:
            raise Killed
        before_update(self)

    before_update = training.SegmentationJob.before_update
    monkeypatch.setattr(training.SegmentationJob, "before_update", kill)
    with pytest.raises(Killed):
        training.train(TINY, tmp_path, log=silent)
    monkeypatch.undo()
    lines: list[str] = []
    resumed = training.train(TINY, tmp_path, log=lines.append)
    assert lines[0] == "resuming at epoch 2"
    assert same(through.average, resumed.average)


def test_the_exported_weights_are_the_moving_average_of_all_updates(tmp_path, monkeypatch):
    seen = []
    after_update = training.SegmentationJob.after_update

    def watched(self):
        after_update(self)
        seen.append({name: value.clone() for name, value in self.model.network.state_dict().items()})

    monkeypatch.setattr(training.SegmentationJob, "after_update", watched)
    first = training.Averaged(TINY).network.state_dict()
    average = {name: value.clone() for name, value in first.items()}
    trained = training.train(TINY, tmp_path, log=silent)
    for step, weights in enumerate(seen[:8]):  # one more pass, after the training, counts FLOPs without an update
        decay = min(training.EMA, (step + 1) / (step + 10))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    assert len(seen) == 8
    assert all(torch.allclose(average[name], trained.average[name], atol=1e-6) for name in average)


def test_a_checkpoint_of_another_plan_is_refused(through, folder):
    with pytest.raises(ConfigError, match="another plan"):
        training.train(replace(TINY, lr=1e-4), folder, log=silent)


def test_images_are_rotated_together_with_their_labels():
    """The wall is darker than the cavity in every rotation, so the labels match the image."""
    job = training.SegmentationJob(training.Plan(seed=1, draws=1))
    contrasts = []
    for k, rows in enumerate(job.batches(0)):
        batch = Batch.of(rows, torch.Generator().manual_seed(k))
        for image, label in zip(*(part for part in job.datasets[0].augmented(batch)), strict=True):
            if (label == 1).sum() > 60 and (label == 2).sum() > 60:
                contrasts.append(float(image[0][label == 1].mean() - image[0][label == 2].mean()))
    assert len(contrasts) > 10
    assert min(contrasts) > -0.1


def test_half_of_a_chunk_is_used_mostly_its_ends_and_the_last_chunk_is_cut():
    plan = replace(TINY, steps=6, draws=20)
    job = training.SegmentationJob(replace(plan, steps=plan.steps_per_chunk + 2))
    used = np.concatenate(job.batches(0))
    assert len(set(used)) == len(used) == plan.images_per_chunk / 2
    phases = np.bincount(used % images.PHASES) / len(used)
    assert phases[[0, -1]].min() > 0.26 > 0.24 > phases[1:-1].max()
    assert [len(job.batches(epoch)) for epoch in range(job.schedule.epochs)] == [plan.steps_per_chunk, 2]
    assert job.batches(1)[0].min() >= plan.images_per_chunk


def test_the_loss_of_certain_truth_is_zero_and_of_ignorance_log_four():
    labels = torch.arange(4).repeat(2, 8, 2)[:, :, :8]
    truth = 50.0 * torch.nn.functional.one_hot(labels, 4).movedim(3, 1)
    assert training.loss(truth, labels).item() == pytest.approx(0.0, abs=1e-4)
    n = labels.numel() / 4  # pixels of each label in the batch of two
    batch = (2 * n / 4 + 1) / (n + n + 1)
    image = (2 * n / 8 + training.SMOOTH) / (n / 2 + n / 2 + training.SMOOTH)
    ignorance = math.log(4) + 1 - (batch + image) / 2
    assert training.loss(torch.zeros(2, 4, 8, 8), labels).item() == pytest.approx(ignorance, rel=1e-5)


def test_a_small_structure_counts_as_much_as_a_large_one():
    """A missed cavity of 40 pixels costs more beside large cavities than its share of the pixels."""
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[0, :40, :40] = 1
    labels[1, :8, :5] = 1
    right = 20.0 * torch.nn.functional.one_hot(labels, 4).movedim(3, 1)
    wrong = right.clone()
    wrong[1] = 20.0 * torch.nn.functional.one_hot(torch.zeros(64, 64, dtype=torch.long), 4).movedim(2, 0)
    cost = (training.loss(wrong, labels) - training.loss(right, labels)).item()
    assert cost > 0.15 > 10 * 40 / labels.numel()


def test_the_learning_rate_warms_up_and_falls_to_one_percent():
    plan = training.Plan(steps=1000, lr=1.0)
    rates = [training.learning_rate(plan, k) for k in range(1000)]
    assert rates[0] == pytest.approx(1 / training.WARM_UP)
    assert max(rates) == pytest.approx(1.0, abs=0.02) and rates.index(max(rates)) in range(98, 102)
    assert rates[-1] < 0.011
    assert all(a >= b for a, b in zip(rates[training.WARM_UP :], rates[training.WARM_UP + 1 :], strict=False))


def test_the_loop_uses_the_learning_rate_of_every_step():
    plan = replace(TINY, steps=5)
    job = training.SegmentationJob(plan)
    rates = [job.learning_rate(e + k / len(job.batches(e))) for e in range(3) for k in range(len(job.batches(e)))]
    assert rates == [training.learning_rate(plan, step) for step in range(5)]


def test_the_command_writes_weights_that_load_and_state_their_origin(tmp_path, capsys):
    out = tmp_path / "weights.safetensors"
    words = ["--steps", "1", "--seed", "5", "--folder", str(tmp_path / "run"), "--out", str(out), "--draws", "1"]
    training.main(words)
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["command"] == "python -m tools.segmentation.training --steps 1 --seed 5 --lr 0.003"
    assert facts["sha256"] == files.sha256(out)
    assert facts["pictures"] == 12
    assert set(facts["generated"]) == {"beat", "stills", "single"}
    assert network.HeartNet.load(out).facts == facts
    assert sum(value.numel() for value in load_file(out).values()) == facts["parameters"] < 1_000_000
    flipped = bytearray(out.read_bytes())
    flipped[-5] ^= 1
    out.write_bytes(bytes(flipped))
    with pytest.raises(DamagedError):
        network.HeartNet.load(out)


@pytest.mark.slow
def test_minutes_choose_a_number_of_steps():
    assert training.steps_in(0.0, TINY) == TINY.steps_per_chunk
    assert training.steps_in(10.0, TINY) >= TINY.steps_per_chunk
