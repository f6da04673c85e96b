"""The split into train, val and test, and the check of its balance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load, with_changes
from eccl_lib.data import leaks, splits


def test_the_split_of_consecutive_ids_is_exactly_three_to_one_to_one():
    found = [splits.split_of(str(9_000_001 + k), "eccl") for k in range(600)]
    assert [found.count(name) for name in splits.SPLITS] == [360, 120, 120]
    blocks = np.array(found).reshape(-1, 5)
    assert all(sorted(block) == ["test", "train", "train", "train", "val"] for block in blocks.tolist())
    assert len({tuple(block) for block in blocks.tolist()}) == 20  # every order of the places occurs


def test_the_split_of_scattered_ids_is_about_sixty_twenty_twenty():
    eids = np.random.default_rng(0).choice(10**6, 20_000, replace=False) + 9_000_000
    found = [splits.split_of(str(eid), "eccl") for eid in eids]
    shares = np.array([found.count(name) for name in splits.SPLITS]) / len(found)
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=4 * np.sqrt(0.24 / 20_000))


def test_the_split_depends_only_on_id_and_salt():
    assert [splits.split_of(str(9_000_001 + k), "eccl") for k in range(10)] == [
        splits.split_of(str(9_000_001 + k), "eccl") for k in reversed(range(10))
    ][::-1]
    salted = [[splits.split_of(str(9_000_001 + k), salt) for k in range(200)] for salt in ("eccl", "other")]
    assert salted[0] != salted[1]


def test_the_split_never_changes():
    """Runs of years ago were scored on these participants."""
    letters = "".join(splits.split_of(str(k), "eccl")[1] for k in range(1, 41))  # t(r)ain, v(a)l, t(e)st
    assert letters == "raerrrrrearerraarrrearrerrarerarrreraerr"
    letters = "".join(splits.split_of(str(k), "eccl", (2, 0, 3))[1] for k in range(9_000_001, 9_000_021))
    assert letters == "eerereeerrrereeeeerr"


def people(n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Scattered ids with their splits, and independent sex, age and labels."""
    rng = np.random.default_rng(seed)
    eids = np.sort(rng.choice(10**6, n, replace=False)) + 9_000_000
    table = pd.DataFrame(
        {"eid": eids.astype(str), "sex": rng.choice(["female", "male"], n), "age": rng.normal(64, 8, n)}
    )
    table["split"] = [splits.split_of(eid, "eccl") for eid in table["eid"]]
    return table, rng.random((n, 4)) < (0.022, 0.004, 0.039, 0.012)


def test_a_participants_split_does_not_change_when_others_are_added():
    few, many = people(1000)[0], people(20_000)[0]
    both = pd.concat([few, many]).groupby("eid")["split"].nunique()
    assert (both == 1).all()


def test_strata_of_a_random_split_are_balanced():
    found = splits.balance(*people(20_000))
    assert set(found["stratum"]) >= {"all", "I21", "I42", "I48", "I50", "female", "male"}
    assert len(found) == 3 * found["stratum"].nunique()
    assert found["even"].all()
    assert (found.groupby("stratum")["found"].sum() == found.groupby("stratum")["n"].first()).all()


def test_the_interval_is_binomial_with_bonferroni_correction():
    found = splits.balance(*people(5000))
    row = found[(found["stratum"] == "I48") & (found["split"] == "test")].iloc[0]
    tail = (1 - (1 - splits.UNLIKELY / len(found))) / 2
    inside = [
        k for k in range(row["n"] + 1) if binom.cdf(k, row["n"], 0.2) >= tail and binom.sf(k - 1, row["n"], 0.2) > tail
    ]
    assert (row["low"], row["high"]) == (inside[0], inside[-1])


def test_a_stratum_moved_to_the_test_set_is_detected():
    table, labels = people(20_000)
    sick = np.flatnonzero(labels[:, 2] & (table["split"] == "train"))
    well = np.flatnonzero(~labels.any(axis=1) & (table["split"] == "test"))
    moved = len(sick) // 3
    table.loc[sick[:moved], "split"], table.loc[well[:moved], "split"] = "test", "train"
    found = splits.balance(table, labels)
    assert set(found.loc[~found["even"], "stratum"]) == {"I48"}


def test_small_strata_are_not_checked():
    table, labels = people(200)
    assert "I42" not in set(splits.balance(table, labels)["stratum"])


def test_a_block_has_exactly_the_parts_asked_for():
    found = [splits.split_of(str(9_000_000 + 13 * 5 + k), "eccl", (6, 2, 5)) for k in range(1, 1301)]
    assert [found.count(name) for name in splits.SPLITS] == pytest.approx([600, 200, 500], abs=6)
    first = 13 * 800_000  # ids from first + 1 form whole blocks
    whole = [splits.split_of(str(first + 1 + k), "eccl", (6, 2, 5)) for k in range(1300)]
    assert [whole.count(name) for name in splits.SPLITS] == [600, 200, 500]
    usual = [splits.split_of(str(eid), "eccl") for eid in range(1, 500)]
    assert usual == [splits.split_of(str(eid), "eccl", (3, 1, 1)) for eid in range(1, 500)]


def test_a_fold_that_does_not_exist_is_refused_and_the_folds_are_no_leak():
    table = pd.DataFrame({"eid": [str(k) for k in range(1, 401)], "fold": np.arange(400) % 5 + 1})
    config = load("demo", cohort="ecg-mine")
    table["split"] = splits.splits_of(table, config)
    assert set(table.loc[table["fold"] == 5, "split"]) == {"test"}
    assert set(table.loc[table["fold"] == 4, "split"]) == {"val"}
    assert leaks.wrong_split(table, config) == []
    third = with_changes(config, {"store.test_fold": 3})
    assert [leak.message for leak in leaks.wrong_split(table, third)] == [
        "320 participants are not in the split that their id determines"
    ]
    with pytest.raises(ConfigError, match=r"test_fold is 6; the folds of this cohort are 1 to 5"):
        splits.splits_of(table, with_changes(config, {"store.test_fold": 6}))


def folds_config(**store):
    return load("demo", overrides={f"store.{name}": value for name, value in store.items()})


def test_published_folds_are_the_split_and_the_fold_before_the_test_s_is_for_validation():
    table = pd.DataFrame({"eid": list("abcdef"), "fold": [1, 2, 3, 4, 4, 3]})
    assert splits.has_folds(table, folds_config())
    assert splits.splits_of(table, folds_config()).tolist() == ["train", "train", "val", "test", "test", "val"]
    assert splits.splits_of(table, folds_config(test_fold=2)).tolist() == ["val", "test"] + ["train"] * 4
    assert splits.splits_of(table, folds_config(test_fold=1)).tolist() == ["test"] + ["train"] * 2 + ["val"] * 2 + [
        "train"
    ]
    with pytest.raises(ConfigError, match="test_fold is 5; the folds of this cohort are 1 to 4"):
        splits.splits_of(table, folds_config(test_fold=5))


def test_ten_folds_by_the_last_digit_of_the_patient_are_the_split_if_none_are_published():
    table = pd.DataFrame({"eid": [str(k) for k in range(12)], "patient": [str(100 + k // 2) for k in range(12)]})
    found = splits.splits_of(table, folds_config(test_fold=3))
    assert found.tolist() == ["train", "train", "val", "val", "test", "test"] + ["train"] * 6
    last = splits.splits_of(pd.DataFrame({"eid": ["9", "8", "10"]}), folds_config(test_fold=10))
    assert last.tolist() == ["test", "val", "train"]
    assert splits.splits_of(table[:0], folds_config(test_fold=3)).tolist() == []
    with pytest.raises(ConfigError, match="the folds of this cohort are 1 to 10"):
        splits.splits_of(table, folds_config(test_fold=11))


def test_without_folds_the_patient_s_id_and_the_salt_decide():
    config = folds_config(split_salt="other")
    table = pd.DataFrame({"eid": [str(k) for k in range(40)], "patient": [str(7 + k // 2) for k in range(40)]})
    assert not splits.has_folds(table, config)
    expected = [splits.split_of(patient, "other", splits.parts_of(config)) for patient in table["patient"]]
    assert splits.splits_of(table, config).tolist() == expected
    assert splits.splits_of(table.drop(columns="patient"), config).tolist() == [
        splits.split_of(eid, "other", splits.parts_of(config)) for eid in table["eid"]
    ]


def test_demographic_strata_are_all_both_sexes_and_thirds_of_age_without_the_unknown():
    sex = pd.Series(["female", "male", pd.NA, "female", "male", "female"], dtype="string")
    table = pd.DataFrame({"sex": sex, "age": [40.0, 50, 60, 70, np.nan, 80]})
    found = {name: np.flatnonzero(chosen).tolist() for name, chosen in splits.demographic_strata(table)}
    assert found == {
        "all": [0, 1, 2, 3, 4, 5],
        "female": [0, 3, 5],
        "male": [1, 4],
        "age up to 53": [0, 1],
        "age 53 to 67": [2],
        "age above 67": [3, 5],
    }
    nobody = pd.DataFrame({"sex": sex, "age": np.full(6, np.nan)})
    assert [name for name, _ in splits.demographic_strata(nobody)] == ["all", "female", "male"]
