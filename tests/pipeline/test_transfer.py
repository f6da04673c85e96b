"""A training that starts from another's weights: the weights, the fingerprints, and what does not fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import as_dict, essentials, load
from eccl_lib.config.method_schema import ECCL
from eccl_lib.data import open_cohort
from eccl_lib.models.build import new_autoencoder, new_cmr_model
from eccl_lib.pipeline import models, stages
from eccl_lib.pipeline.dependencies import arm_run, cmr_run, ecg_run, initial_weights_run
from tests.conftest import tiny_config

SHORT = {"mae.epochs": 1, "mae.warmup_epochs": 0, "cmr_training.epochs": 1, "cmr_training.warmup_epochs": 0}


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def first(shared_runs):
    """A finished autoencoder of another seed."""
    return stages.pretrain_ecg(tiny_config(seed=3, **SHORT), quiet)


def test_off_it_enters_no_fingerprint_and_on_it_enters_those_of_all_that_follows(shared_runs, first):
    off, on = tiny_config(**SHORT), tiny_config(**SHORT, **{"mae.start_from": first.fingerprint[:8]})
    assert "start_from" not in essentials(off)["mae"]
    assert "start_from" in as_dict(off)["mae"]
    data = open_cohort.load(off, quiet)
    assert ecg_run(off, data).fingerprint != ecg_run(on, data).fingerprint
    assert arm_run(off, ECCL, data).fingerprint != arm_run(on, ECCL, data).fingerprint
    assert cmr_run(off, data).fingerprint == cmr_run(on, data).fingerprint  # nothing of the ECG is in it


def test_the_first_weights_are_the_other_runs_and_training_goes_on_from_there(shared_runs, first):
    config = tiny_config(**SHORT, **{"mae.start_from": first.fingerprint[:8]})
    found = initial_weights_run(config, "pretrain_ecg")
    assert found == first
    model = models.load_initial_weights(new_autoencoder(config), found)
    for name, tensor in first.weights().items():
        assert torch.equal(model.state_dict()[name], tensor)
    run = stages.pretrain_ecg(config, quiet)
    plain = stages.pretrain_ecg(tiny_config(**SHORT), quiet)
    assert run.history["loss"].iloc[0] < plain.history["loss"].iloc[0]  # of its only epoch


def test_a_cmr_encoder_starts_from_another_tasks_and_keeps_its_own_head(shared_runs):
    traits = stages.pretrain_cmr(tiny_config("traits", **SHORT), quiet)
    config = tiny_config("I48", **SHORT, **{"cmr_training.start_from": traits.fingerprint[:8]})
    from eccl_lib.tasks import Problem

    own = new_cmr_model(Problem.of(config, open_cohort.load(config, quiet)))
    model = models.load_initial_weights(own, initial_weights_run(config, "pretrain_cmr"), "encoder")
    for name, tensor in traits.weights("encoder").items():
        assert torch.equal(model.encoder.state_dict()[name], tensor)
    assert stages.pretrain_cmr(config, quiet).done


def test_a_run_that_is_not_there_or_does_not_fit_is_said(shared_runs, first):
    with pytest.raises(MissingError, match=r"start_from is 00000000: no finished run of pretrain_ecg"):
        stages.pretrain_ecg(tiny_config(**SHORT, **{"mae.start_from": "00000000"}), quiet)
    other = tiny_config(**SHORT, **{"mae.start_from": first.fingerprint[:8], "ecg.width": 64})
    with pytest.raises(ConfigError, match=r"cannot be started from.*another shape"):
        stages.pretrain_ecg(other, quiet)
    for wrong in ("seed0-1a2b3c4d", "1a2b3c4", "1a2b3c4d ", "../1234"):
        with pytest.raises(ConfigError, match="eight signs"):
            load("demo", overrides={"mae.start_from": wrong})
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.mae.start_from = ""
