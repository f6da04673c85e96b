"""Extensions: each test uses the package of docs/extending.md, installed from the code on that page."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from eccl_lib import grid
from eccl_lib.config.errors import ConfigError, UnreadableError
from eccl_lib.config.load import load
from eccl_lib.config.method_schema import Arm
from eccl_lib.config.schema import LEADS
from eccl_lib.data import open_cohort
from eccl_lib.data.formats import detect
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import ecg_files, table1_text
from eccl_lib.io import paths
from eccl_lib.models.public import ADAPTERS, load_public
from eccl_lib.pipeline import stages, steps
from eccl_lib.pipeline.methods import METHODS, Method
from tests import outside
from tests.conftest import TINY, eccl, tiny_config


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package of docs/extending.md."""
    outside.install_page(tmp_path / "site", monkeypatch)


SETTINGS = [f"--set={name}={json.dumps(value)}" for name, value in TINY.items()]


def test_a_loss_is_a_row_of_table_1(tiny_runs, package):
    assert eccl("table1", "--rows", "ssl", "cosine", "--tasks", "I48", "--jobs", "1", *SETTINGS) == 0
    folder = paths.figures_dir("demo", "synthetic")
    assert pd.read_csv(folder / "table1.csv")["row"].tolist() == ["W/ SSL; W/O CL", "Cosine"]
    assert "| Cosine |" in (folder / "table1.md").read_text()
    run = stages.expected(tiny_config(), "cosine", open_cohort.load(tiny_config()))
    assert run.done
    assert run.history["contrastive"].iloc[-1] < run.history["contrastive"].iloc[0]


def test_a_row_is_among_all_rows_without_a_further_change(package):
    cells = [own.variant for wave in grid.plan(tiny_config(), METHODS, ["I48"], [0]) for own in wave]  # as in 06
    assert {"cosine", "small_cnn"} <= set(cells)
    assert list(METHODS)[-2:] == ["cosine", "small_cnn"]
    assert table1_text.methods_table().loc["cosine", "objective"] == "task + cosine loss"


def test_a_task_is_a_name_and_its_outputs(tiny_runs, package):
    config = replace(tiny_config(), disease="ejection")
    lines = []
    run = stages.train(config, "scratch", lines.append)
    assert any(line.startswith("  test mean r") and "95 % interval" in line for line in lines)
    columns = [k for k, trait in enumerate(TRAITS) if trait.short_name in ("LVEF", "RVEF")]
    data = open_cohort.load(config, print)
    targets = run.predictions[[f"target_{TRAITS[k].field_id}" for k in columns]].to_numpy()
    assert np.array_equal(targets, data.traits[data.index("test")][:, columns], equal_nan=True)
    assert np.isfinite(run.metrics["test"])


def test_a_task_is_a_column_of_table_1(tiny_runs, package):
    assert eccl("table1", "--rows", "scratch", "--tasks", "ejection", "I48", "--jobs", "1", *SETTINGS) == 0
    table = pd.read_csv(paths.figures_dir("demo", "synthetic") / "table1.csv")
    assert {"ejection_mean_r_mean", "af_auc_mean"} <= set(table)
    assert list(table1_text.shown(table)) == ["AF AUC", "EF mean r"]
    assert "EF mean r" in (paths.figures_dir("demo", "synthetic") / "table1.md").read_text()


def test_a_cmr_encoder_is_a_class(tiny_runs, package):
    config = load("demo", disease="I48", overrides={**TINY, "cmr.architecture": "mean_frame"})
    run = stages.train(config, "pretrain_cmr", print)
    assert run.folder.parts[-3:-1] == ("mean_frame", "I48")
    assert run.weights("encoder")["linear.weight"].shape == (8, 56 * 56)


def test_an_ecg_encoder_is_a_class_and_a_row(tiny_runs, package):
    run = stages.train(tiny_config(), "small_cnn", print)
    assert run.weights("encoder")["0.weight"].shape == (16, 12, 25)
    assert run.weights("head")["weight"].shape == (1, 16)


def test_a_file_format_is_a_recogniser_and_a_reader(tmp_path, package):
    path = tmp_path / "ecgs" / "ecg.json"
    path.parent.mkdir()
    leads = {lead: [k / 10] * 2500 for k, lead in enumerate(LEADS)}
    path.write_text(json.dumps({"rate": 250, "leads": leads}))
    record = detect.read_ecg(path)
    assert (record.rate, record.signal[:, 0].tolist()) == (250, [k / 10 for k in range(12)])
    assert ecg_files.find([path.parent]) == [path]  # folders are searched for its suffix
    path.write_text(json.dumps({"leads": leads}))
    with pytest.raises(UnreadableError, match=r"format json, of my-extensions 1.2, fails \(KeyError\)"):
        detect.read_ecg(path)
    path.write_text("{}")
    with pytest.raises(UnreadableError, match="lead"):  # read as CSV, as without the package
        detect.read_ecg(path)


# A package that cannot be used.


BROKEN = {
    "gone": ("no_such_module:Step", "no_such_module is missing"),
    "absent": ("my_extensions.loss:Other", "my_extensions.loss:Other does not exist"),
    "fails": ("my_extensions.fails:X", "importing my_extensions.fails:X ends in ZeroDivisionError"),
    "wrong": ("my_extensions.task:FIELDS", "no Method and no subclass of AlignmentStep"),
    "eccl": ("my_extensions.loss:CosineStep", "its name eccl is taken"),
    "clip": ("my_extensions.loss:CosineStep", "clip is the name of a built-in objective"),
}


def test_an_unusable_row_is_one_line_and_breaks_nothing(tmp_path, monkeypatch, capsys):
    outside.install_page(tmp_path / "site", monkeypatch)
    (tmp_path / "site" / "my_extensions" / "fails.py").write_text("1 / 0")
    rows = {name: value for name, (value, _) in BROKEN.items()}
    outside.install(tmp_path / "other", monkeypatch, "broken-rows", {"eccl_lib.methods": rows})
    own = METHODS["eccl"]
    assert "cosine" in list(METHODS) and not set(list(METHODS)) & (set(BROKEN) - {"eccl"})
    assert METHODS["eccl"] == own
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(BROKEN)
    for (name, (_, fault)), line in zip(sorted(BROKEN.items()), sorted(lines), strict=True):
        assert line.startswith(f"warning: the row of Table 1 {name} of the package broken-rows 1.2 is not used: ")
        assert fault in line
    with pytest.raises(ConfigError, match="broken-rows"):
        METHODS["gone"]
    list(METHODS)
    assert not capsys.readouterr().err  # each line once


def test_a_row_of_a_package_that_is_not_installed_is_named_with_the_known_rows():
    with pytest.raises(ConfigError, match="no row of Table 1 'cosine' here; known: cmae, resnet50,"):
        METHODS["cosine"]
    assert METHODS.get("cosine") is None


def test_names_are_checked_against_the_registry(package, capsys):
    with pytest.raises(ConfigError, match=r"choose one of I21, I42, I48, I50, traits, ejection\. A further"):
        load("demo", disease="I99")
    with pytest.raises(ConfigError, match=r"choose one of swin, resnet50, vit, mean_frame$"):
        load("demo", overrides={"cmr.architecture": "wsin"})
    assert eccl("train", "cosinus") == 2
    assert "'cosinus' is not one of" in (error := capsys.readouterr().err) and "'cosine'" in error
    with pytest.raises(ConfigError, match="the teacher of the row own is 'wsin'; choose one of swin"):
        METHODS["own"] = Method("Own", Arm("own", objective="clip", teacher="wsin"))
    with pytest.raises(ConfigError, match="the objective of the row own is 'cos'; choose one of task, clip, triplet"):
        METHODS["own"] = Method("Own", Arm("own", objective="cos", teacher="swin"))


def test_a_version_of_a_package_is_part_of_the_fingerprint_and_only_there(tiny_runs, tmp_path, monkeypatch):
    data = open_cohort.load(tiny_config(), print)
    before = {name: stages.expected(tiny_config(), name, data).fingerprint for name in METHODS}
    outside.install_page(tmp_path / "site", monkeypatch)
    assert {name: stages.expected(tiny_config(), name, data).fingerprint for name in before} == before
    first = stages.expected(tiny_config(), "cosine", data).fingerprint
    METHODS["eccl"]  # read
    monkeypatch.setitem(METHODS._packages, "cosine", "my-extensions 1.3")
    assert stages.expected(tiny_config(), "cosine", data).fingerprint != first


def test_a_registered_row_needs_no_package(tiny_runs, monkeypatch):
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))

    @METHODS.register("pull")
    class Pull(steps.AlignmentStep):
        row, pretraining, unit_norm = "Pull", "none", False

        def contrastive_loss(self, z_ecg, z_cmr, batch):
            return (z_ecg - z_cmr).square().mean()

    run = stages.train(tiny_config(), "pull", print)
    assert run.folder.parts[-3:-1] == ("pull", "I48")


def test_a_public_model_is_an_adapter_with_its_module(tmp_path, monkeypatch):
    def first_samples(ecg):
        return ecg[:, None, :2, :3]  # (B, K, leads, T)

    changes = {"name": "linear", "entry": "model", "dropped": ("head.weight",), "width": 4, "prepare": first_samples}
    own = replace(ADAPTERS["st_mem"], **changes, build=lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4)))
    monkeypatch.setitem(ADAPTERS, "linear", own)
    weights = {"1.weight": torch.eye(4, 6), "1.bias": torch.ones(4), "head.weight": torch.ones(2)}
    torch.save({"model": weights}, tmp_path / "w.pth")
    ecg = torch.arange(2.0 * 12 * 5000).reshape(2, 12, 5000)
    features = load_public("linear", tmp_path / "w.pth", torch.device("cpu")).features(ecg)
    assert torch.equal(features, ecg[:, :2, :3].flatten(1)[:, :4] + 1)
