"""Data that give scores of chance or none are named, with counts, in metrics.json and in the log of the stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.schema import DISEASES
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.own_labels import OwnLabels, parse
from eccl_lib.data.small_counts import ALL_SHOWN, Limit
from eccl_lib.data.store import fill
from eccl_lib.evaluation import run_summary
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.jobs import masked_autoencoder_job
from eccl_lib.tasks import FIELD_IDS, own_targets, targets_of
from eccl_lib.training import data_warnings
from eccl_lib.training.runs import Run
from tests.conftest import tiny_config

ROWS = ("train", "val", "test")


@pytest.fixture
def data(tiny_runs) -> Cohort:
    """The tiny cohort, with arrays that a test may change."""
    found = open_cohort.load(tiny_config(), lambda line: None)
    return replace(found, labels=found.labels.copy(), traits=found.traits.copy(), table=found.table.copy())


def warnings(data: Cohort, task: str = "I48", inputs: tuple[str, ...] = ()) -> list[str]:
    rows = {split: data.index(split) for split in ROWS}
    return data_warnings.find(rows, data.table, inputs, targets_of(tiny_config(task), data))


def test_a_complete_cohort_has_no_warning(data):
    for task in ("I48", "traits"):
        assert warnings(data, task, ("ecg", "clips")) == []


def test_small_counts_are_withheld_where_the_sentences_are_shown():
    flat = np.repeat(["V1", "", "V2", ""], [1_200, 800, 4, 26])
    table = pd.DataFrame({"flat_leads": flat, "missing_leads": ""})
    found = data_warnings.find({"train": np.arange(2_000), "val": np.arange(2_000, 2_030)}, table, ("ecg",), None)
    assert found == ["ECGs with a flat lead: 1,200 of 2,000 in train, 4 of 30 in val"]
    assert data_warnings.shown(found, Limit()) == [found[0].replace("4 of 30", "under 10 of 30")]
    assert data_warnings.shown(found, ALL_SHOWN) == found


def test_small_sizes_and_remainders_are_withheld_too():
    sentences = ["no case of I48 among the 7 val participants", "no label at all: 28 of 30 in val, 2 of 7 in test"]
    assert data_warnings.shown(sentences, Limit()) == [
        "no case of I48 among the under 10 val participants",
        "no label at all: all but under 10 of 30 in val, under 10 of under 10 in test",
    ]
    assert data_warnings.shown(sentences, ALL_SHOWN) == sentences


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(("value", "who"), [(False, "case"), (True, "control")])
def test_a_split_without_cases_or_without_controls_is_named(data, split, value, who):
    data.labels[data.index(split), DISEASES.index("I48")] = value
    n = len(data.index(split))
    assert warnings(data) == [f"no {who} of I48 among the {n} {split} participants"]


def test_constant_and_unmeasured_traits_and_participants_without_traits_are_counted(data):
    test, train = data.index("test"), data.index("train")
    data.traits[:, 3] = 7.0
    data.traits[test, 5] = np.nan
    data.traits[train[:4]] = np.nan
    assert warnings(data, "traits") == [
        f"all train participants have the same value of {FIELD_IDS[3]}",
        f"all val participants have the same value of {FIELD_IDS[3]}",
        f"no test participant has a value of {FIELD_IDS[5]}",
        f"all test participants have the same value of {FIELD_IDS[3]}",
        f"no label at all: 4 of {len(train)} in train",
    ]


def test_a_split_without_any_trait_is_one_sentence(data):
    val = data.index("val")
    data.traits[val] = np.nan
    first = ", ".join(FIELD_IDS[:5])
    assert warnings(data, "traits") == [
        f"no val participant has a value of {first} and 77 more",
        f"no label at all: {len(val)} of {len(val)} in val",
    ]


def test_flat_ecgs_and_black_and_still_clips_are_counted_by_split(data):
    train, test = data.index("train"), data.index("test")
    data.table.loc[train[:3], "flat_leads"] = "I II III aVR aVL aVF V1 V2 V3 V4 V5"
    data.table.loc[train[:2], "missing_leads"] = "V6"
    data.table.loc[test[:2], "flat_leads"] = "V1"
    data.table.loc[train[:5], "clip_contrast"] = data.table.loc[train[:5], "clip_motion"] = 0.0
    data.table.loc[test[0], "clip_motion"] = 0.0
    n, m = len(train), len(test)
    assert warnings(data, "I48", ("ecg", "clips")) == [
        f"ECGs without a signal: 2 of {n} in train",
        f"ECGs with a flat lead: 1 of {n} in train, 2 of {m} in test",
        f"clips of one grey value: 5 of {n} in train",
        f"clips without motion: 1 of {m} in test",
    ]
    older = replace(data, table=data.table.drop(columns=["clip_contrast", "clip_motion"]))
    assert not any("clip" in warning for warning in warnings(older, "I48", ("clips",)))


def test_the_users_own_labels_are_checked_as_well(data):
    rng, test = np.random.default_rng(0), data.index("test")
    values = pd.DataFrame({"smoker": (rng.random(len(data)) < 0.5).astype(float), "age": rng.normal(60, 8, len(data))})
    values.loc[test, "smoker"], values.loc[test, "age"] = 0.0, 60.0
    data.own = OwnLabels(parse(["smoker:binary", "age:continuous"]), values)
    rows = {split: data.index(split) for split in ROWS}
    assert data_warnings.find(rows, data.table, (), own_targets(("smoker", "age"), data)) == [
        f"no case of smoker among the {len(test)} test participants",
        "all test participants have the same value of age",
    ]


def test_the_grey_values_of_a_stored_clip():
    clip = np.full((4, 4, 6), 9, np.uint8)
    assert fill._grey_values(clip) == {"clip_contrast": 0, "clip_motion": 0}
    clip[0] = 200
    assert fill._grey_values(clip) == {"clip_contrast": 191, "clip_motion": 0}
    clip[3, 3, 4] = 19
    assert fill._grey_values(clip) == {"clip_contrast": 191, "clip_motion": 10}


def test_every_stored_clip_has_its_grey_values(data):
    whole = np.asarray(data.clips).astype(int)
    np.testing.assert_array_equal(data.table["clip_contrast"], np.ptp(whole.reshape(len(whole), -1), axis=1))
    np.testing.assert_array_equal(data.table["clip_motion"], np.ptp(whole, axis=3).max(axis=(1, 2)))


def test_a_stage_writes_its_warnings_into_the_metrics_the_log_and_the_summary(data, monkeypatch):
    config, lines = tiny_config("I48"), []
    data.labels[data.index("test"), DISEASES.index("I48")] = False
    monkeypatch.setattr(open_cohort, "load", lambda *args, **more: data)
    run: Run = stages.train(config, "scratch", lines.append)
    sentence = f"no case of I48 among the {len(data.index('test'))} test participants"
    assert run.metrics["warnings"] == [sentence]
    assert np.isnan(run.metrics["test"])
    assert any(str(line).endswith(f"warning: {sentence}") for line in lines)
    assert run_summary.summary({"scratch": run}, config).loc["scratch", "warnings"] == sentence


def test_a_stage_without_faults_has_no_warnings(data):
    job = masked_autoencoder_job(tiny_config(), data)
    assert job.warnings() == []
    data.table.loc[data.index("val")[0], "flat_leads"] = "V2"
    assert job.warnings() == [f"ECGs with a flat lead: 1 of {len(data.index('val'))} in val"]
