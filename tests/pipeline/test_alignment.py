"""Contrast against more: a bank of hearts, several views of a clip; off by default, each against a literal formula."""

import math

import numpy as np
import pytest
import torch

from eccl_lib import losses
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load
from eccl_lib.data import cmr, open_cohort
from eccl_lib.pipeline import features, models, stages
from eccl_lib.pipeline.stages import expected
from eccl_lib.pipeline.steps import CmrFeatures
from eccl_lib.training.batch import Batch
from eccl_lib.training.datasets import CineDataset
from eccl_lib.training.loop import Loop
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import job_of, quiet
from tests.test_losses import TAU, literal_info_nce, unit
from tests.training.test_microbatches import gradients

pytestmark = pytest.mark.usefixtures("shared_runs")


def literal_bank(z_ecg, bank, own):
    """Each ECG against all hearts there are, each heart of the batch against the batch's ECGs, one at a time."""
    total = 0.0
    for i, anchor in enumerate(z_ecg):
        scores = [math.exp(float(anchor @ heart) / TAU) for heart in bank]
        total -= math.log(scores[own[i]] / sum(scores))
    return 0.5 * total / len(z_ecg) + 0.5 * literal_info_nce(bank[own], z_ecg)


def test_bank_loss_equals_the_literal_formula():
    z_ecg, bank, own = unit(7, seed=1), unit(40, seed=2), torch.tensor([3, 39, 0, 8, 21, 22, 5])
    assert math.isclose(float(losses.bank_loss(z_ecg, bank, own, TAU)), literal_bank(z_ecg, bank, own), rel_tol=1e-12)


def test_a_bank_that_is_the_batch_gives_the_plain_loss_in_any_order():
    z_ecg, z_cmr = unit(9, seed=1), unit(9, seed=2)
    plain = losses.clip_loss(z_ecg, z_cmr, TAU)
    assert torch.isclose(losses.bank_loss(z_ecg, z_cmr, torch.arange(9), TAU), plain)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.isclose(losses.bank_loss(z_ecg, z_cmr[order], order.argsort(), TAU), plain)


def test_equal_similarities_cost_the_logarithms_of_bank_and_batch():
    z = unit(1).expand(50, -1)
    found = losses.bank_loss(z[:8], z, torch.arange(8), TAU)
    assert math.isclose(float(found), 0.5 * math.log(50) + 0.5 * math.log(8), rel_tol=1e-12)


def test_the_bank_is_all_training_participants_and_nobody_else(tmp_path):
    config = tiny_config(**{"align.bank": True, "ecg.dropout": 0.0})
    data = open_cohort.load(config, quiet)
    job = job_of("eccl", config, data)
    parts, gradient = gradients(job, tmp_path, rows=6)
    rows, train, model = np.concatenate(job.batches(0))[:6], data.index("train"), job.model
    cmr = np.random.default_rng(0).normal(size=(len(data), model.project_cmr.in_features)).astype(np.float32)
    loop = Loop(job, 0, tmp_path, "", config.runtime, quiet)
    with torch.no_grad():
        _, z_ecg = job.step.encode(Batch.of(rows, loop.generator(0)))
        bank = model.project_cmr(torch.from_numpy(cmr[train]))
    own = torch.tensor([list(train).index(row) for row in rows])
    assert parts["contrastive"] == pytest.approx(literal_bank(z_ecg.double(), bank.double(), own), rel=1e-5)
    assert gradient["project_cmr.weight"].abs().sum() > 0


def test_of_several_views_one_is_drawn_for_each_participant_at_each_step():
    features = np.arange(5 * 3, dtype=np.float32).reshape(5, 3, 1)
    hearts, rows = CmrFeatures(features, torch.device("cpu")), torch.tensor([4, 0, 4, 2])
    drawn = torch.stack([hearts.of(rows, torch.Generator().manual_seed(k))[:, 0] for k in range(300)])
    assert torch.equal(drawn[:, 0], drawn[:, 2])  # the same participant in the same step
    assert torch.equal(drawn.div(3, rounding_mode="floor"), rows.expand(300, -1).float())
    counts = torch.bincount(drawn[:, 1].long(), minlength=3)
    assert counts.sum() == 300 and counts.min() > 70
    assert not torch.equal(drawn[:, 0] - 12, drawn[:, 1])  # unlike participants draw apart


def test_views_are_features_of_augmented_clips_computed_once():
    config = tiny_config(**{"align.views": 2})
    data = open_cohort.load(config, quiet)
    teacher = stages.train(config, "pretrain_cmr", quiet)
    plain, views = stages.cmr_features(config, data, quiet), features.extract(config, data, teacher)
    assert views.shape == (len(data), 2, plain.shape[1]) and views.dtype == np.float32
    assert not np.allclose(views[:, 0], views[:, 1], atol=1e-3) and not np.allclose(views[:, 0], plain, atol=1e-3)
    own = np.linalg.norm(views[:, 0] - plain, axis=1)
    others = np.linalg.norm(views[:, 0] - np.roll(plain, 1, axis=0), axis=1)
    assert np.mean(own < others) > 0.7  # still the same hearts
    stamp = (teacher.folder / "features_2_views.npy").stat().st_mtime_ns
    assert np.array_equal(features.extract(config, data, teacher), views)
    assert (teacher.folder / "features_2_views.npy").stat().st_mtime_ns == stamp
    still = {"augment.cmr_rotation_degrees": 0.0, "augment.cmr_scale_min": 1.0}
    model, clips = models.frozen_cmr(config, data), CineDataset(data, config)
    unmoved = cmr.augment(clips.of(np.arange(4)), tiny_config(**still).augment, torch.rand(cmr.AUGMENT_DRAWS, 4))
    assert np.allclose(model.encoder(unmoved).numpy(), plain[:4], atol=1e-3)  # views differ by augmentation alone


@pytest.mark.parametrize(
    "option",
    [
        {"align.views": 2},
        {"align.bank": True},
        {"align.contrastive": "siglip"},
        {"align.contrastive": "soft"},
        {"align.auxiliary": "labels"},
        {"align.auxiliary": "teachers"},
        {"align.pooling": "mean"},
    ],
)
def test_an_option_is_another_run_that_trains_and_off_is_the_run_it_was(option):
    config, base = tiny_config(**option), tiny_config()
    data = open_cohort.load(base, quiet)
    assert expected(config, "eccl", data) != expected(base, "eccl", data)
    defaults = load("paper")
    off = {name: getattr(defaults.align, name.partition(".")[2]) for name in option}
    assert expected(tiny_config(**off), "eccl", data) == expected(base, "eccl", data)
    run, plain = stages.train(config, "eccl", quiet), stages.train(base, "eccl", quiet)
    assert run.metrics["updates"] == plain.metrics["updates"]
    assert not run.history["contrastive"].equals(plain.history["contrastive"])


def test_a_number_of_views_below_zero_is_refused():
    with pytest.raises(ConfigError, match=r"align.views"):
        load("demo", overrides={"align.views": -1})
