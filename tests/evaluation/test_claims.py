"""Claims of the paper: the published differences, and the rule of the verdicts."""

import numpy as np
import pytest

from eccl_lib.config.schema import DISEASES, TASKS
from eccl_lib.evaluation import claims
from eccl_lib.evaluation.claims import Claim, Resampled
from eccl_lib.metrics.comparison import Difference
from eccl_lib.pipeline.methods import METHODS


def rows(gains, spread=0.01, seeds=5, draws=400):
    """Scores of every row and task around .7 plus the row's gain; participants' draws are shared."""
    generator = np.random.default_rng(0)
    shared, found = spread * generator.standard_normal(draws), {}
    for key in METHODS:
        for task in TASKS:
            by_seed = 0.7 + gains.get(key, 0) + 0.001 * generator.standard_normal(seeds)
            own = 0.001 * generator.standard_normal((seeds, draws))
            found[key, task] = Resampled(by_seed, by_seed[:, None] + shared + own)
    return found


def test_published_differences_are_those_of_the_papers_table():
    table = claims.table(rows({})).set_index("claim")["paper"]
    assert table.loc["ECCL has a higher CM AUC than supervised CMR"] == pytest.approx(0.826 - 0.740)
    assert table.loc["alignment adds to pre-training: traits"] == pytest.approx(0.407 - 0.351)
    four = np.mean([0.714, 0.826, 0.739, 0.807]) - np.mean([0.702, 0.794, 0.737, 0.787])
    assert table.loc["alignment adds to pre-training: diseases"] == pytest.approx(four)
    assert (table.drop("CMAE and ECCL have the same AF AUC") != 0).all()


def test_a_clear_gain_holds_a_clear_loss_does_not_and_equal_rows_are_no_gain():
    found = claims.table(rows({"eccl": 0.05, "cl": -0.05})).set_index("claim")
    assert found.loc["alignment adds to pre-training: traits", "verdict"] == claims.HOLDS
    assert found.loc["alignment alone helps: traits", "verdict"] == claims.FAILS
    assert found.loc["pre-training alone helps: traits", "verdict"] == claims.FAILS  # interval below .005
    assert found.loc["CMAE and ECCL have the same AF AUC", "verdict"] == claims.FAILS
    assert (
        claims.table(rows({})).set_index("claim").loc["CMAE and ECCL have the same AF AUC", "verdict"] == claims.HOLDS
    )


def test_shared_participants_do_not_widen_a_difference():
    table = claims.table(rows({"eccl": 0.02}, spread=0.2)).set_index("claim")
    found = table.loc["alignment adds to pre-training: traits"]
    assert found["high"] - found["low"] < 0.01


def test_verdicts_follow_the_rule():
    def at(value, low, high, p, kind="higher"):
        return claims.verdict(Difference(value, low, high, p), p, kind)

    assert at(0.02, 0.01, 0.03, 0.001) == claims.HOLDS
    assert at(0.02, 0.001, 0.039, 0.2) == claims.OPEN  # significant before the correction only
    assert at(0.001, -0.002, 0.004, 0.6) == claims.FAILS
    assert at(-0.02, -0.03, -0.01, 0.001) == claims.FAILS
    assert at(0.0, -0.02, 0.02, 1.0) == claims.OPEN
    assert at(0.0, -0.004, 0.004, 1.0, "equal") == claims.HOLDS
    assert at(0.02, 0.01, 0.03, 0.001, "equal") == claims.FAILS
    assert at(0.0, -0.01, 0.01, 1.0, "equal") == claims.OPEN


def test_a_claim_about_a_row_that_is_not_there_is_left_out():
    some = {key: value for key, value in rows({}).items() if key[0] in ("eccl", "ssl")}
    assert list(claims.table(some)["claim"]) == [f"alignment adds to pre-training: {x}" for x in ("traits", "diseases")]
    assert claims.table({}).empty


def test_every_claim_names_known_rows_and_tasks():
    assert len(claims.CLAIMS) == 23
    for claim in claims.CLAIMS:
        assert isinstance(claim, Claim) and {claim.row, claim.other} <= set(METHODS)
        assert set(claim.tasks) <= {*DISEASES, "traits"}
