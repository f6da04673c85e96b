"""The command behind Table 1: plans, runs what is missing, writes the table, and says what failed."""

import ast
import re

import pandas as pd
import pytest

from eccl_lib.commands import table1
from eccl_lib.config.errors import ConfigError
from eccl_lib.data import open_cohort
from eccl_lib.grid.scheduler import GridError
from eccl_lib.io import paths
from eccl_lib.io.workers import Workers
from eccl_lib.pipeline import stages
from tests.conftest import TINY, eccl, tiny_config

CELLS = {"rows": ("scratch", "cmr_sup"), "tasks": ("I48",), "seeds": (0, 1)}
HERE = Workers(jobs=1)


def words(*more):
    given = [f"{name}={str(value).lower()}" for name, value in TINY.items()]
    return ["--jobs", "1", "--tasks", "I48", *(word for item in given for word in ("--set", item)), *more]


def test_the_table_is_made_of_what_was_run_and_nothing_is_run_twice(tiny_runs):
    said, again = [], []
    built = table1.build(tiny_config(), **CELLS, log=said.append, workers=HERE)
    assert sum(line.startswith("run ") for line in said) == 4
    assert list(built["row"]) == ["W/O SSL; W/O CL", "CMR_Sup"]
    runs = [stages.train(tiny_config("I48", seed), "scratch", again.append) for seed in (0, 1)]
    assert built.loc[0, "mean"] == pytest.approx(sum(run.metrics["test"] for run in runs) / 2)
    written = pd.read_csv(tiny_runs / "demo-synthetic" / "figures" / "table1.csv")
    assert list(written["row"]) == list(built["row"])
    assert table1.build(tiny_config(), **CELLS, log=again.append, workers=HERE).equals(built)
    assert any(line.startswith("0 of 4 runs to do") for line in again)


def test_a_plan_trains_nothing(tiny_runs, capsys):
    assert eccl("table1", *words("--rows", "ssl", "--seeds", "2", "--plan")) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:3] for line in said.splitlines() if line.endswith("  trial steps")}
    assert rows == {"ssl/disease": ["2", "2"], "pretrain_ecg": ["2", "2"]}
    assert "with 1 at a time" in said
    assert not list(tiny_runs.glob("demo-synthetic/*/*/*/*/manifest.json"))


def test_where_a_cell_fails_there_is_no_table_and_the_status_says_so(tiny_runs, monkeypatch, capsys):
    train = stages.RunSpec.train

    def fails(own, log):
        if own.config.seed == 1:
            raise ConfigError("no case of this disease")
        return train(own, log)

    monkeypatch.setattr(stages.RunSpec, "train", fails)
    assert eccl("table1", *words("--rows", "scratch", "--seeds", "2")) == 1
    assert "finetune/scratch/I48/seed1" in capsys.readouterr().err
    assert not (tiny_runs / "demo-synthetic" / "figures").exists()
    assert stages.expected(tiny_config(), "scratch", open_cohort.load(tiny_config())).done
    with pytest.raises(GridError, match="1 of 1 runs failed"):
        table1.build(tiny_config(), ("scratch",), ("I48",), (0, 1), print, HERE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--seeds", "0"], "'--seeds'"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--backend", "dask"], "--scheduler ADDRESS"),
        (["--resource", "GPU"], "--resource GPU: give NAME=AMOUNT"),
        (["--resource", "GPU=many"], "--resource GPU=many: give NAME=AMOUNT"),
        (["--rows", "ecl"], "'ecl' is not one of"),
    ],
)
def test_arguments_that_do_not_fit_are_named(given, message, capsys):
    assert eccl("table1", *given) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_method_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="cmae, resnet50, vit, triplet, scratch, ssl, cl, eccl, cmr_sup"):
        stages.train(tiny_config(), "ecl", print)


def test_the_commands_of_the_cluster_page_are_understood():
    page = (paths.ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    commands = [line.split() for line in page.splitlines() if line.startswith("eccl table1 ")]
    assert len(commands) == 2
    for line in commands:
        given = table1.command.make_context("table1", line[2:]).params
        assert (given["backend"], given["scheduler"], given["resource"]) == ("dask", "tcp://HOST:8786", ("GPU=1",))
    (script,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    ast.parse(script)
