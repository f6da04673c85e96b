"""Public models as encoders of ``eccl probe``: words, linear probe on own labels, no fine-tuning, printed checksum."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from eccl_lib.commands import probe as probe_command
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import with_changes
from eccl_lib.data import own_labels
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import probe
from eccl_lib.io.files import sha256
from eccl_lib.metrics.scores import auc
from eccl_lib.models.public import ADAPTERS
from tests.conftest import eccl, tiny_config

N = 120


class Amplitudes(nn.Module):
    """Weighted mean of the largest absolute value of each lead."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 3)

    def forward(self, ecg):
        return self.linear(ecg.abs().amax(dim=-1))


@pytest.fixture
def batches(monkeypatch):
    """Registers the adapter ``amplitudes``; lists the shapes of all ECGs that it has prepared."""
    seen = []

    def prepare(ecg):
        seen.append((tuple(ecg.shape), float(ecg.abs().max())))
        return ecg[:, None]

    own = replace(
        ADAPTERS["ecgfounder"],
        name="amplitudes",
        licence="CC0",
        source="this test",
        entry="weights",
        dropped=(),
        width=3,
        build=Amplitudes,
        prepare=prepare,
    )
    monkeypatch.setitem(ADAPTERS, "amplitudes", own)
    return seen


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.pth"
    torch.manual_seed(0)
    torch.save({"weights": Amplitudes().state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Recordings whose amplitude depends on the label; two recordings of each patient."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, N).astype(float)
    size = 0.6 + 0.5 * label + 0.1 * draw.normal(size=N)  # mV
    time = np.arange(5000) / 500
    ecg = (1000 * size[:, None, None] * np.sin(2 * np.pi * time) * np.ones((12, 1))).astype(np.int16)
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(N) // 2 % 5]
    table = pd.DataFrame({"eid": [f"{k:04d}" for k in range(N)], "patient": np.arange(N) // 2, "split": split})
    labels = own_labels.from_table(
        pd.DataFrame({"big": label.astype(int).astype(str), "size": size.astype(str)}),
        own_labels.parse(["big:binary", "size:continuous"]),
        "labels.csv",
    )
    empty = np.zeros((N, 4), dtype=bool)
    folder = tmp_path_factory.mktemp("cohort")
    return Cohort(folder, "a" * 64, table, ecg, None, np.zeros((N, 0)), empty, pd.DataFrame(), print, own=labels)


@pytest.fixture
def config():
    return with_changes(tiny_config(), {"probe.tasks": ("big", "size"), "probe.epochs": 1})


def test_words_name_a_public_model_and_its_file(batches, file, config):
    for word, name in ((f"amplitudes={file}", "amplitudes"), (f"mine=amplitudes={file}", "mine")):
        encoder = probe.parse(word)
        assert encoder.name == name and encoder.public.adapter.name == "amplitudes" and not encoder.changes
        assert encoder.public.sha256 == sha256(file) and encoder.public.device == torch.device("cpu")
    odd = file.rename(file.with_name("a=b.pth"))
    assert probe.parse(f"amplitudes={odd}").public.sha256 == sha256(odd)
    assert probe.parse(f"mine=amplitudes={odd}").name == "mine"


def test_other_words_are_read_as_before(config):
    assert probe.parse("random") == probe.Encoder("random", {"probe.encoder": "random"})
    assert probe.parse("A=mae+12345678").changes == {"probe.encoder": "mae", "mae.start_from": "12345678"}
    assert probe.parse("ECCL=1234abcd").changes == {"probe.encoder": "run", "probe.start_from": "1234abcd"}


@pytest.mark.parametrize("word", ["ecgfinder=w.pth", "ecgfinder=/a/w", "mine=ecgfinder=w"])
def test_a_misspelt_model_lists_the_known_ones(word, config):
    with pytest.raises(
        ConfigError, match="no public model is named ecgfinder; choose one of ecgfounder, ecg_jepa, st_mem"
    ):
        probe.parse(word)


def test_a_model_without_its_file_is_refused(config):
    for word in ("st_mem", "st_mem=", "mine=st_mem"):
        with pytest.raises(ConfigError, match="names no file; write st_mem=PATH"):
            probe.parse(word)
    with pytest.raises(MissingError, match="weights of st_mem"):
        probe.parse("st_mem=none.pth")


def test_the_linear_probe_reads_features_that_are_computed_once(batches, file, cohort, config):
    encoder = probe.parse(f"amplitudes={file}")
    whole, half = (probe.Setting("amplitudes", "linear probe", share) for share in (1.0, 0.5))
    fold = probe.predict(config, cohort, encoder, whole)
    test = cohort.index("test")
    assert fold.patients.tolist() == (test // 2).tolist()
    assert auc(fold.predicted[:, 0], fold.measured[:, 0] > 0.5) > 0.95
    assert np.abs(fold.predicted[:, 1] - fold.measured[:, 1]).mean() < 0.03
    assert sum(shape[0] for shape, _ in batches) == N and {shape[1:] for shape, _ in batches} == {(12, 5000)}
    assert max(largest for _, largest in batches) == pytest.approx(np.abs(cohort.ecg).max() / 1000)  # mV

    # Another fold of the cohort: other splits and another fingerprint, the same recordings.
    table = cohort.table.assign(split=cohort.table["split"].map({"train": "train", "val": "test", "test": "val"}))
    other = replace(cohort, table=table, fingerprint="b" * 64)
    count = len(batches)
    assert not np.array_equal(probe.predict(config, other, encoder, half).patients, fold.patients)
    assert len(batches) == count
    fewer = replace(cohort, table=cohort.table[2:], ecg=cohort.ecg[2:], own=cohort.own.rows(np.arange(2, N)))
    probe.predict(config, fewer, encoder, whole)
    assert len(batches) > count  # other recordings


def test_features_are_those_of_the_model(batches, file, cohort, config):
    encoder = probe.parse(f"amplitudes={file}")
    found = probe.public_features(encoder, cohort)
    weights = torch.load(file, weights_only=True)["weights"]
    largest = np.abs(cohort.ecg.astype(np.float64)).max(axis=-1) / 1000
    expected = largest @ weights["linear.weight"].numpy().T + weights["linear.bias"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_public_model_is_never_fine_tuned(batches, file, cohort, config):
    encoders = [probe.parse(f"amplitudes={file}"), probe.parse("random")]
    settings = probe.list_settings(encoders, (0.5, 1.0), (60,))
    assert [s.evaluation for s in settings if s.encoder == "amplitudes"] == ["linear probe"] * 2
    assert [own.variant for own in probe.specs(config, encoders, settings)] == ["random"] * 2
    with pytest.raises(ConfigError, match="amplitudes is a public model; it is compared by its linear probe only"):
        probe.predict(config, cohort, encoders[0], probe.Setting("amplitudes", "fine-tuned", 1.0, 60))


def test_public_models_alone_need_no_training(batches, file, cohort, config, monkeypatch):
    monkeypatch.setattr(probe, "open_ecgs", lambda config: cohort)
    encoders = [probe.parse(f"amplitudes={file}")]
    table = probe_command.run(config, (9, 10), encoders, probe.list_settings(encoders, (1.0,), (60,))[1:])
    scores = table.set_index(["encoder", "outcome"])["score"]
    assert scores["amplitudes", "big"] > 0.95 and scores["amplitudes", "size"] > 0.9
    assert sum(shape[0] for shape, _ in batches) == N  # both folds


@pytest.fixture
def without_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(probe_command, "run", lambda *arguments: pd.DataFrame({"the": ["table"]}))


def test_the_command_prints_licence_and_checksum_before_the_table(batches, file, without_runs, capsys):
    assert eccl("probe", "--encoders", "random", f"best=amplitudes={file}") == 0
    printed = capsys.readouterr().out
    assert f"best: amplitudes (CC0; this test), sha256 {sha256(file)}" in printed
    assert "best: fine-tuning is left out; a public model is compared by its linear probe only." in printed
    assert printed.index(sha256(file)) < printed.index("table")
    assert printed.count("left out") == 1


def test_the_command_stops_before_any_training_where_weights_do_not_fit(batches, file, without_runs, capsys):
    torch.save({"weights": {"linear.weight": torch.zeros(3, 12)}}, file)
    assert eccl("probe", "--encoders", "random", f"amplitudes={file}") == 2
    assert "1 missing (first: linear.bias)" in capsys.readouterr().err


def test_two_encoders_of_one_name_are_refused(batches, file, without_runs, capsys):
    assert eccl("probe", "--encoders", f"amplitudes={file}", f"amplitudes={file}") == 2
    assert "two encoders are named amplitudes; give each its own name" in capsys.readouterr().err
