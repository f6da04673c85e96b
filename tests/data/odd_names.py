"""Unusual names and folders; see ``odd_inputs``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eccl_lib.data.ukb import file_names
from tests.data.file_dialects import LAYOUTS
from tests.data.odd_inputs import EID, KEPT, REFUSED, STOPPED, Case, find, found

ECG, CINE = f"{EID}_20205_2_0.xml", f"{EID}_20209_2_0.zip"
FOUND: list[tuple[str, tuple[str, ...], str]] = [
    *(
        (f"folders: {name}", (layout(EID, "20205", ".xml"), layout(EID, "20209", ".zip")), "(?i)cine .*zip, ecg .*xml")
        for name, layout in LAYOUTS.items()
    ),
    ("twenty folders deep", ("/".join("abcdefghijklmnopqrst") + "/" + ECG,), "ecg"),
    ("blanks, accents and brackets in folders", (f"Heart (MRI) é/{CINE}",), "cine"),
    ("a suffix in capitals", (f"{EID}_20209_2_0.ZIP",), "cine"),
    ("two arrays of a visit", (ECG, f"{EID}_20205_2_1.xml"), "ecg .*_2_1.xml; 1 x an earlier"),
    ("ten arrays of a visit", tuple(f"{EID}_20205_2_{k}.xml" for k in range(11)), "ecg .*_2_10.xml"),
    ("two visits", (ECG, f"{EID}_20205_3_0.xml"), "ecg .*_2_0.xml; 1 x another visit"),
    ("the second visit alone", (f"{EID}_20205_3_0.xml",), "nothing; 1 x another visit"),
    ("the same file in two folders", (f"a/{ECG}", f"b/{ECG}"), "the same file name again"),
    ("other fields beside it", (CINE, f"{EID}_20208_2_0.zip", f"{EID}_20207_2_0.zip"), "1 x field 20208"),
    ("a Mac's shadow of a file", (ECG, f"._{ECG}"), "^ecg [^;]*$"),
    ("a hidden half download", (ECG, f".{CINE}.part"), "^ecg [^;]*$"),
    ("a folder of DICOM files", (f"{EID}_20209_2_0/1.dcm", f"{EID}_20209_2_0/2.dcm"), "cine .*_20209_2_0$"),
    (
        "a stack and its mask by ukbb_cardiac",
        (f"{EID}/sa.nii.gz", f"{EID}/seg_sa.nii.gz"),
        "cine sa.nii.gz, segmentation",
    ),
    (
        "masks at end diastole and end systole",
        (f"{EID}/seg_sa_ED.nii.gz", f"{EID}/seg_sa_ES.nii.gz"),
        "segmentation seg_sa_ED",
    ),
    ("a mask named by its participant", (f"masks/{EID}_seg_sa.nii.gz",), "segmentation"),
    ("a mask of another visit", (f"{EID}_20209_3_0/seg_sa.nii.gz",), "nothing; 1 x another visit"),
    ("unrelated files", ("readme.txt", "12/34.xml", "a_b_c_d.zip"), "nothing"),
]
WRONG: list[tuple[str, str, str]] = [
    ("an exercise ECG", f"{EID}_6025_0_0.xml", "exercise"),
    ("an unfinished download", f"{CINE}.part", "name"),
    ("a browser's second copy", f"{EID}_20205_2_0 (1).xml", "name"),
    ("a copy with words in front", f"copy of {ECG}", "name"),
    ("a packed XML", f"{ECG}.gz", "name"),
    ("no id", "_20209_2_0.zip", "name"),
    ("hyphens", f"{EID}-20205_2_0.xml", "name"),
    ("an ECG's number with a zip's suffix", f"{EID}_20205_2_0.zip", "is a .xml file"),
    ("a cine's number with an XML's suffix", f"{EID}_20209_2_0.xml", "is a .zip file"),
    ("no suffix", f"{EID}_20209_2_0", "is a .zip file"),
    ("a mask without a participant", "loose/seg_sa.nii.gz", "participant id"),
]


def circle(folder: Path) -> str:
    (folder / "loop").symlink_to(folder)
    return find(folder, ECG)


def linked(folder: Path) -> str:
    (folder / "real").mkdir()
    (folder / "real" / ECG).write_bytes(b"x")
    (folder / "search").mkdir()
    (folder / "search" / "link").symlink_to(folder / "real")
    return found(file_names.find(folder / "search"))


def link_to_nothing(folder: Path) -> str:
    (folder / ECG).symlink_to(folder / "gone")
    return found(file_names.find(folder))


def link_to_a_file(folder: Path) -> str:
    (folder / "does not overlap").write_bytes(b"x")
    (folder / ECG).symlink_to(folder / "does not overlap")
    return found(file_names.find(folder))


def two_roots(folder: Path) -> str:
    for name in (f"a/{ECG}", f"b/{CINE}"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"x")
    return found(file_names.find([folder / "a", folder / "b"]))


def run(*names: str) -> Callable[[Path], str]:
    return lambda folder: find(folder, *names)


CASES = [
    *(Case("files", what, run(*names), KEPT, says) for what, names, says in FOUND),
    *(Case("files", what, run(name), REFUSED, says) for what, name, says in WRONG),
    Case("files", "a folder that links to itself", circle, KEPT, "^ecg [^;]*$"),
    Case("files", "a linked folder", linked, KEPT, "ecg"),
    Case("files", "a linked file under another name", link_to_a_file, KEPT, "ecg"),
    Case("files", "a broken link", link_to_nothing, REFUSED, "link"),
    Case("files", "ECGs and cines in two folders", two_roots, KEPT, "cine .*, ecg"),
    Case("files", "an empty folder", run(), KEPT, "nothing"),
    Case("files", "a missing folder", lambda folder: found(file_names.find(folder / "x")), STOPPED, "no folder"),
]
