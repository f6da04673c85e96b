"""ECGs of any known format under any folders: one file, one recording, named by its path below the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from eccl_lib.data.ecg_named import lead_name
from eccl_lib.data.files import Found, Refused, walk

ONE_EACH = (".xml", ".dcm", ".npy")
TABLES = (".csv", ".tsv", ".txt")
OF_WFDB = (".dat", ".mat")
FIRST_BYTES = 4096  # of a table: enough for its lead names
FEWEST_NAMES = 2  # of leads, in an ECG's first row


def find(folders: Sequence[Path]) -> Found:
    """By name (path below the folder, without the suffix) the file of each recording. Raises UnreadableError."""
    found = Found()
    for root in folders:
        for path in _recordings(root, found):
            name = path.relative_to(root).with_suffix("").as_posix()
            if name in found.participants:
                reason = "another file of the same name, but for its suffix or folder, was found before"
                found.refused.append(Refused("", path.name, reason, "Rename one of them, or leave it out."))
                continue
            found.participants[name] = {"ecg": (path,)}
    return found


def _recordings(root: Path, found: Found) -> Iterator[Path]:
    for path in walk(root, found):
        suffix = path.suffix.lower()
        if suffix == ".hea" or suffix in ONE_EACH or (suffix in TABLES and _names_leads(path)):
            yield path
        elif suffix in OF_WFDB and not path.with_suffix(".hea").is_file():
            yield path  # whose header is missing: reading it says so
        elif suffix not in OF_WFDB:
            found.passed_over[f"files {suffix or 'without a suffix'}"] += 1


def _names_leads(path: Path) -> bool:
    """Whether a table is an ECG: its first row that is no comment names leads. Lists of records do not."""
    with path.open("rb") as handle:
        text = handle.read(FIRST_BYTES).decode("utf-8-sig", errors="replace")
    rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    names = re.split(r"[,;\t]", rows[0]) if rows else []
    return sum(lead_name(name) is not None for name in names) >= FEWEST_NAMES
