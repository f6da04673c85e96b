"""Masking of participant ids in text."""

import re

# A number before one of these words is a measured value, such as a rate in Hz, and no id.
_UNITS = "Hz|ms|mV|uV|mm|samples|bytes|MB|pixels|voxels|rows|columns|cells|files|images|frames|values|characters"
_MASK = re.compile(rf"(?<!\d)(?<!\d\.)\d{{7}}(?!\.?\d)(?! (?:{_UNITS})\b)")


def masked(text: str) -> str:
    """The text with each seven-digit number, the form of a participant's id, replaced by <id>.

    Numbers with a unit or a counted noun after them are values and stay.
    """
    return _MASK.sub("<id>", text)
