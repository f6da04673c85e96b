"""``eccl config`` lists every field with a source, and a wrong name leads to the right one."""

import json

import pytest
from click.testing import CliRunner

from eccl_lib.commands.cli import eccl
from eccl_lib.config.describe import describe
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load, names


def found(config=None):
    return {each.name: each for each in describe(config or load("demo"))}


def test_every_field_is_listed_once_with_its_source():
    fields = describe(load("demo"))
    parameters = {"scale", "cohort", "disease", "seed"}
    assert sorted(each.name for each in fields) == sorted(set(names()) - parameters)
    assert [each.name for each in fields if not each.source] == []


def test_a_field_has_its_value_default_and_the_scales_that_change_it():
    field = found(load("demo", overrides={"align.epochs": 7}))["align.epochs"]
    assert (field.value, field.default, field.source) == (7, 200, "Sec. 3.1")
    assert field.scales == {"demo": 4, "study": 10}


def test_a_comment_above_a_field_is_its_source():
    assert found()["store.test_fold"].source.startswith("Ours; above 0, the test fold")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("cmr.epochs", "cmr_training.epochs"),
        ("align.epoch", "align.epochs"),
        ("ecg.patch", "ecg.patch_samples"),
        ("training.lr", "cmr_training.lr"),
        ("batch", "align.batch"),
    ],
)
def test_a_wrong_name_leads_to_the_right_one(wrong, right):
    with pytest.raises(ConfigError, match=rf"(did you mean|choose one of) .*\b{right}\b"):
        load("demo", overrides={wrong: 3})


def test_the_command_prints_the_fields_with_a_word_in_their_name():
    text = CliRunner().invoke(eccl, ["config", "mask_ratio", "--scale", "study"]).output
    assert text.split() == ["mae.mask_ratio", "0.8", "default", "0.8;", "Sec.", "3.1"]
    changed = json.loads(
        CliRunner().invoke(eccl, ["config", "--changed", "--json", "--set", "mae.mask_ratio=0.5"]).output
    )
    assert {each["name"] for each in changed} >= {"mae.mask_ratio", "align.epochs"}
    assert all(each["value"] != each["default"] for each in changed)
    wrong = CliRunner().invoke(eccl, ["config", "nonsense"])
    assert wrong.exit_code == 2
