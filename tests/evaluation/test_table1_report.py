"""``eccl report``: facts, checklists and the page."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS
from eccl_lib.data import small_counts
from eccl_lib.evaluation import checklists, subgroups, table1, table1_page, table1_report
from eccl_lib.evaluation import features as latent
from eccl_lib.evaluation.predictions import gather
from eccl_lib.io import paths
from eccl_lib.pipeline.methods import METHODS
from tests.conftest import tiny_config
from tests.evaluation.test_table1 import SEEDS, features, grid, quiet  # noqa: F401

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def content(grid):  # noqa: F811
    config, _ = grid
    folder = paths.figures_dir(config.scale, config.cohort)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent, "before_alignment", features)
        patch.setattr(latent, "after_alignment", features)
        table1.write(config, tuple(METHODS), TASKS, SEEDS, folder, quiet)
    (folder / "table1_roc.png").write_bytes(PNG)
    return table1_report.gather_content(config, quiet)


def test_the_page_has_every_row_claim_and_checklist_and_loads_nothing(content):
    html = table1_page.page(content)
    assert all(f">{method.row}<" in html for method in METHODS.values())
    assert all(f">{claim}<" in html for claim in content.frames["claims"]["claim"])
    assert len(content.departures) and all(f">{name}<" in html for name in content.departures.index)
    assert all(f">{name}</h2>" in html for name in checklists.CHECKLISTS)
    assert "data:image/png;base64" in html and "Not drawn yet (notebooks 02 to 08): table1_differences" in html
    assert not re.search(r'(?:src|href)=(?!"?(?:data:|#))', html) and "@import" not in html
    assert "<li>MI, myocardial infarction (I21): AUC of ECCL 0." in html
    assert "<li>Mean R, 82 cardiac traits: mean r of ECCL" in html
    assert "not a medical device" in html and "does not" not in table1_report.title(content.config)


def test_the_page_has_no_participant_id(content, grid):  # noqa: F811
    html = table1_page.page(content)
    assert not [eid for eid in grid[1].table["eid"] if eid in html]


def test_a_withheld_difference_is_named_and_is_no_number(content):
    frames = {name: content.frames[name].copy() for name in ("table1_differences", "against_controls")}
    for frame in frames.values():
        frame.loc[frame["task"] == "I42", ["difference", "low", "high"]] = np.nan
    html = table1_page.page(replace(content, frames=content.frames | frames))
    assert not re.search(r"\bnan\b", html)
    assert html.count(">withheld</td>") == sum((frame["task"] == "I42").sum() for frame in frames.values())


@pytest.mark.parametrize("cohort", ["synthetic", "ukb"])
def test_nine_tenths_of_the_applicable_items_are_answered(content, cohort):
    facts = content.facts | {"cohort": cohort}
    answered = [answer for items in checklists.CHECKLISTS.values() for answer in checklists.answers(items, facts)]
    assert checklists.share_answered(answered) >= 0.9
    assert {"18a", "18b", "44"} <= {answer.number for answer in answered if answer.status == checklists.AUTHOR}
    assert not [answer for answer in answered if "{" in answer.text]


def test_an_unknown_fact_leaves_the_item_to_the_author():
    item = checklists.Item("1", "a topic", "{n} participants")
    assert checklists.answers((item,), {"cohort": "synthetic"})[0].status == checklists.AUTHOR
    assert checklists.answers((item,), {"cohort": "synthetic", "n": "7"})[0].text == "7 participants"
    absent = checklists.Item("2", "a topic", "-not measured", "measured")
    statuses = [checklists.answers((absent,), {"cohort": name})[0].status for name in ("synthetic", "ukb")]
    assert statuses == [checklists.NOT_APPLICABLE, "answered"]


@pytest.mark.parametrize(("items", "count"), [("TRIPOD", 52), ("CLAIM", 44)])
def test_a_checklist_has_the_items_of_the_published_one(items, count):
    numbers = [item.number for item in getattr(checklists, items)]
    assert len(numbers) == len(set(numbers)) == count


def test_subgroups_have_the_scores_of_their_participants(content, grid):  # noqa: F811
    config, data = grid
    scores = gather(config, ("eccl",), ("I48",), SEEDS)["I48"]
    frame = subgroups.table(config, data, {"I48": scores}).set_index("group")
    people = data.table.iloc[scores.runs[0][0].predictions["row"]]
    for group in ("all", "female", "male"):
        chosen = np.full(len(people), True) if group == "all" else (people["sex"] == group).to_numpy()
        expected = np.mean([roc_auc_score(scores.positive[chosen], seed[chosen]) for seed in scores.logits[0]])
        assert frame.loc[group, "mean"] == pytest.approx(expected)
        assert frame.loc[group, "n"] == chosen.sum() and frame.loc[group, "positives"] == scores.positive[chosen].sum()


def test_all_subgroups_of_a_task_are_withheld_if_one_is_small(grid, monkeypatch):  # noqa: F811
    config, data = grid
    scores = gather(config, ("eccl",), ("I48", "traits"), SEEDS)
    cases = int(scores["I48"].positive.sum())
    monkeypatch.setattr(small_counts, "limit_of", lambda config: small_counts.Limit(least=cases))
    frame = subgroups.table(config, data, scores)
    of_disease = frame[frame["task"] == "I48"]
    assert of_disease.loc[of_disease["group"] != "all", ["mean", "n", "positives"]].isna().all(axis=None)
    assert of_disease.loc[of_disease["group"] == "all", "positives"].tolist() == [cases]


@pytest.mark.parametrize("column", ["sex", "age"])
def test_subgroups_are_withheld_if_few_participants_have_no_sex_or_age(grid, monkeypatch, column):  # noqa: F811
    config, data = grid
    scores = gather(config, ("eccl",), ("traits",), SEEDS)
    table = data.table.copy()
    table.loc[scores["traits"].runs[0][0].predictions["row"][:3], column] = None
    monkeypatch.setattr(small_counts, "limit_of", lambda config: small_counts.Limit(least=4))
    frame = subgroups.table(config, replace(data, table=table), scores).set_index("group")
    assert frame.drop(index="all")["n"].isna().all() and frame["n"].notna()["all"]


def test_reasons_of_exclusion_contain_no_text_and_no_number_of_a_file(grid):  # noqa: F811
    config, data = grid
    reasons = ["the XML has no valid Resolution ('Smith 03.05.1951')", "the recording lasts 7.3 s"]
    quarantine = pd.DataFrame({"eid": "", "file": "Smith.xml", "reason": reasons * 12, "cure": ""})
    found = table1_report._excluded(replace(data, quarantine=quarantine), config)
    assert found["reason"].tolist() == ["the XML has no valid Resolution (<text>)", "the recording lasts N s"]
    assert found["n"].tolist() == [12, 12]


def test_parameters_are_those_of_the_stored_model(content, grid):  # noqa: F811
    scores = gather(grid[0], ("eccl",), ("traits",), SEEDS)["traits"]
    assert table1_report.parameters(scores.runs[0][0]) == 2  # the fixture stores a linear layer from 1 to 1


def test_without_a_table_the_command_is_named(tiny_runs):
    with pytest.raises(MissingError, match="eccl table1 --scale demo --cohort synthetic"):
        table1_report.gather_content(tiny_config(), quiet)
    with pytest.raises(ConfigError, match="contains only ECGs"):  # no command could make it
        table1_report.gather_content(load("demo", cohort="ecg-mine"), quiet)
