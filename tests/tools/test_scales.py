"""docs/scales.md is the page that the settings give."""

from eccl_lib.config.load import load
from tools import scales


def test_the_page_is_up_to_date():
    assert scales.PAGE.read_text(encoding="utf-8") == scales.page(), "run python -m tools.scales"


def test_both_scales_have_their_own_values():
    table = scales.table()
    assert table.loc["align.epochs", ["demo", "study"]].tolist() == [
        str(load(scale).align.epochs) for scale in ("demo", "study")
    ]
    assert table.loc["ecg.width", "demo"] == str(load("demo").ecg.width)
    assert "not stated" in set(table["paper"])
