"""A batch in pieces has the loss and the gradient of the whole; random numbers fall as they would in one."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.data import open_cohort
from eccl_lib.training.batch import Batch
from eccl_lib.training.loop import Loop, fit
from eccl_lib.training.microbatches import Microbatches, backward
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import job_of, quiet

pytestmark = pytest.mark.usefixtures("shared_runs")
CALM = {"ecg.dropout": 0.0, "cmr.dropout": 0.0, "cmr.drop_path": 0.0}
ROWS = 13  # in pieces of unlike length


def gradients(job, folder, rows=ROWS, **runtime):
    """Loss, parts and gradient of one step on the first training participants, by name."""
    loop = Loop(job, 0, folder, "", RuntimeConfig(**runtime), quiet)
    job.model.train()
    parts = loop.backward(np.concatenate(job.batches(0))[:rows])
    found = {name: p.grad.clone() for name, p in loop.parameters.items() if p.grad is not None}
    return {name: float(value.detach()) for name, value in parts.items()}, found


def distance(one, other):
    """Of two gradients, as a share of their norm."""
    norm = torch.sqrt(sum(g.double().square().sum() for g in one.values()))
    return float(torch.sqrt(sum((one[n] - other[n]).double().square().sum() for n in one)) / norm)


@pytest.mark.parametrize(
    ("key", "disease", "changes"),
    [
        ("pretrain_ecg", "I48", {}),
        ("pretrain_cmr", "I48", {}),
        ("pretrain_cmr", "traits", {}),
        ("ssl", "traits", {}),
        ("eccl", "I48", {}),
        ("eccl", "traits", {"align.learn_temperature": True}),
        ("eccl", "I48", {"align.bank": True}),
        ("eccl", "I48", {"align.bank": True, "align.views": 3}),
        ("eccl", "I48", {"align.views": 3}),
        ("eccl", "I48", {"align.contrastive": "siglip", "align.pooling": "mean"}),
        ("eccl", "I48", {"align.contrastive": "soft", "align.auxiliary": "labels"}),
        ("eccl", "I48", {"align.bank": True, "align.auxiliary": "labels"}),
        ("triplet", "I48", {}),
    ],
)
def test_pieces_give_the_loss_and_the_gradient_of_the_whole_batch(key, disease, changes, tmp_path):
    config = tiny_config(disease, **CALM, **changes)
    data = open_cohort.load(config, quiet)
    if disease == "traits":
        data.traits[data.index("train")[::3], 5:60] = np.nan  # pieces with unlike numbers of terms
    job = job_of(key, config, data)
    whole, expected = gradients(job, tmp_path)
    for count in (2, 5):
        parts, found = gradients(job, tmp_path, accumulate=count)
        assert parts == pytest.approx(whole, rel=1e-5) and set(found) == set(expected)
        assert distance(expected, found) < 1e-5


@pytest.mark.parametrize("changes", [{"align.auxiliary": "labels"}, {"align.contrastive": "siglip"}])
def test_options_of_the_clip_loss_have_no_part_in_the_triplet_row(changes, tmp_path):
    job = job_of("triplet", tiny_config("I48", **CALM, **changes), open_cohort.load(tiny_config(), quiet))
    _, found = gradients(job, tmp_path)
    assert found.keys() == {name for name, p in job.model.named_parameters() if p.requires_grad}


def test_a_training_of_many_microbatches_ends(tmp_path):
    config = tiny_config("I48", **CALM, **{"align.epochs": 1, "align.warmup_epochs": 0})
    job = job_of("scratch", config, open_cohort.load(config, quiet))
    runtime = RuntimeConfig(accumulate=8, device="cpu")
    _, timing = fit(job, seed=0, folder=tmp_path, fingerprint="x", runtime=runtime, log=quiet)
    assert timing["gflop_per_sample"] > 0


def test_pieces_of_a_mean_without_weights_would_not_do(tmp_path):
    config = tiny_config("traits", **CALM)
    data = open_cohort.load(config, quiet)
    data.traits[data.index("train")[::3], 5:60] = np.nan
    job = job_of("ssl", config, data)
    whole, _ = gradients(job, tmp_path)
    rows = np.concatenate(job.batches(0))[:ROWS]
    loop = Loop(job, 0, tmp_path, "", RuntimeConfig(), quiet)
    by_rows = sum(len(part) * float(loop.backward(part)["loss"]) for part in np.array_split(rows, 5)) / ROWS
    assert by_rows != pytest.approx(whole["loss"], rel=1e-4)


def test_with_dropout_both_passes_of_a_chunked_contrast_see_the_same_model(tmp_path):
    """Against the literal gradient: all pieces' outputs with their graphs in memory at once, one loss, one backward."""
    config = tiny_config(**{"ecg.dropout": 0.5})
    job = job_of("eccl", config, open_cohort.load(config, quiet))
    _, found = gradients(job, tmp_path, accumulate=4)
    loop = Loop(job, 0, tmp_path, "", RuntimeConfig(), quiet)
    rows, step = np.concatenate(job.batches(0))[:ROWS], job.step
    encoded = [step.encode(batch) for batch in Microbatches(rows, 4, loop.generator, nullcontext)]
    whole = Batch.of(rows, loop.generator(3))
    loss = step.loss(tuple(map(torch.cat, zip(*encoded, strict=True))), whole)["loss"]
    loop.optimizer.zero_grad()
    loss.backward()
    literal = {name: p.grad for name, p in loop.parameters.items() if p.grad is not None}
    assert distance(literal, found) < 1e-6
    _, calm = gradients(job_of("eccl", tiny_config(**CALM), open_cohort.load(config, quiet)), tmp_path, accumulate=4)
    assert distance(literal, calm) > 0.1  # dropout does something here


def test_a_second_pass_with_other_dropout_would_be_seen(tmp_path):
    config = tiny_config(**{"ecg.dropout": 0.5})
    job = job_of("eccl", config, open_cohort.load(config, quiet))
    _, right = gradients(job, tmp_path, accumulate=4)
    loop = Loop(job, 0, tmp_path, "", RuntimeConfig(accumulate=4), quiet)
    calls = []

    def careless(piece):
        generator = loop.generator(piece)
        calls.append(piece)
        torch.manual_seed(len(calls))
        return generator

    loop.optimizer.zero_grad()
    rows = np.concatenate(job.batches(0))[:ROWS]
    backward(job.step, Microbatches(rows, 4, careless, nullcontext))
    wrong = {name: p.grad for name, p in loop.parameters.items() if p.grad is not None}
    assert distance(right, wrong) > 0.1


def test_chunked_contrast_in_bf16_keeps_its_gradient(tmp_path):
    """Weights cast for the first pass, which has no gradient, must not be used in the second."""
    job = job_of("eccl", tiny_config(**CALM), open_cohort.load(tiny_config(), quiet))
    _, full = gradients(job, tmp_path)
    _, half = gradients(job, tmp_path, accumulate=3, precision="bf16")
    assert set(half) == set(full) and distance(full, half) < 0.05


@pytest.mark.parametrize(("key", "count"), [("pretrain_ecg", 1), ("pretrain_ecg", 3), ("eccl", 1), ("eccl", 3)])
def test_the_way_back_is_outside_of_autocast(key, count, tmp_path):
    job = job_of(key, tiny_config(**CALM), open_cohort.load(tiny_config(), quiet))
    inside, first = [], next(p for p in job.model.parameters() if p.requires_grad)
    first.register_hook(lambda gradient: inside.append(torch.is_autocast_enabled("cpu")))
    gradients(job, tmp_path, accumulate=count, precision="bf16")
    assert inside and not any(inside)


def test_a_step_that_meets_itself_in_the_model_is_refused(tmp_path):
    job = job_of("pretrain_pair", tiny_config(), open_cohort.load(tiny_config(), quiet))
    with pytest.raises(ConfigError, match=r"runtime.accumulate is 2; this stage needs whole batches"):
        gradients(job, tmp_path, accumulate=2)


def test_batch_norms_are_refused_in_pieces(tmp_path):
    config = tiny_config(**{"cmr.architecture": "resnet50"})
    job = job_of("pretrain_cmr", config, open_cohort.load(config, quiet))
    with pytest.raises(ConfigError, match=r"runtime.accumulate is 2; this model's batch norms"):
        gradients(job, tmp_path, accumulate=2)


def test_more_pieces_than_rows_are_refused(tmp_path):
    job = job_of("ssl", tiny_config(), open_cohort.load(tiny_config(), quiet))
    with pytest.raises(ConfigError, match="use fewer"):
        gradients(job, tmp_path, rows=3, accumulate=4)


def test_chunks_need_the_memory_of_a_chunk(tmp_path):
    """What autograd keeps at once, at its most, falls with the number of pieces."""
    job = job_of("eccl", tiny_config(), open_cohort.load(tiny_config(), quiet))
    assert job.step.couples_rows
    whole, pieces = (most_kept(job, tmp_path, count) for count in (1, 4))
    assert pieces < 0.4 * whole


def most_kept(job, folder, count):
    """Bytes that wait for the backward pass at the same time, at their most."""
    now, most = [0], [0]

    class Kept:
        def __init__(self, tensor):
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            now[0] += self.size
            most[0] = max(most[0], now[0])

        def __del__(self):
            now[0] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        gradients(job, folder, rows=16, accumulate=count)
    return most[0]


def test_a_training_in_pieces_goes_where_the_whole_goes(tmp_path):
    config, histories = tiny_config(**CALM), []
    for count in (1, 3):
        job = job_of("eccl", config, open_cohort.load(config, quiet))
        schedule = replace(job.schedule, epochs=2, warmup_epochs=0, lr=1e-3, batch=16)
        runtime = RuntimeConfig(accumulate=count)
        options = {"seed": 0, "fingerprint": "x", "runtime": runtime, "log": quiet}
        folder = tmp_path / str(count)
        folder.mkdir()
        history, _ = fit(replace(job, schedule=schedule), folder=folder, **options)
        histories.append(history.to_numpy())
    assert np.allclose(*histories, rtol=1e-3)
