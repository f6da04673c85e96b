"""Masking of participant ids, file names and texts of files in messages that are shared."""

import re
from pathlib import PurePath

# A number before one of these words is a measured value, such as a rate in Hz, and no id.
_UNITS = "Hz|ms|mV|uV|mm|samples|bytes|MB|pixels|voxels|rows|columns|cells|files|images|frames|values|characters"
_MASK = re.compile(rf"(?<!\d)(?<!\d\.)\d{{7}}(?!\.?\d)(?! (?:{_UNITS})\b)")
# Messages quote what a file says with repr(). A quotation mark inside a word is an apostrophe.
_QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")
_SUFFIXES = (
    "xml|zip|dcm|nii|gz|npy|npz|json|csv|tsv|txt|tab|hea|dat|mat|edf|bdf|scp|ecg|parquet|onnx|xlsx?|h5|pdf|md|png|jpe?g"
    "|log|html"
)
_PATH = re.compile(rf"(?i)(?<![\w<])(?:~?/|[a-z]:\\)[^\s;,)]+|(?<![\w.*/])[\w(][\w()@+~./\\-]*\.(?:{_SUFFIXES})\b")
KNOWN_SUFFIX = re.compile(rf"\.(?:{_SUFFIXES})")  # in lower case; another suffix may be a part of a name
_KEPT = re.compile(r"docs/\w+\.md(?:#[\w-]+)?|ecg\.json|Info\.cfg|seg_sa\w*\.nii\.gz")  # names that the library gives


def masked(text: str) -> str:
    """The text with each seven-digit number, the form of a participant's id, replaced by <id>.

    Numbers with a unit or a counted noun after them are values and stay.
    """
    return _MASK.sub("<id>", text)


def shareable(text: str, file: str = "") -> str:
    """A message without participant ids, file names, paths and quotations from a file, for the report.

    file: the name of the file that the message is about; it is removed also where its form is no file name's.
    """
    names = {file, PurePath(file).name, PurePath(file).stem} if file else set()
    for name in sorted(names - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<file>", text)
    text = _QUOTED.sub("<text>", text)
    return masked(_PATH.sub(lambda found: found[0] if _KEPT.fullmatch(found[0]) else "<file>", text))
