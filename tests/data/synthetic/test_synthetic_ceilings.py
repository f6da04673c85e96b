"""Information ceilings of the cohort are neither trivial nor hopeless, and the tool computes them correctly."""

import numpy as np
import pytest

from bench import ceilings
from eccl_lib.config.load import load
from eccl_lib.config.schema import DISEASES


@pytest.fixture(scope="module")
def rows():
    return ceilings.ceilings(load("demo").synthetic, folds=2)


def test_trait_ceilings_are_in_their_intended_ranges(rows):
    assert 0.40 <= rows["ECG"]["traits"] <= 0.47
    assert 0.64 <= rows["CMR"]["traits"] <= 0.72
    assert rows["age, sex, height, BMI"]["traits"] < rows["ECG"]["traits"] - 0.08


@pytest.mark.parametrize("disease", DISEASES)
def test_disease_ceilings_are_neither_trivial_nor_hopeless(rows, disease):
    for shown in ("ECG", "CMR"):
        assert 0.74 < rows[shown][disease] < 0.90  # 2,000 to test: a standard error of about .018


def test_auc_equals_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    score, label = rng.standard_normal(60), rng.random(60) < 0.3
    pairs = score[label][:, None] > score[~label][None, :]
    assert ceilings.auc(score, label) == pytest.approx(pairs.mean())
