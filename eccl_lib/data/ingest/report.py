"""What went into the store, in numbers and pictures that name nobody: ``report/report.json`` and ``index.html``.

Cells of fewer than SMALL people are withheld, and a second one where the first could be had by subtraction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.load import as_dict
from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data import leaks, splits
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.ingest import report_page
from eccl_lib.data.store import sharded
from eccl_lib.data.store.plan import Inventory
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb.masking import masked
from eccl_lib.io.files import write_json

SMALL = 10  # people; what UK Biobank's users are asked to withhold, ukb_formats.md calls it likely, not certain
WITHHELD, ALSO_WITHHELD, NEARLY_ALL = f"under {SMALL}", "withheld", f"all but under {SMALL}"
PROVIDERS = {"masks": "given masks", "network": "our network", "onnx": "an ONNX network", "voting": "circle voting"}
FLAGGED = "flagged: two ways of finding the heart disagree"
BINS = 24  # of a trait's histogram
PICTURES = 12


def write(config: Config, data: Cohort, found: Inventory) -> Path:
    """Write both files beside the store; returns the page."""
    folder = data.folder / "report"
    folder.mkdir(exist_ok=True)
    content = facts(config, data, found)
    write_json(folder / "report.json", content)
    return report_page.write(folder, content, data, _some(data))


def facts(config: Config, data: Cohort, found: Inventory) -> dict[str, Any]:
    """All numbers of the report, as they may be shown."""
    kept, out = len(data), data.quarantine
    return {
        "settings": as_dict(config)["store"],
        "counts": _steps({**found.counts, "in the store": kept}) | _counts({"lines in quarantine": len(out)}),
        "quarantine": _by_reason(out),
        "files passed over": _counts(found.passed_over),
        "tables": [masked(note) for note in found.notes],
        "identities": [_identity(row, len(found.people)) for row in found.identities],
        "quality": _counts(_quality(data.table)) if data.ecg is not None else {},
        "segmentation": _segmentation(data.table),
        "notes of the readers": suppress(_alike(data.table["notes"].str.split("; ").explode())),
        "people": _people(data.table),
        "prevalence": {rule: _cases(labels, kept) for rule, labels in _rules(config, data).items()},
        "splits": _splits(data),
        "leakage": [{"kind": leak.kind, "level": leak.level, "what": leak.what} for leak in leaks.check(config, data)],
        "traits": [_trait(k, data.traits[:, k]) for k in range(len(TRAITS))],
        "small": SMALL,
    }


def suppress(counts: Mapping[str, int]) -> dict[str, int | str]:
    """Counts of the parts of a whole, largest first, small ones withheld so that no subtraction gives them back."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown: dict[str, int | str] = {name: _count(n) for name, n in ordered}
    small = [name for name, n in ordered if 0 < n < SMALL]
    large = [name for name, n in ordered if n >= SMALL]
    if len(small) == 1 and large:
        shown[large[-1]] = ALSO_WITHHELD
    return shown


def _counts(counts: Mapping[str, int]) -> dict[str, int | str]:
    """Counts that are no parts of one whole."""
    return {name: _count(n) for name, n in counts.items()}


def _steps(counts: Mapping[str, int]) -> dict[str, int | str]:
    """Counts of which each is a part of the one before, save the withdrawn: none shows how few were lost on a step."""
    shown = _counts(counts)
    chain = [name for name in counts if name != "withdrawn"]
    for before, after in pairwise(chain):
        if 0 < counts[before] - counts[after] < SMALL:
            shown[before] = ALSO_WITHHELD
    return shown


def _of(n: int, whole: int) -> int | str:
    """A count of a whole that is known: neither it nor what it lacks may be small."""
    if 0 < whole < SMALL:
        return WITHHELD
    return NEARLY_ALL if 0 < whole - n < SMALL else _count(n)


def _count(n: int) -> int | str:
    return WITHHELD if 0 < n < SMALL else int(n)


def _alike(words: pd.Series) -> dict[str, int]:
    """How often each remark occurs, with ids and numbers taken out so that like is counted with like."""
    plain = words.dropna().astype(str).map(lambda text: re.sub(r"\d[\d.,]*", "N", masked(text).replace("<id>", "N")))
    return plain[plain.str.len() > 0].value_counts().to_dict()


def _like(text: str) -> str:
    return next(iter(_alike(pd.Series([text]))), "")


def most_frequent(quarantine: pd.DataFrame) -> str:
    """The reason that most lines of a quarantine have, as its first line says it, and the cure; ids taken out."""
    like = quarantine["reason"].map(_like)
    first = quarantine[like == like.value_counts().index[0]].iloc[0]
    return f"{masked(first['reason'])}. {masked(first['cure'])}"


def _by_reason(quarantine: pd.DataFrame) -> list[dict[str, Any]]:
    """Reason, cure and lines, the most frequent first."""
    like = quarantine.assign(like=quarantine["reason"].map(_like))
    counts = suppress(like["like"].value_counts().to_dict())
    cures = like.groupby("like")["cure"].first()
    return [{"reason": reason, "cure": masked(cures[reason]), "lines": n} for reason, n in counts.items()]


def _identity(row: Mapping[str, Any], whole: int) -> dict[str, Any]:
    shown = {"identity": row["identity"], "checked": _of(row["checked"], whole), "differing": _count(row["differing"])}
    largest = row["largest"] if row["differing"] >= SMALL else None  # of few it would be one person's
    return shown | {"largest": largest}


def _quality(table: pd.DataFrame) -> dict[str, int]:
    """Participants with each flag of the ECG; one may have several."""
    flags = {
        "a lead missing in the file": table["missing_leads"] != "",
        "a flat lead": table["flat_leads"] != "",
        "gaps": table["gaps"] > 0,
        "saturated": table["clipped"] > 0.005,
        "baseline drifts by more than 2 mV": table["baseline_mv"] > 2,
        "I + III differs from II by more than 20 uV": table["einthoven_uv"] > 20,
        "heart rate from R peaks, not from the device": table["heart_rate_from"] == "peaks",
        "heart rate unknown": table["heart_rate_from"] == "none",
    }
    return {name: int(chosen.sum()) for name, chosen in flags.items()}


def _segmentation(table: pd.DataFrame) -> dict[str, int | str]:
    """How many hearts each provider found, and how many of them are flagged."""
    if "segmenter" not in table:
        return {}
    named = table["segmenter"].map(PROVIDERS)
    flagged = int(table["heart_flagged"].sum())
    return suppress(named.value_counts().to_dict()) | {FLAGGED: _of(flagged, len(table))}


def _people(table: pd.DataFrame) -> dict[str, Any]:
    sex = table["sex"].fillna("not given")
    return {
        "sex": suppress(sex.value_counts().to_dict()),
        "age": _distribution(table["age"].to_numpy(dtype=float)),
        **({"heart rate": _distribution(table["heart_rate"].to_numpy(dtype=float))} if "heart_rate" in table else {}),
    }


def _rules(config: Config, data: Cohort) -> dict[str, np.ndarray]:
    rules = {config.store.labels: data.labels}
    if config.cohort == "ukb" and (both := sharded.before_and_after(config)) is not None and len(both[0]) == len(data):
        rules |= dict(zip(("prevalent", "incident"), both, strict=True))
    return rules


def _cases(labels: np.ndarray, n: int) -> dict[str, Any]:
    cases = dict(zip(DISEASES, labels.sum(axis=0).tolist(), strict=True))
    share = {name: round(100 * k / n, 2) for name, k in cases.items() if n and not 0 < k < SMALL}
    return {name: {"cases": _count(k), "percent": share.get(name)} for name, k in cases.items()}


def _splits(data: Cohort) -> list[dict[str, Any]]:
    """Strata by split; a row with a small cell shows only whether it is even."""
    if not len(data):
        return []
    rows = []
    for stratum, part in splits.balance(data.table, data.labels).groupby("stratum", sort=False):
        found = suppress(dict(zip(part["split"], part["found"], strict=True)))
        n = int(part["n"].iloc[0])
        rows.append({"stratum": stratum, "n": n, **{name: found[name] for name in splits.SPLITS}})
        rows[-1]["within binomial error"] = bool(part["even"].all())
    return rows


def _trait(k: int, values: np.ndarray) -> dict[str, Any]:
    trait = TRAITS[k]
    named = {"field": trait.field_id, "name": trait.name, "short": trait.short_name, "unit": trait.unit}
    return named | _distribution(values)


def _distribution(values: np.ndarray) -> dict[str, Any]:
    """n, mean, SD, quantiles with at least SMALL people beyond them, and a histogram without small bars."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    shown: dict[str, Any] = {"n": _of(len(known), len(values))}
    if len(known) < SMALL:
        return shown
    shown |= {"mean": _round(known.mean()), "sd": _round(known.std())}
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        if min(q, 1 - q) * len(known) >= SMALL:
            shown[f"p{round(100 * q)}"] = _round(np.quantile(known, q))
    if len(known) >= 10 * SMALL:
        low, high = np.quantile(known, [0.01, 0.99])
        bars, edges = np.histogram(known, bins=BINS, range=(low, high) if high > low else (low - 0.5, low + 0.5))
        shown["histogram"] = {"from": _round(edges[0]), "to": _round(edges[-1])}
        shown["histogram"]["bars"] = [int(bar) if bar >= SMALL else 0 for bar in bars]
    return shown


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _some(data: Cohort) -> np.ndarray:
    """Rows whose recordings are drawn: spread over the store by their sums, so not the same people as elsewhere."""
    return np.sort(np.random.default_rng(len(data)).permutation(len(data))[:PICTURES])
