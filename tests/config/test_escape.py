"""Text from files cannot control a terminal."""

import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.escape import one_line, printable

HARMFUL = {
    "\x1b[2J": "\\x1b[2J",  # clears the screen
    "\x1b]0;x\x07": "\\x1b]0;x\\x07",  # renames the window
    "\x9b2J": "\\x9b2J",  # the same in one C1 control
    "a\rb\x08\x7f\0": "a\\rb\\x08\\x7f\\x00",  # overwrites what stands before
    "\u202egpj.exe": "\\u202egpj.exe",  # reverses the order
    "\u2066a\u2069": "\\u2066a\\u2069",
    "pay\u200bpal\ufeff": "pay\\u200bpal\\ufeff",  # invisible
    "a\u2028b\u2029c\x85d": "a\\u2028b\\u2029c\\x85d",  # line breaks to some programs
    "caf\udce9": "caf\\udce9",  # a byte that is not UTF-8: printing it raises UnicodeEncodeError
}


@pytest.mark.parametrize("text", HARMFUL)
def test_control_characters_become_escapes(text):
    assert printable(text) == one_line(text) == HARMFUL[text]
    assert HARMFUL[text].isprintable()


@pytest.mark.parametrize("text", ["", "µV, °C", "Müller/心電図/électro.xml", "\\x1b[2J", "a  b", "👩"])
def test_other_text_remains(text):
    assert printable(text) == one_line(text) == text


def test_line_breaks_and_tabs_remain_in_a_text_and_not_in_one_line():
    assert printable("a\n\tb") == "a\n\tb"
    assert one_line("a\n\tb") == "a\\n\\tb"


def test_an_error_about_a_file_is_one_line():
    error = UnreadableError("the lead 'a\n\x1b[2J' is unknown", "Rename \u202eit.")
    assert str(error) == "the lead 'a\\n\\x1b[2J' is unknown. Rename \\u202eit."
    assert error.reason + ". " + error.cure == str(error)
