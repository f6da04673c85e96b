"""Progress lines."""

import pytest

from eccl_lib.io import progress
from eccl_lib.io.progress import Console, StepLine, format_seconds, with_prefix


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0083, "8.3 ms"), (7.4, "7.4 s"), (45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (36_000, "10 h 0 min")],
)
def test_a_duration_has_one_or_two_units(seconds, text):
    assert format_seconds(seconds) == text


def test_a_file_gets_every_line_and_a_terminal_one_bar(monkeypatch, capsys):
    lines = ["start", *(StepLine(f"epoch {k}/3", k, 3) for k in (1, 2, 3)), "end"]
    for interactive in (False, True):
        monkeypatch.setattr(progress, "is_interactive", lambda error, value=interactive: value)
        for error in (False, True):
            console = Console(error)
            for line in lines:
                console(line)
            printed = capsys.readouterr()
            shown, other = (printed.err, printed.out) if error else (printed.out, printed.err)
            assert not other
            assert ("100%" in shown) == interactive
            if not interactive:
                assert shown.splitlines() == lines


def test_a_prefix_keeps_steps_as_steps():
    seen = []
    with_prefix(seen.append, "run")(StepLine("epoch 1/3", 1, 3))
    assert (seen[0], seen[0].done, seen[0].total) == ("run  epoch 1/3", 1, 3)
