"""Options of stage two: each loss against a literal formula, auxiliary targets, pooling, fewer participants."""

import math

import numpy as np
import pytest
import torch

from eccl_lib import losses
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load
from eccl_lib.data import open_cohort
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.pipeline import extensions, features, stages
from eccl_lib.tasks import TASKS, targets_of
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import job_of, quiet
from tests.test_losses import TAU, literal_info_nce, unit

pytestmark = pytest.mark.usefixtures("shared_runs")


def test_siglip_loss_classifies_every_pair():
    z_ecg, z_cmr, bias = unit(6, seed=1), unit(6, seed=2), -3.0
    total = 0.0
    for i, ecg in enumerate(z_ecg):
        for j, cmr in enumerate(z_cmr):
            sign = 1 if i == j else -1
            total -= math.log(1 / (1 + math.exp(-sign * (float(ecg @ cmr) / TAU + bias))))
    assert math.isclose(float(losses.siglip_loss(z_ecg, z_cmr, TAU, bias)), total / 6, rel_tol=1e-12)


def test_soft_targets_equal_to_the_identity_give_the_clip_loss():
    z_ecg, z_cmr = unit(7, seed=1), unit(7, seed=2)
    identity = torch.eye(7, dtype=torch.float64)
    half = 0.5 * literal_info_nce(z_ecg, z_cmr) + 0.5 * literal_info_nce(z_cmr, z_ecg)
    assert math.isclose(float(losses.soft_clip_loss(z_ecg, z_cmr, TAU, identity)), half, rel_tol=1e-12)


def test_equal_hearts_share_the_target_and_missing_traits_count_as_the_mean():
    traits = torch.tensor([[0.0, 2.0], [float("nan"), 2.0], [4.0, -2.0]])
    target = losses.similar_hearts(traits, 0.5)
    weights = [1, 1, math.exp(-((16 + 16) / 2) / 0.5)]
    assert torch.allclose(target[0], torch.tensor(weights) / sum(weights))
    assert torch.allclose(target.sum(dim=1), torch.ones(3)) and torch.equal(target[:2, 0], target[:2, 1])


def test_auxiliary_targets_are_the_labels_of_all_five_tasks():
    data = open_cohort.load(tiny_config(), quiet)
    labels = extensions.auxiliary_labels(data)
    traits = targets_of(tiny_config("traits"), data).standardize().numpy()
    np.testing.assert_array_equal(labels[:, :82], traits)
    np.testing.assert_array_equal(labels[:, 82:], data.labels)


def test_the_auxiliary_loss_is_that_of_both_kinds_of_task():
    outputs, targets = torch.randn(5, 86), torch.rand(5, 86)
    targets[0, 3] = float("nan")
    squares = (outputs - targets)[:, :82].square()
    traits = squares[~torch.isnan(squares)].mean()
    p = torch.sigmoid(outputs[:, 82:])
    diseases = -(targets[:, 82:] * p.log() + (1 - targets[:, 82:]) * (1 - p).log()).mean()
    assert torch.isclose(extensions.auxiliary_loss(outputs, targets), traits + diseases)


def test_teachers_give_the_outputs_of_the_five_frozen_cmr_models():
    config = tiny_config("I42", **{"align.auxiliary": "teachers"})
    data = open_cohort.load(config, quiet)
    stages.train(config, "eccl", quiet)
    step = stages.spec(config, "eccl").job(data).step
    for task, columns in (("I48", slice(84, 85)), ("traits", slice(0, 82))):
        own = tiny_config(task)
        model = features.frozen_cmr_model(own, data, stages.expected(own, "pretrain_cmr", data))
        clips = features.CineDataset(data, own).of(np.arange(4))
        outputs = model(clips)
        expected = outputs if task == "traits" else torch.sigmoid(outputs)
        assert torch.allclose(step.auxiliary[:4, columns], expected, atol=1e-4)


def test_the_outputs_of_too_few_cmr_models_are_refused():
    data = open_cohort.load(tiny_config(), quiet)
    outputs = [np.zeros((len(data), task.outputs), np.float32) for task in TASKS.values()]
    assert extensions.auxiliary_predictions(data, outputs).shape == (len(data), 86)
    with pytest.raises(ConfigError, match="one CMR model for each task"):
        extensions.auxiliary_predictions(data, outputs[1:])


def test_mean_pooling_averages_the_tokens_of_the_patches():
    config = tiny_config().ecg
    encoder = EcgEncoder(config, 1000).eval()
    ecg = torch.randn(3, 12, 1000)
    class_token = encoder(ecg)
    encoder.pooling = "mean"
    tokens = encoder.encode(encoder.tokens(ecg))
    assert torch.allclose(class_token, tokens[:, 0], atol=1e-6)
    assert torch.allclose(encoder(ecg), tokens[:, 1:].mean(dim=1), atol=1e-6)


def test_fewer_participants_are_drawn_from_the_training_set_by_the_seed():
    data = open_cohort.load(tiny_config(), quiet)
    jobs = [job_of("ssl", tiny_config("traits", seed=seed, **{"align.participants": 9}), data) for seed in (0, 0, 1)]
    drawn = [set(np.concatenate(job.batches(0))) for job in jobs]
    assert all(len(rows) == 9 and rows <= set(data.index("train")) for rows in drawn)
    assert drawn[0] == drawn[1] != drawn[2]
    np.testing.assert_array_equal(jobs[0].rows("test"), data.index("test"))
    metrics, _ = job_of("ssl", tiny_config("I48", **{"align.participants": 9}), data).evaluate()
    assert metrics["n"]["train"] == 9 >= metrics["positives"]["train"]


def test_both_stages_have_the_same_noise_on_the_traits_and_are_scored_without_it():
    data, noise = open_cohort.load(tiny_config(), quiet), {"align.trait_noise": 1.0, "cmr_training.trait_noise": 1.0}
    config, train, test = tiny_config("traits", **noise), data.index("train"), data.index("test")
    two, one = job_of("ssl", config, data), stages.spec(config, "pretrain_cmr").job(data)
    clean = job_of("ssl", tiny_config("traits"), data).step.target_values
    assert torch.equal(two.step.target_values, one.step.target_values)
    assert not torch.isclose(two.step.target_values[train], clean[train]).any()
    assert torch.equal(two.step.target_values[test], clean[test])
    np.testing.assert_array_equal(two.targets.values[test], targets_of(config, data).values[test])


@pytest.mark.parametrize(
    "changes",
    [
        {"align.bank": True, "align.contrastive": "siglip"},
        {"align.soft_width": 0.0},
        {"align.auxiliary_weight": -1.0},
        {"align.trait_noise": 1.0, "align.contrastive": "soft"},
    ],
)
def test_options_that_cannot_be_combined_are_refused(changes):
    with pytest.raises(ConfigError, match=r"align\."):
        load("demo", overrides=changes)
