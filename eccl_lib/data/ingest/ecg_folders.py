"""List ECGs of any known format under any folders; each file is one recording, named by its path below the folder."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import text_table
from eccl_lib.data.formats import csv_table, detect, wfdb_header
from eccl_lib.data.formats.wfdb_record import SIGNALS
from eccl_lib.data.listing import FileListing, walk
from eccl_lib.io import regular

SINGLE_FILE = (".xml", ".dcm", ".npy", ".edf")  # formats with one file per recording
REFUSED = (".bdf", ".scp", ".ecg")  # ECGs that are not read; the quarantine list has the way to convert them
TABLES = (".csv", ".tsv", ".txt")
FIRST_BYTES = 1 << 16  # bytes read from a table; they contain its lead names, also below a page of comments
FINE, COARSE = "_hr", "_lr"  # PTB-XL has each ECG twice: records500/00000/00001_hr, records100/00000/00001_lr
OF_A_RATE = re.compile(r"records\d+")
OF_SEGMENT = re.compile(r".*_(\d+|layout)")  # stems of the segments of a multi-segment WFDB record
# Datasets' own tables of patients: name of the dataset, column of the patient, columns of the recording's path.
PATIENT_TABLES = {
    "ptbxl_database.csv": ("ptbxl", "patient_id", ("filename_hr", "filename_lr")),
    "record_list.csv": ("mimic-iv-ecg", "subject_id", ("path",)),
    "exams.csv": ("code", "patient_id", ("exam_id",)),
}
ABOVE = 2  # folders above FOLDER in which a table of patients is looked for
PATIENT_FOLDER = re.compile(r"(?i)patient[-_]?\d+|p\d{8}|sub(?:ject)?[-_]?\d+")  # PTB, MIMIC-IV-ECG, BIDS


def find(folders: Sequence[Path], patient_folder: int = 0) -> FileListing:
    """List the file of each recording, by name (path below the folder, without the suffix).

    If an ECG exists at two sampling rates, the higher one is used. The patients are from the folder at the level
    ``patient_folder`` below FOLDER (1 is the first), else from the dataset's own table, else from folders named
    after patients. Raises UnreadableError if a path does not exist.
    """
    listing = FileListing()
    tables = {place / name for root in folders for place in list(root.parents)[:ABOVE] for name in PATIENT_TABLES}
    for root, path in recordings(folders, listing):
        if path.name in PATIENT_TABLES:
            tables.add(path)
        else:
            listing.add(path.relative_to(root).with_suffix("").as_posix(), {"ecg": (path,)}, "file")
    if patient_folder:
        _patients_of_level(listing, patient_folder)
    else:
        _patients_of_folders(listing)
        _patients_of_tables(listing, sorted(table for table in tables if table.is_file()))
    return listing


def recordings(folders: Sequence[Path], listing: FileListing) -> Iterator[tuple[Path, Path]]:
    """Folder and file of each recording, and of each table of patients; other files are counted in ``listing``.

    Segments of a WFDB record and the coarser of two sampling rates of one ECG are left out. Raises UnreadableError if
    a path does not exist.
    """
    files = [(root, path) for root in folders for path in _recordings(root, listing)]
    segments = _segments(path for _, path in files)
    readable = [(root, path) for root, path in files if path.suffix.lower() not in SIGNALS]
    fine = {_without_rate(root, path) for root, path in readable if path.stem.endswith(FINE)}
    for root, path in files:
        if path in segments:
            listing.skipped["segments of a multi-segment WFDB record"] += 1
        elif path.stem.endswith(COARSE) and _without_rate(root, path) in fine:
            listing.skipped[f"the same ECG at a lower rate, {COARSE} beside {FINE}"] += 1
        else:
            yield root, path


def _recordings(root: Path, listing: FileListing) -> Iterator[Path]:
    """Files that are recordings, and tables of patients."""
    registered = (suffix for form in detect.ECG_FORMATS.values() for suffix in form.suffixes)
    known = {*SINGLE_FILE, *REFUSED, *registered}
    for path in walk(root, listing):
        suffix = path.suffix.lower()
        if path.name in PATIENT_TABLES:
            listing.skip(path)
            yield path
        elif suffix == ".hea" or suffix in known or (suffix in TABLES and _names_leads(path)):
            yield path
        elif suffix in SIGNALS and not wfdb_header.header_of(path):
            yield path  # the header file is missing; the reader reports this
        elif suffix not in SIGNALS:
            listing.skip(path)


def _segments(paths: Iterable[Path]) -> set[Path]:
    """Headers that are segments of another record in their folder, by the segment lines of that record's header."""
    headers: dict[Path, list[Path]] = {}
    for path in paths:
        if path.suffix.lower() == ".hea":
            headers.setdefault(path.parent, []).append(path)
    found = set()
    for folder, inside in headers.items():
        if any(OF_SEGMENT.fullmatch(path.stem) for path in inside):
            records = [path for path in inside if not OF_SEGMENT.fullmatch(path.stem)]
            found |= {folder / f"{name}.hea" for path in records for name in wfdb_header.segment_names(path)}
    return found


def _without_rate(root: Path, path: Path) -> tuple[str, ...]:
    """The parts of a path that are equal for the two sampling rates of one ECG."""
    folders = [part for part in path.relative_to(root).parent.parts if not OF_A_RATE.fullmatch(part)]
    return (*folders, path.stem.removesuffix(FINE).removesuffix(COARSE))


def _patients_of_level(listing: FileListing, level: int) -> None:
    """Add the patient of each recording: the folders down to a level below FOLDER."""
    for name in listing.participants:
        folders = name.split("/")[:-1]
        if len(folders) >= level:
            listing.facts[name] = {"patient": "/".join(["folder", *folders[:level]])}


def patient_of(name: str) -> str:
    """The patient of a recording by the folders in its name, one of which is named after a patient; else ""."""
    folders = name.split("/")[:-1]
    k = next((k for k, folder in enumerate(folders) if PATIENT_FOLDER.fullmatch(folder)), None)
    return "" if k is None else "/".join(["folder", *folders[: k + 1]])


def _patients_of_folders(listing: FileListing) -> None:
    """Add the patient of recordings below a folder that is named after a patient, such as patient001."""
    for name in listing.participants:
        if patient := patient_of(name):
            listing.facts[name] = {"patient": patient}


def _patients_of_tables(listing: FileListing, tables: Iterable[Path]) -> None:
    """Add the patient of each recording in a dataset's own table; one patient has up to several dozen recordings."""
    names = {str(kinds["ecg"][0].with_suffix("")): name for name, kinds in listing.participants.items()}
    for table in tables:
        dataset, column, paths = PATIENT_TABLES[table.name]
        with regular.named(table), text_table.open_text(table) as text:
            rows = text_table.rows(text_table.lines(text), ",")
            header = [cell.strip() for cell in next(rows, [])]
            of_paths = [header.index(path) for path in paths if path in header]
            folder, at = str(table.parent), header.index(column) if column in header else len(header)
            for row in rows:
                for k in of_paths:
                    name = names.get(f"{folder}/{row[k].strip()}") if k < len(row) else None
                    if name and at < len(row) and (patient := row[at].strip()):
                        listing.facts[name] = {"patient": f"{dataset}/{patient}"}


def _names_leads(path: Path) -> bool:
    """True if a table is an ECG: its first row that is not a comment contains lead names; or if it cannot be opened."""
    try:
        with regular.open_file(path) as file:
            return csv_table.names_leads(regular.read(file, FIRST_BYTES))
    except UnreadableError:
        return True  # the reader reports the fault
