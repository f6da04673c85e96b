"""The train, validation and test split, computed from participant id and salt, and a check of its balance."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import DISEASES, Config

FOLDS = 10  # of a cohort without published folds; ours
SPLITS = ("train", "val", "test")
PARTS = (3, 1, 1)  # of train, validation and test: 60/20/20, Sec. 3.1
UNLIKELY = 0.01  # family-wise error rate of the balance check over all strata; ours
FEWEST = 20  # smaller strata are not checked; ours


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with splits as its index in the order train, val, test; a split without a row is left out."""
    return table.loc[[split for split in SPLITS if split in table.index]]


def parts_of(config: Config) -> tuple[int, ...]:
    """Parts of train, validation and test; a synthetic cohort may have others than Sec. 3.1."""
    return config.synthetic.split if config.cohort == "synthetic" else PARTS


def split_of(eid: str, salt: str, parts: Sequence[int] = PARTS) -> str:
    """Split of one participant (train, val or test), which depends only on the id, the salt and the parts.

    parts: of train, val and test. sum(parts) consecutive ids form a block, and a hash assigns them to the splits. The
    ratio is exact in each complete block and approximate in any other set of ids.
    """
    entries = [name for name, count in zip(SPLITS, parts, strict=True) for _ in range(count)]
    block, place = divmod(int(eid) - 1, len(entries))
    keys = [hashlib.sha256(f"{salt}:{block}:{k}".encode()).digest() for k in range(len(entries))]
    return entries[sorted(range(len(entries)), key=keys.__getitem__).index(place)]


def splits_of(table: pd.DataFrame, config: Config) -> pd.Series:
    """Split of each row: by its fold if the cohort has published ones or the config names a fold, else by a hash.

    The test set is fold ``store.test_fold`` (with published folds, by default the last one), the validation set the
    fold before it, and the training set all others. Folds and hash depend on the patient's id if the table has one,
    else on the eid. Raises ConfigError if there is no such fold.
    """
    ids = table["patient" if "patient" in table else "eid"]
    if not has_folds(table, config):
        parts = parts_of(config)
        return pd.Series([split_of(number, config.store.split_salt, parts) for number in ids], dtype="str")
    fold = table["fold"].to_numpy() if "fold" in table else np.array([int(number) % FOLDS + 1 for number in ids])
    last = int(fold.max(initial=1)) if "fold" in table else FOLDS
    test = config.store.test_fold or last
    if test > last:
        raise ConfigError(f"store.test_fold is {test}; the folds of this cohort are 1 to {last}")
    val = test - 1 if test > 1 else last
    return pd.Series(np.select([fold == test, fold == val], ["test", "val"], "train"), dtype="str")


def has_folds(table: pd.DataFrame, config: Config) -> bool:
    """Whether the split is by folds."""
    return "fold" in table or config.store.test_fold > 0


def balance(
    table: pd.DataFrame, labels: np.ndarray, parts: Sequence[int] = PARTS, codes: Sequence[str] = DISEASES
) -> pd.DataFrame:
    """Test if each stratum is split in the ratio of ``parts`` within binomial error.

    table: columns split, sex, age. labels: (N, codes) bool, of the ICD-10 codes in codes. Returns one row per stratum
    and split: stratum, split, n (size of the stratum), found (participants in the split), expected, low and high
    (Bonferroni-corrected interval; all intervals hold with probability 1 - UNLIKELY), and even (True if found is inside
    the interval).
    """
    split = table["split"].to_numpy()
    from scipy.stats import binom

    strata = [(name, chosen) for name, chosen in _strata(table, labels, codes) if chosen.sum() >= FEWEST]
    inside = 1 - UNLIKELY / max(len(strata) * len(SPLITS), 1)  # Bonferroni
    rows = []
    for name, chosen in strata:
        n = int(chosen.sum())
        for part, share in zip(SPLITS, np.divide(parts, sum(parts)), strict=True):
            low, high = (int(edge) for edge in binom.interval(inside, n, share))
            count = int((split[chosen] == part).sum())
            rows.append((name, part, n, count, n * share, low, high, low <= count <= high))
    return pd.DataFrame(rows, columns=["stratum", "split", "n", "found", "expected", "low", "high", "even"])


def _strata(table: pd.DataFrame, labels: np.ndarray, codes: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (N,) bool mask of each stratum: all, each disease, both sexes, thirds of age."""
    everyone, *others = demographic_strata(table)
    yield everyone
    for k, disease in enumerate(codes):
        yield disease, labels[:, k]
    yield from others


def demographic_strata(table: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (N,) bool mask of each stratum: all, both sexes, thirds of age. table: columns sex, age."""
    yield "all", np.ones(len(table), dtype=bool)
    for partition in partitions(table):
        yield from ((name, chosen) for name, chosen in partition.items() if name)


def partitions(table: pd.DataFrame) -> list[dict[str, np.ndarray]]:
    """The participants divided by sex, and by thirds of age: name to (N,) bool mask; "" has those without a value.

    table: columns sex, age.
    """
    by_sex = {sex: (table["sex"] == sex).fillna(False).to_numpy(dtype=bool) for sex in ("female", "male")}
    age, by_age = table["age"].to_numpy(dtype=float), {}
    if np.isfinite(age).any():
        edges = np.nanquantile(age, [1 / 3, 2 / 3])
        third = np.where(np.isfinite(age), np.searchsorted(edges, age, side="left"), -1)
        names = (f"age up to {edges[0]:.0f}", f"age {edges[0]:.0f} to {edges[1]:.0f}", f"age above {edges[1]:.0f}")
        by_age = {name: third == k for k, name in enumerate(names)}
    return [part | {"": ~np.any(list(part.values()), axis=0)} for part in (by_sex, by_age) if part]
