"""What the commands print cannot control a terminal."""

import ast
from pathlib import Path

import eccl_lib
from tests.conftest import eccl


def test_names_from_the_command_line_cannot_control_the_terminal(tmp_path, capsys):
    named = tmp_path / "\x1b[2J\u202e.csv"
    assert eccl("predict", named) == 1  # read
    assert eccl("predict", "a.csv", "--scale", named) == 2  # refused by click
    assert eccl(named.name) == 2
    shown = capsys.readouterr().err
    assert "\\x1b[2J\\u202e.csv: the file does not exist" in shown
    assert shown.count("\\x1b[2J\\u202e.csv") >= 3
    assert "\x1b" not in shown and "\u202e" not in shown


def test_all_output_passes_the_function_that_escapes_it():
    """No module calls print, apart from that function; two old names of commands print constants."""
    constant = {"privacy.py", "data/ukb/__main__.py"}
    package = Path(eccl_lib.__file__).parent
    callers = set()
    for path in package.rglob("*.py"):
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
            callers.add(path.relative_to(package).as_posix())
    assert callers - constant == {"io/progress.py"}
