"""Values of traits as text."""

import pytest

from eccl_lib.data.traits import value_text


@pytest.mark.parametrize(
    ("value", "text"), [(1023.4, "1,020"), (147.58, "148"), (5.294, "5.29"), (-0.01934, "-0.0193"), (0, "0")]
)
def test_a_value_has_three_significant_digits_and_no_exponent(value, text):
    assert value_text(value) == text
