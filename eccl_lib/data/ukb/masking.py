"""Masking of participant ids in text."""

import re

_MASK = re.compile(r"(?<!\d)(?<!\d\.)\d{7}(?!\.?\d)")


def masked(text: str) -> str:
    """The text with each seven-digit number, the form of a participant's id, replaced by <id>."""
    return _MASK.sub("<id>", text)
