"""List short-axis cines under any folders: ACDC, M&Ms, ukbb_cardiac, 4-D NIfTI, DICOM with one folder or zip each.

| layout | cine | masks | facts |
|---|---|---|---|
| ACDC | patient001/patient001_4d.nii.gz | patient001_frame01_gt.nii.gz, one file per labelled frame | Info.cfg |
| M&Ms | A0S9V9/A0S9V9_sa.nii.gz | A0S9V9_sa_gt.nii.gz, two labelled frames | a table in the parent folder |
| any NIfTI | NAME.nii.gz, four axes | NAME_gt.nii.gz, NAME_seg.nii.gz or seg_NAME.nii.gz | |
| EMIDEC, nnU-Net | Images/NAME.nii.gz | Contours/NAME.nii.gz (``MASK_FOLDER``) | |
| one NIfTI a phase | NAME_t0.nii.gz, NAME_t40.nii.gz, ... (``nifti.PHASE``), at least ten | as above | |
| DICOM | all files below a direct subfolder of FOLDER, or a zip | | |
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import text_table
from eccl_lib.data.formats import dicom_elements, nifti, nifti_header
from eccl_lib.data.listing import FileListing, walk
from eccl_lib.io import regular

NIFTI = re.compile(r"(?i)(?P<stem>.+)\.nii(\.gz)?")
ACDC = re.compile(r"(?P<patient>.+)_4d")
ACDC_FRAME = re.compile(r"(?P<patient>.+)_frame(?P<number>\d+)(?P<mask>_gt)?")
MASK = re.compile(r"(?i)seg_(?P<of>.+)|(?P<cine>.+?)_(gt|seg|mask|labels?)")
MASK_FOLDER = re.compile(r"(?i)contours?|labels?(tr|ts)?|masks?|seg(mentations?)?|gt|annotations?")
CHANNEL = "_0000"  # nnU-Net's suffix of an image, which its mask does not have
LONG_AXIS = re.compile(r"(?i)(.*[_-])?(la|lax|[234]ch)([_-].*)?")
ONE_FRAME = re.compile(r"(?i)(.*_)?(ed|es)")
NO_DICOM = (".csv", ".txt", ".json", ".xml", ".cfg", ".gz")  # suffixes of files that are never DICOM
OF_FOLDER = ("", "_4d", "_sa", "_sax", "_SA_CINE")  # suffixes of a file that is named after its folder
INFO, INFORMATION = "Info.cfg", re.compile(r"(?i).*information.*\.csv")
LARGEST_FACTS = 2**20  # bytes of Info.cfg or of a table
CODE, PATHOLOGY = "External code", "Pathology"

# ICD-10 blocks of the diagnostic groups that the two challenges publish.
ACDC_GROUPS = {"NOR": (), "MINF": ("I21",), "DCM": ("I42",), "HCM": ("I42",), "RV": ()}
MMS_GROUPS = {"DCM": ("I42",), "HCM": ("I42",), "LVNC": ("I42",)}
MMS_GROUPS |= {"NOR": (), "HHD": (), "IHD": (), "AHS": (), "ARV": ()}  # hypertension, ischaemia, athletes, the RV


def find(folders: Sequence[Path]) -> FileListing:
    """List each patient's cine, masks and facts by path in FOLDER. Raises UnreadableError if a FOLDER is missing."""
    listing = FileListing()
    for root in folders:
        nifti: dict[Path, dict[str, Path]] = {}
        of_dicom: set[Path] = set()  # folders of patients
        for path in walk(root, listing):
            if match := NIFTI.fullmatch(path.name):
                nifti.setdefault(path.parent, {})[match["stem"]] = path
            elif path.suffix.lower() == ".zip":
                listing.add(path.relative_to(root).with_suffix("").as_posix(), {"cine": (path,)}, "cine")
            elif _is_dicom(path):
                below = path.relative_to(root).parts
                patient = root / below[0] if len(below) > 1 else root
                name = below[0] if len(below) > 1 else root.name
                if patient not in of_dicom:
                    listing.add(name, {"cine": (patient,)}, "cine")
                    of_dicom.add(patient)
            elif path.name != INFO and not INFORMATION.fullmatch(path.name):
                listing.skip(path)
        for folder, files in _with_masks_of_folders(nifti).items():
            _nifti(listing, root, folder, files)
    _information(listing, folders)
    return listing


def mask_labels_of(kinds: Mapping[str, Sequence[Path]]) -> str | None:
    """Label order of the masks (one of ``masks.ORDERS``) if the layout defines it, else None."""
    masks = kinds.get("segmentation", ())
    return "acdc" if masks and ACDC_FRAME.fullmatch(NIFTI.fullmatch(masks[0].name)["stem"]) else None


def _is_dicom(path: Path) -> bool:
    """True if the file's first bytes are DICOM's; the name does not matter, except for the suffixes NO_DICOM."""
    if path.suffix.lower() in NO_DICOM:
        return False
    try:
        with regular.open_file(path) as file:
            return dicom_elements.is_dicom(regular.read(file, dicom_elements.RECOGNISED))
    except UnreadableError:
        return False


def _with_masks_of_folders(nifti: dict[Path, dict[str, Path]]) -> dict[Path, dict[str, Path]]:
    """Files by folder, in which the masks of a folder of masks are moved beside the cines of the same names."""
    moved = dict(nifti)
    for folder, files in nifti.items():
        beside = [other for other in nifti if other.parent == folder.parent and not MASK_FOLDER.fullmatch(other.name)]
        if not MASK_FOLDER.fullmatch(folder.name) or not beside:
            continue
        owners = {stem: (other, name) for other in beside for name in nifti[other] for stem in (name, _short(name))}
        masks = {stem: owner for stem in files if (owner := owners.get(stem) or owners.get(_of_mask(stem)))}
        for stem, (other, name) in masks.items():
            moved[other] = moved[other] | {f"{name}_gt": files[stem]}
        if masks:
            rest = {stem: path for stem, path in files.items() if stem not in masks}
            moved[folder] = {stem if MASK.fullmatch(stem) else f"{stem}_gt": path for stem, path in rest.items()}
    return moved


def _short(name: str) -> str:
    return name.removesuffix(CHANNEL)


def _of_mask(stem: str) -> str:
    """Name of the cine of a mask; the name itself if it does not say that it is a mask."""
    match = MASK.fullmatch(stem)
    return (match["of"] or match["cine"]) if match else stem


def _nifti(listing: FileListing, root: Path, folder: Path, files: dict[str, Path]) -> None:
    """Add the cines of one folder, each with its masks. files: name without suffix to path."""
    used: set[Path] = set()
    in_phases = _phases(files)
    for stem, group in in_phases.items():
        name = folder.joinpath(stem or ".").relative_to(root).as_posix()
        masks = _masks(stem, files)
        used.update(masks)
        listing.add(name, {"cine": group, **({"segmentation": masks} if masks else {})}, "cine")
    joined = {path for group in in_phases.values() for path in group}
    for stem, path in sorted(files.items()):
        if path in joined or ACDC_FRAME.fullmatch(stem) or MASK.fullmatch(stem):
            continue
        if ONE_FRAME.fullmatch(stem) or LONG_AXIS.fullmatch(stem):
            listing.skipped["NIfTI of one frame or of the long axis, by name"] += 1
            continue
        own = stem == "sa" or any(stem == f"{folder.name}{end}" for end in OF_FOLDER)
        name = (folder if own and folder != root else folder / stem).relative_to(root).as_posix()
        masks = _masks(stem, files)
        used.update(masks)
        listing.add(name, {"cine": (path,), **({"segmentation": masks} if masks else {})}, "cine")
        if facts := _info(folder / INFO) if ACDC.fullmatch(stem) else {}:
            listing.facts[name] = facts
    unmatched = sum(_is_mask(stem) and path not in used for stem, path in files.items())
    if unmatched:
        listing.skipped["masks (NIfTI, by name) with no cine of that name beside them"] += unmatched


def _phases(files: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Files of one phase each by the part of the name that they share; not of a patient whose whole cine is there."""
    by_name = {path.name: path for stem, path in files.items() if not MASK.fullmatch(stem)}
    groups = {
        nifti.PHASE.fullmatch(names[0])["stem"] or "": names
        for names in nifti.phases(by_name)
        if nifti_header.frames(by_name[names[0]]) < 2  # vol01 may also be the whole cine of a volunteer
    }
    whole = {stem.removesuffix("_4d") for stem in files}
    return {stem: tuple(by_name[name] for name in names) for stem, names in groups.items() if stem not in whole}


def _is_mask(stem: str) -> bool:
    frame = ACDC_FRAME.fullmatch(stem)
    return bool(frame["mask"]) if frame else MASK.fullmatch(stem) is not None


def _masks(stem: str, files: dict[str, Path]) -> tuple[Path, ...]:
    """Paths of a cine's masks: for ACDC all labelled frames of the patient, else the masks named after the cine."""
    if acdc := ACDC.fullmatch(stem):
        frames = [(s, m) for s in sorted(files) if (m := ACDC_FRAME.fullmatch(s))]
        return tuple(files[s] for s, m in frames if m["mask"] and m["patient"] == acdc["patient"])
    return tuple(files[s] for s in sorted(files) if (m := MASK.fullmatch(s)) and stem in (m["of"], m["cine"]))


def _info(path: Path) -> dict[str, str]:
    """Diseases (0 or 1) of the group in ACDC's Info.cfg, a text file of lines such as ``ED: 1``."""
    values = dict(re.findall(r"(?m)^[ \t]*(\w+)[ \t]*:[ \t]*(\S+)", _facts(path)))
    return _diseases(values.get("Group", ""), ACDC_GROUPS, ("I21", "I42"))


def _facts(path: Path) -> str:
    """The text of a small file; "" if it is missing, too large or no file."""
    try:
        return regular.read_bytes(path, LARGEST_FACTS).decode("utf-8-sig", errors="replace")
    except UnreadableError:
        return ""


def _information(listing: FileListing, folders: Iterable[Path]) -> None:
    """Add disease, age and sex of each patient from M&Ms's table, which is in FOLDER or its parent folder."""
    tables = [path for root in folders for place in (root, root.parent) for path in sorted(place.glob("*.csv"))]
    by_code = {name.rsplit("/", 1)[-1]: name for name in listing.participants}
    for path in dict.fromkeys(p for p in tables if INFORMATION.fullmatch(p.name)):
        with regular.named(path):
            header, *rows = [*text_table.rows(iter(_facts(path).splitlines()), ",")] or [[]]
        for row in (dict(zip(header, cells, strict=False)) for cells in rows):
            name = by_code.get((row.get(CODE) or "").strip())
            facts = _diseases((row.get(PATHOLOGY) or "").strip(), MMS_GROUPS, ("I42",))
            if name and facts:
                known = {"sex": (row.get("Sex") or "").strip(), "age": (row.get("Age") or "").strip()}
                listing.facts[name] = facts | {fact: value for fact, value in known.items() if value}


def _diseases(group: str, groups: dict[str, tuple[str, ...]], named: tuple[str, ...]) -> dict[str, str]:
    """Value 0 or 1 (str) of each disease in ``named``; empty for an unknown group."""
    known = {key.upper(): blocks for key, blocks in groups.items()}.get(group.upper())
    return {} if known is None else {block: str(int(block in known)) for block in named}
