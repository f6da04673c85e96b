"""Comparison of two rows on the same participants: interval and p-value of the difference, Holm correction."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """A difference of scores with its 95 % interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


def standard_error(of_mean: float, of_one: float, by_seed: np.ndarray) -> tuple[float, float]:
    """Standard error of a mean over seeds under new participants and new seeds, with its degrees of freedom.

    of_mean: variance over participants of the mean over seeds; of_one: the same of one seed, averaged over seeds;
    by_seed: (S,), the value of each seed. The three components are participants, seeds, and their interaction, which
    both variances contain and which is counted once. Degrees of freedom after Satterthwaite (1946); inf with one seed.
    """
    seeds = len(by_seed)
    if seeds == 1:
        return float(np.sqrt(of_mean)), np.inf
    between = float(np.var(by_seed, ddof=1)) / seeds
    total = max(of_mean + between - (of_one - of_mean) / (seeds - 1), of_mean)
    return float(np.sqrt(total)), (seeds - 1) * total**2 / between**2 if between else np.inf


def over_participants_and_seeds(by_seed: np.ndarray, drawn: np.ndarray, level: float = 0.95) -> Difference:
    """The mean over seeds with the variation over test participants and over training seeds.

    by_seed: (S,), the value of each seed on the test set. drawn: (S, B), of each seed in each bootstrap draw of
    participants, NaN if undefined. With one seed, only participants vary.
    """
    from scipy.stats import t

    value = float(np.mean(by_seed))
    of_mean, of_one = float(np.nanvar(drawn.mean(axis=0), ddof=1)), float(np.nanvar(drawn, axis=1, ddof=1).mean())
    error, freedom = standard_error(of_mean, of_one, by_seed)
    if error < 1e-12:  # identical rows differ by rounding errors
        return Difference(value, value, value, 1.0 if abs(value) < 1e-12 else 0.0)
    reach = float(t.ppf((1 + level) / 2, freedom)) * error
    return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, freedom)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p-values, which control the family-wise error rate (Holm 1979). p: (k,). Returns (k,).

    Comparisons that cannot be computed (NaN) stay so and are no part of the family.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")  # NaN last
    family = np.isfinite(p).sum()
    stepped = np.maximum.accumulate(p[order] * (family - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
