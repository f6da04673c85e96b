"""List ECGs of any known format under any folders; each file is one recording, named by its path below the folder."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from eccl_lib.data.files import FileListing, read_bytes, walk
from eccl_lib.data.formats.leads import lead_name

SINGLE_FILE = (".xml", ".dcm", ".npy")  # formats with one file per recording
TABLES = (".csv", ".tsv", ".txt")
OF_WFDB = (".dat", ".mat")  # signal files of WFDB, read through their .hea file
FIRST_BYTES = 4096  # bytes read from a table; they contain its lead names
FEWEST_NAMES = 2  # lead names that the first row of an ECG table must contain; ours
FINE, COARSE = "_hr", "_lr"  # PTB-XL has each ECG twice: records500/00000/00001_hr, records100/00000/00001_lr
OF_A_RATE = re.compile(r"records\d+")
PTBXL, PTBXL_NAMES, PTBXL_DEPTH = "ptbxl_database.csv", ("filename_hr", "filename_lr"), 2  # folders above a record
LARGEST_DATABASE = 64 * 2**20  # bytes; it has 6 MB


def find(folders: Sequence[Path]) -> FileListing:
    """List the file of each recording, by name (path below the folder, without the suffix).

    If an ECG exists at two sampling rates, the higher one is used. For PTB-XL the patients are read from its own table.
    Raises UnreadableError if a path does not exist.
    """
    listing = FileListing()
    files = [(root, path) for root in folders for path in _recordings(root, listing)]
    readable = [(root, path) for root, path in files if path.suffix.lower() not in OF_WFDB]
    fine = {_without_rate(root, path) for root, path in readable if path.stem.endswith(FINE)}
    for root, path in files:
        if path.stem.endswith(COARSE) and _without_rate(root, path) in fine:
            listing.skipped[f"the same ECG at a lower rate, {COARSE} beside {FINE}"] += 1
            continue
        listing.add(path.relative_to(root).with_suffix("").as_posix(), {"ecg": (path,)}, "file")
    _patients(listing)
    return listing


def _recordings(root: Path, listing: FileListing) -> Iterator[Path]:
    for path in walk(root, listing):
        suffix = path.suffix.lower()
        if suffix == ".hea" or suffix in SINGLE_FILE or (suffix in TABLES and _names_leads(path)):
            yield path
        elif suffix in OF_WFDB and not path.with_suffix(".hea").is_file():
            yield path  # the header file is missing; the reader reports this
        elif suffix not in OF_WFDB:
            listing.skip(path)


def _without_rate(root: Path, path: Path) -> tuple[str, ...]:
    """The parts of a path that are equal for the two sampling rates of one ECG."""
    folders = [part for part in path.relative_to(root).parent.parts if not OF_A_RATE.fullmatch(part)]
    return (*folders, path.stem.removesuffix(FINE).removesuffix(COARSE))


def _patients(listing: FileListing) -> None:
    """Add the patient of each recording in PTB-XL's table; one patient has up to ten recordings."""
    names = {kinds["ecg"][0].with_suffix(""): name for name, kinds in listing.participants.items()}
    places = {path.parents[PTBXL_DEPTH] for path in names if len(path.parents) > PTBXL_DEPTH}
    for table in sorted(place / PTBXL for place in places if (place / PTBXL).is_file()):
        text = read_bytes(table, LARGEST_DATABASE).decode("utf-8-sig", errors="replace")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            patient = (row.get("patient_id") or "").strip()
            for name in (names.get(table.parent / (row.get(column) or "").strip()) for column in PTBXL_NAMES):
                if name and patient:
                    listing.facts[name] = {"patient": f"ptbxl/{patient}"}


def _names_leads(path: Path) -> bool:
    """True if a table is an ECG, i.e. its first row that is not a comment contains lead names."""
    with path.open("rb") as handle:
        text = handle.read(FIRST_BYTES).decode("utf-8-sig", errors="replace")
    rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    names = re.split(r"[,;\t]", rows[0]) if rows else []
    return sum(lead_name(name) is not None for name in names) >= FEWEST_NAMES
