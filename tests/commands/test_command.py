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


def test_eccl_train_trains_missing_prerequisites_at_every_scale_and_the_pages_say_so():
    from eccl_lib.commands.cli import config_of
    from eccl_lib.config.load import SCALES, load
    from eccl_lib.io.paths import ROOT

    for scale in SCALES:
        assert config_of(scale, "synthetic").runtime.build_missing
        assert not config_of(scale, "synthetic", settings=("runtime.build_missing=false",)).runtime.build_missing
        assert load(scale).runtime.build_missing == (scale == "demo")  # what a notebook does
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert (
        "`eccl train` and `eccl table1` train missing prerequisites at every scale. A notebook does so at demo" in words
    )
