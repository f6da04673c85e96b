"""Reader of ECGs in HL7's annotated ECG (aECG, HL7 v3 and FDA's implementation guide).

A series has sequence sets. The sequences of a set are sampled together: one holds the time (head and increment), each
other one a lead, with digits that are multiplied by the scale and added to the origin. Mean beats are derived series,
which are not read.
"""

from xml.etree.ElementTree import Element

import numpy as np

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.formats import strips, xml_tree
from eccl_lib.data.formats.cardiosoft import parse_counts
from eccl_lib.data.formats.leads import GAP, millivolts
from eccl_lib.data.formats.strips import Strip
from eccl_lib.data.records import EcgRecord

ROOT = "AnnotatedECG"
TAGS = (ROOT, "component", "series", "sequenceSet", "sequence", "code", "value", "head", "increment", "origin", "scale")
TAGS += ("digits",)
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")


def read(root: Element) -> EcgRecord:
    """Read the first series; sequence sets of the same time are joined. Raises UnreadableError."""
    root = xml_tree.renamed(root, TAGS)
    series = root.findall("./component/series")
    sets = series[0].findall("./component/sequenceSet") if series else []
    if not sets:
        raise UnreadableError("the HL7 aECG has no sequence set (waveform)", DOWNLOAD_AGAIN)
    notes = [f"the file has {len(series)} series: the first is used"] if len(series) > 1 else []
    return strips.record([_strip(element) for element in sets], notes)


def _strip(sequence_set: Element) -> Strip:
    """The leads of a sequence set. Raises UnreadableError."""
    times, leads = [], []
    for sequence in sequence_set.findall("./component/sequence"):
        code = sequence.find("./code")
        name = (code.get("code") or "") if code is not None else ""
        (times if name in TIMES else leads).append((name, sequence.find("./value")))
    rate, start = _clock(times[0][1] if times else None)
    counts = [parse_counts(_text(value, "./digits")) for _, value in leads]
    samples = max(map(len, counts), default=0)
    names = [name for name, _ in leads]

    def load() -> tuple[list[np.ndarray], list[str]]:
        scaled = [_scaled(c, value) for c, (_, value) in zip(counts, leads, strict=True)]
        return [channel for channel, _ in scaled], [unit for _, unit in scaled]

    return Strip(names, samples, rate, load, start)


def _clock(value: Element | None) -> tuple[float, float | None]:
    """Samples per second and start in seconds (None if it is a date) of a time sequence. Raises UnreadableError."""
    increment = value.find("./increment") if value is not None else None
    step, unit = _quantity(increment)
    if not step > 0 or unit not in SECONDS:
        raise UnreadableError("the HL7 aECG states no valid time increment", "Export it again with its sampling rate.")
    head = value.find("./head")
    start = (head.get("value") or "") if head is not None else ""
    return 1 / (step * SECONDS[unit]), _seconds(start)


def _seconds(start: str) -> float | None:
    """Seconds since midnight of a time stamp yyyymmddHHMMSS.fff, or of a relative time; None if it is neither."""
    digits = start.split("+")[0].split("-")[0]
    if len(digits.partition(".")[0]) == 14 and digits.replace(".", "").isdecimal():
        return int(digits[8:10]) * 3600 + int(digits[10:12]) * 60 + float(digits[12:])
    value = xml_tree.to_number(start)
    return value if np.isfinite(value) else None


def _scaled(counts: np.ndarray, value: Element | None) -> tuple[np.ndarray, str]:
    """Samples of a lead in the unit of its scale, NaN where there is none; and the unit, empty without a scale."""
    scale, unit = _quantity(value.find("./scale") if value is not None else None)
    origin, origin_unit = _quantity(value.find("./origin") if value is not None else None)
    if not np.isfinite(scale):
        return counts, ""
    if np.isfinite(origin):
        origin *= (millivolts(origin_unit) or 0) / (millivolts(unit) or 1)
    return np.where(counts == GAP, np.nan, counts * scale + np.nan_to_num(origin)), unit


def _quantity(element: Element | None) -> tuple[float, str]:
    """Value and unit of a physical quantity; NaN and an empty unit if it is absent."""
    if element is None:
        return float("nan"), ""
    return xml_tree.to_number(element.get("value")), (element.get("unit") or "").strip()


def _text(value: Element | None, path: str) -> str:
    return (value.findtext(path) or "") if value is not None else ""
