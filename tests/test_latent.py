"""What notebooks look at inside the models, on a tiny cohort with tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eccl_lib import evaluate, latent, losses, methods, trained, variants
from eccl_lib.config import DISEASES
from eccl_lib.data import cohort, ecg, original
from eccl_lib.inputs import Signals

from .conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def config(shared_runs):
    return tiny_config("I48")


@pytest.fixture(scope="module")
def data(config) -> cohort.Cohort:
    methods.run(config, "eccl", quiet)
    return cohort.load(config, quiet)


def test_every_z_has_length_one_before_and_after(config, data):
    rows = data.index("test")
    for found in (latent.before_alignment(config, data, rows), latent.after_alignment(config, data, rows)):
        assert found.z_ecg.shape == found.z_cmr.shape == (len(rows), config.align.shared_width)
        np.testing.assert_allclose(np.linalg.norm(np.concatenate([found.z_ecg, found.z_cmr]), axis=1), 1, atol=1e-5)


def test_before_is_what_stage_two_starts_from(config, data):
    """The autoencoder's encoder, and projections that know nothing: a loss near log B."""
    rows = data.index("train")
    found = latent.before_alignment(config, data, rows)
    encoder = trained.masked_autoencoder(config, data).encoder
    with torch.no_grad():
        np.testing.assert_allclose(found.ecg, encoder(Signals(data, config).of(rows)).numpy(), atol=1e-5)
    loss = losses.clip_loss(torch.from_numpy(found.z_ecg), torch.from_numpy(found.z_cmr), config.align.temperature)
    assert abs(loss.item() - np.log(len(rows))) < 1


def test_after_gives_the_runs_own_predictions(config, data):
    rows, run = data.index("test"), methods.run(config, "eccl", quiet)
    head = run.weights("head")
    logits = latent.after_alignment(config, data, rows).ecg @ head["weight"].numpy().T + head["bias"].numpy()
    np.testing.assert_allclose(logits[:, 0], run.predictions["score_I48"], atol=1e-5)
    assert evaluate.auc(logits[:, 0], data.labels[rows, DISEASES.index("I48")]) == pytest.approx(run.metrics["test"])


def test_reconstruction_shows_the_ecg_as_seen_and_hides_the_stated_share(config, data):
    row = int(data.index("test")[0])
    x, guess, mask = latent.reconstruction(config, data, row)
    np.testing.assert_array_equal(x, Signals(data, config).of(np.array([row]))[0].numpy())
    assert guess.shape == mask.shape == x.shape
    assert mask.mean() == pytest.approx(config.mae.mask_ratio, abs=0.01)
    blocks = mask.reshape(12, -1, config.ecg.patch_samples)
    assert (blocks == blocks[:, :, :1]).all()  # whole patches


def test_original_recordings_give_what_the_store_holds(config, data):
    row = 3
    stored, _, _ = ecg.preprocess(original.ecg_of(config, data, row))
    np.testing.assert_array_equal(stored, data.ecg[row])
    assert original.cine_of(config, data, row).labels is not None


def test_variants_compare_what_the_plan_names(config, data):
    fewer = {"variants.patch_samples": (20, 50), "variants.widths": (32,), "variants.heads": (2,)}
    smaller = tiny_config("I48", **fewer, **{"runtime.workers": 1})
    lines = []
    points = variants.compare(smaller, lines.append)
    assert points["tokens"].tolist() == [50, 20, 50]
    assert points["panel"].tolist() == ["patches", "patches", "size"]
    assert ((points["low"] <= points["high"]) & (points["seconds"] > 0)).all()
    assert points["r"][0] == points["r"][2]
