"""Readers of ECGs in CSV with lead names, and in .npy with sampling rate and leads in a JSON file beside it."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.files import read_bytes
from eccl_lib.data.formats.leads import (
    ACCEPTED,
    CSV,
    LARGEST_TEXT,
    LONGEST_SECONDS,
    NPY,
    by_lead,
    factors_of,
    lead_name,
)
from eccl_lib.data.records import EcgRecord

LARGEST_SIDECAR = 64 * 2**10
FOLDER_SIDECAR = "ecg.json"


def read_csv(path: Path) -> EcgRecord:
    """Read a CSV with one column per lead, separated by comma, semicolon or tab; see CSV. Raises UnreadableError."""
    text = read_bytes(path, LARGEST_TEXT).decode("utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    settings = {}
    while lines and lines[0].lstrip().startswith("#"):
        for key, value in re.findall(r"(\w+)\s*[=:]\s*([^\s,;]+)", lines.pop(0)):
            settings[key.lower()] = value
    if len(lines) < 2:
        raise UnreadableError(f"{path.name} has no rows of numbers", ACCEPTED)
    separator = max(",;\t", key=lines[0].count)
    names = [name.strip() for name in next(csv.reader(lines[:1], delimiter=separator))]
    rows = lines[1 : 1 + 2_000_000]
    try:
        table = np.array([[float(x) if x.strip() else np.nan for x in row.split(separator)] for row in rows])
    except ValueError as error:
        reason = f"a row of {path.name} has another length or a cell that is not a number ({str(error)[:60]})"
        raise UnreadableError(reason, ACCEPTED) from error
    if table.ndim != 2 or table.shape[1] != len(names):
        raise UnreadableError(f"{path.name} has {len(names)} names but {table.shape[-1]} columns", ACCEPTED)
    clock = [k for k, name in enumerate(names) if re.match(r"(?i)^(time|t|seconds|ms)\b|^(time|t)_", name)]
    rate = _csv_rate(settings, names[clock[0]] if clock else "", table[:, clock[0]] if clock else None)
    named = [name for k, name in enumerate(names) if k not in clock]
    factors = factors_of(named, settings.get("unit", settings.get("units", "mV")))
    signal, notes = by_lead(named, np.delete(table, clock, axis=1).T, factors)
    return EcgRecord(signal, rate, notes=tuple(notes))


def _csv_rate(settings: dict[str, str], clock_name: str, clock: np.ndarray | None) -> float:
    """Samples per second, from a line '# rate=' or from the time column. Raises UnreadableError."""
    cure = f"The accepted form is {CSV}."
    text = settings.get("rate", settings.get("fs", settings.get("hz")))
    if text is not None:
        try:
            return float(re.sub(r"(?i)hz$", "", text))
        except ValueError as error:
            raise UnreadableError(f"the sampling rate {text[:20]!r} is not a number", cure) from error
    if clock is None:
        raise UnreadableError("the file contains no sampling rate", cure)
    steps = np.diff(clock)
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > 0.5 * step:
        raise UnreadableError("the time column is not evenly spaced", cure)
    mean_step = (clock[-1] - clock[0]) / (len(clock) - 1)  # the mean step is exact even if times are rounded
    return (1000.0 if re.search(r"(?i)ms\b|milli", clock_name) else 1.0) / mean_step


def read_npy(path: Path) -> EcgRecord:
    """Read an array, leads x samples or samples x leads, with rate and leads in a JSON file beside it; see NPY.

    Raises UnreadableError, also if both axes have the length of the list of leads.
    """
    rate, leads, unit = _sidecar(path)
    if path.stat().st_size > LARGEST_TEXT:
        raise UnreadableError(f"the array has more than {LARGEST_TEXT / 2**20:.0f} MB", "Write one ECG per file.")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = f"the file is not a readable array of numbers ({type(error).__name__})"
        raise UnreadableError(reason, f"Give {NPY}.") from error
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise UnreadableError(f"the array is {array.dtype} of shape {array.shape}, not one ECG", f"Give {NPY}.")
    fits = [axis for axis in (0, 1) if array.shape[axis] == len(leads)]
    if len(fits) != 1:
        which = "neither axis has" if not fits else "both axes have"
        raise UnreadableError(f"{which} the length of the list of leads ({len(leads)})", f"Give {NPY}.")
    channels = (array if fits == [0] else array.T)[:, : int(LONGEST_SECONDS * rate)]
    signal, notes = by_lead(leads, np.asarray(channels, dtype=np.float64), factors_of(leads, unit))
    return EcgRecord(signal, rate, notes=tuple(notes))


def _sidecar(path: Path) -> tuple[float, list[str], str]:
    """Sampling rate, leads and unit from name.json or the folder's ecg.json. Raises UnreadableError."""
    candidates = (path.with_suffix(".json"), path.with_name(FOLDER_SIDECAR))
    sidecar = next((file for file in candidates if file.is_file()), None)
    if sidecar is None:
        reason = f"the sampling rate and leads are unknown: neither {path.stem}.json nor {FOLDER_SIDECAR} exists"
        raise UnreadableError(reason, f"Give {NPY}.")
    try:
        content: Any = json.loads(read_bytes(sidecar, LARGEST_SIDECAR))
        rate, leads, unit = float(content["rate"]), content["leads"], content.get("unit", "mV")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{sidecar.name} has no valid rate and leads ({type(error).__name__}: {str(error)[:60]})"
        raise UnreadableError(reason, f"Give {NPY}.") from error
    if not isinstance(leads, list) or not leads or not all(isinstance(lead, str) for lead in leads):
        raise UnreadableError(f"the leads in {sidecar.name} are not a list of names", f"Give {NPY}.")
    if not isinstance(unit, str) or not 0 < rate < float("inf"):
        raise UnreadableError(f"{sidecar.name} has the rate {rate} and the unit {str(unit)[:20]}", f"Give {NPY}.")
    known = [lead_name(lead) for lead in leads]
    if repeated := {lead for lead in known if lead and known.count(lead) > 1}:
        raise UnreadableError(f"{sidecar.name} contains {', '.join(sorted(repeated))} twice", f"Give {NPY}.")
    return rate, leads, unit
