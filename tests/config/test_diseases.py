"""Codes and names of a user's own diseases: what is accepted, and what a refusal says."""

import pytest

from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import as_dict, essentials, load, of_run


def own(diseases):
    return load("demo", cohort="ukb", overrides={"diseases": diseases})


def test_codes_are_capitals_in_their_order():
    config = own({"i26": "pulmonary embolism", "I25": "coronary disease"})
    assert config.diseases == (("I25", "coronary disease"), ("I26", "pulmonary embolism"))
    assert config.codes == ("I21", "I42", "I48", "I50", "I25", "I26")


@pytest.mark.parametrize(
    ("diseases", "said"),
    [
        ({"I99X": "a"}, "'I99X' is no ICD-10 code .* such as I25"),
        ({"25": "a"}, "'25' is no ICD-10 code"),
        ({25: "a"}, "'25' is no ICD-10 code"),
        ({"I21": "a"}, "I21 is a task already; remove it"),
        ({"I25": "a", "i25": "b"}, "I25 is given twice"),
        ({"I25": "a", "I26": "a"}, "the same name; give each its own"),
        ({"I25": ""}, "the name of I25 is ''; give a text"),
        ({"I25": "two\nlines"}, "in one line"),
        ({"I25": "x" * 61}, "at most 60 characters"),
        ("I25", "give codes with names, such as diseases: {I25: coronary disease}"),
    ],
)
def test_a_wrong_code_or_name_is_refused_with_the_cure(diseases, said):
    with pytest.raises(ConfigError, match=said):
        own(diseases)


@pytest.mark.parametrize(
    "text", ["{I25: coronary disease}", '{"I25": "coronary disease"}', "{'i25': coronary disease}"]
)
def test_the_command_line_takes_json_and_a_mapping_without_quotes(text):
    assert command_line.overrides([f"diseases={text}"])["diseases"].popitem()[1] == "coronary disease"


@pytest.mark.parametrize("text", ["{I25}", "{I25: a", "{I25: a, I25: b}"])
def test_a_mapping_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match=r"give"):
        command_line.overrides([f"diseases={text}"])


def test_an_empty_mapping_changes_nothing_and_a_run_remembers_its_names():
    assert own({}) == load("demo", cohort="ukb")
    assert "diseases" not in essentials(own({})) and as_dict(own({}))["diseases"] == {}
    config = own({"I25": "Prinzmetal's angina"})
    assert of_run(essentials(config)).diseases == config.diseases
