"""Simulated coverage of the intervals: AUC with few and many cases, mean r, differences between rows.

Command: ``python -m bench.coverage --out figures/demo/coverage.csv``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from eccl_lib.commands.cli import guard
from eccl_lib.io.files import write_atomically
from eccl_lib.io.progress import Log
from eccl_lib.metrics import bootstrap, comparison, delong, scores

LEVEL = 0.95
SHARED = 0.7  # share of a score's variance within a class that the seeds have in common; ours
TRAITS, TRAITS_SHARED = 82, 0.5  # traits of one heart go together; ours
ROWS_AUC = 0.8  # true AUC of two rows without a difference; ours
DRAWS = 1000  # bootstrap draws of participants in each simulated study


@dataclass(frozen=True)
class Design:
    """A study to simulate. metric: one of STUDIES; truth: its true value; positives: 0 for mean r."""

    metric: str
    participants: int
    positives: int
    truth: float
    seeds: int = 1


DESIGNS = (
    *(Design("AUC", 8308, positives, truth) for positives in (33, 300) for truth in (0.7, 0.8)),
    Design("AUC", 8308, 33, 0.8, seeds=5),
    *(Design("AUC", 120, 11, truth) for truth in (0.7, 0.8)),  # the demo's test participants
    *(Design("mean r", n, 0, 0.35) for n in (120, 880)),
    *(Design("AUC difference", n, positives, 0.0, seeds=5) for n, positives in ((120, 11), (8308, 33))),
)


def binormal(design: Design, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores (seeds, n) of one study, normal in each class, and the cases (n,) bool: AUC = Phi(shift / sqrt 2)."""
    positive = np.arange(design.participants) < design.positives
    shift = np.sqrt(2) * NormalDist().inv_cdf(design.truth)
    common = generator.standard_normal(design.participants)
    own = generator.standard_normal((design.seeds, design.participants))
    return np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own + shift * positive, positive


def hearts(design: Design, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Predicted (seeds, n, traits) and measured (n, traits) values of one study: the true r is equal for all traits."""
    measured, error = (
        np.sqrt(TRAITS_SHARED) * generator.standard_normal((design.participants, 1))
        + np.sqrt(1 - TRAITS_SHARED) * generator.standard_normal((design.seeds, design.participants, TRAITS))
        for _ in range(2)
    )
    measured = measured[0]
    return design.truth * measured + np.sqrt(1 - design.truth**2) * error, measured


def auc_intervals(design: Design, generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Both intervals of one simulated study."""
    score, positive = binormal(design, generator)
    found = delong.estimate(score, positive)
    return {scale: found.interval(LEVEL, scale) for scale in ("logit", "plain")}


def mean_r_intervals(design: Design, generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The bootstrap interval of one simulated study."""
    predicted, measured = hearts(design, generator)
    drawn = bootstrap.mean_r_draws(predicted, measured, DRAWS, seed=int(generator.integers(2**31)))
    low, high = bootstrap.percentile(drawn, LEVEL)
    return {"bootstrap": (float(low), float(high))}


def difference_intervals(design: Design, generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The interval of the difference between two rows that have the same true AUC."""
    both = replace(design, truth=ROWS_AUC, seeds=2 * design.seeds)
    score, positive = binormal(both, generator)
    drawn = np.array([bootstrap.resampled_auc(one, positive, _weights(design.participants)) for one in score])
    whole = np.array([scores.auc(one, positive) for one in score])
    first, second = np.split(whole, 2), np.split(drawn, 2)
    found = comparison.over_participants_and_seeds(first[0] - first[1], second[0] - second[1], LEVEL)
    return {"participants and seeds": (found.low, found.high)}


@cache
def _weights(n: int) -> np.ndarray:
    """Draws shared by all repeats, because drawing is the main cost and the studies differ anyway."""
    return np.concatenate(list(bootstrap.draws(n, DRAWS)), axis=1)


# Function of the intervals of one simulated study, and the largest number of repeats.
STUDIES = {
    "AUC": (auc_intervals, 1_000_000),
    "mean r": (mean_r_intervals, 1000),
    "AUC difference": (difference_intervals, 500),
}


def simulate(design: Design, repeats: int, seed: int = 0) -> pd.DataFrame:
    """One row per interval: coverage, its standard error, share of true values below and above, mean width."""
    generator = np.random.default_rng(seed)
    intervals, most = STUDIES[design.metric]
    repeats = min(repeats, most)
    found = [intervals(design, generator) for _ in range(repeats)]
    rows = []
    for name in found[0]:
        low, high = np.array([one[name] for one in found]).T
        covered = float(((low <= design.truth) & (design.truth <= high)).mean())
        facts = {**vars(design), "interval": name, "coverage": covered}
        facts["standard_error"] = float(np.sqrt(covered * (1 - covered) / repeats))
        facts |= {"truth_below": float((design.truth < low).mean()), "truth_above": float((design.truth > high).mean())}
        rows.append(facts | {"width": float((high - low).mean()), "repeats": repeats})
    return pd.DataFrame(rows)


def table(repeats: int, designs: Sequence[Design] = DESIGNS, seed: int = 0, log: Log = print) -> pd.DataFrame:
    """Simulate all designs; logs one line per interval."""
    parts = []
    for design in designs:
        part = simulate(design, repeats, seed)
        for row in part.itertuples():
            log(f"{design}: {row.interval} {row.coverage:.3f} +- {row.standard_error:.3f}")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def main(arguments: list[str] | None = None) -> None:
    """``python -m bench.coverage --repeats 10000 --out figures/demo/coverage.csv``."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10_000, help="simulated studies per design")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="CSV to write; without it the table is printed")
    parsed = parser.parse_args(arguments)
    result = table(parsed.repeats, seed=parsed.seed)
    if parsed.out is None:
        print(result.to_string(index=False))
    else:
        write_atomically(parsed.out, lambda path: result.to_csv(path, index=False, float_format="%.4f"))


if __name__ == "__main__":
    sys.exit(guard(main))
