"""Every odd input has the outcome that its line says; nothing crashes, nothing is repaired in silence."""

from __future__ import annotations

import re

import pytest

from tests.data.odd_cases import CASES
from tests.data.odd_inputs import KEPT, outcome


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.area}: {case.what}")
def test_an_odd_input_has_its_outcome_and_says_why(case, tmp_path):
    happened, said, cure = outcome(case, tmp_path)
    assert happened == case.outcome, said
    assert re.search(case.says, said), said
    assert bool(cure) == (happened != KEPT)
    assert case.area == "files" or "9000001" not in said  # file names are made of ids, and stay in the private list


def test_at_least_120_distinct_inputs_are_tried():
    assert len({(case.area, case.what) for case in CASES}) == len(CASES) >= 120
