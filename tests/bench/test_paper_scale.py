"""The resumable run at the paper's scale, tried in seconds: stopped, it goes on; its table says what ran."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import paper_scale
from eccl_lib.io import paths
from tests.conftest import TINY, link_cohort

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
    assert first.returncode == paper_scale.UNFINISHED and "run the same command again" in first.stdout
    assert "align I48" in early["left"]
    assert second.returncode == 0 and late["left"] == []
    done = ["cohort", "pretrain_ecg", "pretrain_cmr I48", "features I48", "align I48"]
    assert [step["step"] for step in late["steps"]] == done


def test_its_numbers_are_those_of_the_runs(calls):
    for step in calls[1][1]["steps"][1:]:
        if step["step"] == "features I48":
            continue
        assert (step["n"], step["epochs"]) == (48, 2) and step["seconds"] > 0
        assert step["samples_per_second"] > 0 and step["memory_mb"] > 100


def test_the_build_of_the_features_has_a_row_in_clips_by_the_clock(calls):
    _, late = calls[1]
    (built,) = (step for step in late["steps"] if step["step"].startswith("features"))
    assert built["n"] == 80 and built["seconds"] > 0  # of all participants, not of the training ones alone
    assert built["samples_per_second"] == pytest.approx(80 / built["seconds"])
    (line,) = (line for line in paper_scale.table(late).splitlines() if line.startswith("| features I48"))
    assert "frozen Swin 16" in line and "reading alone" in line


SLEEPER = """
import os, pathlib, signal, subprocess, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


class Sleeper:
    """A step that would go on for minutes, and a child of its own; ``deaf`` to an interrupt or not."""

    def words(self):
        return [sys.executable, "-c", SLEEPER]


@pytest.mark.parametrize("ear", ["deaf", "open"])
def test_ctrl_c_leaves_no_training_behind(ear, tmp_path, monkeypatch):
    said, plain = tmp_path / "pids", paper_scale._ended
    asked = []

    def interrupted(process, seconds=0.0):
        asked.append(seconds)
        if len(asked) > 1:
            return plain(process, seconds)
        while not (said.is_file() and said.read_text()):
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(paper_scale, "_ended", interrupted)
    monkeypatch.setattr(paper_scale, "GRACE", 0.5 if ear == "deaf" else 30.0)
    with pytest.raises(KeyboardInterrupt):
        paper_scale.execute(Sleeper(), [str(said), ear], 600)
    assert all(gone(int(pid)) for pid in said.read_text().split())


def gone(pid):
    """Whether a process has ended, or does so within seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


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
    row = paper_scale.table(found).splitlines()[2]
    hours = 50.0 / 10_000 * 24_908 * 200 / 3600
    assert f"{hours:.2g} h" in row and "41%" in row and "12.3 GB" in row
    assert "Not measured: align I21" in paper_scale.table(found)


def test_the_page_without_numbers_says_so_and_keeps_its_text():
    page = f"before\n{paper_scale.BEGIN}\nold\n{paper_scale.END}\nafter\n"
    assert paper_scale.with_table(page, None).split("\n")[2] == paper_scale.NONE
    assert paper_scale.with_table(page, None).endswith("after\n")
    with pytest.raises(ValueError, match="marker"):
        paper_scale.with_table("no markers", None)
