"""Escape the characters of a text that control a terminal, or that make it look like another text."""

import unicodedata

# Unicode categories: control characters (ESC, line breaks), formats (order of writing, zero width), halves of surrogate
# pairs (bytes of a name that are not UTF-8, which cannot be printed), separators of lines and paragraphs.
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
_LAYOUT = "\n\t"


def printable(text: str) -> str:
    """The text with control characters as escapes such as ``\\x1b``; line breaks and tabs remain."""
    return _escaped(text, _LAYOUT)


def one_line(text: str) -> str:
    """Like ``printable``, also with escapes for line breaks and tabs: names and content of files stay in one line."""
    return _escaped(text, "")


def _escaped(text: str, kept: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign if sign in kept or unicodedata.category(sign) not in _CATEGORIES else ascii(sign)[1:-1] for sign in text
    )
