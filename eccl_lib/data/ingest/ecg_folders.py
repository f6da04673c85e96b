"""ECGs of any known format under any folders: one file, one recording, named by its path below the folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from eccl_lib.data.files import Found, Refused, read_bytes, walk
from eccl_lib.data.formats.leads import lead_name

ONE_EACH = (".xml", ".dcm", ".npy")
TABLES = (".csv", ".tsv", ".txt")
OF_WFDB = (".dat", ".mat")
FIRST_BYTES = 4096  # of a table: enough for its lead names
FEWEST_NAMES = 2  # of leads, in an ECG's first row
FINE, COARSE = "_hr", "_lr"  # PTB-XL has each ECG twice: records500/00000/00001_hr, records100/00000/00001_lr
OF_A_RATE = re.compile(r"records\d+")
PTBXL, PTBXL_NAMES, PTBXL_DEPTH = "ptbxl_database.csv", ("filename_hr", "filename_lr"), 2  # folders above a record
LARGEST_DATABASE = 64 * 2**20  # bytes; it has 6 MB


def find(folders: Sequence[Path]) -> Found:
    """By name (path below the folder, without the suffix) the file of each recording. Raises UnreadableError.

    Of one ECG at two rates the finer; of PTB-XL also whose it is, by its own list.
    """
    found = Found()
    files = [(root, path) for root in folders for path in _recordings(root, found)]
    fine = {_without_rate(root, path) for root, path in files if path.stem.endswith(FINE) and _is_whole(path)}
    for root, path in files:
        if path.stem.endswith(COARSE) and _without_rate(root, path) in fine:
            found.passed_over[f"the same ECG at a lower rate, {COARSE} beside {FINE}"] += 1
            continue
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in found.participants:
            reason = "another file of the same name, but for its suffix or folder, was found before"
            found.refused.append(Refused("", path.name, reason, "Rename one of them, or leave it out."))
            continue
        found.participants[name] = {"ecg": (path,)}
    _patients(found)
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


def _without_rate(root: Path, path: Path) -> tuple[str, ...]:
    """What the names of one ECG at two rates have in common."""
    folders = path.relative_to(root).parent.parts
    return (
        *(part for part in folders if not OF_A_RATE.fullmatch(part)),
        path.stem.removesuffix(FINE).removesuffix(COARSE),
    )


def _is_whole(path: Path) -> bool:
    return path.suffix.lower() not in OF_WFDB


def _patients(found: Found) -> None:
    """The patient of each recording that PTB-XL's list names: one person has up to ten of them."""
    names = {kinds["ecg"][0].with_suffix(""): name for name, kinds in found.participants.items()}
    places = {path.parents[PTBXL_DEPTH] for path in names if len(path.parents) > PTBXL_DEPTH}
    for table in sorted(place / PTBXL for place in places if (place / PTBXL).is_file()):
        text = read_bytes(table, LARGEST_DATABASE).decode("utf-8-sig", errors="replace")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            patient = (row.get("patient_id") or "").strip()
            for name in (names.get(table.parent / (row.get(column) or "").strip()) for column in PTBXL_NAMES):
                if name and patient:
                    found.facts[name] = {"patient": f"ptbxl/{patient}"}


def _names_leads(path: Path) -> bool:
    """Whether a table is an ECG: its first row that is no comment names leads. Lists of records do not."""
    with path.open("rb") as handle:
        text = handle.read(FIRST_BYTES).decode("utf-8-sig", errors="replace")
    rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    names = re.split(r"[,;\t]", rows[0]) if rows else []
    return sum(lead_name(name) is not None for name in names) >= FEWEST_NAMES
