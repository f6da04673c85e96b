"""Cross-modal retrieval of the matching CMR for an ECG and the reverse, with intervals and chance level."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from eccl_lib.metrics import bootstrap, comparison, scores

DIRECTIONS = ("ECG to CMR", "CMR to ECG")
Ranked = tuple[np.ndarray, dict[str, np.ndarray]]  # of one direction: ``scores.matching_ranks``


def ranked(z_ecg: np.ndarray, z_cmr: np.ndarray) -> dict[str, Ranked]:
    """Ranks and recalls of each query, by direction. Both (n, D), unit norm; row i of both is one participant."""
    pairs = zip(DIRECTIONS, ((z_ecg, z_cmr), (z_cmr, z_ecg)), strict=True)
    return {direction: scores.matching_ranks(*pair) for direction, pair in pairs}


def table(seeds: Sequence[dict[str, Ranked]], draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """Recall at 1, 5, 10 and median rank in both directions, averaged over seeds.

    seeds: ``ranked`` of each seed, the same n participants. Columns: direction, metric, mean, std (over seeds), low,
    high (95 %, over queries and seeds), chance, seeds, n. The bootstrap resamples the queries, with the same draws for
    all seeds; the gallery is fixed. With one seed, the limits are percentiles of the draws.
    """
    tables = {direction: _direction([seed[direction] for seed in seeds], draws) for direction in DIRECTIONS}
    return pd.concat(tables, names=["direction"]).reset_index("direction").reset_index(drop=True)


def _direction(ranked: list[Ranked], draws: int) -> pd.DataFrame:
    """Metrics of one direction. ranked: ``matching_ranks`` of each seed."""
    n = len(ranked[0][0])
    drawn = {name: [] for name in scores.retrieval_chance(n)}
    for weights in bootstrap.draws(n, draws):  # (n, B)
        drawn["median_rank"].append([weighted_median(ranks, weights) for ranks, _ in ranked])
        for name in ranked[0][1]:
            drawn[name].append([recalls[name] @ weights / n for _, recalls in ranked])
    rows = []
    for name, chance in scores.retrieval_chance(n).items():
        seeds = [np.median(ranks) if name == "median_rank" else recalls[name].mean() for ranks, recalls in ranked]
        each = np.concatenate(drawn[name], axis=1)  # (seeds, draws)
        both = comparison.over_participants_and_seeds(np.array(seeds, float), each)
        low, high = (both.low, both.high) if len(seeds) > 1 else bootstrap.percentile(each[0])
        facts = {"metric": name.replace("_", " "), "mean": np.mean(seeds), "std": scores.deviation(seeds)}
        rows.append(facts | {"low": low, "high": high, "chance": chance, "seeds": len(seeds), "n": n})
    return pd.DataFrame(rows)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of values with integer weights in each draw. values: (n,); weights: (n, B). Returns (B,)."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order], axis=0)  # (n, B)
    total = reached[-1]
    middle = [(reached <= place).sum(axis=0) for place in ((total - 1) // 2, total // 2)]  # the two middle places
    return (values[order][middle[0]] + values[order][middle[1]]) / 2
