"""A run's folder, copied to another place, is all that its model needs."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import eccl_lib
from eccl_lib.config.errors import ConfigError, DamagedError, MissingError, UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import open_cohort, original
from eccl_lib.io.files import read_json, sha256, write_json, write_sealed
from eccl_lib.pipeline import models, stages
from eccl_lib.training.runs import Run
from tests.conftest import tiny_config


def quiet(line):
    pass


@pytest.fixture(scope="module")
def runs(shared_runs):
    """The finished runs of the traits, a disease and the autoencoder."""
    trained = {task: stages.train(tiny_config(task), "eccl", quiet) for task in ("traits", "I48")}
    return trained | {"ecg": stages.train(tiny_config(), "pretrain_ecg", quiet)}


@pytest.fixture
def copied(runs, tmp_path, monkeypatch):
    """The same folders at another place, where no cohort, store or other run can be found."""
    folders = {name: shutil.copytree(run.folder, tmp_path / f"copy of {name}") for name, run in runs.items()}
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "empty"))
    return folders


@pytest.fixture(scope="module")
def ecgs(shared_runs):
    """The first three test participants as recorded, and their rows in the cohort."""
    config = tiny_config()
    data = open_cohort.load(config, quiet)
    rows = data.index("test")[:3]
    return [original.ecg_of(config, data, row) for row in rows], rows


def test_a_copied_folder_gives_the_predictions_of_the_run(copied, runs, ecgs):
    records, rows = ecgs
    for task in ("traits", "I48"):
        model = eccl_lib.load(copied[task])
        assert isinstance(model, torch.nn.Module) and not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        stored = runs[task].predictions.set_index("row").loc[rows]
        expected = stored[[f"score_{name}" for name in model.names]].to_numpy()
        assert model(records).numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert model.binary == (task == "I48",) * len(model.names)


def test_a_file_a_record_and_an_array_give_the_same(copied, ecgs, tmp_path):
    model = eccl_lib.load(str(copied["traits"]))
    record = ecgs[0][0]
    signal = record.signal[None]
    lines = "\n".join(",".join(f"{value:.6f}" for value in row) for row in record.signal.T)
    (tmp_path / "a.csv").write_text(f"# rate=500\n{','.join(LEADS)}\n{lines}\n")
    array = model(signal)
    assert array.shape == (1, 82)
    assert torch.equal(array, model(torch.from_numpy(signal)))
    assert torch.equal(array, model(signal[0]))
    assert torch.equal(array, model(tmp_path / "a.csv"))
    assert model([str(tmp_path / "a.csv"), signal]) == pytest.approx(array.repeat(2, 1), rel=1e-5)
    for shape in ((12, 100), (1, 5000, 12), (5000,)):
        with pytest.raises(ValueError, match=r"not \(B, 12, 5000\) in mV at 500 Hz"):
            model(np.zeros(shape))
    (tmp_path / "b.csv").write_text("nothing")
    with pytest.raises(UnreadableError, match=r"b\.csv"):
        model(tmp_path / "b.csv")


def test_an_autoencoder_is_an_encoder(copied, ecgs):
    encoder, (records, _) = eccl_lib.load(copied["ecg"]), ecgs
    found = encoder.embed(records)
    assert found.shape == (3, 32)
    assert encoder.names == ()
    with pytest.raises(ValueError, match="use embed"):
        encoder(records)
    with pytest.raises(ValueError, match="no projection"):
        encoder.embed(records, projected=True)


def test_features_are_those_of_the_encoder_in_its_suite(runs, ecgs):
    records, rows = ecgs
    config = tiny_config("traits")
    data = open_cohort.load(config, quiet)
    model, own = eccl_lib.load(runs["traits"].folder), models.ecg_model(config, models.ECCL, data)
    scaled = model.scale(np.asarray(data.ecg[rows]))
    assert model.embed(records) == pytest.approx(own.encoder(scaled), abs=1e-3)
    z = model.embed(records, projected=True)
    assert z == pytest.approx(own.project_ecg(own.encoder(scaled)), abs=1e-3)
    assert z.norm(dim=1) == pytest.approx(torch.ones(3))


def test_a_run_of_an_earlier_version_says_how_it_is_mended_and_is_mended_so(runs):
    run = runs["I48"]
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.name != "outputs.json"}
    (run.folder / "outputs.json").unlink()
    with pytest.raises(MissingError, match=r"repeat the command that trained the run .* disease I48, seed 0"):
        eccl_lib.load(run.folder)
    stages.train(tiny_config("I48"), "eccl", quiet)
    assert eccl_lib.load(run.folder).names == ("I48",)
    assert {path: path.read_bytes() for path in before} == before  # nothing was trained or changed


def test_other_folders_are_refused_with_the_cure(shared_runs, copied, tmp_path):
    with pytest.raises(MissingError, match="no folder of a finished run"):
        eccl_lib.load(tmp_path)
    weights = copied["I48"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(DamagedError, match="has changed since it was written"):
        eccl_lib.load(copied["I48"])


def _resealed(folder):
    """Give changed files the sums that make them valid, as a foreign or malicious folder may have them."""
    manifest = read_json(folder / "manifest.json")
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    write_sealed(folder / "manifest.json", manifest)


def _with_json(name, **changes):
    def change(folder):
        (write_sealed if name == "outputs.json" else write_json)(folder / name, read_json(folder / name) | changes)

    return change


def _with_tensors(change):
    def rewrite(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return rewrite


FOREIGN = {
    "no bytes": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no safetensors": lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100),
    "a tensor is missing": _with_tensors(lambda weights: weights.pop("head.bias")),
    "another shape": _with_tensors(lambda weights: weights.update({"head.bias": torch.zeros(7)})),
    "not finite": _with_tensors(lambda weights: weights["head.weight"].fill_(float("nan"))),
    "names are a number": _with_json("outputs.json", names=3),
    "the stage is a list": _with_json("outputs.json", stage=["align"]),
    "the centre is a text": _with_json("outputs.json", centre="x"),
    "an unknown row": _with_json("outputs.json", variant="none such"),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_folder_ends_in_one_line(copied, change, capsys):
    folder = copied["I48"]
    change(folder)
    _resealed(folder)
    with pytest.raises((DamagedError, MissingError, ConfigError)) as caught:
        eccl_lib.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_config_of_a_gigantic_model_is_refused_before_it_is_built(copied):
    folder = copied["I48"]
    config = read_json(folder / "config.json")
    for name, value in (("depth", 10**9), ("width", 10**9), ("width", 8_192)):
        write_json(folder / "config.json", config | {"ecg": config["ecg"] | {name: value}})
        _resealed(folder)
        with pytest.raises(DamagedError, match=r"states (depth|width)|other weights than its config states"):
            eccl_lib.load(folder)


def test_a_cmr_run_has_no_ecg_model(runs):
    (found,) = Run.every("pretrain_cmr")[:1]
    with pytest.raises(MissingError, match="a run of pretrain_cmr, which has no ECG model"):
        eccl_lib.load(found.folder)


def test_the_package_alone_stays_light():
    code = "import sys, eccl_lib; eccl_lib.load; print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
