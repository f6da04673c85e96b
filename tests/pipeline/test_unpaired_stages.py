"""ECGs alone pre-train the ECG encoder, labelled cines alone the CMR encoder, from files to a finished run."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

import eccl_lib
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load, with_changes
from eccl_lib.config.schema import LEADS
from eccl_lib.data import open_cohort
from eccl_lib.grid.scheduler import show_plan
from eccl_lib.pipeline import stages
from tests.conftest import TINY, eccl

SHORT = {f"{section}.{name}": n for section in ("mae", "cmr_training") for name, n in (("epochs", 2), ("batch", 4))}
SHORT |= {"mae.warmup_epochs": 0, "cmr_training.warmup_epochs": 0}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))


def quiet(line: str) -> None:
    pass


def ecg_store(folder, count, *more, changes=None):
    """A store of generated ECGs, named tiny; the config that trains on it. more: words of the build."""
    rng, time = np.random.default_rng(0), np.arange(5000) / 500
    folder.mkdir()
    (folder / "ecg.json").write_text(json.dumps({"rate": 500, "leads": list(LEADS)}))
    for k in range(count):
        beats = np.exp(-(((time * (1 + 0.05 * k)) % 1 - 0.5) ** 2) / 5e-4)
        np.save(folder / f"e{k}.npy", rng.uniform(0.3, 1.5, 12)[:, None] * beats)
    assert eccl("ingest", "ecg", folder, "--name", "tiny", "--workers", "1", *more) == 0
    return load("demo", cohort="ecg-tiny", overrides={**TINY, **SHORT, **(changes or {})})


def test_too_few_recordings_for_three_splits_are_refused_before_anything_is_trained(tmp_path, runs):
    config = ecg_store(tmp_path / "ecgs", 2)
    with pytest.raises(ConfigError, match=r"2 participants are split into train \d, val \d, test \d"):
        stages.train(config, "pretrain_ecg", quiet)


def test_the_autoencoder_is_pretrained_on_ecgs_alone(tmp_path, runs):
    config, said = ecg_store(tmp_path / "ecgs", 20), []
    assert show_plan(stages.spec(config, "pretrain_ecg"), said.append) > 0
    assert any("pretrain_ecg/vit/ecg" in line for line in said)
    run = stages.train(config, "pretrain_ecg", quiet)
    assert run.done
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    assert sum(run.metrics["n"].values()) == 20
    assert "demo-ecg-tiny" in run.folder.parts


def labels_of(folder, columns, rows):
    """A table of labels beside the ECGs, as words of the build. columns: name to the value of recording k."""
    path = folder.parent / "labels.csv"
    lines = [",".join([f"e{k}", *(str(value(k)) for value in columns.values())]) for k in range(rows)]
    path.write_text("\n".join([",".join(["id", *columns]), *lines]))
    return "--labels", str(path)


def test_rows_without_cmr_are_trained_on_labelled_ecgs_alone(tmp_path, runs, capsys):
    labels = labels_of(tmp_path / "ecgs", {"I48": lambda k: k % 2, "smoker": lambda k: 1, "sex": lambda k: "F"}, 40)
    changes = {"align.epochs": 2, "align.batch": 4, "runtime.build_missing": True}
    config = with_changes(ecg_store(tmp_path / "ecgs", 40, *labels, changes=changes), {"align.warmup_epochs": 0})
    assert "columns of the table that are not used: smoker. To predict one" in capsys.readouterr().out
    config = replace(config, disease="I48")
    assert show_plan(stages.spec(config, "ssl"), quiet) > 0
    for name in ("scratch", "ssl"):
        run = stages.train(config, name, quiet)
        assert run.done
        assert sum(run.metrics["n"].values()) == 40
        assert eccl_lib.load(run.folder)(tmp_path / "ecgs" / "e0.npy").shape == (1, 1)
    for name in ("eccl", "cmae"):
        with pytest.raises(ConfigError, match=r"needs ECGs and cines.*pretrain_ecg, scratch, ssl and probe"):
            stages.train(config, name, quiet)
    assert eccl("table1", "--cohort", "ecg-tiny", "--rows", "scratch", "ssl") == 2
    assert "needs ECGs and cines of the same participants" in capsys.readouterr().err


def test_a_task_without_labels_names_the_command_for_the_stores_own_tasks(tmp_path, runs):
    labels = labels_of(tmp_path / "ecgs", {"MI": lambda k: k % 2}, 20)
    config = replace(ecg_store(tmp_path / "ecgs", 20, *labels, "--tasks", "MI:binary"), disease="I42")
    own = "eccl probe --scale demo --cohort ecg-tiny --tasks MI\n"
    with pytest.raises(
        ConfigError, match=f"ecg-tiny has no cases of I42. Its own tasks are MI; .*\n  {own}.*column I42"
    ):
        stages.train(config, "scratch", quiet)
    with pytest.raises(ConfigError, match=r"(?s)has no traits\. .*column 24100 or another trait field"):
        stages.train(replace(config, disease="traits"), "scratch", quiet)
    ecg_store(tmp_path / "more", 20)
    with pytest.raises(
        ConfigError, match=r"has no cases of I42\. Build its store .*\n  eccl ingest ecg FOLDER\.\.\. --name"
    ):
        stages.train(config, "scratch", quiet)


def test_the_cmr_encoder_is_pretrained_on_labelled_cines_alone(tmp_path, runs):
    y, x = np.mgrid[:40, :36]
    away = np.hypot(y - 20, x - 18)[None, None]
    rows = ["id,I42,HCM"]
    for k in range(24):
        sick = k % 2
        radius = 6 + 3 * sick + (2 - sick) * np.cos(2 * np.pi * np.arange(12) / 12)[None, :, None, None]
        labels = np.where(away < radius, 1, np.where(away < radius + 4, 2, 0)).astype(np.uint8)
        images = np.array([20, 220, 90])[labels] + np.random.default_rng(k).normal(0, 5, labels.shape)
        folder = tmp_path / "cines" / f"p{k:02d}"
        folder.mkdir(parents=True)
        for name, array in (("sa", images.astype(np.int16)), ("seg_sa", labels)):
            volume = nibabel.Nifti1Image(array.transpose(3, 2, 0, 1), np.diag([1.8, 1.8, 8.0, 1.0]))
            nibabel.save(volume, folder / f"{name}.nii.gz")
        rows.append(f"p{k:02d},{sick},{1 - sick}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    words = [
        "cmr",
        str(tmp_path / "cines"),
        "--labels",
        str(tmp_path / "labels.csv"),
        "--name",
        "tiny",
        "--tasks",
        "HCM:binary",
    ]
    small = {"store.clip_size": 56, "store.clip_frames": 25}
    sets = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    assert eccl("ingest", *words, "--scale", "demo", "--workers", "1", *sets) == 0
    config = load("demo", cohort="cmr-tiny", disease="I42", overrides={**TINY, **SHORT, **small})
    run = stages.train(config, "pretrain_cmr", quiet)
    assert run.done
    assert run.metrics["metric"] == "AUC"
    assert sum(run.metrics["n"].values()) == 24
    assert set(run.predictions.columns) == {"eid", "row", "target_I42", "score_I42"}
    start = {"probe.tasks": ["HCM"], "probe.encoder": "run", "probe.start_from": run.fingerprint[:8]}
    own = with_changes(config, {**start, "probe.epochs": 2, "probe.warmup_epochs": 1, "probe.steps_per_epoch": 5})
    weights = stages.spec(own, "probe_cmr").job(open_cohort.load(own, quiet, needs=("clips",))).model.state_dict()
    assert all(np.array_equal(weights[f"encoder.{name}"], value) for name, value in run.weights("encoder").items())
    probed = stages.train(own, "probe_cmr", quiet)
    assert probed.metrics["tasks"].keys() == {"HCM"} and "score_HCM" in probed.predictions
    with pytest.raises(ConfigError, match="an encoder of ECGs"):
        stages.spec(with_changes(own, {"probe.encoder": "mae", "probe.start_from": ""}), "probe_cmr")
