"""``runtime.deterministic`` on the CPU: every operation of the rows is allowed, and no byte of a result changes."""

from __future__ import annotations

import os

import pytest
import torch

from eccl_lib.config.load import load
from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.pipeline import stages
from eccl_lib.training import performance
from tests.conftest import link_cohort, tiny_config


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)


def test_it_is_off_by_default_and_switches_torch_and_cublas(monkeypatch):
    assert not load("paper").runtime.deterministic
    performance.set_up(RuntimeConfig(deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    performance.set_up(RuntimeConfig())
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # the user's own choice is kept
    performance.set_up(RuntimeConfig(deterministic=True))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("row", ["eccl", "cmae", "resnet50", "vit", "triplet"])
def test_a_row_trains_with_deterministic_operations_to_the_same_bytes(row, tiny_store, tmp_path, monkeypatch):
    found = {}
    for deterministic in (True, False):
        link_cohort(tiny_store, tmp_path / f"runs-{deterministic}", monkeypatch)
        config = tiny_config("traits", **{"runtime.deterministic": deterministic})
        run = stages.train(config, row, lambda line: None)
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        manifest = run.manifest()
        assert manifest["made_with"].get("deterministic", False) is deterministic
        found[deterministic] = manifest["fingerprint"], manifest["files"]
    assert found[True] == found[False]
