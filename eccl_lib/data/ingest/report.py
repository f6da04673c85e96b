"""The report on a store, without participant ids: ``report/report.json`` and ``report/index.html``.

Counts of few participants are withheld (``data/small_counts.py``). A second count is withheld if subtraction would
reveal the first.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.load import as_dict
from eccl_lib.config.schema import Config
from eccl_lib.data import leaks, small_counts, splits
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.ingest import report_page
from eccl_lib.data.segmentation.confidence import LARGE_CHANGE, LOW
from eccl_lib.data.small_counts import WITHHELD, Limit
from eccl_lib.data.store import sharded
from eccl_lib.data.store.plan import Inventory
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb.masking import KNOWN_SUFFIX, shareable
from eccl_lib.io.files import write_json

LIMIT = Limit()
PROVIDERS = {"masks": "given masks", "network": "our network", "onnx": "an ONNX network", "voting": "circle voting"}
EMPTY_CLIPS = {"crops of one grey value": "clip_contrast", "crops without motion": "clip_motion"}
FLAGGED = "flagged: two methods locate the heart in different places, or the network is unsure"
UNSURE = {
    f"boxes with low confidence (expected Dice below {LOW:g})": ("heart_confidence", lambda values: values < LOW),
    "boxes that touch the image's border": ("box_at_border", lambda values: values.astype("boolean").fillna(False)),
    f"boxes that change by more than {LARGE_CHANGE:.0%} if one frame is left out": (
        "box_change",
        lambda values: values > LARGE_CHANGE,
    ),
}
OTHER_SUFFIX = "files with another suffix"
COUNTED = re.compile(r"(?<![\w.,])[1-9](?= (?:ages?|cells?|diagnoses|participants?|recordings?|rows?|times)\b)")
BINS = 24  # of a trait's histogram
FIGURES = 12  # recordings that are drawn


def write(config: Config, data: Cohort, inventory: Inventory) -> Path:
    """Write report.json and index.html to the store's folder and return the path of the page."""
    folder = data.folder / "report"
    folder.mkdir(exist_ok=True)
    content = facts(config, data, inventory)
    write_json(folder / "report.json", content)
    drawn = np.sort(np.random.default_rng(len(data)).permutation(len(data))[:FIGURES])  # a fixed random sample
    return report_page.write(folder, content, data, drawn)


def facts(config: Config, data: Cohort, inventory: Inventory) -> dict[str, Any]:
    """The report's content, with small counts withheld."""
    kept, lines, limit = len(data), len(data.quarantine), small_counts.report_limit(config)
    withdrawn = {name: n for name, n in inventory.counts.items() if name == "withdrawn"}  # no step of the selection
    steps = {name: n for name, n in inventory.counts.items() if name not in withdrawn} | {"in the store": kept}
    notes = data.table["notes"].str.split("; ").explode().dropna().astype(str).map(_normalized)
    return {
        "settings": as_dict(config)["store"],
        "counts": limit.counts(withdrawn) | limit.steps(steps) | limit.counts({"lines in quarantine": lines}),
        "quarantine": _by_reason(data.quarantine, limit),
        "files passed over": limit.counts(_known_suffixes(inventory.skipped)),
        "tables": [_small_numbers(shareable(note), limit) for note in inventory.notes],
        "identities": [_identity(row, len(inventory.demographics), limit) for row in inventory.identities],
        "quality": limit.counts(_quality(data.table)) if data.ecg is not None else {},
        "segmentation": _segmentation(data.table, limit),
        "notes of the readers": suppress(notes[notes.str.len() > 0].value_counts().to_dict(), limit),
        "people": _demographics(data.table, limit),
        "prevalence": {rule: _cases(config.codes, labels, limit) for rule, labels in _rules(config, data).items()},
        "splits": _splits(data, config.codes, limit),
        "leakage": [_leak(leak, limit) for leak in leaks.check(config, data)],
        "traits": [
            {"field": trait.field_id, "name": trait.name, "short": trait.short_name, "unit": trait.unit}
            | _distribution(values, limit)
            for trait, values in zip(TRAITS, data.traits.T, strict=True)
        ],
        "small": limit.least,
        "small counts": limit.note,
    }


def _leak(leak: leaks.Leak, limit: Limit) -> dict[str, str]:
    return {"kind": leak.kind, "level": leak.level, "what": _small_numbers(leak.message, limit)}


def suppress(counts: Mapping[str, int], limit: Limit = LIMIT) -> dict[str, int | str]:
    """Counts of the parts of a total, largest first; small counts are withheld and cannot be found by subtraction."""
    return limit.parts(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _normalized(text: str, file: str = "") -> str:
    """A shareable message with ids and numbers replaced by N. file: the name of the file that it is about."""
    return re.sub(r"\d[\d.,]*", "N", shareable(text, file).replace("<id>", "N"))


def _known_suffixes(skipped: Mapping[str, int]) -> dict[str, int]:
    """Counts of skipped files; an unusual suffix may be a part of a name, so these are counted together."""
    counts: dict[str, int] = {}
    for what, n in skipped.items():
        suffix = what.removeprefix("files ")
        name = OTHER_SUFFIX if suffix.startswith(".") and not KNOWN_SUFFIX.fullmatch(suffix) else what
        counts[name] = counts.get(name, 0) + n
    return counts


def _small_numbers(message: str, limit: Limit) -> str:
    """A message whose small counts of participants, rows or cells are withheld."""
    return COUNTED.sub(lambda found: str(limit.count(int(found[0]))), message)


def reasons(quarantine: pd.DataFrame) -> pd.Series:
    """The shareable, normalized reason of each line."""
    pairs = zip(quarantine["reason"], quarantine["file"], strict=True)
    return pd.Series([_normalized(reason, file) for reason, file in pairs], quarantine.index, dtype="str")


def most_frequent(quarantine: pd.DataFrame) -> str:
    """The most frequent reason in the quarantine list, with its cure, without ids and names of files."""
    normalized = reasons(quarantine)
    first = quarantine[normalized == normalized.value_counts().index[0]].iloc[0]
    return f"{shareable(first['reason'], first['file'])}. {shareable(first['cure'], first['file'])}"


def _by_reason(quarantine: pd.DataFrame, limit: Limit) -> list[dict[str, Any]]:
    """Reason, cure and number of lines, the most frequent first."""
    cured = [shareable(cure, file) for cure, file in zip(quarantine["cure"], quarantine["file"], strict=True)]
    grouped = pd.DataFrame({"reason": reasons(quarantine), "cure": pd.Series(cured, quarantine.index, dtype="str")})
    counts = suppress(grouped["reason"].value_counts().to_dict(), limit)
    cures = grouped.groupby("reason")["cure"].first()
    return [{"reason": reason, "cure": cures[reason], "lines": n} for reason, n in counts.items()]


def _identity(row: Mapping[str, Any], whole: int, limit: Limit) -> dict[str, Any]:
    counts = {"checked": limit.of(row["checked"], whole), "differing": limit.count(row["differing"])}
    enough = row["differing"] >= max(limit.least, 1)  # else the largest difference is one participant's value
    return {"identity": row["identity"]} | counts | {"largest": row["largest"] if enough else None}


def _quality(table: pd.DataFrame) -> dict[str, int]:
    """Number of participants with each ECG quality flag; a participant may have several."""
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


def _segmentation(table: pd.DataFrame, limit: Limit = LIMIT) -> dict[str, int | str]:
    """Number of cines in which each method located the heart, of flagged cines, and of boxes that may be wrong."""
    if "segmenter" not in table:
        return {}
    named = table["segmenter"].map(PROVIDERS)
    flagged = int(table["heart_flagged"].sum())
    shown = suppress(named.value_counts().to_dict(), limit) | {FLAGGED: limit.of(flagged, len(table))}
    unsure = {name: int(low(table[column]).sum()) for name, (column, low) in UNSURE.items() if column in table}
    shown |= limit.counts(unsure)
    if "clip_contrast" in table:
        shown |= limit.counts({name: int((table[column] == 0).sum()) for name, column in EMPTY_CLIPS.items()})
    return shown


def _demographics(table: pd.DataFrame, limit: Limit) -> dict[str, Any]:
    sex = table["sex"].fillna("not given")
    rate = table["heart_rate"].to_numpy(dtype=float) if "heart_rate" in table else None
    return {
        "sex": suppress(sex.value_counts().to_dict(), limit),
        "age": _distribution(table["age"].to_numpy(dtype=float), limit),
        **({} if rate is None else {"heart rate": _distribution(rate, limit)}),
    }


def _rules(config: Config, data: Cohort) -> dict[str, np.ndarray]:
    """Labels by rule: the config's rule, and prevalent and incident if the store has them."""
    rules = {config.store.labels: data.labels_of(config.codes)}
    if config.cohort == "ukb" and (both := sharded.before_and_after(config)) is not None and len(both[0]) == len(data):
        rules |= dict(zip(("prevalent", "incident"), both, strict=True))
    return rules


def _cases(codes: Sequence[str], labels: np.ndarray, limit: Limit) -> dict[str, Any]:
    """Cases and per cent of each disease. labels: (N, codes) bool."""
    n, cases = len(labels), dict(zip(codes, labels.sum(axis=0).tolist(), strict=True))
    share = {name: round(100 * k / n, 2) for name, k in cases.items() if n and not limit.hides(k)}
    return {name: {"cases": limit.count(k), "percent": share.get(name)} for name, k in cases.items()}


def _splits(data: Cohort, codes: Sequence[str], limit: Limit) -> list[dict[str, Any]]:
    """One row per stratum: size, counts by split with small ones withheld, and whether it is balanced.

    Where one part of a partition, or of those without a value, is small, all its parts are withheld.
    """
    if not len(data):
        return []
    rows, hidden = [], set()
    for partition in splits.partitions(data.table):
        if limit.hides(*(int(chosen.sum()) for chosen in partition.values())):
            hidden |= partition.keys()
    balance = splits.balance(data.table, data.labels_of(codes), codes=codes)
    for stratum, part in balance.groupby("stratum", sort=False):
        counts = suppress(dict(zip(part["split"], part["found"], strict=True)), limit)
        n = int(part["n"].iloc[0])
        if stratum in hidden:
            n, counts = WITHHELD, dict.fromkeys(counts, WITHHELD)
        rows.append({"stratum": stratum, "n": n, **{name: counts[name] for name in splits.SPLITS}})
        rows[-1]["within binomial error"] = bool(part["even"].all())
    return rows


def _distribution(values: np.ndarray, limit: Limit = LIMIT) -> dict[str, Any]:
    """n, mean, SD, quantiles with enough participants beyond them, and a histogram without small bars."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    shown: dict[str, Any] = {"n": limit.of(len(known), len(values))}
    if len(known) < max(limit.least, 1):
        return shown
    shown |= {"mean": _round(known.mean()), "sd": _round(known.std())}
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        if min(q, 1 - q) * len(known) >= limit.least:
            shown[f"p{round(100 * q)}"] = _round(np.quantile(known, q))
    if len(known) >= 10 * limit.least:
        low, high = np.quantile(known, [0.01, 0.99])
        bars, edges = np.histogram(known, bins=BINS, range=(low, high) if high > low else (low - 0.5, low + 0.5))
        shown["histogram"] = {"from": _round(edges[0]), "to": _round(edges[-1])}
        shown["histogram"]["bars"] = [int(bar) if bar >= limit.least else 0 for bar in bars]
    return shown


def _round(value: float) -> float:
    return float(f"{value:.4g}")
