"""Damaged files do not crash a reader; ``make test-long`` tries 10,000 for each parser."""

from __future__ import annotations

import pytest

from tests.data.fuzz import PARSERS, damaged, fuzz
from tests.reliability import LONG

COUNT = 10_000 if LONG else 8  # per parser


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_files_are_rejected_or_read_without_other_errors(name):
    tally = fuzz(name, range(COUNT))
    assert tally.crashes == []
    assert sum(tally.outcomes.values()) == COUNT


@pytest.mark.parametrize("name", PARSERS)
def test_undamaged_files_are_read(name, tmp_path):
    read, make = PARSERS[name]
    read(make(), tmp_path)
    assert damaged(make(), name, 3) == damaged(make(), name, 3) != make()
