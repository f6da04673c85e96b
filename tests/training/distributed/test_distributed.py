"""Two processes of gloo against one: gradients, histories, files, and ranks that die."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eccl_lib.config.errors import ConfigError
from eccl_lib.io.files import read_json, sha256
from eccl_lib.pipeline import stages
from eccl_lib.pipeline import torchrun as launch
from eccl_lib.pipeline.stages import expected
from eccl_lib.training import distributed
from eccl_lib.training.batch import Batch
from eccl_lib.training.runs import FILES
from tests.conftest import HANG, link_cohort, tiny_config

from .program import KINDS, PLAIN

PROGRAM = str(Path(__file__).with_name("program.py"))
ROOT = Path(__file__).parents[3]
# Batch norms before ReLUs: many inputs close to 0, which float32 puts on either side by the order of a sum.
KINKED = ("resnet50", "pair")


def torchrun(*words, ranks=2, **options):
    """A process of torchrun, its lines to be read."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *launcher, *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def finished(process, seconds=HANG):
    said, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def compared(shared_runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "found.json"
    finished(torchrun(PROGRAM, "compare", out))
    return json.loads(out.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_two_ranks_is_that_of_one_on_the_whole_batch(compared, kind):
    exact, rounded = compared["float64"][kind], compared["float32"][kind]
    assert exact["norm"] > 0.1 and exact["gradient"] < 1e-10
    assert exact["loss"] < 1e-12 and exact["buffers"] < 1e-12
    assert rounded["gradient"] < (1e-5 if kind not in KINKED else 5e-3)
    assert rounded["loss"] < 1e-5
    assert exact["pieces"] < 1e-10 and rounded["pieces"] < 1e-5  # accumulated, each rank in three


def train(stop=0, pause=0.0, ranks=2):
    return torchrun(PROGRAM, "train", "pretrain_ecg", stop, pause, ranks=ranks)


def quiet(line):
    pass


def plain(**overrides):
    return tiny_config(**PLAIN, **overrides)


@pytest.fixture(scope="module")
def alone(tiny_store, tmp_path_factory):
    """The chain of alignment in one process: its runs by stage."""
    with pytest.MonkeyPatch.context() as patch:
        link_cohort(tiny_store, tmp_path_factory.mktemp("alone") / "runs", patch)
        return chain(stages.train(plain(), "eccl", quiet))


def chain(aligned):
    """An alignment and its parents, by stage."""
    data = stages.cohort_for(plain(), quiet)
    return {"align": aligned} | {name: expected(plain(), name, data) for name in ("pretrain_ecg", "pretrain_cmr")}


def same(run, other):
    """Whether two runs of other sums of the same numbers went the same way."""
    pd.testing.assert_frame_equal(run.history, other.history, rtol=2e-3, atol=2e-4)
    pd.testing.assert_frame_equal(run.predictions, other.predictions, rtol=2e-2, atol=2e-3)


def interrupted(line):
    if "epoch 1/" in line:
        raise KeyboardInterrupt


def test_one_rank_begins_two_go_on_and_the_whole_chain_is_that_of_one(alone, tiny_runs):
    with pytest.raises(KeyboardInterrupt):
        stages.train(plain(), "pretrain_ecg", interrupted)
    said = []
    together = chain(stages.train(plain(**{"runtime.ranks": 2}), "eccl", said.append))
    assert any("resuming at epoch 2" in line for line in said)
    for stage, run in alone.items():
        assert together[stage].done and together[stage].fingerprint == run.fingerprint
        assert together[stage].manifest()["made_with"]["ranks"] == 2
        same(together[stage], run)
    features = [each["pretrain_cmr"].cached_array("features", None) for each in (together, alone)]
    assert np.allclose(*features, atol=1e-3)
    assert sum("epoch 3/3" in line for line in said) == 3  # one rank speaks
    assert sum(line.endswith(": finished") for line in said) == 3  # one summary each
    assert sum(line.startswith("  next") for line in said) == 1


def test_two_ranks_begin_and_one_goes_on(alone, tiny_runs):
    finished(train(stop=1))
    state = read_json(next(tiny_runs.glob("*/pretrain_ecg/*/*/*/manifest.json")))
    assert (state["status"], state["state"]["epoch"]) == ("training", 1)
    said = []
    same(stages.train(plain(), "pretrain_ecg", said.append), alone["pretrain_ecg"])
    assert any("resuming at epoch 2" in line for line in said)


def test_torchrun_with_one_process_gives_the_same_bytes(alone, tiny_runs):
    finished(train(ranks=1))
    (manifest,) = tiny_runs.glob("*/pretrain_ecg/*/*/*/manifest.json")
    for name in FILES:
        assert sha256(manifest.parent / name) == sha256(alone["pretrain_ecg"].folder / name)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_or_hangs_ends_the_others_and_the_run_goes_on(how, alone, tiny_runs):
    process, said, ranks = train(pause=0.2), [], {}
    for line in process.stdout:
        said.append(line)
        for rank, number in re.findall(r"rank (\d) is process (\d+)", line):  # both may stand in one line
            ranks[int(rank)] = int(number)
        if "epoch 1/" in line:
            os.kill(ranks[1], how)
        if "lost one of" in line and how == signal.SIGSTOP:
            os.kill(ranks[1], signal.SIGKILL)  # as torchrun does after half a minute of patience
    assert process.wait(HANG) != 0  # an error after two minutes: the others would wait for ever
    text = "".join(said)
    told = "Signal 9 (SIGKILL)" if how == signal.SIGKILL else "rank 0 lost one of the 2 ranks"
    assert told in text, text
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())
    (manifest,) = tiny_runs.glob("*/pretrain_ecg/*/*/*/manifest.json")
    assert read_json(manifest)["status"] == "training"
    same(stages.train(plain(), "pretrain_ecg", quiet), alone["pretrain_ecg"])


def test_what_fails_on_the_first_rank_is_told_and_not_waited_for(tiny_runs):
    config = plain(**{"runtime.ranks": 2, "runtime.build_missing": False, "align.epochs": 2})
    said = []
    with pytest.raises(launch.LaunchError, match=r"eccl train pretrain_ecg"):
        stages.train(config, "eccl", said.append)


@pytest.mark.parametrize("pieces", [1, 3])
def test_pieces_of_a_batch_draw_and_weigh_as_the_whole(pieces):
    rows, values = np.arange(11), torch.randn(11, generator=torch.Generator().manual_seed(1))
    found, total = [], 0.0
    for shard in distributed.shards(len(rows), pieces):
        batch = Batch(rows, shard, torch.Generator().manual_seed(2))
        found.append(batch.draw(5, -1))
        mean = values[batch.rows].mean()
        total += float(batch.weigh(mean))
        half = float(batch.weigh(mean, terms=len(batch.rows) / 2, of=5.5))
        assert half == pytest.approx(float(batch.weigh(mean)))
        assert distributed.all_gather(values, shard) is values
    assert torch.equal(torch.cat(found, dim=1), torch.rand(5, 11, generator=torch.Generator().manual_seed(2)))
    assert total == pytest.approx(float(values.mean()), abs=1e-6)


def test_more_pieces_than_rows_are_refused():
    with pytest.raises(ConfigError, match="batch of 2 rows cannot be split over 3 microbatches"):
        distributed.shards(2, 3)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_batches_and_draws_do_not_hang_on_the_number_of_ranks(ranks, monkeypatch):
    rows = np.random.default_rng(0).permutation(17)
    found, drawn = [], []
    for rank in range(ranks):
        monkeypatch.setattr(distributed, "_team", distributed.Team(rank, ranks, None))
        for shard in distributed.shards(len(rows), 2):
            batch = Batch(rows, shard, torch.Generator().manual_seed(4))
            found.append(batch.rows)
            drawn.append(batch.draw(-1, 3))
    assert np.array_equal(np.concatenate(found), rows)
    assert torch.equal(torch.cat(drawn), torch.rand(17, 3, generator=torch.Generator().manual_seed(4)))


def test_fewer_rows_than_ranks_and_fewer_gpus_than_processes_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "_team", distributed.Team(0, 4, None))
    with pytest.raises(ConfigError, match="batch of 3 rows cannot be split over 4 ranks"):
        distributed.shards(3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="process 2 needs a GPU, but this machine has 1"):
        distributed._take_gpu(1)
