"""Own labels from a user's table to a trained encoder, a linear probe, and scores over folds and patients."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from eccl_lib import tasks
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import load, with_changes
from eccl_lib.config.schema import LEADS
from eccl_lib.data import open_cohort
from eccl_lib.data.own_labels import OwnTask
from eccl_lib.evaluation import probe
from eccl_lib.evaluation.probe import Encoder, Fold, Setting
from eccl_lib.metrics import scores
from eccl_lib.pipeline import stages
from tests.conftest import TINY, eccl, tiny_config
from tests.pipeline.tiny_jobs import quiet

PATIENTS, EACH = 40, 2
SHORT = {"mae.epochs": 2, "mae.batch": 8, "mae.warmup_epochs": 0, "probe.epochs": 2, "probe.warmup_epochs": 0}
SHORT |= {"probe.tasks": ["fast", "both", "age"]}
RANDOM, MAE = Encoder("random", {"probe.encoder": "random"}), Encoder("mae", {"probe.encoder": "mae"})


def load_ecg(config):
    return open_cohort.load(config, quiet, needs=("ecg",))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A store of two ECGs of each of 40 patients, labelled by their heart rate and amplitude."""
    folder = tmp_path_factory.mktemp("probe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(folder / "runs"))
        rng, time, ecgs = np.random.default_rng(0), np.arange(5000) / 500, folder / "ecgs"
        ecgs.mkdir()
        (ecgs / "ecg.json").write_text(json.dumps({"rate": 500, "leads": list(LEADS)}))
        rows = []
        for k in range(PATIENTS * EACH):
            rate, size = rng.uniform(0.8, 2.0), rng.uniform(0.4, 1.5)
            beats = np.exp(-(((time * rate) % 1 - 0.5) ** 2) / 5e-4)
            np.save(ecgs / f"e{k}.npy", size * rng.uniform(0.5, 1, 12)[:, None] * beats)
            rows.append(
                (f"e{k}", f"p{k // EACH}", int(rate > 1.4), int(size > 0.9), "" if k % 9 == 0 else 40 + 20 * rate)
            )
        pd.DataFrame(rows, columns=["id", "patient", "fast", "big", "age"]).to_csv(folder / "labels.csv", index=False)
        words = ["--name", "tiny", "--workers", "1", "--labels", folder / "labels.csv"]
        assert (
            eccl("ingest", "ecg", ecgs, *words, "--tasks", "fast:binary", "both:multilabel:fast,big", "age:continuous")
            == 0
        )
        yield load("demo", cohort="ecg-tiny", overrides={**TINY, **SHORT})


def test_the_store_has_the_labels_of_the_table(config):
    data = load_ecg(config)
    assert list(data.own.tasks) == ["fast", "both", "age"] and list(data.own.values) == ["fast", "big", "age"]
    assert data.own.values["age"].isna().sum() == 9 and set(data.own.values["fast"]) == {0, 1}
    assert np.corrcoef(data.own.values["fast"], data.table["heart_rate"] > 84)[0, 1] > 0.9


def test_folds_by_patient_test_every_recording_once(config):
    tested = []
    for fold in range(1, 11):
        data = load_ecg(probe.fold_config(config, fold))
        by_patient = data.table.groupby("patient")["split"].nunique()
        assert (by_patient == 1).all()
        tested += data.table.loc[data.table["split"] == "test", "eid"].tolist()
    assert sorted(tested) == sorted(load_ecg(config).table["eid"])


def test_fine_tuning_learns_the_tasks_and_a_share_of_the_labels_is_a_share_of_the_patients(config):
    data = load_ecg(config)
    run = probe.run_spec(config, RANDOM, updates=60).train(quiet)
    assert run.metrics["tasks"].keys() == {"fast", "both", "age"} and run.metrics["updates"] == 60
    assert run.metrics["test"] == pytest.approx(np.mean(list(run.metrics["tasks"].values())))
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    job = probe.run_spec(config, RANDOM, share=0.5, updates=60).job(data)
    whole, half = data.index("train"), job.rows("train")
    patients = data.table["patient"].to_numpy()
    assert set(half) < set(whole) and len(set(patients[half])) == round(len(set(patients[whole])) / 2)
    assert not set(patients[half]) & set(patients[np.setdiff1d(whole, half)])


def test_an_encoder_starts_from_the_autoencoder_of_its_fold_or_from_a_named_run(config):
    data = load_ecg(config)
    pretrained = stages.train(config, "pretrain_ecg", quiet)
    own = probe.run_spec(config, MAE)
    assert own.parents()[0].run(data) == pretrained
    named = probe.run_spec(config, probe.parse(pretrained.fingerprint[:8]))
    weights = pretrained.weights("encoder")
    for spec in (own, named):
        encoder = spec.job(data).model.encoder.state_dict()
        assert all(np.array_equal(encoder[name], weights[name]) for name in weights)
    other = probe.fold_config(config, 3)
    assert probe.run_spec(other, MAE).parents()[0].run(load_ecg(other)) != pretrained
    with pytest.raises(MissingError, match=r"probe.start_from is 00000000: no finished run"):
        probe.run_spec(config, probe.parse("00000000")).job(data)


def test_words_name_encoders():
    assert probe.parse("random") == Encoder("random", {"probe.encoder": "random"})
    assert probe.parse("ECCL, synthetic=12345678").changes == {"probe.encoder": "run", "probe.start_from": "12345678"}
    assert probe.parse("both=mae+12345678").changes == {"probe.encoder": "mae", "mae.start_from": "12345678"}
    for word in ("nonsense", "mae+", "mae+nonsense", "randm", "A=maee"):
        with pytest.raises(
            ConfigError, match=r"is no encoder; choose random, mae, mae\+RUN, RUN, or ecgfounder=PATH or"
        ):
            probe.parse(word)


def test_the_linear_probe_of_the_measurements_reads_the_heart_rate(config):
    data = load_ecg(config)
    found = probe.predict(config, data, None, Setting(probe.MEASUREMENTS, "linear probe"))
    assert scores.auc(found.predicted[:, 0], found.measured[:, 0] > 0.5) > 0.8
    random = probe.predict(config, data, RANDOM, Setting("random", "linear probe"))
    assert random.predicted.shape == (len(data.index("test")), 4) and np.isfinite(random.predicted).all()
    np.testing.assert_array_equal(random.measured, found.measured)


TASKS = [OwnTask("both", "multilabel", ("a", "b")), OwnTask("age", "continuous", ("age",))]


def folds(noise=1.0, seed=0):
    generator, found = np.random.default_rng(seed), []
    for fold in range(3):
        classes = np.arange(60) % 2, np.arange(60) % 3 == 0
        measured = np.column_stack([*classes, generator.normal(60, 9, 60)]).astype(float)
        predicted = measured + noise * generator.standard_normal(measured.shape) * [1, 1, 9]
        predicted[:, :2] += 100 * fold
        found.append(Fold(np.array([f"{fold}-{k // 2}" for k in range(60)]), measured, predicted))
    return found


def test_a_score_is_the_mean_over_folds_so_that_models_of_unlike_level_can_be_pooled():
    found = folds()
    macro = [np.mean([scores.auc(fold.predicted[:, k], fold.measured[:, k] > 0.5) for k in (0, 1)]) for fold in found]
    score = probe.score(found, TASKS, "both", draws=200)
    assert score.value == pytest.approx(np.mean(macro)) and score.drawn.shape == (1, 200)
    assert probe.score(found, TASKS, "b", 10).value == pytest.approx(
        np.mean([scores.auc(fold.predicted[:, 1], fold.measured[:, 1] > 0.5) for fold in found])
    )
    r = [np.corrcoef(fold.predicted[:, 2], fold.measured[:, 2])[0, 1] for fold in found]
    assert probe.score(found, TASKS, "age", 10).value == pytest.approx(np.mean(r))
    error = np.mean([np.abs(fold.predicted[:, 2] - fold.measured[:, 2]).mean() for fold in found])
    assert probe.absolute_error(found, TASKS, "age") == pytest.approx(error)


def test_both_recordings_of_a_patient_are_drawn_together():
    """With pairs of equal recordings, the interval is that of half as many recordings."""
    single = [Fold(f.patients[::2], f.measured[::2], f.predicted[::2]) for f in folds()]
    doubled = [
        Fold(np.repeat(f.patients, 2), np.repeat(f.measured, 2, 0), np.repeat(f.predicted, 2, 0)) for f in single
    ]
    one, two = (probe.score(f, TASKS, "both", draws=300).drawn.std() for f in (single, doubled))
    assert two == pytest.approx(one, rel=1e-6)


def test_the_table_and_a_difference_use_the_same_draws():
    better, worse = Setting("better", "fine-tuned", 1.0, 300), Setting("worse", "fine-tuned", 1.0, 300)
    gathered = {better: folds(0.5), worse: folds(2.0)}
    table = probe.table(gathered, TASKS, ["both", "age"]).set_index(["encoder", "outcome"])
    assert (table["low"] < table["score"]).all() and np.isnan(table.loc[("better", "both"), "mae"])
    found = probe.difference(gathered, TASKS, "both", better, worse)
    assert found.value == pytest.approx(table.loc[("better", "both"), "score"] - table.loc[("worse", "both"), "score"])
    assert found.low > 0
    same = probe.difference({better: folds(), worse: folds()}, TASKS, "age", better, worse)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_every_encoder_is_probed_and_fine_tuned_at_every_share():
    found = probe.list_settings([RANDOM, MAE], (1.0, 0.25), (100, 300))
    assert len(found) == len(set(found)) == 2 + 2 * (2 + 4)


def test_the_command_prints_a_table_and_names_an_unknown_task(config, capsys):
    words = ["--scale", "demo", "--cohort", "ecg-tiny", "--encoders", "random", "--updates", "20"]
    settings = [f"{name}={json.dumps(value)}" for name, value in {**TINY, **SHORT}.items() if name != "probe.tasks"]
    assert eccl("probe", *words, "--tasks", "fast", "--set", *settings) == 0
    printed = capsys.readouterr().out
    assert "measurements" in printed and "fine-tuned" in printed and "probe.csv" in printed
    assert eccl("probe", *words, "--tasks", "HF", "--set", *settings) == 2
    assert "its tasks are fast, both, age" in capsys.readouterr().err


def test_a_run_of_another_fold_of_the_same_cohort_is_no_start(config):
    first = stages.train(config, "pretrain_ecg", quiet)
    other = probe.fold_config(config, 3)
    with pytest.raises(ConfigError, match="trained on another split of ecg-tiny, which contains test participants"):
        probe.run_spec(other, probe.parse(first.fingerprint[:8])).job(load_ecg(other))


def test_a_run_that_started_from_another_fold_is_no_start_either(config):
    first = stages.train(config, "pretrain_ecg", quiet)
    elsewhere = {"mae.start_from": first.fingerprint[:8]}
    second = stages.train(tiny_config(**{**SHORT, **elsewhere}), "pretrain_ecg", quiet)
    other = probe.fold_config(config, 3)
    with pytest.raises(ConfigError, match=f"{first.name} was trained on another split of ecg-tiny"):
        probe.run_spec(other, probe.parse(second.fingerprint[:8])).job(load_ecg(other))


def test_another_pooling_is_another_run(config):
    data = load_ecg(config)
    plain, mean = (config, with_changes(config, {"align.pooling": "mean"}))
    runs = [probe.run_spec(own, RANDOM).run(data) for own in (plain, mean)]
    assert runs[0].fingerprint != runs[1].fingerprint
    assert runs[0] == stages.spec(with_changes(plain, {"align.epochs": 3}), "probe").run(data)


def test_the_command_keeps_the_test_fold_of_the_config(config, monkeypatch):
    seen = []
    monkeypatch.setattr("eccl_lib.commands.probe.run", lambda config, folds, *_: seen.append(folds) or pd.DataFrame())
    words = ["--scale", "demo", "--cohort", "ecg-tiny", "--tasks", "fast", "--encoders", "random"]
    eccl("probe", *words, "--set", "store.test_fold=7")
    eccl("probe", *words, "--set", "store.test_fold=7", "--folds", "2", "3")
    assert seen == [(7,), (2, 3)]


def test_tasks_that_share_a_column_have_outputs_of_their_own(config):
    data = load_ecg(config)
    assert tasks.own_targets(["both", "fast"], data).task.names == ("both_fast", "both_big", "fast")
    listed = [OwnTask("superclass", "multilabel", ("NORM", "MI")), OwnTask("MI", "binary", ("other",))]
    assert probe.columns_of(listed, "MI") == (True, [2]) and probe.columns_of(listed, "NORM") == (True, [0])


def test_fine_tunings_of_one_encoder_share_its_autoencoder(config):
    parents = {probe.run_spec(config, MAE, share, updates).parents() for share in (0.5, 1.0) for updates in (20, 60)}
    assert len(parents) == 1
