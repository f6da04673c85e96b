"""The resumable run at the paper's scale, tried in seconds: stopped, it goes on; its table says what ran."""

import json
import subprocess
import sys

import pytest

from bench import paper_scale, scale_page
from eccl_lib import paths

from .conftest import TINY, link_cohort

SMALL = {name: value for name, value in TINY.items() if not name.endswith("epochs")}
SETS = [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items()]


def call(out, seconds):
    words = ["--scale", "demo", "--participants", "80", "--epochs", "2", "--tasks", "I48", "--seconds", str(seconds)]
    command = [sys.executable, "-m", "bench.paper_scale", *words, *SETS, "--to", str(out)]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def calls(tiny_store, tmp_path_factory):
    """Two calls, the first with hardly any time: status and what was measured."""
    folder = tmp_path_factory.mktemp("scale")
    with pytest.MonkeyPatch.context() as patch:
        link_cohort(tiny_store, folder / "runs", patch)
        found = []
        for seconds in (16, 0):
            done = call(folder / "out.json", seconds)
            found.append((done, json.loads((folder / "out.json").read_text())))
    return found


def test_out_of_time_it_says_what_is_left_and_the_same_command_ends(calls):
    (first, early), (second, late) = calls
    assert first.returncode == paper_scale.UNFINISHED and "the same command goes on" in first.stdout
    assert "align I48" in early["left"]
    assert second.returncode == 0 and late["left"] == []
    assert [step["step"] for step in late["steps"]] == ["cohort", "pretrain_ecg", "pretrain_cmr I48", "align I48"]


def test_its_numbers_are_those_of_the_runs(calls):
    for step in calls[1][1]["steps"][1:]:
        assert (step["n"], step["epochs"]) == (48, 2) and step["seconds"] > 0
        assert step["samples_per_second"] > 0 and step["memory_mb"] > 100


def test_the_table_says_how_long_the_paper_s_training_would_take():
    one = {
        "step": "align traits",
        "model": "ViT",
        "n": 1000,
        "epochs": 10,
        "seconds": 50.0,
        "samples_per_second": 210.0,
    }
    one |= {"utilisation": 0.41, "memory_mb": 12_300.0, "metric": "mean r 0.300"}
    found = {"machine": "a card", "steps": [one], "left": ["align I21"]}
    row = scale_page.table(found).splitlines()[2]
    hours = 50.0 / 10_000 * 24_908 * 200 / 3600
    assert f"{hours:.2g} h" in row and "41%" in row and "12.3 GB" in row
    assert "Not measured: align I21" in scale_page.table(found)


def test_the_page_without_numbers_says_so_and_keeps_its_text():
    page = f"before\n{scale_page.BEGIN}\nold\n{scale_page.END}\nafter\n"
    assert scale_page.with_table(page, None).split("\n")[2] == scale_page.NONE
    assert scale_page.with_table(page, None).endswith("after\n")
    with pytest.raises(ValueError, match="marker"):
        scale_page.with_table("no markers", None)
