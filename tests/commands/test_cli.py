"""The console script: help that fits a screen, options that take several values, exit statuses, aliases."""

import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from eccl_lib.commands import cli, train
from tests.conftest import eccl


@pytest.mark.parametrize("words", [[], *[[name] for name in cli.COMMANDS]], ids=" ".join)
def test_the_help_fits_a_screen_and_has_an_example(words):
    text = CliRunner().invoke(cli.eccl, [*words, "--help"], prog_name="eccl").output
    assert len(text.splitlines()) <= 50
    assert re.search(rf"^ +eccl {' '.join(words)}", text, re.M)


def test_set_takes_several_values_and_repeats():
    words = ["eccl", "--set", "align.epochs=5", "align.batch=8", "--seed", "3", "--set", "mae.epochs=2"]
    given = train.command.make_context("train", words).params
    assert tuple(given["settings"]) == ("align.epochs=5", "align.batch=8", "mae.epochs=2")
    assert given["seed"] == 3


def test_an_error_of_the_user_has_status_2_and_an_interrupt_130(capsys):
    assert eccl("train", "eccl", "--set", "align.no_such_field=1") == cli.EXIT_USER_ERROR == 2
    assert capsys.readouterr().err.startswith("error: ")

    def interrupted():
        raise KeyboardInterrupt

    assert cli.guard(interrupted) == cli.EXIT_INTERRUPTED == 130
    with pytest.raises(click.UsageError):
        train.command.make_context("train", ["eccl", "--no-such-option"])


@pytest.mark.parametrize(
    ("module", "new"), [("eccl_lib.data.ukb", "eccl ingest ukb"), ("eccl_lib.privacy", "eccl privacy")]
)
def test_an_alias_names_the_new_command(module, new):
    found = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0
    assert new in found.stdout + found.stderr
