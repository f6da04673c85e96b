"""One row against another on the same participants: difference, interval, p-value, and Holm over all comparisons."""

from __future__ import annotations

import numpy as np


def symmetric_interval(difference: float, drawn: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The difference plus and minus the reach that holds ``level`` of the draws around it (symmetric bootstrap).

    drawn: (B,) the difference in each draw of participants, NaN where it had no value.
    """
    reach = float(np.nanquantile(np.abs(drawn - difference), level))
    return difference - reach, difference + reach


def p_value(difference: float, drawn: np.ndarray) -> float:
    """Two-sided p: how often a draw strays from the difference by as much as the difference strays from 0.

    The same test as asking whether ``symmetric_interval`` holds 0. Counting the observed one keeps it above 0: never
    less than 1 / (draws + 1). drawn: (B,), NaN where a draw had no value. A difference of 0 has p = 1.
    """
    drawn = drawn[~np.isnan(drawn)]
    rounding = 1e-12  # two rows that are the same differ by rounding in a draw
    as_far = np.abs(drawn - difference) >= abs(difference) - rounding
    return float((1 + as_far.sum()) / (1 + len(drawn)))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted so that 0.05 bounds the chance of one false claim among all of them (Holm 1979). p: (k,)."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
