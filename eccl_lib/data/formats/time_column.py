"""The sampling rate from a time column of a table: seconds, milliseconds, clock times, dates, rounded times."""

import re

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError

WRITE_RATE = "Write the rate as a line '# rate=500' above the names."
_CLOCK = re.compile(
    r"(?i)((elapsed|date)[\s_]*)?(time|timestamp|datetime|t|s|seconds|secs?|ms|milliseconds|millis)(\b|_)"
)
_SAMPLE = re.compile(r"(?i)(sample|samples|samp|index|idx|row|n|nr|no)([\s_.#]*(no|nr|number|index|#)?[.#]?)")
_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3}
_UNITS |= {"millis": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "usec": 1e-6, "microseconds": 1e-6, "µs": 1e-6, "μs": 1e-6}
# At the end of a time stamp: hh:mm:ss.fff or mm:ss.fff, then a time zone or, in PhysioNet's form, the date. The date is
# not needed.
_TIME_OF_DAY = r"(\d+:\d+(?::\d+)?(?:[.,]\d+)?)\s*(?:Z|[+-]\d\d:?\d\d|\d\d?/\d\d?/\d{4})?\]?$"
PLAUSIBLE = (20.0, 50_000.0)  # samples per second; outside it, the unit of the column is in doubt; ours
ROUNDED = 1e-3  # relative difference to a whole rate that rounding of the times can explain; ours


def is_clock(name: str) -> bool:
    """True for the name of a time column, such as ``time``, ``time_ms``, ``Elapsed time``, ``timestamp``."""
    return bool(_CLOCK.match(name.strip()))


def is_sample_number(name: str) -> bool:
    """True for the name of a column of sample numbers, such as ``sample``, ``sample #``, ``index``."""
    return bool(_SAMPLE.fullmatch(name.strip()))


def rate(column: pd.Series, name: str, unit: str = "") -> tuple[float, list[str]]:
    """Samples per second, and notes. column: numbers or text; unit: from a row of units, else empty.

    Without a unit in the name or in ``unit``, numbers are seconds. Raises UnreadableError.
    """
    seconds, stated = _seconds(column, name, unit)
    steps = np.diff(seconds)
    if len(steps) < 1 or not np.isfinite(seconds).all():
        raise UnreadableError(f"the column {name[:20]!r} has values that are not times", WRITE_RATE)
    step = float(np.median(steps))
    notes = []
    if step > 0 and np.abs(steps - step).max() <= 0.5 * step:
        found = len(steps) / (seconds[-1] - seconds[0])  # the mean step is exact even if times are rounded
    else:
        found = _of_rounded(seconds)
        notes.append(f"the times are rounded: {found:g} samples per second on average")
    whole = round(found)
    found = float(whole) if whole and abs(found - whole) < 1e-6 * whole else found
    if not stated and not PLAUSIBLE[0] <= found <= PLAUSIBLE[1]:
        reason = f"the column {name[:20]!r} steps by {1 / found:g}: in seconds this is {found:g} samples per second"
        raise UnreadableError(reason, "Name the column time_ms if it holds milliseconds. Otherwise: " + WRITE_RATE)
    return found, notes


def _seconds(column: pd.Series, name: str, unit: str) -> tuple[np.ndarray, bool]:
    """Seconds of each row, NaN if it is not a time; and True if their unit is stated."""
    is_number = pd.api.types.is_numeric_dtype(column)
    text = column if is_number else column.astype(str).str.strip()
    numbers = column if is_number else pd.to_numeric(text.str.replace(",", "."), errors="coerce")
    if numbers.notna().all():
        words = [unit.strip("()[] ").lower(), *reversed(re.findall(r"[a-zµμ]+", name.lower()))]
        factor = next((_UNITS[word] for word in words if word in _UNITS), None)
        return numbers.to_numpy(dtype=np.float64) * (factor or 1.0), factor is not None
    if is_number:
        return np.full(len(column), np.nan), True
    clock = text.str.extract(_TIME_OF_DAY, expand=False)
    if clock.isna().any():
        return np.full(len(text), np.nan), True
    parts = [np.array(row.replace(",", ".").split(":"), dtype=np.float64) for row in clock]
    seconds = np.array([float(np.dot(row[::-1], 60.0 ** np.arange(len(row)))) for row in parts])
    return seconds + 86_400 * np.cumsum(np.diff(seconds, prepend=seconds[0]) < -43_200), True  # over midnight


def _of_rounded(seconds: np.ndarray) -> float:
    """Rate of times that are rounded to more than a sample, so that equally many rows have the same time.

    Raises UnreadableError if the times are not evenly spaced.
    """
    times, rows = np.unique(seconds, return_counts=True)
    steps = np.diff(times)
    even = len(times) >= 4 and (np.diff(seconds) >= 0).all() and np.ptp(rows[1:-1]) <= 1
    if not even or steps.max() > 1.5 * steps.min():
        raise UnreadableError("the time column is not evenly spaced", WRITE_RATE)
    found = 1 / float(np.polyfit(np.arange(len(seconds)), seconds - seconds[0], 1)[0])
    return float(round(found)) if abs(found - round(found)) < ROUNDED * found else found
