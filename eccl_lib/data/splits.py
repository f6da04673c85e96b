"""Who trains and who is tested: by the id and a salt alone, the same at every stage, and whether chance explains it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES

SPLITS = ("train", "val", "test")
BLOCK = ("train", "train", "train", "val", "test")  # 60/20/20, Sec. 3.1
SHARES = {name: BLOCK.count(name) / len(BLOCK) for name in SPLITS}
UNLIKELY = 0.01  # chance that at least one of all strata is called uneven though nothing is wrong; ours
FEWEST = 20  # participants in a stratum that is judged; ours


def split_of(eid: str, salt: str) -> str:
    """train, val or test, by the id and the salt alone: it never changes when participants come or go.

    Five neighbouring ids share a block and take the places of BLOCK in an order drawn by hash: exactly 3:1:1 on every
    complete block, about 60/20/20 on any other set of ids.
    """
    block, place = divmod(int(eid) - 1, len(BLOCK))
    keys = [hashlib.sha256(f"{salt}:{block}:{k}".encode()).digest() for k in range(len(BLOCK))]
    return BLOCK[sorted(range(len(BLOCK)), key=keys.__getitem__).index(place)]


def balance(table: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """Whether each stratum falls 60/20/20 within binomial error.

    table: columns split, sex, age. labels: (N, 4) bool. Returns a row per stratum and split: stratum, split, n (of the
    stratum), found, expected, low, high (what all strata together stay within with probability 1 - UNLIKELY) and even.
    """
    split = table["split"].to_numpy()
    from scipy.stats import binom

    strata = [(name, chosen) for name, chosen in _strata(table, labels) if chosen.sum() >= FEWEST]
    inside = 1 - UNLIKELY / max(len(strata) * len(SPLITS), 1)  # Bonferroni
    rows = []
    for name, chosen in strata:
        n = int(chosen.sum())
        for part, share in SHARES.items():
            low, high = (int(edge) for edge in binom.interval(inside, n, share))
            found = int((split[chosen] == part).sum())
            rows.append((name, part, n, found, n * share, low, high, low <= found <= high))
    return pd.DataFrame(rows, columns=["stratum", "split", "n", "found", "expected", "low", "high", "even"])


def _strata(table: pd.DataFrame, labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Everyone; each disease; both sexes; thirds of age."""
    yield "all", np.ones(len(table), dtype=bool)
    for k, disease in enumerate(DISEASES):
        yield disease, labels[:, k]
    for sex in ("female", "male"):
        yield sex, (table["sex"] == sex).fillna(False).to_numpy(dtype=bool)
    age = table["age"].to_numpy(dtype=float)
    if np.isfinite(age).any():
        edges = np.nanquantile(age, [1 / 3, 2 / 3])
        third = np.where(np.isfinite(age), np.searchsorted(edges, age, side="left"), -1)
        names = (f"age up to {edges[0]:.0f}", f"age {edges[0]:.0f} to {edges[1]:.0f}", f"age above {edges[1]:.0f}")
        for k, name in enumerate(names):
            yield name, third == k
