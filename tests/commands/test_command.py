"""One reading of ``--set`` for every command."""

import pytest

from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError


def test_a_value_is_json_or_else_text():
    items = ["align.epochs=5", "align.lr=1e-3", "cmr.depths=[2, 2]", "view.ecg_scaling=fixed", "a.b=c=d", "x=true"]
    assert command_line.overrides(items) == {
        "align.epochs": 5,
        "align.lr": 1e-3,
        "cmr.depths": [2, 2],
        "view.ecg_scaling": "fixed",
        "a.b": "c=d",
        "x": True,
    }


def test_an_override_without_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"--set align\.epochs: give FIELD=VALUE"):
        command_line.overrides(["align.epochs"])
