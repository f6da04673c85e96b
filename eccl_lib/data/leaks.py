"""The eight kinds of leakage of Kapoor and Narayanan (Patterns 4, 2023), each with a check to find a planted case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data import splits
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.store import fill

TOO_GOOD = 0.95  # AUC of one stored fact alone at which it is no longer believed to be innocent; ours
FEWEST_CASES = 10  # below, an AUC says nothing; ours


@dataclass(frozen=True)
class Kind:
    """A row of the table: what leaks, how it is noticed here, and whether that is an error or calls for judgement."""

    number: str
    name: str
    check: str
    level: str


KINDS = (
    Kind(
        "1.1",
        "no test set",
        "train, val and test are all there, and predictions are of test participants only",
        "error",
    ),
    Kind(
        "1.2",
        "preprocessing on train and test",
        "scalers fitted again with everyone else's values spoilt are the same",
        "error",
    ),
    Kind(
        "1.3",
        "feature selection on train and test",
        "the epoch that was kept is the best on val; no feature is selected",
        "error",
    ),
    Kind("1.4", "duplicates", "no ECG, cine or set of 82 traits occurs in two splits, byte for byte", "error"),
    Kind(
        "2",
        "illegitimate features",
        "no single stored fact tells a disease almost perfectly; models read signals alone",
        "warning",
    ),
    Kind(
        "3.1",
        "temporal leakage",
        "no diagnosis counts as before and after the visit; `ever` mixes both",
        "error; `ever`: warning",
    ),
    Kind(
        "3.2",
        "dependence between train and test",
        "nobody has rows in two splits, and every stage split alike",
        "error",
    ),
    Kind("3.3", "sampling bias in the test set", "labels, sex and age fall 60/20/20 within binomial error", "warning"),
)


@dataclass(frozen=True)
class Leak:
    """Something that was found. kind: number of the Kind; level: error or warning; it names counts, never people."""

    kind: str
    level: str
    what: str

    def __str__(self) -> str:
        return f"{self.level}: leakage {self.kind}, {self.what}"


def no_test_set(split: pd.Series) -> list[Leak]:
    """1.1: all three splits have participants. split: (N,) train, val or test."""
    empty = [name for name in splits.SPLITS if not (split == name).any()]
    return [Leak("1.1", "error", f"nobody is in {', '.join(empty)}")] if empty else []


def not_of_the_test_set(predicted: pd.Series, table: pd.DataFrame) -> list[Leak]:
    """1.1: a run's predictions are of test participants. predicted: eids; table: the cohort's."""
    test = set(table.loc[table["split"] == "test", "eid"])
    others = len(set(predicted.astype(str)) - test)
    return [Leak("1.1", "error", f"{others} predictions are not of test participants")] if others else []


def fitted_on_others(
    fit: Callable[[np.ndarray], Iterable[np.ndarray]], values: np.ndarray, train: np.ndarray
) -> list[Leak]:
    """1.2: what ``fit`` learns from values hangs on the training rows alone. values: (N, k); train: row numbers."""
    spoilt = np.full_like(values, 1e6)
    spoilt[train] = values[train]
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fit(values), fit(spoilt), strict=True))
    return [] if same else [Leak("1.2", "error", "a scaler was fitted on more than the training participants")]


def chosen_elsewhere(kept: int, validation: np.ndarray) -> list[Leak]:
    """1.3: the epoch that was kept (from 1) is the first best on validation. validation: (epochs,) scores."""
    scores = np.asarray(validation, dtype=float)
    best = len(scores) if np.isnan(scores).all() else int(np.nanargmax(scores)) + 1
    what = f"epoch {kept} was kept where validation says {best}"
    return [] if kept == best else [Leak("1.3", "error", what)]


def duplicates(sums: dict[str, Iterable[str]], split: pd.Series) -> list[Leak]:
    """1.4: the same content under ids of different splits. sums: name of the content to a digest per row."""
    found = []
    for name, words in sums.items():
        shared = pd.DataFrame({"sum": list(words), "split": split.to_numpy()}).groupby("sum")["split"].nunique()
        if count := int((shared > 1).sum()):
            found.append(Leak("1.4", "error", f"{count} times the same {name} is in two splits"))
    return found


def telling_facts(table: pd.DataFrame, labels: np.ndarray) -> list[Leak]:
    """2: stored facts that alone tell a disease; a person must say whether they are legitimate. labels: (N, 4)."""
    found = []
    for name in table.columns.difference(["eid", "split", "name", "patient"]):
        values = pd.to_numeric(table[name], errors="coerce")
        values = values if values.notna().any() else pd.Series(pd.factorize(table[name])[0], index=table.index)
        for k, disease in enumerate(DISEASES):
            known = values.notna().to_numpy()
            cases = labels[known, k]
            if min(cases.sum(), (~cases).sum()) < FEWEST_CASES:
                continue
            auc = _auc(values.to_numpy(dtype=float)[known], cases)
            if max(auc, 1 - auc) > TOO_GOOD:
                found.append(
                    Leak("2", "warning", f"{name} alone tells {disease} with an AUC of {max(auc, 1 - auc):.2f}")
                )
    return found


def _auc(values: np.ndarray, cases: np.ndarray) -> float:
    """Probability that a case has the larger value, ties counting half."""
    ranks = pd.Series(values).rank().to_numpy()
    n = int(cases.sum())
    return (ranks[cases].sum() - n * (n + 1) / 2) / (n * (len(cases) - n))


def out_of_time(rule: str, prevalent: np.ndarray, incident: np.ndarray) -> list[Leak]:
    """3.1: a diagnosis lies on one side of the visit. prevalent, incident: (N, 4) bool."""
    both = int((prevalent & incident).sum())
    found = [Leak("3.1", "error", f"{both} diagnoses count as before and as after the visit")] if both else []
    if rule == "ever":
        what = "labels of the kind ever mix what the visit could show with what came later; see store.labels"
        found.append(Leak("3.1", "warning", what))
    return found


def in_two_splits(eids: pd.Series, split: pd.Series) -> list[Leak]:
    """3.2: each participant is in one split, with all rows."""
    count = int((split.groupby(eids.to_numpy()).nunique() > 1).sum())
    return [Leak("3.2", "error", f"{count} participants have rows in two splits")] if count else []


def split_otherwise(eids: pd.Series, split: pd.Series, salt: str) -> list[Leak]:
    """3.2: the split is the one that every stage gets from id and salt, so no encoder has met a test participant."""
    count = sum(splits.split_of(eid, salt) != part for eid, part in zip(eids, split, strict=True))
    return [Leak("3.2", "error", f"{count} participants are not in the split of their id")] if count else []


def uneven(table: pd.DataFrame, labels: np.ndarray) -> list[Leak]:
    """3.3: strata that chance does not explain."""
    found = splits.balance(table, labels)
    odd = sorted(set(found.loc[~found["even"], "stratum"]))
    return [Leak("3.3", "warning", f"not 60/20/20 within binomial error: {', '.join(odd)}")] if odd else []


def check(config: Config, data: Cohort) -> list[Leak]:
    """All that can be said of a cohort before anything is trained."""
    table, labels = data.table, data.labels
    sums = data.sums if data.sums is not None else _sums(data)
    contents = {called: sums[name] for called, name in (("ECG", "ecg_sha256"), ("cine", "clip_sha256")) if name in sums}
    who = table["patient" if "patient" in table else "eid"]
    measured = np.isfinite(data.traits).any(axis=1)
    traits = [
        fill.row_digest(row) if known else f"none {k}"
        for k, (row, known) in enumerate(zip(data.traits, measured, strict=True))
    ]
    found = no_test_set(table["split"]) + duplicates({**contents, "set of traits": traits}, table["split"])
    found += telling_facts(table, labels) + out_of_time(config.store.labels, *_before_and_after(config, data))
    return (
        found
        + in_two_splits(who, table["split"])
        + split_otherwise(who, table["split"], config.store.split_salt)
        + uneven(table, labels)
    )


def _sums(data: Cohort) -> pd.DataFrame:
    pairs = [
        (fill.row_digest(signal), fill.row_digest(clip)) for signal, clip in zip(data.ecg, data.clips, strict=True)
    ]
    return pd.DataFrame(pairs, columns=["ecg_sha256", "clip_sha256"])


def _before_and_after(config: Config, data: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Prevalent and incident labels, where the store knows both."""
    nothing = np.zeros_like(data.labels)
    if config.cohort != "ukb":
        return nothing, nothing
    from eccl_lib.data.store import sharded

    return sharded.before_and_after(config) or (nothing, nothing)
