"""Reader of ECGs in .npy with sampling rate and leads in a JSON file beside it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats.leads import GAP, NPY, by_lead, lead_name, samples_to_read, units_of
from eccl_lib.data.reading import reading
from eccl_lib.data.records import EcgRecord
from eccl_lib.io import regular

LARGEST_ARRAY = 64 * 2**20  # bytes of one ECG; only the part that is used is read
LARGEST_SIDECAR = 64 * 2**10
FOLDER_SIDECAR = "ecg.json"


def read(path: Path) -> EcgRecord:
    """Read an array, leads x samples or samples x leads, with rate and leads in a JSON file beside it; see NPY.

    Raises UnreadableError, also if both axes have the length of the list of leads.
    """
    rate, leads, unit = _sidecar(path)
    if regular.check(path) > LARGEST_ARRAY:
        raise UnreadableError(f"the array has more than {LARGEST_ARRAY / 2**20:.0f} MB", "Write one ECG per file.")
    with reading("the file is not a readable array of numbers", f"Give {NPY}."):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise UnreadableError(f"the array is {array.dtype} of shape {array.shape}, not one ECG", f"Give {NPY}.")
    fits = [axis for axis in (0, 1) if array.shape[axis] == len(leads)]
    if len(fits) != 1:
        which = "neither axis has" if not fits else "both axes have"
        raise UnreadableError(f"{which} the length of the list of leads ({len(leads)})", f"Give {NPY}.")
    channels = (array if fits == [0] else array.T)[:, : samples_to_read(rate, len(leads))]
    signal, notes = by_lead(leads, np.asarray(channels, dtype=np.float64), units_of(leads, unit), missing=GAP)
    return EcgRecord(signal, rate, notes=tuple(notes))


def _fault(error: Exception) -> str:
    """What is wrong with a JSON file."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON: line {error.lineno}, column {error.colno}"
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else "its content has another form"


def _sidecar(path: Path) -> tuple[float, list[str], str]:
    """Sampling rate, leads and unit from name.json or the folder's ecg.json. Raises UnreadableError."""
    candidates = (path.with_suffix(".json"), path.with_name(FOLDER_SIDECAR))
    sidecar = next((file for file in candidates if file.is_file()), None)
    if sidecar is None:
        reason = f"the sampling rate and leads are unknown: there is no .json of the same name and no {FOLDER_SIDECAR}"
        raise UnreadableError(reason, f"Give {NPY}.")
    which = FOLDER_SIDECAR if sidecar == candidates[1] else "the .json file of the same name"
    try:
        content: Any = json.loads(regular.read_bytes(sidecar, LARGEST_SIDECAR))
        rate, leads, unit = float(content["rate"]), content["leads"], content.get("unit", "mV")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{which} has no valid rate and leads ({_fault(error)})"
        raise UnreadableError(reason, f"Give {NPY}.") from error
    if not isinstance(leads, list) or not leads or not all(isinstance(lead, str) for lead in leads):
        raise UnreadableError(f"the leads in {which} are not a list of names", f"Give {NPY}.")
    if not isinstance(unit, str) or not 0 < rate < float("inf"):
        raise UnreadableError(f"{which} has the rate {rate} and the unit {str(unit)[:20]!r}", f"Give {NPY}.")
    known = [lead_name(lead) for lead in leads]
    if repeated := {lead for lead in known if lead and known.count(lead) > 1}:
        raise UnreadableError(f"{which} contains {', '.join(sorted(repeated))} twice", f"Give {NPY}.")
    return rate, leads, unit
