"""Search the repository for participant data: ids, names, birth dates, home paths and data files.

``eccl privacy`` checks the tracked files; ``--history`` also checks every commit. Other paths (a
report, logs, executed notebooks) can be given. A finding states its location and never repeats the content.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eccl_lib.data.ukb.masking import masked
from eccl_lib.io.files import sha256

ROOT = Path(__file__).resolve().parents[2]

# UK Biobank ids; ids of the synthetic cohort start with 9. A number with a decimal point is not an id.
_ID = re.compile(r"(?<!\d)(?<!\d\.)[1-6]\d{6}(?!\.?\d)")
# Digests of runs, commits and files; seven of their digits may look like an id.
_DIGEST = re.compile(r"\b(?=[0-9a-f]*[a-f])(?:[0-9a-f]{8}|[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64})\b")
_NAMED = r"FamilyName|GivenName|PID|PatientID|PatientName"
_NAMES = (
    re.compile(rf"<(?:{_NAMED})\b[^>/]*>\s*(?!SYNTHETIC|ANONYM|SECRET)[^<\s{{}}][^<{{}}]*</"),  # CardioSoft, MUSE
    re.compile(r"(?i)patient'?s?[ _]?name\W{1,12}[a-z'-]{2,}\^[a-z]"),  # DICOM, printed or dumped
)
_DATE = r"(?:(?:19|20)\d\d-?[01]\d-?[0-3]\d|[0-3]?\d[./][01]?\d[./](?:19|20)\d\d)(?!\d)"
_BIRTHS = (
    re.compile(rf"(?i)(?:birth[ _-]?(?:date|day)|date[ _]of[ _]birth|\bdob)(?:time)?\W{{1,12}}(?:DA\W{{1,4}})?{_DATE}"),
    re.compile(r"<BirthDateTime>\s*(?:<(?:Day|Month|Year)>\s*\d+\s*</(?:Day|Month|Year)>\s*){2,3}"),
)
_HOMES = re.compile(r"(?:/home|/Users|[A-Za-z]:\\{1,2}Users)[/\\]{1,2}(?!<|\$|\{)[\w.-]+|(?<![\w.])/root/[\w.-]+")
_DATA = {".dcm", ".nii", ".parquet", ".feather", ".arrow", ".npy", ".npz", ".h5", ".hdf5", ".mat", ".pkl", ".pickle"}
_DATA |= {".pt", ".pth", ".safetensors", ".zip", ".tar", ".tgz", ".xml", ".edf", ".bdf", ".dat"}
_DATA |= {".xls", ".xlsx", ".dta", ".sav", ".sas7bdat"}
_PACKED = (".nii.gz", ".csv.gz", ".tsv.gz", ".txt.gz", ".tar.gz")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # first bytes
# Predictions, ranks and bootstrap scores of the test participants of the study, which are synthetic.
STUDY = re.compile(r"figures/study/(measured|predictions/\w+-\w+|latent/seed\d|\w+_draws)\.npz")
# Weights of the segmentation network, trained on synthetic images: allowed with its digest.
WEIGHTS = "eccl_lib/data/segmentation/unet/weights.safetensors"
_TAG = re.compile(r"<(?!!--)[^>]*>")  # SVG tags; SVG comments repeat the visible text
_EMBEDDED = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]*")

KINDS = {"a participant's id": (_ID,), "a name": _NAMES, "a birth date": _BIRTHS, "a home path": (_HOMES,)}


@dataclass(frozen=True)
class Finding:
    """One finding. place: file and line, or notebook cell; what: the kind of data, never the data itself."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def without_digests(text: str) -> str:
    """The text without hexadecimal digests of 8, 12, 40 or 64 digits."""
    return _DIGEST.sub("", text)


def check_text(text: str, place: str) -> list[Finding]:
    """Findings in a text by line; names and dates may span lines, as in XML."""
    findings, text = [], without_digests(_EMBEDDED.sub("", text))
    for what, patterns in KINDS.items():
        for pattern in patterns:
            lines = sorted({text.count("\n", 0, match.start()) + 1 for match in pattern.finditer(text)})
            findings += [Finding(f"{place}:{line}", what) for line in lines]
    return findings


def check_file(path: Path, name: str) -> list[Finding]:
    """Findings in the name and content of a file; of a notebook also in outputs. name: the name to report."""
    place = masked(name)
    findings = [Finding(place, "a participant's id in the file name")] if _ID.search(name) else []
    if (name == WEIGHTS and _has_recorded_digest(path)) or _is_of_the_study(path, name):
        return findings
    if _is_data(name):
        return [*findings, Finding(place, f"a data file ({path.suffix}); data files must not be committed")]
    content = path.read_bytes()
    if content[128:132] == b"DICM":
        return [*findings, Finding(place, "a DICOM file")]
    if content[:2] in _UTF16:
        content = content.decode("utf-16", errors="replace").encode()
    if b"\0" in content[:8192]:
        content = b"\n".join(_png_texts(content))
    text = content.decode("utf-8", errors="replace")
    if path.suffix == ".svg":
        text = _svg_text(text)
    if path.suffix == ".ipynb":
        return findings + _check_notebook(text, place)
    return findings + check_text(text, place)


def _is_data(name: str) -> bool:
    """Whether a name is that of a data file."""
    return Path(name).suffix.lower() in _DATA or name.lower().endswith(_PACKED)


def _has_recorded_digest(path: Path) -> bool:
    """Whether the file has the SHA-256 digest in the .json file beside it."""
    facts = path.with_suffix(".json")
    return facts.is_file() and json.loads(facts.read_text(encoding="utf-8")).get("sha256") == sha256(path)


def _is_of_the_study(path: Path, name: str) -> bool:
    """Whether the file has predictions for the synthetic cohort, with its digest in ``tools.study_results``' list."""
    sums = path.parents[len(Path(name).parts) - 3] / "sums.json" if STUDY.fullmatch(name) else None
    return sums is not None and sums.is_file() and sha256(path) in json.loads(sums.read_text()).values()


def _png_texts(content: bytes) -> Iterator[bytes]:
    """Text chunks of a PNG file."""
    place = 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind in (b"tEXt", b"iTXt"):
            yield content[place + 8 : place + 8 + length]
        place += 12 + length


def _svg_text(svg: str) -> str:
    """Visible text of an SVG file with its line breaks, without tags."""
    return _TAG.sub(lambda tag: "\n" * tag[0].count("\n"), svg)


def _check_notebook(text: str, place: str) -> list[Finding]:
    try:
        cells = json.loads(text).get("cells", [])
    except (ValueError, AttributeError):
        return check_text(text, place)
    findings = []
    for number, cell in enumerate(cells, start=1):
        for part in _strings({key: value for key, value in cell.items() if key != "id"}):
            findings += [Finding(f"{place}, cell {number}", finding.what) for finding in check_text(part, "")]
    return list(dict.fromkeys(findings))


def _strings(value: Any, key: str = "") -> Iterator[str]:
    """All text in a notebook cell, lines joined, without base64 images."""
    if isinstance(value, str):
        if not key.startswith("image/"):
            yield value
        elif key == "image/svg+xml":
            yield _svg_text(value)
    elif isinstance(value, list) and all(isinstance(line, str) for line in value):
        yield from _strings("".join(value), key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)


def check_tracked(root: Path = ROOT) -> list[Finding]:
    """Findings in all files that git tracks, or would track."""
    listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    names = sorted({name for name in listed if name and (root / name).is_file()})
    return [finding for name in names for finding in check_file(root / name, name)]


def check_tree(folder: Path) -> list[Finding]:
    """Findings in all files below a folder, or in one file."""
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    base = folder.parent if folder.is_file() else folder
    return [finding for path in files for finding in check_file(path, path.relative_to(base).as_posix())]


def check_history(root: Path = ROOT) -> list[Finding]:
    """Findings in messages, added lines and names of files of every commit of every branch."""
    findings: list[Finding] = []
    commit, lines = "", []

    def check_commit() -> None:
        findings.extend(Finding(f"commit {commit[:12]}", finding.what) for finding in check_text("\n".join(lines), ""))
        lines.clear()

    log = _git(root, "log", "--all", "-p", "--no-color", "--format=\1%H%n%B")
    for part in re.split(r"^(?=\x01)|^(?=diff --git )", log, flags=re.MULTILINE):
        if part.startswith("\1"):
            check_commit()
            commit, part = part[1:].split("\n", 1)
            lines.append(part)
            continue
        head, _, body = part.partition("\n@@")
        name = head.split("\n")[0].rpartition(" b/")[2].rstrip('"')
        if _is_data(name) and name != WEIGHTS and not STUDY.fullmatch(name):
            what = f"a data file ({Path(name).suffix}); data files must not be committed"
            findings.append(Finding(f"commit {commit[:12]}", what))
        added = "\n".join(line[1:] for line in body.split("\n") if line.startswith("+"))
        lines += [head.split("\n")[0], _text_of_file(head.split("\n")[0], added)]
    check_commit()
    return list(dict.fromkeys(findings))


def _text_of_file(name: str, text: str) -> str:
    """Added lines as ``check_file`` reads them: SVG without tags, no base64 images."""
    if name.endswith(".svg"):
        return _svg_text(text)
    return "\n".join(line for line in text.split("\n") if '"image/png"' not in line)


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]  # the user's own git, by name; the words are fixed in this module
    done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    return done.stdout.decode("utf-8", errors="replace")
