"""How to add a method, a task, an encoder and a file format (docs/architecture.md); each test adds one and uses it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.method_schema import Arm
from eccl_lib.config.schema import LEADS
from eccl_lib.data import open_cohort
from eccl_lib.data.formats import detect
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.traits import TRAITS
from eccl_lib.models import cmr_encoders
from eccl_lib.models.public import ADAPTERS, load_public
from eccl_lib.pipeline import stages, steps
from eccl_lib.pipeline.methods import METHODS, Method
from eccl_lib.tasks import TASKS, Task
from tests.conftest import tiny_config


class CosineStep(steps.AlignmentStep):
    """Pulls the features of each pair together, without negatives."""

    def contrastive_loss(self, z_ecg, z_cmr, batch):
        return 1 - cosine_similarity(z_ecg, z_cmr).mean()


def test_a_method_is_a_step_and_a_row(tiny_runs, monkeypatch):
    monkeypatch.setitem(steps.OBJECTIVES, "cosine", CosineStep)
    monkeypatch.setitem(METHODS, "cosine", Method("Cosine", Arm("cosine", objective="cosine", teacher="swin")))
    run = stages.train(tiny_config(), "cosine", print)
    assert run.folder.parts[-3:-1] == ("cosine", "I48")
    assert 0 <= run.metrics["test"] <= 1
    assert run.history["contrastive"].iloc[-1] < run.history["contrastive"].iloc[0]


def test_a_task_is_a_name_and_its_outputs(tiny_runs, monkeypatch):
    names = ("LVEF", "RVEF")
    fields = tuple(str(trait.field_id) for trait in TRAITS if trait.short_name in names)
    monkeypatch.setitem(TASKS, "ejection", Task("ejection", "EF", "mean r", fields))
    config = replace(tiny_config(), disease="ejection")
    lines = []
    run = stages.train(config, "scratch", lines.append)
    assert any(line.startswith("  test mean r") and "95 % interval" in line for line in lines)
    columns = [k for k, trait in enumerate(TRAITS) if trait.short_name in names]
    data = open_cohort.load(config, print)
    targets = run.predictions[[f"target_{field}" for field in fields]].to_numpy()
    assert np.array_equal(targets, data.traits[data.index("test")][:, columns], equal_nan=True)
    assert np.isfinite(run.metrics["test"])


class MeanFrameEncoder(nn.Module):
    """One linear layer on the mean over frames."""

    def __init__(self, config):
        super().__init__()
        self.num_features = 8
        self.linear = nn.Linear(config.view.clip_size**2, self.num_features)

    def forward(self, clip):  # (B, F, H, W)
        return self.linear(clip.mean(dim=1).flatten(1))


def test_a_cmr_encoder_is_a_builder_and_its_section_of_the_config(tiny_runs, monkeypatch):
    monkeypatch.setitem(cmr_encoders.CMR_ENCODERS, "mean", MeanFrameEncoder)
    monkeypatch.setitem(stages.CMR_SECTIONS, "mean", "cmr")
    config = tiny_config()
    run = stages.train(replace(config, cmr=replace(config.cmr, architecture="mean")), "pretrain_cmr", print)
    assert run.folder.parts[-3:-1] == ("mean", "I48")
    assert run.weights("encoder")["linear.weight"].shape == (8, 56 * 56)


def read_json(path):
    """An ECG as JSON: a rate in Hz, and one list of values in mV per lead."""
    content = json.loads(path.read_text())
    return EcgRecord(np.array([content["leads"][lead] for lead in LEADS]), content["rate"])


def test_a_file_format_is_a_recogniser_and_a_reader(tmp_path, monkeypatch):
    path = tmp_path / "ecg.json"
    path.write_text(json.dumps({"rate": 250, "leads": {lead: [k / 10] * 2500 for k, lead in enumerate(LEADS)}}))
    with pytest.raises(UnreadableError):
        detect.read_ecg(path)
    monkeypatch.setattr(detect, "ECG_FORMATS", [*detect.ECG_FORMATS, (lambda start: start[:1] == b"{", read_json)])
    record = detect.read_ecg(path)
    assert record.rate == 250
    assert record.signal[:, 0].tolist() == [k / 10 for k in range(12)]


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
