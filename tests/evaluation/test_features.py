"""What notebooks look at inside the models, on a tiny cohort with tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eccl_lib import losses
from eccl_lib.config.schema import DISEASES
from eccl_lib.data import cohort, ecg, open_cohort, original
from eccl_lib.evaluation import features, fig2b
from eccl_lib.grid import run_jobs
from eccl_lib.metrics import scores
from eccl_lib.pipeline import models, stages
from eccl_lib.pipeline.stages import waves
from eccl_lib.training.datasets import EcgDataset
from tests.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def config(shared_runs):
    return tiny_config("I48")


@pytest.fixture(scope="module")
def data(config) -> cohort.Cohort:
    stages.train(config, "eccl", quiet)
    return open_cohort.load(config, quiet)


def test_every_z_has_length_one_before_and_after(config, data):
    rows = data.index("test")
    for found in (features.before_alignment(config, data, rows), features.after_alignment(config, data, rows)):
        assert found.z_ecg.shape == found.z_cmr.shape == (len(rows), config.align.shared_width)
        np.testing.assert_allclose(np.linalg.norm(np.concatenate([found.z_ecg, found.z_cmr]), axis=1), 1, atol=1e-5)


def test_before_is_what_stage_two_starts_from(config, data):
    """The autoencoder's encoder, and projections that know nothing: a loss near log B."""
    rows = data.index("train")
    found = features.before_alignment(config, data, rows)
    encoder = models.masked_autoencoder(config, data).encoder
    with torch.no_grad():
        np.testing.assert_allclose(found.ecg, encoder(EcgDataset(data, config).of(rows)).numpy(), atol=1e-5)
    loss = losses.clip_loss(torch.from_numpy(found.z_ecg), torch.from_numpy(found.z_cmr), config.align.temperature)
    assert abs(loss.item() - np.log(len(rows))) < 1


def test_after_gives_the_runs_own_predictions(config, data):
    rows, run = data.index("test"), stages.train(config, "eccl", quiet)
    head = run.weights("head")
    logits = features.after_alignment(config, data, rows).ecg @ head["weight"].numpy().T + head["bias"].numpy()
    np.testing.assert_allclose(logits[:, 0], run.predictions["score_I48"], atol=1e-5)
    assert scores.auc(logits[:, 0], data.labels[rows, DISEASES.index("I48")]) == pytest.approx(run.metrics["test"])


def test_reconstructions_show_the_ecgs_as_seen_and_hide_the_stated_share(config, data):
    rows = data.index("test")[:3]
    for row, (x, guess, mask) in zip(rows, features.reconstructions(config, data, rows), strict=True):
        np.testing.assert_array_equal(x, EcgDataset(data, config).of(np.array([row]))[0].numpy())
        assert guess.shape == mask.shape == x.shape
        assert mask.mean() == pytest.approx(config.mae.mask_ratio, abs=0.01)
        blocks = mask.reshape(12, -1, config.ecg.patch_samples)
        assert (blocks == blocks[:, :, :1]).all()  # whole patches


def test_reconstruction_errors_are_the_autoencoders_own_loss(config, data):
    rows = data.index("test")
    errors = [np.square(guess - x)[mask > 0].mean() for x, guess, mask in features.reconstructions(config, data, rows)]
    tokens = EcgDataset(data, config).samples // config.ecg.patch_samples
    noise = torch.rand(len(rows), tokens, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model = models.masked_autoencoder(config, data)
        loss = model.loss(*model(EcgDataset(data, config).of(rows), noise))
    assert np.mean(errors) == pytest.approx(loss.item(), rel=1e-4)


def test_nearest_hearts_are_those_of_a_literal_sort():
    generator = np.random.default_rng(0)
    z_ecg, z_cmr = generator.standard_normal((2, 9, 4))
    found = features.nearest_hearts(z_ecg, z_cmr, np.array([3, 7]), k=2)
    assert found["example"].tolist() == [0, 0, 0, 1, 1, 1]
    for example, query in enumerate((3, 7)):
        likeness = {heart: float(z_ecg[query] @ z_cmr[heart]) for heart in range(9)}
        ranked = sorted(likeness, key=likeness.get, reverse=True)
        mine = found[found["example"] == example]
        assert mine["heart"].tolist() == [query, *ranked[:2]]
        assert mine["rank"].tolist() == [ranked.index(query) + 1, 1, 2]
        assert mine["own"].tolist() == [True, *(heart == query for heart in ranked[:2])]
        np.testing.assert_allclose(mine["similarity"], [likeness[heart] for heart in mine["heart"]])


def test_examples_run_from_easy_to_hard():
    z_cmr = np.eye(11)
    z_ecg = np.zeros((11, 11))
    for query in range(11):  # query k prefers k other hearts to its own
        z_ecg[query, [(query + step) % 11 for step in range(1, query + 1)]] = 2
        z_ecg[query, query] = 1
    chosen = features.at_rank_percentiles(z_ecg, z_cmr)
    assert chosen.tolist() == [1, 5, 9]
    assert features.nearest_hearts(z_ecg, z_cmr, chosen).query("own").groupby("example")["rank"].first().tolist() == [
        2,
        6,
        10,
    ]


def test_original_recordings_give_what_the_store_holds(config, data):
    row = 3
    stored, _, _ = ecg.preprocess(original.ecg_of(config, data, row))
    np.testing.assert_array_equal(stored, data.ecg[row])
    assert original.cine_of(config, data, row).labels is not None


def test_variants_compare_what_the_plan_names(config, data):
    fewer = {"variants.patch_samples": (20, 50), "variants.widths": (32,), "variants.heads": (2,)}
    smaller = tiny_config("I48", **fewer, **{"runtime.workers": 1})
    lines = []
    run_jobs(waves(fig2b.specs(smaller)), smaller, lines.append)
    points = fig2b.compare(smaller, lines.append)
    assert points["tokens"].tolist() == [50, 20, 50]
    assert points["panel"].tolist() == ["patches", "patches", "size"]
    assert ((points["low"] <= points["high"]) & (points["seconds"] > 0)).all()
    assert points["r"][0] == points["r"][2]
