"""Results that change without a new format number are found: old runs and stores would be mixed with new ones."""

import copy
import json

import pytest

from tests.reliability import golden, run_module


@pytest.fixture(scope="module")
def found():
    """The numbers, computed in a process of its own: they change the type of all tensors."""
    done = run_module("golden")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("part", golden.TOLERANCES)
def test_numbers_change_only_with_their_format(part, found):
    stored = json.loads(golden.FILE.read_text())[part]
    again = "python -m tests.reliability.golden --write"
    assert stored["format"] == found[part]["format"], f"the format is new: {again}"
    assert not golden.changed(part, stored, found[part]), (
        "results change: raise the format number of this part, " + again
    )


def test_a_change_of_arithmetic_is_seen_and_not_stored_under_the_same_format(monkeypatch, tmp_path):
    stored = json.loads(golden.FILE.read_text())
    monkeypatch.setattr(golden, "FILE", tmp_path / "golden.json")
    golden.write(stored)
    other = copy.deepcopy(stored)
    other["losses"]["numbers"]["eccl"][1] *= 1 + 1e-4
    assert golden.changed("losses", stored["losses"], other["losses"]) == ["eccl"]
    with pytest.raises(SystemExit, match="eccl changed, but the format is still"):
        golden.write(other)
    other["losses"]["format"] = "stages next"
    golden.write(other)
    assert json.loads(golden.FILE.read_text()) == other
