"""``eccl study``: the first seed and the number of seeds, one forecast for all, a table after each."""

from functools import partial

from eccl_lib.commands import study
from tests.conftest import eccl, tiny_config

FEW = {"rows": ("scratch",), "tasks": ("I48",)}


def test_the_study_trains_the_seeds_asked_for_one_after_another(tiny_runs, monkeypatch, capsys):
    monkeypatch.setattr(study, "load", lambda scale, seed, overrides: tiny_config(seed=seed, **overrides))
    monkeypatch.setattr(study, "METHODS", FEW["rows"])
    monkeypatch.setattr(study, "TASKS", FEW["tasks"])
    monkeypatch.setattr(study, "build", partial(study.build, **FEW))
    assert eccl("study", "--seed", "3", "--seeds", "2", "--plan") == 0
    planned = capsys.readouterr().out
    assert "trial steps" in planned
    assert not list(tiny_runs.glob("demo-synthetic/finetune/*/*/seed*"))
    assert eccl("study", "--seed", "3", "--seeds", "2") == 0
    said = capsys.readouterr().out
    seeds = [path.name[:5] for path in tiny_runs.glob("demo-synthetic/finetune/scratch/I48/seed*")]
    assert sorted(seeds) == ["seed3", "seed4"]
    assert said.count("predicting the time") == 1
    assert said.count("W/O SSL; W/O CL") == 2
