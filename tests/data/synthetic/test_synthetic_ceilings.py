"""The cohort is neither trivial nor hopeless, and the tool that says so computes what it claims."""

import numpy as np
import pytest

from bench import ceilings
from eccl_lib.config.load import load
from eccl_lib.config.schema import DISEASES


@pytest.fixture(scope="module")
def rows():
    return ceilings.ceilings(load("demo").synthetic, folds=2)


def test_trait_ceilings_are_where_the_cohort_wants_them(rows):
    assert 0.40 <= rows["ECG"]["traits"] <= 0.47
    assert 0.64 <= rows["CMR"]["traits"] <= 0.72
    assert rows["age, sex, height, BMI"]["traits"] < rows["ECG"]["traits"] - 0.08


@pytest.mark.parametrize("disease", DISEASES)
def test_disease_ceilings_leave_room_on_both_sides(rows, disease):
    for shown in ("ECG", "CMR"):
        assert 0.74 < rows[shown][disease] < 0.90  # 2,000 to test: a standard error of about .018


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    score, label = rng.standard_normal(60), rng.random(60) < 0.3
    pairs = score[label][:, None] > score[~label][None, :]
    assert ceilings.auc(score, label) == pytest.approx(pairs.mean())


def test_ridge_finds_a_linear_law_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ceilings.TRAIN + ceilings.TEST, 30))
    y = np.column_stack([x @ rng.standard_normal(30), rng.standard_normal(len(x))])
    r = ceilings.correlation(ceilings.ridge(x, y), y[ceilings.TRAIN :])
    assert r[0] > 0.99 and abs(r[1]) < 0.12
