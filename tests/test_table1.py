"""The grid: order of need, the table, the published values."""

import re

import pandas as pd
import pytest

from eccl_lib import methods, table1
from eccl_lib.config import TASKS
from eccl_lib.methods import METHODS
from eccl_lib.storage import MissingError

from .conftest import tiny_config

FAST = {f"{section}.epochs": 1 for section in ("mae", "cmr_training", "align")}
FAST |= {f"{section}.warmup_epochs": 0 for section in ("mae", "cmr_training", "align")}
ROWS = ("ssl", "eccl", "cmr_sup")


def quiet(line):
    pass


def test_no_job_comes_before_what_it_needs():
    shared, cells = table1.plan(tiny_config(), tuple(METHODS), TASKS, (0, 1))
    assert len(shared) == 2 * 5 + 2 and len(cells) == 2 * 5 * 4
    assert {key for key, _ in shared} == {"pretrain_ecg", "cmr_sup"}
    (nothing, scratch) = table1.plan(tiny_config(), ("scratch",), TASKS, (0,))
    assert not nothing and len(scratch) == 5


def test_the_grid_in_workers_equals_one_process_and_is_not_run_twice(tiny_runs):
    config = tiny_config("traits", **FAST)
    said, epochs = [], []
    built = table1.build(config, ROWS, ("traits", "I21"), (0,), said.append, epochs.append)
    assert sum(line.startswith("run ") for line in said) == 7
    assert any(re.match(r"align/eccl/traits  epoch 1/1", line) for line in epochs)
    again = []
    assert table1.build(config, ROWS, ("traits", "I21"), (0,), again.append).equals(built)
    assert any("0 of 7 runs to do" in line for line in again)
    here = [table1.run_job(("eccl", tiny_config(task, **FAST)), quiet).metrics["test"] for task in ("traits", "I21")]
    assert list(built.loc[built["row"] == "ECCL", "mean"]) == here
    written = pd.read_csv(tiny_runs / "demo-synthetic" / "figures" / "table1.csv")
    assert list(written["row"]) == list(built["row"])


def test_a_cell_that_was_not_trained_is_named_with_its_command(tiny_runs):
    with pytest.raises(MissingError, match=r"python -m eccl_lib.methods eccl --scale demo .*--disease I42"):
        table1.table(tiny_config(**FAST), ("eccl",), ("I42",), (0,))


def test_published_values_are_the_papers():
    paper = table1.published().set_index(["row", "task"])
    assert paper.loc[("ECCL", "traits"), "mean"] == 0.407
    assert paper.loc[("CMR_Sup", "I42"), "std"] == 0.052
    assert len(paper) == 45
    assert {method.row for method in METHODS.values()} <= set(paper.index.get_level_values("row"))


def test_the_wide_table_keeps_the_papers_order_and_shows_spread_only_where_there_is_one():
    rows = [("ECCL", "traits", 0.2, float("nan")), ("ECCL", "I21", 0.71, 0.012)]
    cells = pd.DataFrame([{"row": r, "task": t, "mean": m, "std": s} for r, t, m, s in rows])
    wide = table1.wide(cells)
    assert list(wide.columns) == ["MI AUC", "Mean R"]
    assert list(wide.loc["ECCL"]) == ["0.710 ± 0.012", "0.200"]


def test_an_unknown_method_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="scratch, ssl, cl, eccl, cmr_sup"):
        methods.run(tiny_config(), "ecl", quiet)
