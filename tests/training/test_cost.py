"""What a training is predicted to cost: the arithmetic, what a trial leaves as it was, and the lines that say it."""

import mmap

import numpy as np
import pytest
import torch

from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.grid.scheduler import show_plan
from eccl_lib.pipeline import stages
from eccl_lib.training import cost
from eccl_lib.training.cost import Peak, Plan, plan
from eccl_lib.training.optim import even_batches
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import FunctionJob, FunctionStep

CPU = torch.device("cpu")


class Clock:
    """The clock of ``cost``: it stands still unless a toy step works."""

    now = 0.0

    def process_time(self):
        return self.now

    perf_counter = process_time


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(cost, "time", fake := Clock())
    return fake


def mapped(size):
    """Bytes in use that go back to the system when they are let go; what malloc frees may stay, as others left it."""
    fresh = mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(fresh, dtype=torch.uint8).fill_(1)


def toy(a_row, clock, rows=40, batch=8, epochs=6, memory=0):
    """A job whose steps cost known seconds and bytes a row."""
    model = torch.nn.Linear(3, 1)

    def losses(batch):
        clock.now += a_row * len(batch.rows)
        held = mapped(memory * len(batch.rows))
        return {"loss": (model(torch.ones(len(batch.rows), 3)) - held[0]).square().mean()}

    class Toy(FunctionJob):
        def predict_batch(self, rows):
            clock.now += a_row / 2 * len(rows)
            return model(torch.ones(len(rows), 3))

        def rows(self, split):
            return np.arange(20)

    schedule = tiny_config(**{"align.epochs": epochs, "align.batch": batch}).align
    batches = lambda epoch: even_batches(np.arange(rows), batch)  # noqa: E731
    return Toy(model, FunctionStep(losses), schedule, (), batches, lambda: {"score": 0.0})


@pytest.mark.parametrize("patience", [20.0, 0.25])
def test_time_is_that_of_updates_validations_and_scores_also_where_a_part_of_a_batch_is_tried(
    patience, clock, monkeypatch
):
    monkeypatch.setattr(cost, "PATIENCE", patience)
    found = plan(toy(1e-2, clock))  # a quarter of a second allows five rows of eight
    assert (found.updates, found.epochs, found.gpu) == (30, 6, False)
    assert found.update == pytest.approx(8 * 1e-2)
    assert found.validation == pytest.approx(20 * 5e-3)
    assert found.scores == pytest.approx(60 * 5e-3)
    whole = 30 * found.update + 6 * (found.validation + found.checkpoint) + found.scores
    assert found.seconds == pytest.approx(whole)


def test_finished_epochs_cost_nothing(clock):
    assert plan(toy(1e-4, clock), done=4).updates == 10


@pytest.mark.parametrize("patience", [20.0, 0.5])
def test_memory_is_that_of_a_whole_batch_also_where_a_part_is_tried(patience, clock, monkeypatch):
    monkeypatch.setattr(cost, "PATIENCE", patience)
    before, a_row = cost.anonymous(CPU), 40_000_000
    found = plan(toy(2e-2, clock, memory=a_row))  # half a second allows five rows of eight
    assert found.memory - before == pytest.approx(8 * a_row, rel=0.3)


@pytest.mark.parametrize("patience", [20.0, 0.5])
def test_a_batch_that_goes_through_in_pieces_is_tried_in_pieces(patience, clock, monkeypatch):
    monkeypatch.setattr(cost, "PATIENCE", patience)
    before, a_row = cost.anonymous(CPU), 40_000_000
    found = plan(toy(2e-2, clock, memory=a_row), runtime=RuntimeConfig(accumulate=4))
    assert found.memory - before == pytest.approx(2 * a_row, rel=0.3)


def test_peak_sees_what_was_given_back():
    with Peak(CPU) as peak:
        base = cost.anonymous(CPU)
        held = mapped(100_000_000)
        del held
    assert peak.bytes - base == pytest.approx(100_000_000, rel=0.1)


def test_a_trial_leaves_model_and_random_numbers_as_they_were(clock):
    job = toy(1e-4, clock)
    weight = job.model.weight.detach().clone()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    plan(job)
    assert torch.equal(job.model.weight, weight) and torch.equal(torch.rand(3), expected)


@pytest.mark.usefixtures("shared_runs")
def test_a_run_says_its_cost_first_where_the_scale_is_long_and_ends_with_the_same_bytes():
    said, config = {}, {}
    for on in (True, False):
        config[on], said[on] = tiny_config(**{"runtime.plan": on}), []
    run = stages.train(config[True], "pretrain_ecg", said[True].append)
    weights = {name: value.clone() for name, value in run.weights().items()}
    (run.folder / "manifest.json").unlink()
    again = stages.train(config[False], "pretrain_ecg", said[False].append).weights()
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert [sum("of CPU time" in line for line in said[on]) for on in (True, False)] == [1, 0]


@pytest.mark.usefixtures("shared_runs")
def test_a_plan_lists_the_prerequisites_and_trains_nothing(shared_runs):
    said, config = [], tiny_config(seed=5)
    total = show_plan(stages.spec(config, "eccl"), said.append)
    said = [line for line in said if "models' view" not in line]
    kinds = [line.split("/")[0] for line in said]
    assert kinds == ["pretrain_ecg", "pretrain_cmr", "cmr_features of pretrain_cmr", "align", said[-1]]
    assert 0 < total < 600 and "GB at most" in said[-1]
    assert not list(shared_runs.glob("*/*/*/*/seed5-*"))


def test_a_plan_is_one_line():
    found = Plan(1000, 0.2, 5, 3.0, 0.5, 4.0, 1_500_000_000, False)
    assert str(found) == "about 4 min of CPU time, 1.5 GB (1,000 updates of 200 ms, 5 validations of 3 s)"
