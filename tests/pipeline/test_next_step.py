"""After a training, the log has its summary; the next command is one that ``eccl`` takes, with the same config."""

import shlex

import pytest

from eccl_lib.commands.cli import config_of, eccl
from eccl_lib.config.load import load
from eccl_lib.io.paths import NOTEBOOKS
from eccl_lib.pipeline import next_step, stages
from eccl_lib.training.runs import Run
from eccl_lib.training.summary_box import RULE
from tests.conftest import tiny_config

PAIRED = [name for name in stages.NAMES if not name.startswith("probe")]
CHANGED = {"align.epochs": 3, "mae.mask_ratio": 0.7, "cmr.depths": [2, 2]}


def following(config, name, folder):
    return next_step.after(config, name, Run(folder, "", "", "", "", 0))


def parsed(command):
    """The name of a command of ``eccl`` and the options that it reads from its words."""
    words = shlex.split(command)
    assert words[0] == "eccl"
    found = eccl.get_command(None, words[1])
    return words[1], found.make_context(words[1], words[2:]).params


@pytest.mark.parametrize("name", PAIRED)
def test_the_next_command_is_one_that_eccl_takes_and_keeps_the_config(name, tmp_path):
    config = load("study", disease="I48", seed=3, overrides=CHANGED)
    text = following(config, name, tmp_path)
    notebook, command = text.removeprefix("notebook ").split(", or: ")
    assert (NOTEBOOKS / notebook.split()[0]).is_file()
    kind, options = parsed(command)
    assert kind == ("table1" if name in stages.METHODS else "train")
    given = {key: options[key] for key in ("scale", "cohort", "seed", "settings")}
    again = config_of(**given, disease=options.get("disease", config.disease), build=False)
    assert again == config


def test_each_stage_leads_to_the_next_one(tmp_path):
    config, name, names = load("demo"), "pretrain_ecg", []
    while name != "table1":
        words = shlex.split(following(config, name, tmp_path).split(", or: ")[1])
        name = words[2] if words[1] == "train" else words[1]
        names.append(name)
    assert names == ["pretrain_cmr", "eccl", "table1"]
    assert "eccl train cmae" in following(config, "autoencode_cmr", tmp_path)


def test_cohorts_of_one_modality_lead_to_what_they_can_run(tmp_path):
    ecgs = load("demo", cohort="ecg-clinic")
    kind, options = parsed(following(ecgs, "pretrain_ecg", tmp_path / "a folder"))
    assert kind == "embed" and (options["weights"], options["cohort"]) == (tmp_path / "a folder", "ecg-clinic")
    own = load("demo", cohort="ecg-clinic", overrides={"probe.tasks": ["AF", "age"]})
    for name in ("pretrain_ecg", "probe"):
        kind, options = parsed(following(own, name, tmp_path))
        assert kind == "probe" and (options["tasks"], options["cohort"]) == (("AF", "age"), "ecg-clinic")
    assert following(load("demo", cohort="cmr-clinic"), "pretrain_cmr", tmp_path) == ""


@pytest.mark.usefixtures("shared_runs")
def test_a_training_ends_with_its_summary_and_a_reused_run_has_one_line():
    config, said = tiny_config(**{"mae.epochs": 2}), []
    run = stages.train(config, "ssl", said.append)
    own = said[-9:]
    assert own[0] == own[-1] == RULE and own[1] == f"{run.name}: finished"
    assert own[6].endswith(f"  {run.folder}")
    assert f"eccl table1 --scale demo --cohort synthetic --seed {run.seed}" in own[7]
    # A prerequisite has a summary too, without a next step: the run that needs it follows by itself.
    assert [line.split("/")[0] for line in said if line.endswith(": finished")] == ["pretrain_ecg", "finetune"]
    assert sum(line.startswith("  next") for line in said) == 1
    again = []
    stages.train(config, "ssl", again.append)
    assert again[-1] == f"{run.name}: reused" and RULE not in again


@pytest.mark.usefixtures("shared_runs")
def test_the_summary_can_be_left_out():
    said = []
    run = stages.train(tiny_config(seed=1), "scratch", said.append, summarize=False)
    assert run.done and RULE not in said
