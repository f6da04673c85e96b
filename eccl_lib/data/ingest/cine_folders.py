"""Short-axis cines under any folders: ACDC, M&Ms, ukbb_cardiac, any 4-D NIfTI, DICOM in a folder or a zip a person.

| layout | cine | masks | facts |
|---|---|---|---|
| ACDC | patient001/patient001_4d.nii.gz | patient001_frame01_gt.nii.gz, one a drawn frame | Info.cfg |
| M&Ms | A0S9V9/A0S9V9_sa.nii.gz | A0S9V9_sa_gt.nii.gz, drawn in two of its frames | a table in a folder above |
| any NIfTI | NAME.nii.gz, four axes | NAME_gt.nii.gz, NAME_seg.nii.gz or seg_NAME.nii.gz | |
| DICOM | all files below a folder right under FOLDER, or a zip | | |
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eccl_lib.data.files import Found, Refused, walk
from eccl_lib.data.formats import dicom

NIFTI = re.compile(r"(?i)(?P<stem>.+)\.nii(\.gz)?")
ACDC = re.compile(r"(?P<who>.+)_4d")
ACDC_FRAME = re.compile(r"(?P<who>.+)_frame(?P<number>\d+)(?P<mask>_gt)?")
MASK = re.compile(r"(?i)seg_(?P<of>.+)|(?P<cine>.+?)_(gt|seg|mask|labels?)")
LONG_AXIS = re.compile(r"(?i)(.*[_-])?(la|lax|[234]ch)([_-].*)?")
ONE_FRAME = re.compile(r"(?i)(.*_)?(ed|es)")
NO_DICOM = (".csv", ".txt", ".json", ".xml", ".cfg", ".gz")  # what need not be opened
OF_FOLDER = ("", "_4d", "_sa", "_sax", "_SA_CINE")  # what a file named after its folder may add
INFO, INFORMATION = "Info.cfg", re.compile(r"(?i).*information.*\.csv")
LARGEST_FACTS = 2**20  # bytes of Info.cfg or of a table
CODE, PATHOLOGY = "External code", "Pathology"

# ICD-10 blocks of the groups that the two challenges publish; a group that says nothing of a block is not in it.
ACDC_GROUPS = {"NOR": (), "MINF": ("I21",), "DCM": ("I42",), "HCM": ("I42",), "RV": ()}
MMS_GROUPS = {"DCM": ("I42",), "HCM": ("I42",), "LVNC": ("I42",)}
MMS_GROUPS |= {"NOR": (), "HHD": (), "IHD": (), "AHS": (), "ARV": ()}  # hypertension, ischaemia, athletes, the RV


def find(folders: Sequence[Path]) -> Found:
    """By name (path below the folder) each person's cine and masks, and what the layout says of them.

    Raises UnreadableError on a wrong path.
    """
    found = Found()
    for root in folders:
        nifti: dict[Path, dict[str, Path]] = {}
        for path in walk(root, found):
            if match := NIFTI.fullmatch(path.name):
                nifti.setdefault(path.parent, {})[match["stem"]] = path
            elif path.suffix.lower() == ".zip":
                _add(found, path.relative_to(root).with_suffix("").as_posix(), {"cine": (path,)})
            elif _is_dicom(path):
                below = path.relative_to(root).parts
                person = root / below[0] if len(below) > 1 else root
                name = below[0] if len(below) > 1 else root.name
                found.participants.setdefault(name, {"cine": (person,)})
            elif path.name != INFO and not INFORMATION.fullmatch(path.name):
                found.passed_over[f"files {path.suffix.lower() or 'without a suffix'}"] += 1
        for folder, files in nifti.items():
            _nifti(found, root, folder, files)
    _information(found, folders)
    return found


def mask_labels_of(kinds: Mapping[str, Sequence[Path]]) -> str | None:
    """What a layout fixes its masks' labels to mean, one of ``masks.ORDERS``; None where it fixes nothing."""
    masks = kinds.get("segmentation", ())
    return "acdc" if masks and ACDC_FRAME.fullmatch(NIFTI.fullmatch(masks[0].name)["stem"]) else None


def _is_dicom(path: Path) -> bool:
    """By its first bytes, whatever it is called."""
    if path.suffix.lower() in NO_DICOM:
        return False
    try:
        with path.open("rb") as handle:
            return dicom.is_dicom(handle.read(132))
    except OSError:
        return False


def _add(found: Found, name: str, kinds: dict[str, tuple[Path, ...]]) -> None:
    if name in found.participants:
        reason = "another cine of the same name, but for its suffix or folder, was found before"
        found.refused.append(Refused("", kinds["cine"][0].name, reason, "Rename one of them, or leave it out."))
    else:
        found.participants[name] = kinds


def _nifti(found: Found, root: Path, folder: Path, files: dict[str, Path]) -> None:
    """The cines of one folder, each with its masks. files: name without suffix to path."""
    used: set[Path] = set()
    for stem, path in sorted(files.items()):
        if ACDC_FRAME.fullmatch(stem) or MASK.fullmatch(stem):
            continue
        if ONE_FRAME.fullmatch(stem) or LONG_AXIS.fullmatch(stem):
            found.passed_over["NIfTI of one frame or of the long axis, by name"] += 1
            continue
        own = stem == "sa" or any(stem == f"{folder.name}{end}" for end in OF_FOLDER)
        name = (folder if own and folder != root else folder / stem).relative_to(root).as_posix()
        masks = _masks(stem, files)
        used.update(masks)
        _add(found, name, {"cine": (path,), **({"segmentation": masks} if masks else {})})
        if facts := _info(folder / INFO) if ACDC.fullmatch(stem) else {}:
            found.facts[name] = facts
    lonely = sum(_is_mask(stem) and path not in used for stem, path in files.items())
    if lonely:
        found.passed_over["masks (NIfTI, by name) with no cine of that name beside them"] += lonely


def _is_mask(stem: str) -> bool:
    frame = ACDC_FRAME.fullmatch(stem)
    return bool(frame["mask"]) if frame else MASK.fullmatch(stem) is not None


def _masks(stem: str, files: dict[str, Path]) -> tuple[Path, ...]:
    """A cine's masks: of ACDC all drawn frames, any of which stands for all; else those named after it."""
    if acdc := ACDC.fullmatch(stem):
        drawn = [s for s in sorted(files) if (m := ACDC_FRAME.fullmatch(s)) and m["mask"] and m["who"] == acdc["who"]]
        return tuple(files[s] for s in drawn)
    named = [s for s in sorted(files) if (m := MASK.fullmatch(s)) and stem in (m["of"], m["cine"])]
    return tuple(files[s] for s in named)


def _info(path: Path) -> dict[str, str]:
    """ACDC's Info.cfg: lines of ``ED: 1``; the diseases of its group as 0 and 1."""
    if not path.is_file() or path.stat().st_size > LARGEST_FACTS:
        return {}
    said = dict(re.findall(r"(?m)^\s*(\w+)\s*:\s*(\S+)", path.read_text(errors="replace")))
    return _diseases(said.get("Group", ""), ACDC_GROUPS, ("I21", "I42"))


def _information(found: Found, folders: Iterable[Path]) -> None:
    """M&Ms's table, in FOLDER or one folder above: code, pathology, age, sex of each person."""
    tables = [path for root in folders for place in (root, root.parent) for path in sorted(place.glob("*.csv"))]
    by_code = {name.rsplit("/", 1)[-1]: name for name in found.participants}
    for path in dict.fromkeys(p for p in tables if INFORMATION.fullmatch(p.name)):
        if path.stat().st_size > LARGEST_FACTS:
            continue
        for row in csv.DictReader(path.read_text(encoding="utf-8-sig", errors="replace").splitlines()):
            name = by_code.get((row.get(CODE) or "").strip())
            facts = _diseases((row.get(PATHOLOGY) or "").strip(), MMS_GROUPS, ("I42",))
            if name and facts:
                known = {"sex": (row.get("Sex") or "").strip(), "age": (row.get("Age") or "").strip()}
                found.facts[name] = facts | {fact: value for fact, value in known.items() if value}


def _diseases(group: str, groups: dict[str, tuple[str, ...]], named: tuple[str, ...]) -> dict[str, str]:
    """0 or 1 for each disease that the groups tell apart; nothing of a group that is unknown."""
    known = {key.upper(): blocks for key, blocks in groups.items()}.get(group.upper())
    return {} if known is None else {block: str(int(block in known)) for block in named}
