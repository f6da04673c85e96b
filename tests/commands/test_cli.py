"""The console script: help that fits a screen, options that take several values, exit statuses, aliases."""

import os
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from eccl_lib.commands import cli, train
from eccl_lib.config.errors import ConfigError
from tests.conftest import HANG, eccl


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


def test_a_value_of_set_without_a_sign_is_no_argument(capsys):
    assert eccl("config", "--set", "align") == cli.EXIT_USER_ERROR
    assert "--set align: give FIELD=VALUE" in capsys.readouterr().err


def test_an_error_of_the_user_has_status_2_and_an_interrupt_130(capsys):
    assert eccl("train", "eccl", "--set", "align.no_such_field=1") == cli.EXIT_USER_ERROR == 2
    assert capsys.readouterr().err.startswith("error: ")

    def interrupted():
        raise KeyboardInterrupt

    assert cli.guard(interrupted) == cli.EXIT_INTERRUPTED == 130
    with pytest.raises(click.UsageError):
        train.command.make_context("train", ["eccl", "--no-such-option"])


def test_a_report_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    (tmp_path / "folder.html").mkdir()
    for out, said in (
        (tmp_path / "none" / "page.html", "there is no folder"),
        (tmp_path / "folder.html", "it is a folder"),
        (tmp_path / "report", "the name must end in one of .html, .htm"),
    ):
        assert eccl("report", "--out", out) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "page.html").write_text("of an earlier report, which is replaced")
    assert eccl("report", "--out", tmp_path / "page.html") == 2
    assert "eccl table1" in capsys.readouterr().err


def test_an_unusable_folder_of_runs_names_the_variable_the_fault_and_the_cure(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    locked = tmp_path / "locked"
    locked.mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and (mode == os.F_OK or path != locked))
    for runs, touched, fault in (
        (tmp_path / "file", tmp_path / "file" / "ukb", f"{tmp_path / 'file'} is a file"),
        (tmp_path / "file" / "runs", tmp_path / "file", f"{tmp_path / 'file'} is a file"),
        (locked / "runs", locked / "runs", f"{locked} is not writable"),
        (tmp_path / "a" / "b", tmp_path / "a", f"does not exist and cannot be created in {tmp_path}"),
    ):
        monkeypatch.setenv("ECCL_RUNS", str(runs))
        assert cli.guard(lambda path=touched: _raise(OSError(2, "no", str(path)))) == cli.EXIT_USER_ERROR
        said = capsys.readouterr().err
        assert said.startswith(f"error: ECCL_RUNS is set to {runs}, but ") and fault in said
        assert said.endswith("Set the variable ECCL_RUNS to a writable folder, or unset it.\n")


def test_a_command_under_a_file_says_that_eccl_runs_is_a_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "file"))
    assert eccl("withdraw", "--none") == cli.EXIT_USER_ERROR
    assert f"{tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_an_error_elsewhere_and_a_usable_folder_keep_the_message_of_the_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    for error in (OSError(21, "is a folder", "/elsewhere/x"), ConfigError("wrong value"), OSError(5, "bad disk")):
        cli.guard(lambda error=error: _raise(error))
        assert capsys.readouterr().err == f"error: {error}\n"
    (tmp_path / "runs").mkdir()
    cli.guard(lambda: _raise(OSError(28, "full", str(tmp_path / "runs" / "x"))))
    assert "full" in capsys.readouterr().err


def _raise(error: Exception) -> None:
    raise error


def test_a_reader_that_closes_the_output_ends_the_command_without_a_message():
    command = [sys.executable, "-m", "eccl_lib", "config"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(HANG) == cli.EXIT_BROKEN_PIPE == 141


def test_a_broken_pipe_of_a_worker_is_an_error(capsys):
    assert cli.guard(lambda: _raise(BrokenPipeError(32, "Broken pipe"))) == cli.EXIT_USER_ERROR
    assert capsys.readouterr().err == "error: [Errno 32] Broken pipe\n"


@pytest.mark.parametrize(
    ("module", "new"), [("eccl_lib.data.ukb", "eccl ingest ukb"), ("eccl_lib.privacy", "eccl privacy")]
)
def test_an_alias_names_the_new_command(module, new):
    found = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=HANG)
    assert found.returncode == 0
    assert new in found.stdout + found.stderr
