"""Progress lines."""

import pytest

from eccl_lib.io.progress import format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0083, "8.3 ms"), (7.4, "7.4 s"), (45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (36_000, "10 h 0 min")],
)
def test_a_duration_has_one_or_two_units(seconds, text):
    assert format_seconds(seconds) == text
