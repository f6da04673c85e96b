"""Every switch on or off gives the same loss within what its arithmetic allows; what is measured fits closed forms."""

import threading
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench import cards
from eccl_lib.config.load import load
from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.data import open_cohort
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.pipeline import stages
from eccl_lib.training import datasets, distributed, performance
from eccl_lib.training.datasets import CineDataset, Prefetcher
from eccl_lib.training.loop import Loop, fit
from eccl_lib.training.optim import build_optimizer
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import job_of, quiet
from tests.training.test_microbatches import distance, gradients

pytestmark = pytest.mark.usefixtures("shared_runs")
KEYS = ("pretrain_ecg", "pretrain_cmr", "eccl")
CPU = torch.device("cpu")


def fresh(key, **changes):
    config = tiny_config(**changes)
    return job_of(key, config, open_cohort.load(config, quiet))


# Precision.


@pytest.mark.parametrize("key", KEYS)
def test_bf16_changes_loss_and_gradient_by_no_more_than_its_eight_bits(key, tmp_path):
    calm = {"ecg.dropout": 0.0, "cmr.dropout": 0.0, "cmr.drop_path": 0.0}
    full, expected = gradients(fresh(key, **calm), tmp_path, precision="fp32")
    half, found = gradients(fresh(key, **calm), tmp_path, precision="bf16")
    assert half["loss"] == pytest.approx(full["loss"], rel=2e-2) and half["loss"] != full["loss"]
    assert distance(expected, found) < 0.05


def test_a_cpu_trains_in_fp32_unless_it_is_told_otherwise():
    assert not performance.uses_bf16(CPU, RuntimeConfig()) and performance.uses_bf16(
        CPU, RuntimeConfig(precision="bf16")
    )
    assert performance.uses_bf16(torch.device("cuda"), RuntimeConfig())
    assert not performance.uses_bf16(torch.device("cuda"), RuntimeConfig(precision="fp32"))


# Recomputation.


@pytest.mark.parametrize("key", KEYS)
def test_recomputed_activations_give_the_same_bits_with_dropout(key, tmp_path):
    plain, expected = gradients(fresh(key), tmp_path)
    again, found = gradients(fresh(key), tmp_path, recompute=True)
    assert again == plain and all(torch.equal(found[name], expected[name]) for name in expected)


def test_recomputation_keeps_a_fraction_of_the_memory():
    config = load("demo", overrides={"ecg.depth": 6, "ecg.dropout": 0.1})
    model, x = EcgEncoder(config.ecg, 1000), torch.randn(4, 12, 1000)
    kept = []
    for on in (False, True):
        assert performance.recompute(model, on) == 6
        kept.append(cards.saved_bytes(lambda: model(x).sum()))
    assert kept[1] < 0.25 * kept[0]


def test_an_encoder_with_batch_norms_has_no_blocks_to_recompute():
    config = tiny_config()
    assert performance.recompute(job_of("autoencode_ecg", config, open_cohort.load(config, quiet)).model) == 0


# Compilation.


@pytest.mark.parametrize("key", KEYS)
def test_a_compiled_model_trains_as_the_plain_one(key, tmp_path, monkeypatch):
    monkeypatch.setattr(
        performance, "BACKEND", "aot_eager"
    )  # traced and differentiated as by inductor, without a compiler
    found = []
    for choice in ("off", "on"):
        folder = tmp_path / choice
        folder.mkdir()
        job, said = fresh(key, **{"ecg.dropout": 0.0, "cmr.dropout": 0.0, "cmr.drop_path": 0.0}), []
        before = {name: value.clone() for name, value in job.model.state_dict().items()}
        runtime = RuntimeConfig(compile=choice)
        schedule = replace(job.schedule, epochs=1, warmup_epochs=0, lr=1e-4, batch=16)
        loop = Loop(replace(job, schedule=schedule), 0, folder, "x", runtime, said.append)
        loop.compile()
        work = getattr(job.model, "encoder", None) if key != "pretrain_ecg" else job.model
        assert (work._compiled_call_impl is not None) == (choice == "on") and not said
        assert all(torch.equal(before[name], value) for name, value in job.model.state_dict().items())
        loop.run_epoch()
        found.append(loop.state.history[0]["loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_what_cannot_be_compiled_is_trained_as_it_is_with_one_line(tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler on this machine")

    monkeypatch.setattr(performance, "BACKEND", broken)
    rows, said = {}, []
    for choice in ("off", "on"):
        job, folder = fresh("eccl"), tmp_path / choice
        folder.mkdir()
        options = {"seed": 0, "fingerprint": "x", "log": said.append}
        runtime = RuntimeConfig(compile=choice)
        schedule = replace(job.schedule, epochs=1, warmup_epochs=0, lr=1e-4, batch=16)
        rows[choice], _ = fit(replace(job, schedule=schedule), folder=folder, runtime=runtime, **options)
    assert rows["off"].equals(rows["on"])
    assert sum("torch.compile does not work here" in line for line in said) == 1


@pytest.mark.parametrize(("gain", "kept"), [(1.05, False), (1.2, True)])
def test_compilation_stays_where_a_trial_gains(gain, kept, monkeypatch):
    part, marks = torch.nn.Linear(3, 3), iter([gain, 1.0])
    monkeypatch.setattr(performance, "BACKEND", "eager")
    monkeypatch.setattr(performance, "seconds", lambda function, device: next(marks))
    monkeypatch.setattr(performance, "worth_a_trial", lambda device, runtime: True)
    assert performance.compile_if_faster(part, lambda: part(torch.ones(1, 3)), 10_000, RuntimeConfig(), quiet) == kept
    assert (part._compiled_call_impl is not None) == kept


class Normed(torch.nn.Module):
    """A module whose buffers move; torch's own alone would not be compiled."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.parametrize(("updates", "tried"), [(1199, False), (1200, True)])
def test_a_training_of_less_than_ten_minutes_is_not_worth_a_trial(updates, tried, monkeypatch):
    part, compilations = Normed(), []
    monkeypatch.setattr(performance, "BACKEND", lambda graph, inputs: compilations.append(graph) or graph.forward)
    monkeypatch.setattr(performance, "seconds", lambda function, device: function() is None or 0.5)  # of a plain step
    monkeypatch.setattr(performance, "worth_a_trial", lambda device, runtime: True)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    trial = lambda: part(torch.rand(5, 3))  # noqa: E731
    assert not performance.compile_if_faster(
        part, trial, updates, RuntimeConfig(), quiet
    )  # as fast as before: it gains nothing
    assert bool(compilations) == tried
    assert all(torch.equal(before[name], value) for name, value in part.state_dict().items())


def test_who_asks_for_compilation_gets_it_however_short_the_training(monkeypatch):
    part = torch.nn.Linear(3, 3)
    monkeypatch.setattr(performance, "BACKEND", "eager")
    assert performance.compile_if_faster(part, lambda: part(torch.ones(1, 3)), 1, RuntimeConfig(compile="on"), quiet)


@pytest.mark.parametrize("choice", ["auto", "on"])
def test_several_processes_that_train_together_compile_nothing(choice, monkeypatch):
    part, said, trials = torch.nn.Linear(3, 3), [], []
    monkeypatch.setattr(distributed, "_team", distributed.Team(1, 2, None))
    assert not performance.worth_a_trial(torch.device("cuda"), RuntimeConfig(compile=choice))
    trial = lambda: trials.append(1)  # noqa: E731
    assert not performance.compile_if_faster(part, trial, 10**6, RuntimeConfig(compile=choice), said.append)
    assert not trials and len(said) == (choice == "on")


def test_a_trial_hears_how_many_updates_are_left(tmp_path, monkeypatch):
    job, heard = fresh("eccl"), []
    monkeypatch.setattr(
        performance, "compile_if_faster", lambda part, trial, updates, runtime, log: heard.append(updates)
    )
    schedule = replace(job.schedule, epochs=7, warmup_epochs=0, lr=1e-4, batch=16)
    loop = Loop(replace(job, schedule=schedule), 0, tmp_path, "x", RuntimeConfig(), quiet)
    steps = len(job.batches(0))
    loop.compile()
    loop.state.epoch, loop.state.step = 5, 1
    loop.compile()
    assert heard == [7 * steps, 2 * steps - 1]


def test_a_cpu_compiles_nothing_by_itself():
    assert not performance.worth_a_trial(CPU, RuntimeConfig()) and performance.worth_a_trial(
        CPU, RuntimeConfig(compile="on")
    )
    assert performance.worth_a_trial(torch.device("cuda"), RuntimeConfig())
    assert not performance.worth_a_trial(torch.device("cuda"), RuntimeConfig(compile="off"))


# Optimiser and layout.


def test_the_fused_optimiser_moves_a_model_as_a_loop_over_its_weights(tmp_path):
    job = fresh("eccl")
    _, gradient = gradients(job, tmp_path)
    weights = {n: p for n, p in job.model.named_parameters() if n in gradient}
    copies = {n: torch.nn.Parameter(p.detach().clone()) for n, p in weights.items()}
    fused = build_optimizer(list(weights.values()), job.schedule)
    plain = torch.optim.Adam(copies.values(), lr=job.schedule.lr, betas=(0.9, job.schedule.beta2), foreach=False)
    for _ in range(3):
        for name, value in gradient.items():
            weights[name].grad, copies[name].grad = value, value
        fused.step(), plain.step()
    assert fused.defaults["fused"] and not plain.defaults["fused"]
    assert all(torch.allclose(weights[n], copies[n], atol=1e-7) for n in weights)


def test_channels_last_gives_the_features_of_contiguous_memory():
    config = tiny_config()
    model = cmr_encoder(config).eval()
    clip = torch.randn(3, config.view.clip_frames, config.view.clip_size, config.view.clip_size)
    with torch.no_grad():
        plain = model(clip)
        last = model.to(memory_format=torch.channels_last)(clip.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, last, atol=1e-5 * float(plain.norm()))


def test_clips_reach_the_model_channels_last():
    config = tiny_config()
    clip = CineDataset(open_cohort.load(config, quiet), config).of(np.arange(3))
    assert clip.is_contiguous(memory_format=torch.channels_last)


# Attention.


class Squares(TorchDispatchMode):
    """Notes every tensor whose last two sizes are given ones, forward or backward."""

    def __init__(self, *lengths):
        super().__init__()
        self.lengths, self.seen = lengths, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.dim() >= 3:
                self.seen += any(tuple(tensor.shape[-2:]) == (n, n) for n in self.lengths)
        return found


def narrow(name):
    """The paper's tokens in a narrow model, and its inputs."""
    changes = {f"{part}": 64 for part in ("ecg.width", "mae.decoder_width")}
    heads = {"ecg.heads": 2, "mae.decoder_heads": 2, "ecg.depth": 2, "mae.decoder_depth": 1}
    config = load("paper", overrides=changes | heads)
    if name == "mae":
        return MaskedAutoencoder(config.ecg, config.mae, 5000), (torch.randn(2, 12, 5000), torch.rand(2, 600))
    return EcgEncoder(config.ecg, 5000), (torch.randn(2, 12, 5000),)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["ecg", "mae"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_path_of_the_ecg_ever_holds_the_attention_of_600_tokens(name, precision, recompute):
    model, inputs = narrow(name)
    performance.recompute(model, recompute)
    with Squares(601, 121) as squares, performance.autocast(CPU, RuntimeConfig(precision=precision)):
        found = model(*inputs)
        (found[0] if name == "mae" else found).sum().backward()
    assert squares.seen == 0


def test_attention_that_is_held_would_be_seen():
    model, inputs = narrow("ecg")
    model.eval()  # no dropout
    fused = model(*inputs).detach()
    for block in model.blocks:
        block.attn.fused_attn = False
    with Squares(601) as squares:
        eager = model(*inputs)
        eager.sum().backward()
    assert squares.seen > 4
    assert torch.allclose(eager, fused, atol=1e-4)  # the same numbers, other memory


# Reading.


def history_of(choice, folder):
    job = fresh("pretrain_cmr", **{"runtime.read_ahead": choice})
    folder.mkdir()
    schedule = replace(job.schedule, epochs=2, warmup_epochs=0, lr=1e-4, batch=16)
    return fit(replace(job, schedule=schedule), seed=0, folder=folder, fingerprint="x", log=quiet)[0]


def test_clips_read_ahead_give_the_same_bits(tmp_path):
    plain, ahead = (history_of(choice, tmp_path / choice) for choice in ("off", "on"))
    assert plain.equals(ahead)


class Counting(np.ndarray):
    """Rows that count how often they are read, and in which thread."""

    reads: ClassVar[list[str]] = []

    def __getitem__(self, key):
        self.reads.append(threading.current_thread().name)
        return np.asarray(super().__getitem__(key))


@pytest.mark.parametrize(("choice", "thread"), [("off", "MainThread"), ("on", "prefetcher")])
def test_clips_of_every_step_are_read_in_the_prefetching_thread_where_configured(choice, thread, tmp_path, monkeypatch):
    job = fresh("pretrain_cmr", **{"runtime.read_ahead": choice})
    (cines,) = job.datasets
    cines.pixels = np.asarray(cines.pixels[:]).view(Counting)
    monkeypatch.setattr(Counting, "reads", [])
    loop = Loop(job, 0, tmp_path, "x", RuntimeConfig(), quiet)
    batches = job.batches(0)
    with cines.ahead(loop.own_rows(batches)):
        for rows in batches:
            loop.run_step(rows, 1.0)
    assert Counting.reads == [thread] * len(batches)


def test_waiting_for_clips_is_counted_by_the_clock(monkeypatch):
    """The clock advances by one second while a batch is read."""
    now = iter(range(100))
    config = tiny_config(**{"runtime.read_ahead": "off"})
    cines = CineDataset(open_cohort.load(config, quiet), config)
    monkeypatch.setattr(datasets, "time", SimpleNamespace(perf_counter=lambda: float(next(now))))
    for steps in (1, 2, 3):
        cines.of(np.arange(4))
        assert cines.waited == steps


def test_the_reader_keeps_the_order_hands_on_errors_and_ends(tmp_path):
    batches = [np.arange(k, k + 3) for k in range(5)]

    def read(rows):
        if rows[0] == 3:
            raise OSError("the disk is gone")
        return torch.from_numpy(rows)

    with Prefetcher(read, batches) as reader:
        for rows in batches[:3]:
            assert reader.has(rows) and not reader.has(rows + 1)
            assert torch.equal(reader.next(), torch.from_numpy(rows))
        with pytest.raises(OSError, match="the disk is gone"):
            reader.next()
    assert not reader._thread.is_alive()
    with Prefetcher(lambda rows: torch.from_numpy(rows), batches) as unread:
        pass
    assert not unread._thread.is_alive()  # though its queue was full and nobody came


def test_rows_that_were_not_announced_are_read_all_the_same():
    config = tiny_config(**{"runtime.read_ahead": "on"})
    clips = CineDataset(open_cohort.load(config, quiet), config)
    plain = CineDataset(open_cohort.load(tiny_config(), quiet), tiny_config())
    with clips.ahead([np.arange(4), np.arange(4, 8)]):
        for rows in (np.arange(10, 13), np.arange(4), np.arange(20, 22), np.arange(4, 8), np.arange(3)):
            assert torch.equal(clips.of(rows), plain.of(rows))


@pytest.mark.parametrize("disease", ["I48", "traits"])
def test_scoring_an_ecg_arm_never_reads_clips(disease, monkeypatch):
    config = tiny_config(disease, seed=3)
    data = open_cohort.load(config, quiet)
    stages.cmr_features(config, data, quiet)  # once, from clips

    def refused(*arguments):
        raise AssertionError("clips were opened")

    monkeypatch.setattr(CineDataset, "__init__", refused)
    monkeypatch.setattr(type(data), "clip_view", refused)
    run = stages.train(config, "eccl", quiet)  # trained, validated and scored
    assert run.metrics["n"]["test"] == len(data.index("test"))


# Measures.


def test_flops_of_a_linear_layer_are_three_products():
    layer, x = torch.nn.Linear(30, 50), torch.randn(7, 30, requires_grad=True)
    assert performance.flops(lambda: layer(x)) == 2 * 7 * 30 * 50
    assert performance.flops(lambda: layer(x).sum().backward()) == 3 * 2 * 7 * 30 * 50


def test_flops_of_an_ecg_encoder_follow_from_its_sizes():
    model, (x,) = narrow("ecg")
    tokens, width, depth = 601, 64, 2
    block = 2 * tokens * 12 * width**2 + 2 * 2 * tokens**2 * width  # four products and an MLP; q k and attention v
    embedding = 2 * 600 * 100 * width
    with torch.no_grad():
        assert performance.flops(lambda: model(x[:1])) == depth * block + embedding


def test_counting_flops_of_fused_attention_equals_the_plain_one():
    model, inputs = narrow("ecg")
    fused = performance.flops(lambda: model(*inputs).sum().backward())
    for block in model.blocks:
        block.attn.fused_attn = False
    plain = performance.flops(lambda: model(*inputs).sum().backward())
    once_more = 2 * 2 * 2 * 601**2 * 64  # blocks, samples, multiply and add: q k, which the fused backward did not keep
    assert fused == plain + once_more


def test_saved_bytes_of_a_chain_are_its_inputs_and_need_no_memory():
    from torch._subclasses.fake_tensor import FakeTensorMode

    def kept(batch, mode):
        with mode:
            chain = torch.nn.Sequential(torch.nn.Linear(100, 200), torch.nn.Sigmoid(), torch.nn.Linear(200, 10))
            x = torch.randn(batch, 100)
            return cards.saved_bytes(lambda: chain(x).sum())

    literal = 4 * 8 * (100 + 200)  # the chain's input, and the sigmoid's output once for both that need it
    assert kept(8, nullcontext()) == literal
    assert kept(8 * 10**9, FakeTensorMode()) == 10**9 * literal


def test_the_machines_rate_is_the_work_of_a_product_over_its_fastest_time(monkeypatch):
    ticks = iter([0, 9, 10, 12, 20, 21, 30, 33, 40, 44, 50, 55])  # seconds at the start and end of six trials
    monkeypatch.setattr(performance.time, "process_time", lambda: float(next(ticks)))
    performance.matrix_rate.cache_clear()
    rate = performance.matrix_rate(CPU, torch.float32, torch.get_num_threads())
    assert rate == 4 * 2 * 1024**3 / 1.0  # four products; the first trial is for warm-up
    assert performance.matrix_rate(CPU, torch.float32, torch.get_num_threads()) == rate  # measured once
    performance.matrix_rate.cache_clear()


def test_timing_says_how_fast_it_went_and_so_does_one_line(tmp_path):
    job, said = fresh("eccl"), []
    schedule = replace(job.schedule, epochs=2, warmup_epochs=0, lr=1e-4, batch=16)
    _, found = fit(replace(job, schedule=schedule), seed=0, folder=tmp_path, fingerprint="x", log=said.append)
    assert found["samples"] == 2 * sum(map(len, job.batches(0)))
    assert found["samples_per_second"] == pytest.approx(found["samples"] / found["step_seconds"], rel=1e-3)
    work = found["samples"] * found["gflop_per_sample"] / found["step_cpu_seconds"]
    assert found["utilisation"] == pytest.approx(work / found["matrix_gflop_per_second"], rel=1e-2)
    assert 0 < found["utilisation"] < 1 and 0 <= found["data_wait"] < 1
    assert found["step_seconds"] <= found["seconds"]
    assert said[-1] == performance.report_line(found) and "samples/s, data wait" in said[-1]


def test_a_slow_machine_s_pace_is_said_in_digits():
    found = dict.fromkeys(("samples_per_second", "data_wait", "utilisation", "matrix_gflop_per_second"), 0.2517)
    assert performance.report_line(found).startswith("0.25 samples/s")
    assert performance.report_line(found | {"samples_per_second": 2104.3}).startswith("2,104 samples/s")
