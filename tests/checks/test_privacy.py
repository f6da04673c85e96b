"""Privacy check: each kind of participant data is planted and found; harmless text is accepted."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from eccl_lib.checks import privacy
from eccl_lib.data.ukb.masking import masked
from tests.conftest import eccl

ID = str(10**6 + 234_567)  # shaped like a participant's id, and not written out here
PERSON, BORN = "Smith", 1956
HOME = "/".join(("", "home", "someone", "data"))


def kinds(text: str) -> set[str]:
    return {finding.what for finding in privacy.check_text(text, "x")}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"participant {ID} failed", "a participant's id"),
        (f"{ID}_20205_2_0.xml", "a participant's id"),
        (f"It was {ID}.", "a participant's id"),
        (f"see ...{ID}", "a participant's id"),
        (f'"eid": "{ID}"', "a participant's id"),
        (f"eid\n{ID}\n", "a participant's id"),
        (f"<PatientInfo><Name><FamilyName>{PERSON}</FamilyName>", "a name"),
        (f"<GivenName units='x'>\n  {PERSON}\n</GivenName>", "a name"),
        (f"Patient's Name: {PERSON}^Ann", "a name"),
        (f"PatientName='{PERSON.lower()}^ann'", "a name"),
        (f"(0010, 0030) Patient's Birth Date DA: '{BORN}0403'", "a birth date"),
        (f"date of birth {BORN}-04-03", "a birth date"),
        (f"DOB: 03/04/{BORN}", "a birth date"),
        (f"<BirthDateTime><Day>3</Day>\n<Month>4</Month><Year>{BORN}</Year></BirthDateTime>", "a birth date"),
        (f"read from {HOME}/x", "a home path"),
        ("C:\\Users" + "\\ann\\x", "a home path"),
        ("/Users" + "/ann/x", "a home path"),
        ("/ro" + "ot/project", "a home path"),
    ],
)
def test_each_kind_is_found(text, kind):
    assert kinds(text) == {kind}


@pytest.mark.parametrize(
    "text",
    [
        "eid 9000001 is synthetic",
        f"0.{ID} is a number and so is {ID}.5 and 1{ID}",
        f"{int(ID):,} participants, or {int(ID):_}",
        "<FamilyName></FamilyName><PID>SYNTHETIC</PID><GivenName/>",
        "<FamilyName>{name}</FamilyName>",
        "p53_i2 2016-05-01; born before 1970",
        "/home/<you>/data and /home/$USER and https://x.org/Users",
        "the word birth date alone",
        f'<img src="data:image/png;base64,iVBOR/{ID}/x">',
    ],
)
def test_similar_harmless_text_is_accepted(text):
    assert kinds(text) == set()


def test_a_finding_names_the_place_and_never_repeats_the_content(tmp_path, capsys):
    (tmp_path / "run.log").write_text(f"line one\nfailed for {ID}\n")
    (finding,) = privacy.check_tree(tmp_path)
    assert str(finding) == "run.log:2: a participant's id"
    (tmp_path / f"{ID}_20205_2_0.txt").write_text("")
    found = privacy.check_tree(tmp_path)
    assert "<id>_20205_2_0.txt: a participant's id in the file name" in map(str, found)
    assert eccl("privacy", str(tmp_path)) == 1
    said = capsys.readouterr()
    assert ID not in said.out + said.err


def notebook(output: dict) -> str:
    cell = {"cell_type": "code", "id": ID, "metadata": {}, "source": ["x\n", "y"], "outputs": [output]}
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "", "metadata": {}}, cell], "nbformat": 4})


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"output_type": "stream", "text": ["read\n", f"eid {ID}\n"]}, {"a participant's id"}),
        ({"output_type": "error", "traceback": [f'File "{HOME}/a.py"']}, {"a home path"}),
        ({"data": {"text/html": [f"<td>{ID}</td>"]}}, {"a participant's id"}),
        ({"data": {"image/svg+xml": [f"<text>{ID}</text>"]}}, {"a participant's id"}),
        ({"data": {"image/svg+xml": [f'<path id="c{ID}f" d="M {ID} 1"/>']}}, set()),
        ({"data": {"image/png": f"iVBOR/{ID}/x"}}, set()),
    ],
)
def test_notebook_outputs_are_checked_without_base64_images(tmp_path, output, expected):
    (tmp_path / "n.ipynb").write_text(notebook(output))
    found = privacy.check_tree(tmp_path)
    assert {finding.what for finding in found} == expected
    assert {finding.place for finding in found} <= {"n.ipynb, cell 2"}


def png(**texts: str) -> bytes:
    """A PNG of one black pixel with text chunks."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    words = b"".join(chunk(b"tEXt", f"{key}\0{text}".encode()) for key, text in texts.items())
    return b"\x89PNG\r\n\x1a\n" + head + words + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def test_text_chunks_of_a_png_are_checked_and_pixels_are_not(tmp_path):
    (tmp_path / "a.png").write_bytes(png(Title=f"participant {ID}"))
    (tmp_path / "b.png").write_bytes(png(Title="ten hearts") + ID.encode())
    assert [str(finding) for finding in privacy.check_tree(tmp_path)] == ["a.png:1: a participant's id"]


@pytest.mark.parametrize(
    "name", ["a.dcm", "a.nii.gz", "a.npy", "a.zip", "a.xml", "a.xlsx", "a.tsv.gz", "a.sav", "a.edf"]
)
def test_a_data_file_is_found_by_its_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert "data file" in privacy.check_tree(tmp_path)[0].what


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_of_a_spreadsheet_is_checked_in_its_encoding(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(f"eid\tage\n{ID}\t60\n".encode(encoding))
    assert [finding.what for finding in privacy.check_tree(tmp_path)] == ["a participant's id"]


def test_only_the_recorded_segmentation_weights_are_accepted(tmp_path):
    path = tmp_path / privacy.WEIGHTS
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert [f.what for f in privacy.check_file(path, privacy.WEIGHTS)]  # nothing says where they are from
    path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(b"weights").hexdigest()}))
    assert privacy.check_file(path, privacy.WEIGHTS) == []
    assert privacy.check_file(path, "elsewhere/weights.safetensors")
    path.write_bytes(b"others")
    assert privacy.check_file(path, privacy.WEIGHTS)


def test_a_dicom_file_with_another_name_is_found(tmp_path):
    (tmp_path / "image.bin").write_bytes(bytes(128) + b"DICM")
    assert privacy.check_tree(tmp_path)[0].what == "a DICOM file"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    return root


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


def test_ignored_files_are_skipped_and_untracked_files_are_checked(repository):
    (repository / ".gitignore").write_text("runs\n")
    (repository / "runs").mkdir()
    (repository / "runs" / "x.log").write_text(ID)
    assert privacy.check_tracked(repository) == []
    (repository / "x.log").write_text(ID)
    assert [str(finding) for finding in privacy.check_tracked(repository)] == ["x.log:1: a participant's id"]


def test_a_deleted_commit_content_is_found_in_the_history(repository):
    (repository / "a.txt").write_text(f"fine\n{ID}\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "One")
    git(repository, "rm", "-q", "a.txt")
    git(repository, "commit", "-qm", "Two")
    assert privacy.check_tracked(repository) == []
    assert [finding.what for finding in privacy.check_history(repository)] == ["a participant's id"]
    (repository / "cine.zip").write_bytes(b"PK\0\0")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Three")
    git(repository, "rm", "-q", "cine.zip")
    git(repository, "commit", "-qm", "Four")
    assert {finding.what for finding in privacy.check_history(repository)} >= {
        "a data file (.zip); data files must not be committed"
    }
    git(repository, "commit", "-q", "--allow-empty", "-m", f"Leave {ID} out")
    assert [finding.what for finding in privacy.check_history(repository)].count("a participant's id") == 2


def test_this_repository_contains_no_participant_data():
    if not (privacy.ROOT / ".git").exists():
        pytest.skip("no git checkout")
    assert [str(finding) for finding in privacy.check_tracked()] == []


def test_masking_replaces_ids_and_keeps_other_numbers():
    assert masked(f"{ID}_20205_2_0.xml has 5000 samples, 0.{ID}") == f"<id>_20205_2_0.xml has 5000 samples, 0.{ID}"


def test_a_digest_is_no_id_and_does_not_hide_an_id_beside_it():
    eid = "4" + "123456"  # put together, so that this file holds no such number
    assert not privacy.check_text(f"seed0-{eid}a and {eid}{'0' * 32}f", "x")
    for text in (eid, f"seed0-{eid}", f"{eid} 0a1b2c3d", f"{eid}a9", f"{eid}00"[:7]):
        assert privacy.check_text(text, "x"), text


def test_predictions_of_the_study_are_accepted_by_their_digest_and_others_are_not(tmp_path):
    name = "figures/study/predictions/eccl-traits.npz"
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"predictions")
    assert [finding.what for finding in privacy.check_file(path, name)] == [
        "a data file (.npz); data files must not be committed"
    ]
    (tmp_path / "figures/study/sums.json").write_text(json.dumps({"predictions/eccl-traits.npz": privacy.sha256(path)}))
    assert privacy.check_file(path, name) == []
    other = path.with_name("mine.npz")
    other.write_bytes(b"others")
    assert privacy.check_file(other, "figures/study/predictions/mine.npz")
    sums = {"predictions/eccl-traits.npz": privacy.sha256(path), "updates_draws.npz": privacy.sha256(path)}
    (tmp_path / "figures/study/sums.json").write_text(json.dumps(sums))
    draws = tmp_path / "figures/study/updates_draws.npz"
    draws.write_bytes(path.read_bytes())
    assert not privacy.check_file(draws, "figures/study/updates_draws.npz")
    draws.write_bytes(path.read_bytes() + b"more")
    assert privacy.check_file(draws, "figures/study/updates_draws.npz")
