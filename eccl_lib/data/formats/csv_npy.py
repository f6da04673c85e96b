"""An ECG as plain numbers: CSV with lead names, or a NumPy array with its rate and leads in a JSON file beside it."""

from __future__ import annotations

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
    """Columns of samples named by lead, comma, semicolon or tab separated; see CSV. Raises UnreadableError."""
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
        raise UnreadableError(
            f"a row of {path.name} has another length or no numbers ({str(error)[:60]})", ACCEPTED
        ) from error
    if table.ndim != 2 or table.shape[1] != len(names):
        raise UnreadableError(f"{path.name} has {len(names)} names and {table.shape[-1]} columns", ACCEPTED)
    clock = [k for k, name in enumerate(names) if re.match(r"(?i)^(time|t|seconds|ms)\b|^(time|t)_", name)]
    rate = _csv_rate(settings, names[clock[0]] if clock else "", table[:, clock[0]] if clock else None)
    leads = [k for k in range(len(names)) if k not in clock]
    named = [names[k] for k in leads]
    factors = factors_of(named, settings.get("unit", settings.get("units", "mV")))
    signal, notes = by_lead(named, table[:, leads].T, factors)
    return EcgRecord(signal, rate, notes=tuple(notes))


def _csv_rate(settings: dict[str, str], clock_name: str, clock: np.ndarray | None) -> float:
    """Samples per second from '# rate=' or from the time column."""
    stated = settings.get("rate", settings.get("fs", settings.get("hz")))
    if stated is not None:
        try:
            return float(re.sub(r"(?i)hz$", "", stated))
        except ValueError as error:
            raise UnreadableError(f"the sampling rate is given as {stated[:20]!r}", f"Accepted is {CSV}.") from error
    if clock is None:
        raise UnreadableError("the sampling rate is not in the file", f"Accepted is {CSV}.")
    steps = np.diff(clock)
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > 0.5 * step:
        raise UnreadableError("the time column does not grow evenly", f"Accepted is {CSV}.")
    mean_step = (clock[-1] - clock[0]) / (len(clock) - 1)  # times are often rounded; their mean step is not
    return (1000.0 if re.search(r"(?i)ms\b|milli", clock_name) else 1.0) / mean_step


def read_npy(path: Path) -> EcgRecord:
    """One ECG's array, leads x samples or samples x leads, with rate and leads in a file beside it; see NPY.

    Raises UnreadableError, and where an array could be read in two ways.
    """
    rate, leads, unit = _stated(path)
    if path.stat().st_size > LARGEST_TEXT:
        raise UnreadableError(f"the array has more than {LARGEST_TEXT / 2**20:.0f} MB", "Give one ECG a file.")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableError(f"not a readable array of numbers ({type(error).__name__})", f"Give {NPY}.") from error
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise UnreadableError(f"the array is {array.dtype} of shape {array.shape}, not one ECG", f"Give {NPY}.")
    fits = [axis for axis in (0, 1) if array.shape[axis] == len(leads)]
    if len(fits) != 1:
        which = "neither axis has" if not fits else "both axes have"
        raise UnreadableError(f"{which} as many entries as leads are named ({len(leads)})", f"Give {NPY}.")
    channels = (array if fits == [0] else array.T)[:, : int(LONGEST_SECONDS * rate)]
    signal, notes = by_lead(leads, np.asarray(channels, dtype=np.float64), factors_of(leads, unit))
    return EcgRecord(signal, rate, notes=tuple(notes))


def _stated(path: Path) -> tuple[float, list[str], str]:
    """Rate, leads and unit from name.json or the folder's ecg.json. Raises UnreadableError where they are not said."""
    beside = next(
        (file for file in (path.with_suffix(".json"), path.with_name(FOLDER_SIDECAR)) if file.is_file()), None
    )
    if beside is None:
        reason = f"an array does not say its sampling rate and leads, and neither {path.stem}.json nor {FOLDER_SIDECAR}"
        raise UnreadableError(f"{reason} is beside it", f"Give {NPY}.")
    try:
        content: Any = json.loads(read_bytes(beside, LARGEST_SIDECAR))
        rate, leads, unit = float(content["rate"]), content["leads"], content.get("unit", "mV")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{beside.name} does not say rate and leads ({type(error).__name__}: {str(error)[:60]})"
        raise UnreadableError(reason, f"Give {NPY}.") from error
    if not isinstance(leads, list) or not leads or not all(isinstance(lead, str) for lead in leads):
        raise UnreadableError(f"the leads in {beside.name} are no list of names", f"Give {NPY}.")
    if not isinstance(unit, str) or not 0 < rate < float("inf"):
        raise UnreadableError(f"{beside.name} has a rate of {rate} and the unit {str(unit)[:20]}", f"Give {NPY}.")
    known = [lead_name(lead) for lead in leads]
    if twice := {lead for lead in known if lead and known.count(lead) > 1}:
        raise UnreadableError(f"{beside.name} names {', '.join(sorted(twice))} twice", f"Give {NPY}.")
    return rate, leads, unit
