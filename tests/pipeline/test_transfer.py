"""A training that starts from another's weights: the weights, the fingerprints, and what does not fit."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import as_dict, essentials, load
from eccl_lib.data import open_cohort
from eccl_lib.models.build import new_autoencoder, new_cmr_model
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.weights import initial_weights_run, load_initial_weights
from tests.conftest import tiny_config

SHORT = {"mae.epochs": 1, "mae.warmup_epochs": 0, "cmr_training.epochs": 1, "cmr_training.warmup_epochs": 0}


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def first(shared_runs):
    """A finished autoencoder of another seed."""
    return stages.train(tiny_config(seed=3, **SHORT), "pretrain_ecg", quiet)


def test_off_it_enters_no_fingerprint_and_on_it_enters_those_of_all_that_follows(shared_runs, first):
    off, on = tiny_config(**SHORT), tiny_config(**SHORT, **{"mae.start_from": first.fingerprint[:8]})
    assert "start_from" not in essentials(off)["mae"]
    assert "start_from" in as_dict(off)["mae"]
    data = open_cohort.load(off, quiet)
    assert (
        stages.expected(off, "pretrain_ecg", data).fingerprint != stages.expected(on, "pretrain_ecg", data).fingerprint
    )
    assert stages.expected(off, "eccl", data).fingerprint != stages.expected(on, "eccl", data).fingerprint
    assert (
        stages.expected(off, "pretrain_cmr", data).fingerprint == stages.expected(on, "pretrain_cmr", data).fingerprint
    )  # nothing of the ECG is in it


def test_the_first_weights_are_the_other_runs_and_training_goes_on_from_there(shared_runs, first):
    config = tiny_config(**SHORT, **{"mae.start_from": first.fingerprint[:8]})
    found = initial_weights_run(config, "pretrain_ecg")
    assert found == first
    model = load_initial_weights(new_autoencoder(config), found)
    for name, tensor in first.weights().items():
        assert torch.equal(model.state_dict()[name], tensor)
    run = stages.train(config, "pretrain_ecg", quiet)
    plain = stages.train(tiny_config(**SHORT), "pretrain_ecg", quiet)
    assert run.history["loss"].iloc[0] < plain.history["loss"].iloc[0]  # of its only epoch


def test_a_cmr_encoder_starts_from_another_tasks_and_keeps_its_own_head(shared_runs):
    traits = stages.train(tiny_config("traits", **SHORT), "pretrain_cmr", quiet)
    config = tiny_config("I48", **SHORT, **{"cmr_training.start_from": traits.fingerprint[:8]})
    own = new_cmr_model(config, 1)
    model = load_initial_weights(own, initial_weights_run(config, "pretrain_cmr"), "encoder")
    for name, tensor in traits.weights("encoder").items():
        assert torch.equal(model.encoder.state_dict()[name], tensor)
    assert stages.train(config, "pretrain_cmr", quiet).done


def test_a_run_of_other_ecgs_is_no_start_and_the_cure_is_named(shared_runs, first):
    start = {"mae.start_from": first.fingerprint[:8]}
    other = tiny_config(**SHORT, **start, **{"view.ecg_scaling": "lead", "view.ecg_gain": 1.0})
    cure = "--set 'view.ecg_scaling=\"maxabs\"' --set 'view.ecg_gain=5.0'"
    with pytest.raises(ConfigError, match=re.escape(cure)):
        stages.train(other, "pretrain_ecg", quiet)
    one_lead = tiny_config(**SHORT, **start, **{"view.ecg_leads": ["I"]})
    assert initial_weights_run(one_lead, "pretrain_ecg") == first  # it has seen this lead
    of_one_lead = stages.train(tiny_config(**SHORT, **{"view.ecg_leads": ["I"]}), "pretrain_ecg", quiet)
    all_leads = tiny_config(**SHORT, **{"mae.start_from": of_one_lead.fingerprint[:8]})
    with pytest.raises(ConfigError, match="with another ecg_leads than this config"):
        initial_weights_run(all_leads, "pretrain_ecg")


def test_a_run_of_another_split_of_the_same_people_is_no_start(shared_runs, first):
    start = {"mae.start_from": first.fingerprint[:8]}
    with pytest.raises(ConfigError, match="another split of synthetic, which contains test participants"):
        initial_weights_run(tiny_config(**start, **{"synthetic.split": [8, 1, 1]}), "pretrain_ecg")
    others = tiny_config(**start, **{"synthetic.split": [8, 1, 1], "synthetic.seed": 99})
    assert initial_weights_run(others, "pretrain_ecg") == first


def test_a_run_that_is_not_there_or_does_not_fit_is_said(shared_runs, first):
    with pytest.raises(MissingError, match=r"start_from is 00000000: no finished run of pretrain_ecg"):
        stages.train(tiny_config(**SHORT, **{"mae.start_from": "00000000"}), "pretrain_ecg", quiet)
    other = tiny_config(**SHORT, **{"mae.start_from": first.fingerprint[:8], "ecg.width": 64})
    with pytest.raises(ConfigError, match=r"does not fit this model: .* has another shape"):
        stages.train(other, "pretrain_ecg", quiet)
    for wrong in ("seed0-1a2b3c4d", "1a2b3c4", "1a2b3c4d ", "../1234"):
        with pytest.raises(ConfigError, match="last 8 characters"):
            load("demo", overrides={"mae.start_from": wrong})
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.mae.start_from = ""
