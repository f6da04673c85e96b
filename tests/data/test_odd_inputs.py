"""Each unusual input has the expected outcome; nothing crashes, and each repair adds a note."""

from __future__ import annotations

import re

import pytest

from tests.data.odd_cases import CASES
from tests.data.odd_inputs import KEPT, outcome


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.area}: {case.what}")
def test_an_odd_input_has_the_expected_outcome_and_message(case, tmp_path):
    happened, message, cure = outcome(case, tmp_path)
    assert happened == case.outcome, message
    assert re.search(case.says, message), message
    assert bool(cure) == (happened != KEPT)
    assert case.area == "files" or "9000001" not in message  # names contain ids, but go only to the quarantine list


def test_at_least_120_distinct_inputs_are_tried():
    assert len({(case.area, case.what) for case in CASES}) == len(CASES) >= 120
