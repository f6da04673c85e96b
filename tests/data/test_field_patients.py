"""Patients of recordings from tables and folders, segments of records, and path names that are not UTF-8."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.ingest import cine_folders, ecg_folders
from eccl_lib.data.listing import FileListing, walk


@pytest.fixture
def tree(tmp_path):
    """A function that makes empty headers at these paths, and returns their folder."""

    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "t" / name).write_text("a 12 500 5000\n")
        return tmp_path / "t"

    return make


def patients(listing: FileListing) -> dict[str, str]:
    return {name: facts["patient"] for name, facts in listing.facts.items()}


def test_patients_come_from_folders_that_are_named_after_them(tree):
    root = tree(
        "patient001/s0010_re.hea", "patient001/s0014_re.hea", "patient002/a.hea", "sub-03/ecg/b.hea", "misc/c.hea"
    )
    found = patients(ecg_folders.find([root]))
    assert found["patient001/s0010_re"] == found["patient001/s0014_re"] == "folder/patient001"
    assert found["sub-03/ecg/b"] == "folder/sub-03"
    assert "misc/c" not in found


def test_patients_come_from_the_folder_of_a_level_if_it_is_given(tree):
    root = tree("ward/anna/1.hea", "ward/anna/2/3.hea", "ward/bert/4.hea", "5.hea")
    assert patients(ecg_folders.find([root], patient_folder=2)) == {
        "ward/anna/1": "folder/ward/anna",
        "ward/anna/2/3": "folder/ward/anna",
        "ward/bert/4": "folder/ward/bert",
    }


@pytest.mark.parametrize("below", ["", "files"])
def test_patients_of_mimic_and_code_come_from_their_own_tables(tree, below):
    root = tree(
        "files/p1000/p10000032/s1/1.hea", "files/x/s2/2.hea", "files/x/s3/3.hea", "files/10.npy", "files/11.npy"
    )
    rows = ["subject_id,study_id,path", *(f"7,{k},files/x/s{k}/{k}" for k in (2, 3))]
    (root / "record_list.csv").write_text("\n".join(rows))
    (root / "files" / "exams.csv").write_text("exam_id,patient_id\n10,5\n11,5\n")
    listing = ecg_folders.find([root / below])
    found = {name.removeprefix("files/"): patient for name, patient in patients(listing).items()}
    assert found["x/s2/2"] == found["x/s3/3"] == "mimic-iv-ecg/7"
    assert found["10"] == found["11"] == "code/5"
    assert found["p1000/p10000032/s1/1"].endswith("p1000/p10000032")


def test_segments_and_signal_files_of_other_case_are_not_recordings(tree):
    root = tree(
        "a.hea", "a_0001.hea", "a_0002.hea", "a_layout.hea", "b_1.hea", "C.HEA", "C.DAT", "d.edf", "e.bdf", "f.pdf"
    )
    (root / "a.hea").write_text("a/3 12 500 6000\na_layout 0\na_0001 3000\na_0002 3000\n")
    listing = ecg_folders.find([root])
    assert sorted(listing.participants) == ["C", "a", "b_1", "d", "e"]
    assert dict(listing.skipped) == {"segments of a multi-segment WFDB record": 3, "files .pdf": 1}


@pytest.fixture
def foreign_names(tmp_path) -> Path:
    """A tree with a good file, and a file and a folder whose names are Latin-1 and other bytes."""
    root = tmp_path / "tree"
    (root / "good").mkdir(parents=True)
    for name in (b"good/a.hea", b"good/b\xfc.hea", b"M\xfcller/c.hea", b"\xff\xfe/d.hea"):
        path = os.path.join(os.fsencode(root), name)  # noqa: PTH118
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            shutil.copyfile(os.devnull, path)
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
    return root


@pytest.mark.parametrize("find", [ecg_folders.find, cine_folders.find])
def test_names_that_are_not_utf8_are_rejected_alone(foreign_names, find):
    listing = find([foreign_names])
    rejected = sorted((item.file, item.reason) for item in listing.rejected if "UTF-8" in item.reason)
    assert rejected == [
        (r"M\xfcller", "the name of the folder is not UTF-8"),
        (r"\xff\xfe", "the name of the folder is not UTF-8"),
        (r"b\xfc.hea", "the name of the file is not UTF-8"),
    ]
    assert all(json.dumps(item.file).isascii() and item.cure for item in listing.rejected)


def test_a_root_that_is_not_utf8_is_refused_and_other_files_are_listed(foreign_names):
    assert [path.name for path in walk(foreign_names, FileListing())] == ["a.hea"]
    with pytest.raises(UnreadableError, match=r"M\\xfcller is not UTF-8\. Rename"):
        list(walk(Path(os.fsdecode(os.fsencode(foreign_names) + b"/M\xfcller")), FileListing()))
