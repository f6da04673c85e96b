"""Hostile and damaged files are refused with file, fault and cure, in little memory, and write nothing."""

import json

import pytest

from tests.reliability import hostile_files, run_module
from tests.reliability.hostile_files import MOST_MB, REFUSED, Result

CASES = hostile_files.cases()
LONGEST_SECONDS = 3000  # of all files together; only a hang exceeds it


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """The result of every case, from a process that has read nothing else."""
    done = run_module("hostile_files", "--json", timeout=LONGEST_SECONDS)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(CASES), done.stderr[-2000:]
    assert done.stderr == ""  # no library has printed, past the functions that escape
    return {line["name"]: Result(**line | {"wrote": tuple(line["wrote"])}) for line in lines}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_file_is_refused_in_one_line_in_little_memory_and_writes_nothing(results, case):
    result = results[case.name]
    assert result.outcome == case.outcome, (result.reason, result.seconds)
    assert result.mb <= MOST_MB
    assert result.wrote == ()
    if case.outcome == REFUSED:
        assert result.reason and "unexpected error" not in result.reason
        assert (result.reason + result.cure + result.file).isprintable()


def test_at_least_70_different_files_are_refused():
    refused = [case.name for case in CASES if case.outcome == REFUSED]
    assert len(set(refused)) == len(refused) >= 70
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_measurement_of_memory_time_and_new_files_can_fail():
    def write(folder):
        (folder / "escaped").write_bytes(b"x")
        return len(bytearray(b"\1") * (300 * 2**20))

    result = hostile_files.run(hostile_files.Case("own", "greedy", lambda folder: "", write))
    assert (result.outcome, len(result.wrote)) == ("read", 1)
    assert result.mb > 250

    crash = hostile_files.run(hostile_files.Case("own", "crash", lambda folder: "", lambda folder: 1 / 0))
    assert crash.outcome == "crashed" and "ZeroDivisionError" in crash.reason
