"""Comparison of two rows on the same participants: interval and p-value of the difference, Holm correction."""

import numpy as np


def symmetric_interval(difference: float, drawn: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Symmetric bootstrap interval: difference ± the ``level`` quantile of its absolute deviations over draws.

    drawn: (B,), the difference in each draw, NaN if undefined.
    """
    reach = float(np.nanquantile(np.abs(drawn - difference), level))
    return difference - reach, difference + reach


def p_value(difference: float, drawn: np.ndarray) -> float:
    """Two-sided bootstrap p-value: share of draws that deviate from the difference by at least its absolute value.

    Equivalent to testing whether ``symmetric_interval`` contains 0. The observed value counts as a draw, so p is at
    least 1 / (draws + 1). drawn: (B,), NaN if undefined. A difference of 0 has p = 1.
    """
    drawn = drawn[~np.isnan(drawn)]
    rounding = 1e-12  # identical rows differ by rounding errors
    extreme = np.abs(drawn - difference) >= abs(difference) - rounding
    return float((1 + extreme.sum()) / (1 + len(drawn)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p-values, which control the family-wise error rate (Holm 1979). p: (k,). Returns (k,)."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
