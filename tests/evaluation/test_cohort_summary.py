"""The cohort summary counts participants and cases, and its checks fail on planted errors."""

from dataclasses import replace

import numpy as np
import pytest

from eccl_lib.config.schema import DISEASES
from eccl_lib.data import cohort, open_cohort
from eccl_lib.evaluation import cohort_summary
from tests.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


@pytest.fixture(scope="module")
def data(shared_runs) -> cohort.Cohort:
    return open_cohort.load(tiny_config(), lambda line: None)


def test_the_table_counts_every_participant_and_case_once(data):
    table = cohort_summary.cohort_table(data, tiny_config())
    assert table.index.tolist() == ["train", "val", "test"]
    assert table["participants"].sum() == len(data)
    assert table[list(DISEASES)].sum().tolist() == data.labels.sum(axis=0).tolist()
    train = data.table["split"] == "train"
    assert table.loc["train", "age"] == pytest.approx(data.table["age"][train].mean(), abs=0.06)
    assert table.loc["train", "I48"] == data.labels[train.to_numpy(), DISEASES.index("I48")].sum()


def test_split_shares_sum_to_one(data):
    shares = cohort_summary.split_shares(data)
    assert shares.sum() == pytest.approx(1)
    assert shares[2] == (data.table["split"] == "test").mean()


def test_a_swapped_lead_violates_einthovens_law(data):
    ecg = np.array(data.ecg)
    assert cohort_summary.einthoven_error(data) <= 12
    ecg[3, [0, 1]] = ecg[3, [1, 0]]
    assert cohort_summary.einthoven_error(replace(data, ecg=ecg)) > 100


def test_a_still_clip_is_detected(data):
    clips = np.array(data.clips)
    assert cohort_summary.grey_value_range(data) > 50
    clips[7] = clips[7, :, :, :1]
    assert cohort_summary.grey_value_range(replace(data, clips=clips)) == 0
