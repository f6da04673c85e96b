"""The training command: the weights depend only on seed and steps, also after an interruption."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from eccl_lib.config.errors import DamagedError

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from eccl_lib.config.errors import ConfigError  # noqa: E402
from eccl_lib.data.segmentation.unet import network  # noqa: E402
from eccl_lib.io import files  # noqa: E402
from tools.segmentation import training  # noqa: E402

TINY = training.Plan(seed=3, steps=4, size=32, draws=1)  # two chunks of two steps


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def through(tmp_path_factory) -> training.Training:
    run = training.Training(TINY, tmp_path_factory.mktemp("through"), log=silent)
    run.run()
    return run


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_and_steps_give_the_same_weights(through, tmp_path):
    again = training.Training(TINY, tmp_path, log=silent)
    again.run()
    assert same(through.average, again.average)
    other = training.Training(replace(TINY, seed=4), tmp_path / "other", log=silent)
    other.run()
    assert not same(through.average, other.average)


def test_an_interrupted_run_resumes_to_the_same_weights(through, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(self) -> float:
        if self.done == 1:
            raise Killed
        return chunk(self)

    chunk = training.Training.run_chunk
    monkeypatch.setattr(training.Training, "run_chunk", kill)
    with pytest.raises(Killed):
        training.Training(TINY, tmp_path, log=silent).run()
    monkeypatch.undo()
    lines: list[str] = []
    resumed = training.Training(TINY, tmp_path, log=lines.append)
    resumed.run()
    assert lines[0] == "resumes at step 2 of 4"
    assert same(through.average, resumed.average)


def test_a_checkpoint_of_another_plan_raises_an_error(through):
    with pytest.raises(ConfigError, match="another plan"):
        training.Training(replace(TINY, lr=1e-4), through.folder, log=silent)


def test_a_chunk_rotates_images_together_with_their_labels():
    """In each rotation the pixels labelled as wall are darker than those labelled as cavity."""
    plan = training.Plan(seed=1, draws=1)
    contrasts = []
    for inputs, labels in training.chunk(plan, 0):
        for image, label in zip(inputs[:, 0], labels, strict=True):
            if (label == 1).sum() > 60 and (label == 2).sum() > 60:
                contrasts.append(float(image[label == 1].mean() - image[label == 2].mean()))
    assert len(contrasts) > 10
    assert min(contrasts) > -0.1


def test_the_loss_is_zero_for_perfect_logits_and_has_its_closed_form_for_uniform_logits():
    labels = torch.arange(4).repeat(2, 8, 2)[:, :, :8]
    truth = 50.0 * torch.nn.functional.one_hot(labels, 4).movedim(3, 1)
    assert training.loss(truth, labels).item() == pytest.approx(0.0, abs=1e-4)
    n = labels.numel() / 4
    dice = (2 * n / 4 + 1) / (n + n + 1)
    assert training.loss(torch.zeros(2, 4, 8, 8), labels).item() == pytest.approx(math.log(4) + 1 - dice, rel=1e-5)


def test_the_learning_rate_warms_up_and_decreases_to_one_percent():
    plan = training.Plan(steps=1000, lr=1.0)
    rates = [training.learning_rate(plan, k) for k in range(1000)]
    assert rates[0] == pytest.approx(1 / training.WARM_UP)
    assert max(rates) == pytest.approx(1.0, abs=0.02) and rates.index(max(rates)) in range(98, 102)
    assert rates[-1] < 0.011
    assert all(a >= b for a, b in zip(rates[training.WARM_UP :], rates[training.WARM_UP + 1 :], strict=False))


def test_the_command_writes_loadable_weights_with_metadata(tmp_path, capsys):
    out = tmp_path / "weights.safetensors"
    words = ["--steps", "1", "--seed", "5", "--folder", str(tmp_path / "run"), "--out", str(out), "--draws", "1"]
    training.main(words)
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["command"] == "python -m tools.segmentation.training --steps 1 --seed 5 --lr 0.003"
    assert facts["sha256"] == files.sha256(out)
    assert facts["pictures"] == 12
    assert set(facts["generated"]) == {"with the beat", "single frames"}
    assert network.HeartNet.load(out).facts == facts
    assert sum(value.numel() for value in load_file(out).values()) == facts["parameters"] < 1_000_000
    flipped = bytearray(out.read_bytes())
    flipped[-5] ^= 1
    out.write_bytes(bytes(flipped))
    with pytest.raises(DamagedError):
        network.HeartNet.load(out)


@pytest.mark.slow
def test_minutes_determine_the_number_of_steps():
    assert training.steps_in(0.0, TINY) == TINY.steps_per_chunk
    assert training.steps_in(10.0, TINY) > 100
