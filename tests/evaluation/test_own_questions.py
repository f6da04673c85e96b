"""Separation of cases before and after alignment, and ECCL against the controls."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.load import load
from eccl_lib.config.schema import DISEASES
from eccl_lib.evaluation import claims, features, latent_scores, own_questions
from eccl_lib.evaluation.claims import Resampled
from eccl_lib.metrics.embedding import purity

N = 300


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    labels = generator.random((N, 4)) < 0.3
    index = {"test": np.arange(N)}.__getitem__
    return SimpleNamespace(labels=labels, label_of=lambda code: labels[:, DISEASES.index(code)], index=index)


def embeddings(gap):
    """Embeddings whose cases lie ``gap`` standard deviations from the controls; the gap of the fourth disease is 0."""

    def embed(config, data, rows):
        generator = np.random.default_rng(config.seed)
        ecg = generator.standard_normal((N, 6))
        if config.disease in DISEASES[:3]:
            ecg += gap * data.labels[rows, DISEASES.index(config.disease)][:, None]
        return features.Latent(ecg, ecg, ecg)

    return embed


def test_separation_rises_where_alignment_moves_the_cases_apart(data, monkeypatch):
    monkeypatch.setattr(features, "before_alignment", embeddings(0.0))
    monkeypatch.setattr(features, "after_alignment", embeddings(3.0))
    positives = {task: data.labels[:, k] for k, task in enumerate(DISEASES)}
    latents = latent_scores.measure(load("demo"), data, [*DISEASES, "traits"], (0, 1, 2))
    found = own_questions.separation(positives, latents).set_index("task")
    assert list(found.index) == list(DISEASES) and (found["seeds"] == 3).all()
    assert (found.loc[list(DISEASES[:3]), "verdict"] == claims.HOLDS).all()
    assert found.loc["I50", "difference"] == pytest.approx(0, abs=0.02) and found.loc["I50", "verdict"] != claims.HOLDS
    own = purity(features.after_alignment(load("demo", disease="I21"), data, np.arange(N)).ecg, data.labels[:, 0])
    cases = data.labels[:, 0]
    of_one_seed = {key: scores for key, scores in latents.items() if key[1] == 0}
    one_seed = own_questions.separation({"I21": cases}, of_one_seed).iloc[0]
    assert one_seed["after"] == pytest.approx((own[cases].mean() + own[~cases].mean()) / 2)
    assert one_seed["after"] - one_seed["before"] == pytest.approx(one_seed["difference"])


def test_a_control_is_subtracted_draw_by_draw():
    generator = np.random.default_rng(0)
    shared = 0.05 * generator.standard_normal(400)
    by_seed = np.array([0.70, 0.71, 0.72])
    eccl = {"traits": Resampled(by_seed, by_seed[:, None] + shared)}
    controls = {
        ("sex and age", "traits"): Resampled(np.array([0.61]), (0.61 + shared)[None]),
        ("sex and age", "I21"): Resampled(np.array([0.5]), (0.5 + shared)[None]),
    }
    found = own_questions.against_controls(eccl, controls)
    assert found["task"].tolist() == ["traits"]
    row = found.iloc[0]
    assert row["difference"] == pytest.approx(0.10) and row["there"] == pytest.approx(0.61)
    assert 0.07 < row["low"] < row["high"] < 0.13  # the participants' noise, SD .05, is common to both


def test_without_a_disease_or_without_controls_the_tables_are_empty():
    assert list(own_questions.separation({}, {})) == own_questions.SEPARATION
    empty = own_questions.against_controls({}, {})
    assert isinstance(empty, pd.DataFrame) and list(empty) == own_questions.AGAINST_CONTROLS
