"""Embeddings, reconstructions and retrieval examples of tiny models on a tiny cohort."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eccl_lib import losses
from eccl_lib.config.schema import DISEASES
from eccl_lib.data import cohort, ecg, open_cohort, original
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import features, fig2b
from eccl_lib.grid import train_all
from eccl_lib.metrics import scores
from eccl_lib.models.ecg_vit import grid
from eccl_lib.pipeline import models, stages
from eccl_lib.training.datasets import CineDataset, EcgDataset
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


def test_before_alignment_is_the_start_of_stage_two(config, data):
    """The encoder is the autoencoder's; untrained projections give a loss near log B."""
    rows = data.index("train")
    found = features.before_alignment(config, data, rows)
    encoder = models.masked_autoencoder(config, data).encoder
    with torch.no_grad():
        np.testing.assert_allclose(found.ecg, encoder(EcgDataset(data, config).of(rows)).numpy(), atol=1e-5)
    loss = losses.clip_loss(torch.from_numpy(found.z_ecg), torch.from_numpy(found.z_cmr), config.align.temperature)
    assert abs(loss.item() - np.log(len(rows))) < 1


def test_after_alignment_gives_the_predictions_of_the_run(config, data):
    rows, run = data.index("test"), stages.train(config, "eccl", quiet)
    head = run.weights("head")
    logits = features.after_alignment(config, data, rows).ecg @ head["weight"].numpy().T + head["bias"].numpy()
    np.testing.assert_allclose(logits[:, 0], run.predictions["score_I48"], atol=1e-5)
    assert scores.auc(logits[:, 0], data.labels[rows, DISEASES.index("I48")]) == pytest.approx(run.metrics["test"])


def test_reconstructions_return_the_model_input_and_mask_the_configured_share(config, data):
    rows = data.index("test")[:3]
    for row, (x, reconstructed, mask) in zip(rows, features.reconstructions(config, data, rows), strict=True):
        np.testing.assert_array_equal(x, EcgDataset(data, config).of(np.array([row]))[0].numpy())
        assert reconstructed.shape == mask.shape == x.shape
        assert mask.mean() == pytest.approx(config.mae.mask_ratio, abs=0.01)
        blocks = mask.reshape(12, -1, config.ecg.patch_samples)
        assert (blocks == blocks[:, :, :1]).all()  # whole patches


def test_reconstruction_errors_equal_the_loss_of_the_autoencoder(config, data):
    rows = data.index("test")
    errors = [np.square(y - x)[mask > 0].mean() for x, y, mask in features.reconstructions(config, data, rows)]
    tokens = int(np.prod(grid(config.ecg, EcgDataset(data, config).samples)))
    noise = torch.rand(len(rows), tokens, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model = models.masked_autoencoder(config, data)
        loss = model.loss(*model(EcgDataset(data, config).of(rows), noise))
    assert np.mean(errors) == pytest.approx(loss.item(), rel=1e-4)


def test_constant_errors_are_those_of_a_literal_loop(config, data):
    dataset = EcgDataset(data, config)
    train, test = (dataset.of(data.index(split)).numpy() for split in ("train", "test"))
    own = np.mean([np.square(lead - lead.mean()).mean() for ecg in test for lead in ecg])
    of_train = [np.square(test[:, lead] - train[:, lead].mean()).mean() for lead in range(12)]
    found = features.constant_errors(config, data)
    assert found["own mean"] == pytest.approx(own, rel=2e-3)  # torch's variance divides by T - 1
    assert found["training mean"] == pytest.approx(np.mean(of_train), rel=1e-4)


def test_nearest_cmrs_are_those_of_a_literal_sort():
    generator = np.random.default_rng(0)
    z_ecg, z_cmr = generator.standard_normal((2, 9, 4))
    candidates = features.nearest_cmrs(z_ecg, z_cmr, np.array([3, 7]), k=2)
    assert candidates["query"].tolist() == [0, 0, 0, 1, 1, 1]
    for query, row in enumerate((3, 7)):
        similarity = {cmr: float(z_ecg[row] @ z_cmr[cmr]) for cmr in range(9)}
        ranked = sorted(similarity, key=similarity.get, reverse=True)
        of_query = candidates[candidates["query"] == query]
        assert of_query["cmr"].tolist() == [row, *ranked[:2]]
        assert of_query["rank"].tolist() == [ranked.index(row) + 1, 1, 2]
        assert of_query["matching"].tolist() == [True, *(cmr == row for cmr in ranked[:2])]
        np.testing.assert_allclose(of_query["similarity"], [similarity[cmr] for cmr in of_query["cmr"]])


def test_queries_are_at_rank_percentiles():
    z_cmr = np.eye(11)
    z_ecg = np.zeros((11, 11))
    for query in range(11):  # k other CMRs are more similar to query k
        z_ecg[query, [(query + step) % 11 for step in range(1, query + 1)]] = 2
        z_ecg[query, query] = 1
    queries = features.queries_at_rank_percentiles(z_ecg, z_cmr)
    assert queries.tolist() == [1, 5, 9]
    matches = features.nearest_cmrs(z_ecg, z_cmr, queries).drop_duplicates("query")
    assert matches["matching"].all() and matches["rank"].tolist() == [2, 6, 10]


def test_retrieval_examples_give_each_candidate_its_own_frame_and_mass(config, data):
    rows = data.index("test")
    after = features.after_alignment(config, data, rows)
    ecgs, images, candidates = features.retrieval_examples(config, data, after, rows)
    lvm = [trait.short_name for trait in TRAITS].index("LVM")
    assert ecgs.shape[:2] == (3, 12) and len(candidates) == 18
    for k, candidate in enumerate(candidates.itertuples()):
        row = rows[candidate.cmr]
        np.testing.assert_array_equal(images["end diastole"][k], data.clips[row][:, :, 0])
        np.testing.assert_array_equal(
            images["end systole"][k], data.clips[row][:, :, round(0.35 * data.clips.shape[-1])]
        )
        assert candidate.note == f"LVM {data.traits[row, lvm]:.0f} g"


def test_a_changed_cmr_encoder_no_longer_reproduces_the_features(config, data):
    rows = data.index("test")[:8]
    used = stages.cmr_features(config, data, quiet)[rows]
    encoder, clips = models.frozen_cmr(config, data).encoder, CineDataset(data, config)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert features.encoder_reproduces(encoder, clips, rows, used)
    assert not features.encoder_reproduces(features.with_perturbed_weights(encoder), clips, rows, used)
    assert not features.encoder_reproduces(encoder, clips, rows[::-1].copy(), used)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_original_recordings_preprocess_to_the_stored_arrays(config, data):
    row = 3
    stored, _, _ = ecg.preprocess(original.ecg_of(config, data, row))
    np.testing.assert_array_equal(stored, data.ecg[row])
    assert original.cine_of(config, data, row).labels is not None


def test_fig2b_compares_the_planned_variants(config, data):
    fewer = {
        "variants.patch_samples": (200,),
        "variants.widths": (32,),
        "variants.heads": (2,),
        "variants.depths": (1,),
    }
    smaller = tiny_config("I48", **fewer, **{"runtime.workers": 1, "variants.seeds": 2})
    lines = []
    train_all(fig2b.specs(smaller), smaller, lines.append)
    points = fig2b.compare(smaller, lines.append)
    assert points["tokens"].tolist() == [60, 60, 50, 50, 50, 50, 50, 50]
    assert points["panel"].tolist() == ["patches"] * 4 + ["width"] * 2 + ["depth"] * 2
    assert points["seed"].tolist() == [0, 1] * 4
    assert ((points["low"] <= points["high"]) & (points["seconds"] > 0)).all()
    own, base = points["r"][:2], points["r"][2:4]
    assert points["mean"][0] == pytest.approx(own.mean()) and points["mean"][2] == pytest.approx(base.mean())
    assert points["r"][4:6].tolist() == points["r"][6:8].tolist() == base.tolist()
