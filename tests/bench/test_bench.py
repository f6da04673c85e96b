"""The measuring harness measures; its page says what was measured. No test asks how fast anything is."""

import json
import math
import time

import numpy as np
import pytest

from bench import __main__ as bench
from bench import harness, page
from bench.harness import Case, Pair, at_least, at_most
from eccl_lib.io.files import read_json
from eccl_lib.io.paths import ROOT

CASES = {name: bench.case(name) for name in bench.names()}


def test_large_ratios_are_written_without_powers_of_ten():
    target = at_least("ratio", 10)
    assert [target.said(value) for value in (3.094, 61.23, 7612.4)] == ["3.09 x", "61.2 x", "7,612 x"]


def burn(seconds):
    def call():
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return 1

    return call


def equal(a, b):
    assert a == b, f"{a} is not {b}"


def test_the_page_is_the_committed_results():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_tables(text, CASES, read_json(bench.RESULTS)) == text


def test_every_committed_result_is_of_a_case_and_keeps_what_its_targets_need():
    rows = [row for results in read_json(bench.RESULTS).values() for row in results.items()]
    assert rows
    for name, result in rows:
        assert {target.measure for target in CASES[name].targets} <= result["measures"].keys(), name


def test_each_processor_keeps_its_own_table():
    def result(machine, ratio):
        return {"machine": f"{machine}, 2 cores", "measures": {"ratio": ratio}, "load": [1.0, 1.0]}

    known = bench.merged({}, {"triplet": result("AMD EPYC", 2.0), "gone": result("AMD EPYC", 1.0)})
    both = bench.merged(known, {"triplet": result("Intel Xeon", 3.0)})
    newer = bench.merged(both, {"triplet": result("AMD EPYC", 4.0)})
    assert {where: rows["triplet"]["measures"]["ratio"] for where, rows in newer.items()} == {
        "AMD EPYC": 4.0,
        "Intel Xeon": 3.0,
    }
    assert "gone" not in newer["AMD EPYC"]  # a case that no longer exists
    assert [part.splitlines()[0] for part in page.tables({}, newer).split("### ")[1:]] == ["AMD EPYC", "Intel Xeon"]


def test_every_case_says_what_it_does_and_imports_nothing_heavy_for_its_row():
    for path in bench.FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith('"""'), path.name
        assert not any(line.startswith(("import torch", "from torch", "import pandas")) for line in text.splitlines())


def test_a_ratio_is_of_processor_time_and_both_sides_run_in_turn():
    order = []

    def side(name, seconds):
        def call():
            order.append(name)
            return burn(seconds)()

        return call

    found = harness.compare(Pair(side("a", 0.1), side("b", 0.3), equal, per=2), rounds=3)
    assert found["ratio"] == pytest.approx(3, rel=0.3)
    assert found["seconds"] == pytest.approx(0.05, rel=0.3)
    assert found["spread"][0] <= found["ratio"] <= found["spread"][1]
    assert "".join(order).endswith("ababab")


def test_sleeping_costs_no_processor_time_and_children_do():
    assert harness.cpu(lambda: time.sleep(0.2)) < 0.1
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    import subprocess
    import sys

    assert harness.cpu(lambda: subprocess.run([sys.executable, "-c", code], check=True)) > 0.25


class FakeGpu:
    """A device that works after it was called, on a clock of its own."""

    def __init__(self):
        self.now, self.left, self.held, self.most = 0.0, 0.0, 10 * 2**20, 0

    def clock(self):
        return self.now

    def work(self, seconds, megabytes=0):
        self.left += seconds
        self.most = max(self.most, self.held + megabytes * 2**20)

    def synchronize(self):
        self.now, self.left = self.now + self.left, 0.0

    def reset_peak_memory_stats(self):
        self.most = self.held

    def memory_allocated(self):
        return self.held

    def max_memory_allocated(self):
        return self.most


def test_seconds_of_a_gpu_end_when_it_has_finished_and_leave_out_what_it_was_given_before():
    fake = FakeGpu()
    gpu = harness.Gpu(fake, fake.clock)
    fake.work(5.0)
    assert gpu.seconds(lambda: fake.work(3.0)) == 3.0
    assert gpu.seconds(lambda: fake.work(2.0), repeats=4) == 2.0


def test_peak_memory_of_a_gpu_is_above_what_it_held():
    fake = FakeGpu()
    fake.work(0.0, 500)  # before
    assert harness.Gpu(fake, fake.clock).peak_mb(lambda: fake.work(1.0, 70)) == 70


def test_a_pair_on_a_gpu_is_timed_by_its_clock_after_a_call_that_warms_up(monkeypatch):
    fake, calls = FakeGpu(), []
    gpu = harness.Gpu(fake, fake.clock)
    monkeypatch.setattr(harness, "meter", {"cuda": harness.Meter(gpu.seconds, gpu.peak_mb)}.__getitem__)

    def ours():
        fake.work(0.25 if calls else 90.0, 40)  # kernels are loaded once
        calls.append(1)
        burn(0.01)()

    pair = Pair(ours, lambda: fake.work(1.0, 80), lambda one, other: None, per=2, device="cuda")
    case = Case("x", "y", lambda folder: pair, (), memory=True)
    found = harness.run(case, None)
    assert found["ratio"] == 4 and found["seconds"] == 0.125
    assert (found["peak_mb"], found["reference_peak_mb"]) == (40, 80)


def test_rows_of_a_gpu_have_targets_of_their_own_and_are_shown_once_measured():
    there = [name for name in CASES if CASES[name].device == "cuda"]
    assert {"alignment_step_gpu", "mae_step_gpu", "alignment_epoch_gpu", "cmr_augment_gpu", "planner_gpu"} == set(there)
    assert CASES["alignment_step_gpu"].targets == (at_least("ratio", 1.25),)
    assert CASES["alignment_step"].targets == (at_least("ratio", 1.1),)
    assert "a GPU" not in page.table(CASES, {})
    measures = {"ratio": 1.3, "seconds": 0.01, "reference_seconds": 0.013}
    found = {"alignment_step_gpu": {"measures": measures, "machine": "a card", "load": [0.0]}}
    assert "10 ms / 13 ms, wall-clock time" in page.table(CASES, found)


@pytest.mark.parametrize("gpu", [False, True])
def test_rows_of_a_gpu_are_measured_where_there_is_one(gpu, monkeypatch):
    monkeypatch.setattr(harness, "has_gpu", lambda: gpu)
    assert ("alignment_step_gpu" in bench.here()) == gpu and "alignment_step" in bench.here()


def test_a_row_of_a_gpu_prepares_there():
    asked = []
    case = Case("x", "y", lambda folder, device="cpu": asked.append(device) or {}, (), on_gpu=(at_least("ratio", 2),))
    harness.run(case, None), harness.run(case.there(), None)
    assert asked == ["cpu", "cuda"]


@pytest.mark.parametrize("name", ["cmr_augment", "ecg_xml", "label_pass", "triplet"])  # the cases of a few seconds
def test_a_quick_case_runs_and_its_two_sides_agree(name, tmp_path):
    pair = CASES[name].prepare(tmp_path)
    pair.same(pair.ours(), pair.reference())


def test_two_sides_that_differ_are_no_case(tmp_path, monkeypatch):
    wrong = Case("x", "y", lambda folder: Pair(lambda: 1, lambda: 2, equal), (at_least("ratio", 1),))
    monkeypatch.setattr(bench, "case", lambda name: wrong)
    result = bench.measure("wrong")
    assert "1 is not 2" in result["error"]
    assert "failed" in page.table({"wrong": wrong}, {"wrong": result})


def test_peak_memory_is_what_a_call_holds_at_once():
    found = harness.peak_mb(lambda: np.ones(2**26, np.uint8).sum())
    if math.isnan(found):
        pytest.skip("this system does not tell a process's peak memory")
    assert found == pytest.approx(67, rel=0.2)
    twice = harness.peak_mb(lambda: [np.ones(2**26, np.uint8).sum() for _ in range(3)])
    assert twice == pytest.approx(67, rel=0.2)


def test_a_missed_target_is_shown_as_missed_and_a_number_that_is_none_is_missed():
    case = Case("x", "y", dict, (at_least("ratio", 10), at_most("seconds", 8e-3)))
    row = lambda ratio, seconds: page.table(  # noqa: E731
        {"x": case}, {"x": {"measures": {"ratio": ratio, "seconds": seconds}, "machine": "m", "load": [0.0]}}
    ).splitlines()[2]
    assert "missed" not in row(10.0, 0.008)
    assert row(9.0, 0.009).count("missed") == 2
    assert row(math.nan, 0.001).count("missed") == 1
    assert "not run" in page.table({"x": case}, {})


def test_a_case_that_takes_too_long_is_ended_and_said_so(monkeypatch):
    monkeypatch.setattr(bench.subprocess, "Popen", _sleeper(bench.subprocess.Popen))
    result = bench.in_a_process("x", Case("x", "y", dict, (), minutes=0.01))
    assert "0.01 minutes" in result["error"]


def _sleeper(popen):
    return lambda words, **options: popen(["sleep", "60"], **options)


def test_results_are_plain_json_without_a_path_of_this_machine():
    text = bench.RESULTS.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert json.loads(text)
