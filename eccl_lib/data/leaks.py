"""Checks for the eight kinds of data leakage of Kapoor and Narayanan (Patterns 4, 2023)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data import splits
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.store import fill, sharded
from eccl_lib.metrics.scores import auc

TOO_GOOD = 0.95  # AUC of a single stored column above which a warning is given; ours
FEWEST_CASES = 10  # with fewer cases or controls no AUC is computed; ours


@dataclass(frozen=True)
class Kind:
    """One kind of leakage: its number and name, the check that detects it, and the level of the finding."""

    number: str
    name: str
    check: str
    level: str = "error"


_TEST_SET = "train, val and test have participants, and predictions are of test participants only"
_FEATURES = "no single stored column predicts a disease almost perfectly; models read only signals"
_TIME = "no diagnosis is both prevalent and incident; `ever` mixes both"
_DEPENDENCE = "no participant has rows in two splits, and all stages use the same split"
KINDS = (
    Kind("1.1", "no test set", _TEST_SET),
    Kind("1.2", "preprocessing on train and test", "scalers do not change if all values outside train are replaced"),
    Kind("1.3", "feature selection on train and test", "the saved epoch is the best on val; no feature is selected"),
    Kind("1.4", "duplicates", "no two splits contain an identical ECG, cine or set of 82 traits"),
    Kind("2", "illegitimate features", _FEATURES, "warning"),
    Kind("3.1", "temporal leakage", _TIME, "error; `ever`: warning"),
    Kind("3.2", "dependence between train and test", _DEPENDENCE),
    Kind("3.3", "sampling bias in the test set", "labels, sex and age split 60/20/20 within binomial error", "warning"),
)


@dataclass(frozen=True)
class Leak:
    """One finding. kind: number of the Kind; level: error or warning. The message has counts, no participant ids."""

    kind: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: leakage {self.kind}, {self.message}"


def empty_splits(split: pd.Series) -> list[Leak]:
    """1.1: splits without participants. split: (N,) train, val or test."""
    empty = [name for name in splits.SPLITS if not (split == name).any()]
    return [Leak("1.1", "error", f"these splits have no participant: {', '.join(empty)}")] if empty else []


def predictions_outside_test(predicted: pd.Series, table: pd.DataFrame) -> list[Leak]:
    """1.1: predictions of participants outside the test set. predicted: eids of a run; table: of the cohort."""
    test = set(table.loc[table["split"] == "test", "eid"])
    others = len(set(predicted.astype(str)) - test)
    return [Leak("1.1", "error", f"{others} predictions are not of test participants")] if others else []


def scaler_fitted_beyond_train(
    fit: Callable[[np.ndarray], Iterable[np.ndarray]], values: np.ndarray, train: np.ndarray
) -> list[Leak]:
    """1.2: a scaler whose parameters, ``fit(values)``, depend on rows other than ``train``. values: (N, k)."""
    replaced = np.full_like(values, 1e6)
    replaced[train] = values[train]
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fit(values), fit(replaced), strict=True))
    return [] if same else [Leak("1.2", "error", "a scaler was fitted on more than the training participants")]


def epoch_not_best_on_validation(kept: int, validation: np.ndarray) -> list[Leak]:
    """1.3: a saved epoch (``kept``, from 1) that is not the first with the best score. validation: (epochs,) scores."""
    scores = np.asarray(validation, dtype=float)
    best = len(scores) if np.isnan(scores).all() else int(np.nanargmax(scores)) + 1
    message = f"epoch {kept} was saved, but epoch {best} is the best on validation"
    return [] if kept == best else [Leak("1.3", "error", message)]


def duplicates(checksums: dict[str, Iterable[str]], split: pd.Series) -> list[Leak]:
    """1.4: identical content in different splits. checksums: name of the content to one checksum per row."""
    leaks = []
    for name, values in checksums.items():
        frame = pd.DataFrame({"checksum": list(values), "split": split.to_numpy()})
        splits_per_checksum = frame.groupby("checksum")["split"].nunique()
        if count := int((splits_per_checksum > 1).sum()):
            leaks.append(Leak("1.4", "error", f"{count} times an identical {name} is in two splits"))
    return leaks


def single_fact_predictors(table: pd.DataFrame, labels: np.ndarray, codes: Sequence[str] = DISEASES) -> list[Leak]:
    """2: columns that predict a disease on their own; the user decides if they are legitimate. labels: (N, codes)."""
    leaks = []
    for name in table.columns.difference(["eid", "split", "name", "patient"]):
        values = pd.to_numeric(table[name], errors="coerce")
        values = values if values.notna().any() else pd.Series(pd.factorize(table[name])[0], index=table.index)
        for k, disease in enumerate(codes):
            known = values.notna().to_numpy()
            cases = labels[known, k]
            if min(cases.sum(), (~cases).sum()) < FEWEST_CASES:
                continue
            score = auc(values.to_numpy(dtype=float)[known], cases)
            if max(score, 1 - score) > TOO_GOOD:
                message = f"{name} alone predicts {disease} with an AUC of {max(score, 1 - score):.2f}"
                leaks.append(Leak("2", "warning", message))
    return leaks


def temporal_leakage(rule: str, prevalent: np.ndarray, incident: np.ndarray) -> list[Leak]:
    """3.1: diagnoses that are both prevalent and incident, or the rule ``ever``.

    prevalent, incident: (N, codes) bool.
    """
    both = int((prevalent & incident).sum())
    leaks = [Leak("3.1", "error", f"{both} diagnoses are both prevalent and incident")] if both else []
    if rule == "ever":
        message = "the labels `ever` include diagnoses before and after the visit; see store.labels"
        leaks.append(Leak("3.1", "warning", message))
    return leaks


def participants_in_two_splits(eids: pd.Series, split: pd.Series) -> list[Leak]:
    """3.2: participants with rows in more than one split."""
    count = int((split.groupby(eids.to_numpy()).nunique() > 1).sum())
    return [Leak("3.2", "error", f"{count} participants have rows in two splits")] if count else []


def wrong_split(table: pd.DataFrame, config: Config) -> list[Leak]:
    """3.2: participants whose split differs from that of their id or fold, which all stages use."""
    count = int((splits.splits_of(table, config).to_numpy() != table["split"].to_numpy()).sum())
    message = f"{count} participants are not in the split that their id determines"
    return [Leak("3.2", "error", message)] if count else []


def unbalanced_strata(
    table: pd.DataFrame,
    labels: np.ndarray,
    parts: Sequence[int] = splits.PARTS,
    codes: Sequence[str] = DISEASES,
) -> list[Leak]:
    """3.3: strata whose split deviates from ``parts`` by more than binomial error."""
    balance = splits.balance(table, labels, parts, codes)
    unbalanced = sorted(set(balance.loc[~balance["even"], "stratum"]))
    ratio = "/".join(f"{100 * part / sum(parts):.0f}" for part in parts)
    message = f"not {ratio} within binomial error: {', '.join(unbalanced)}"
    return [Leak("3.3", "warning", message)] if unbalanced else []


def check(config: Config, data: Cohort) -> list[Leak]:
    """Leaks in a cohort that can be detected before training: all kinds except 1.2 and 1.3."""
    table, labels, parts = data.table, data.labels_of(config.codes), splits.parts_of(config)
    arrays = {"ECG": ("ecg_sha256", data.ecg), "cine": ("clip_sha256", data.clips)}
    contents = {
        name: map(fill.row_checksum, rows) if data.row_checksums is None else data.row_checksums[column]
        for name, (column, rows) in arrays.items()
        if rows is not None
    }
    patients = table["patient" if "patient" in table else "eid"]
    measured = enumerate(np.isfinite(data.traits).any(axis=1))
    unknown = np.zeros_like(labels), np.zeros_like(labels)  # the store has no imaging dates
    dated = sharded.before_and_after(config) if config.cohort == "ukb" else None
    traits = [fill.row_checksum(data.traits[k]) if known else f"none {k}" for k, known in measured]
    return (
        empty_splits(table["split"])
        + duplicates({**contents, "set of traits": traits}, table["split"])
        + single_fact_predictors(table, labels, config.codes)
        + temporal_leakage(config.store.labels, *(dated or unknown))
        + participants_in_two_splits(patients, table["split"])
        + wrong_split(table, config)
        + ([] if splits.has_folds(table, config) else unbalanced_strata(table, labels, parts, config.codes))
    )
