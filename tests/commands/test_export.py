"""``eccl export``: the new folder is all that the model needs, and has nothing of single participants."""

import io
import json
import os
import platform
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import eccl_lib
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import of_run, with_changes
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg, open_cohort
from eccl_lib.data.small_counts import Limit
from eccl_lib.evaluation import calibrate, export, model_card
from eccl_lib.pipeline import stages
from tests.conftest import eccl, tiny_config
from tests.evaluation.trained import signal_of, write_csv


@pytest.fixture(scope="module")
def runs(shared_runs):
    trained = {task: stages.train(tiny_config(task), "eccl", lambda line: None) for task in ("traits", "I48")}
    return trained | {"ecg": stages.train(tiny_config(), "pretrain_ecg", lambda line: None)}


@pytest.mark.parametrize("name", ["traits", "I48", "ecg"])
def test_the_exported_folder_gives_the_same_elsewhere(runs, name, tmp_path, monkeypatch, capsys):
    out, path = tmp_path / "published", write_csv(tmp_path / "a.csv")
    assert eccl("export", runs[name].folder, "--out", out) == 0
    own = eccl_lib.load(runs[name].folder)
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "empty"))
    model = eccl_lib.load(out)
    assert torch.equal(model.embed(path), own.embed(path))
    if name != "ecg":
        assert torch.equal(model(path), own(path))
        capsys.readouterr()
        assert eccl("predict", path, write_csv(tmp_path / "b.csv", 1), "--weights", out) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out))
        column = "I48_probability" if name == "I48" else "LVEDV"
        assert table[column].notna().all()
    assert not list(out.glob("*.pt*")) and not list(out.glob("*.csv"))


@pytest.mark.parametrize("name", ["traits", "I48"])
def test_no_participant_is_in_any_file(runs, name, tmp_path):
    out = tmp_path / "published"
    assert eccl("export", runs[name].folder, "--out", out) == 0
    data = open_cohort.load(tiny_config(), lambda line: None)
    content = b"".join(path.read_bytes() for path in out.iterdir())
    assert not [eid for eid in data.table["eid"] if eid.encode() in content]
    allowed = {"README.md", "config.json", "outputs.json", "manifest.json", "model.safetensors", "model.onnx"}
    assert {path.name for path in out.iterdir() if not path.name.startswith("calibration-")} <= allowed


def test_the_card_states_data_metric_interval_limits_and_fingerprint(runs, tmp_path):
    out = tmp_path / "published"
    assert eccl("export", runs["I48"].folder, "--out", out) == 0
    card, run = (out / "README.md").read_text(), runs["I48"]
    for words in (
        run.fingerprint,
        "Research software, not a medical device.",
        f"{run.metrics['test']:.3f} (95 % interval ",
        f"{run.metrics['n']['train']} train",
        f"{run.metrics['positives']['test']} test",
        "no person",
        "## Limits",
        "**Not intended:** diagnosis",
    ):
        assert words in card, words


def test_a_folder_with_files_is_not_overwritten(runs, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert eccl("export", runs["I48"].folder, "--out", tmp_path) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_the_packages_of_onnx_all_else_is_written_and_the_command_is_named(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert eccl("export", runs["I48"].folder, "--out", tmp_path / "p") == 0
    assert (
        "model.onnx is left out: onnx is not installed (pip install '.[export]' in the folder"
        in capsys.readouterr().err
    )
    assert "model.onnx" not in (tmp_path / "p" / "README.md").read_text()


def test_few_participants_are_withheld_from_card_and_calibration(runs):
    model, limit = eccl_lib.load(runs["I48"].folder), Limit(1000)
    card = model_card.text(model, None, limit, has_onnx=False)
    assert "withheld: few participants" in card
    assert f"{runs['I48'].metrics['test']:.3f}" not in card
    assert "| participants | under 1000 train" in card


def test_the_card_says_which_leads_the_model_reads_and_what_differs_from_the_scale(runs):
    model = eccl_lib.load(runs["I48"].folder)
    assert "| input | 12 leads, 10 s" in model_card.text(model, None, Limit(0), has_onnx=False)
    model.config = with_changes(model.config, {"view.ecg_leads": ["I", "V1"], "align.trait_noise": 2.0})
    card = model_card.text(model, None, Limit(0), has_onnx=False)
    assert "| input | 12 leads, of which the model reads I V1, 10 s" in card
    assert 'view.ecg_leads=["I", "V1"]' in card and "align.trait_noise=2.0" in card


def test_exported_calibrations_have_no_scores_of_few_participants():
    generator = np.random.default_rng(0)
    logits, cases = generator.normal(size=2_000), generator.random(2_000) < 0.3
    known = calibrate.of_disease({"val": logits, "test": logits}, {"val": cases, "test": cases}, 0.0)
    shown = known.shown(Limit())
    assert logits.min() < shown.quantiles.min() and shown.quantiles.max() < logits.max()
    assert np.diff(shown.quantiles).min() >= 0
    assert shown.percentile(np.array([0.3]))[0] == pytest.approx(100 * np.mean(logits < 0.3), abs=1)
    traits = {split: generator.normal(size=(50, 2)) for split in ("val", "test")}
    train = generator.normal(size=(50, 2))
    train[5:, 1] = np.nan
    few = calibrate.of_traits(traits, {split: 0 * values for split, values in traits.items()}, train).shown(Limit())
    written = export.shown_outputs({"centre": [1.0, 2.0], "spread": [1.0, 1.0]}, few)
    assert json.dumps(written) == '{"centre": [1.0, NaN], "spread": [1.0, NaN]}'


def test_a_lead_that_is_flat_apart_from_noise_is_zero_for_the_model_as_in_eccl_predict(runs):
    model, mv = eccl_lib.load(runs["I48"].folder), signal_of(0)
    mv[7] = 0.003 * np.random.default_rng(0).uniform(-1, 1, mv.shape[1])
    assert not model.preprocess(mv)[0, 7].any() and model.preprocess(mv)[0, 6].any()
    silent = mv.copy()
    silent[7] = 0
    assert torch.equal(model(mv), model(silent))


@pytest.mark.parametrize("rate", [100, 250, 500])
def test_the_graph_is_the_model_with_its_preprocessing(runs, rate):
    """Against ``EcgModel`` for the run's own rate; the resampling against ``ecg.resample`` for each rate."""
    model = eccl_lib.load(runs["traits"].folder)
    mv = np.stack([signal_of(k) for k in range(2)])
    assert model.config.view.ecg_rate == 100
    if rate == 100:
        graph = export.OnnxGraph(model)
        found, features = graph(torch.from_numpy(model.preprocess(mv) / 1000).float())
        assert found.numpy() == pytest.approx(model(mv).numpy(), rel=1e-4, abs=1e-4)
        assert features.numpy() == pytest.approx(model.embed(mv).numpy(), rel=1e-4, abs=1e-4)
    content = of_run(model.run.config)
    object.__setattr__(content.view, "ecg_rate", rate)
    model.config = content
    resampled = export.OnnxGraph(model).resampled(torch.from_numpy(1000 * mv).float())
    assert resampled.numpy() == pytest.approx(ecg.resample(1000 * mv, 500, rate), abs=0.05)


@pytest.mark.parametrize("name", ["traits", "I48", "ecg"])
def test_onnxruntime_gives_the_same_for_any_batch(runs, name, tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert eccl("export", runs[name].folder, "--out", tmp_path / "p") == 0
    session = onnxruntime.InferenceSession(tmp_path / "p" / "model.onnx", providers=["CPUExecutionProvider"])
    model = eccl_lib.load(runs[name].folder)
    for batch in (1, 2, 5):
        mv = np.stack([signal_of(k) for k in range(batch)])
        found = session.run(None, {"ecg_mv": (model.preprocess(mv) / 1000).astype(np.float32)})
        assert found[-1] == pytest.approx(model.embed(mv).numpy(), rel=1e-4, abs=1e-4)
        if name != "ecg":
            assert found[0] == pytest.approx(model(mv).numpy(), rel=1e-4, abs=1e-4)
    assert [entry.shape[1:] for entry in session.get_inputs()] == [[len(LEADS), 5000]]


def test_an_error_leaves_no_part_of_an_export(runs, tmp_path, monkeypatch):
    def broken(model, path):
        raise RuntimeError("the exporter failed")

    monkeypatch.setattr(export, "_onnx", broken)
    with pytest.raises(RuntimeError):
        export.write(eccl_lib.load(runs["I48"].folder), tmp_path / "p", print)
    assert list((tmp_path / "p").iterdir()) == []


def test_a_folder_with_an_export_in_progress_or_a_file_of_the_user_is_not_empty(runs, tmp_path):
    model = eccl_lib.load(runs["I48"].folder)
    for name in ("mine.partial", f".export.{platform.node().replace('.', '-')}.{os.getpid()}.partial"):
        out = tmp_path / name.strip(".")
        (out / name).mkdir(parents=True)
        with pytest.raises(ConfigError, match="nothing is overwritten"):
            export.write(model, out, print)
