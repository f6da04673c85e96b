"""Files are listed by name at any depth, and the best file of a visit comes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import listing, reading
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.ukb import file_names


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(found: listing.FileListing, eid: str = "9000001") -> dict[str, list[str]]:
    return {kind: [path.name for path in paths] for kind, paths in found.participants[eid].items()}


@pytest.mark.parametrize(
    "folder", [".", "a/b/c/d", "Bulk/Electrocardiogram/Resting/90", "Bulk/Heart MRI/Short axis/90", "ECG é/(1)"]
)
def test_files_are_found_at_any_depth(tmp_path, folder):
    found = file_names.find(touch(tmp_path, f"{folder}/9000001_20205_2_0.xml", f"x/{folder}/9000001_20209_2_0.ZIP"))
    assert names(found) == {"cine": ["9000001_20209_2_0.ZIP"], "ecg": ["9000001_20205_2_0.xml"]}
    assert not found.rejected
    assert not found.skipped


def test_several_and_linked_folders_are_searched_and_cycles_end(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    touch(one, "9000001_20205_2_0.xml")
    touch(two, "9000001_20209_2_0.zip")
    (one / "circle").symlink_to(one)
    (one / "more").symlink_to(touch(tmp_path / "three", "9000002_20205_2_0.xml"))
    found = file_names.find([one, two])
    assert list(found.participants) == ["9000001", "9000002"]
    assert set(found.participants["9000001"]) == {"ecg", "cine"}
    assert not found.skipped  # a linked folder is visited once


def test_the_last_array_comes_first_and_other_visits_and_fields_are_skipped(tmp_path):
    touch(tmp_path, *(f"9000001_20205_{instance}_{array}.xml" for instance in (2, 3) for array in (0, 2, 10)))
    touch(tmp_path, "9000001_20208_2_0.zip", "9000001_20207_2_0.zip", "notes.txt", "._9000001_20205_2_0.xml")
    found = file_names.find(tmp_path)
    assert names(found) == {"ecg": [f"9000001_20205_2_{array}.xml" for array in (10, 2, 0)]}
    assert found.skipped == {
        "another visit than instance 2": 3,
        "field 20207": 1,
        "field 20208": 1,
        "an earlier or converted file of the same visit": 2,
    }
    assert names(file_names.find(tmp_path, visit=3)) == {
        "ecg": [f"9000001_20205_3_{array}.xml" for array in (10, 2, 0)]
    }


def test_of_the_same_name_in_two_folders_the_first_folder_is_used(tmp_path):
    for name in ("b", "a"):
        touch(tmp_path / name, "9000001_20205_2_0.xml")
    found = file_names.find([tmp_path / "b", tmp_path / "a"])
    assert [path.parent.name for path in found.participants["9000001"]["ecg"]] == ["b", "a"]
    assert found.skipped == {"the same file name again": 1}


def test_a_link_to_a_listed_file_is_not_listed_again(tmp_path):
    touch(tmp_path, "a/9000001_20205_2_0.xml", "b/x")
    (tmp_path / "b" / "9000001_20205_2_0.xml").symlink_to(tmp_path / "a" / "9000001_20205_2_0.xml")
    assert len(file_names.find(tmp_path).participants["9000001"]["ecg"]) == 1


def test_a_zip_is_preferred_to_an_unpacked_folder_and_a_converted_stack(tmp_path):
    touch(
        tmp_path,
        "nifti/9000001/sa.nii.gz",
        "nifti/9000001/seg_sa_ED.nii.gz",
        "nifti/9000001/seg_sa_ES.nii.gz",
        "nifti/9000001/seg_sa.nii.gz",
        "nifti/9000001/sa_ED.nii.gz",
        "unpacked/9000001_20209_2_0/series/1.dcm",
        "unpacked/9000001_20209_2_0/series/2.dcm",
        "unpacked/9000001_20209_3_0/1.dcm",
        "z/9000001_20209_2_0.zip",
    )
    assert names(file_names.find(tmp_path)) == {
        "cine": ["9000001_20209_2_0.zip", "9000001_20209_2_0", "sa.nii.gz"],
        "segmentation": ["seg_sa.nii.gz", "seg_sa_ED.nii.gz"],
    }


@pytest.mark.parametrize(
    "name",
    [
        "9000001/seg_sa.nii.gz",
        "9000001/results/seg_sa.nii",
        "9000001_20209_2_0/seg_sa.nii.gz",
        "all/9000001_seg_sa.nii.gz",
        "all/9000001_20209_2_0_seg_sa.nii.gz",
        "12/9000001/seg_sa_ED.nii.gz",
    ],
)
def test_a_segmentation_belongs_to_the_nearest_parent_folder_with_an_id(tmp_path, name):
    found = file_names.find([], segmentations=[touch(tmp_path, name)])
    assert list(found.participants) == ["9000001"]


def test_segmentations_of_another_visit_are_skipped(tmp_path):
    assert not file_names.find(touch(tmp_path, "9000001_20209_3_0/seg_sa.nii.gz")).participants


def test_only_segmentations_are_listed_from_the_segmentation_folders(tmp_path):
    touch(tmp_path, "9000001/sa.nii.gz", "9000001/seg_sa.nii.gz", "9000001_20205_2_0.xml")
    assert names(file_names.find([], segmentations=[tmp_path])) == {"segmentation": ["seg_sa.nii.gz"]}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("9000001_6025_0_0.xml", "exercise"),
        ("9000001_20205_2_0.xml.part", "name"),
        ("9000001_20205_2_0 (1).xml", "name"),
        ("9000001_20209_2_0.zip.crdownload", "name"),
        ("9000001_20205_2_0.xml.gz", "name"),
        ("copy of 9000001_20209_2_0.zip", "name"),
        ("9000001_20205_2_0.zip", "is a .xml file"),
        ("9000001_20209_2_0.xml", "is a .zip file"),
        ("9000001_20209_2_0", "is a .zip file"),
        ("_20209_2_0.zip", "name"),
        ("loose/sa.nii.gz", "participant id"),
    ],
)
def test_files_with_almost_valid_names_are_rejected(tmp_path, name, reason):
    found = file_names.find(touch(tmp_path, name))
    assert not found.participants
    (rejected,) = found.rejected
    assert reason in rejected.reason
    assert rejected.cure
    assert rejected.file == Path(name).name


def test_broken_links_and_missing_folders_are_rejected(tmp_path):
    (tmp_path / "9000001_20205_2_0.xml").symlink_to(tmp_path / "gone.xml")
    (rejected,) = file_names.find(tmp_path).rejected
    assert "link" in rejected.reason
    with pytest.raises(UnreadableError, match="no folder"):
        file_names.find(tmp_path / "nowhere")


def test_a_path_may_be_a_single_file(tmp_path):
    touch(tmp_path, "9000001_20205_2_0.xml", "9000002_20205_2_0.xml")
    assert list(file_names.find(tmp_path / "9000001_20205_2_0.xml").participants) == ["9000001"]


def test_the_last_readable_recording_of_a_visit_is_used_with_a_note(tmp_path):
    def read(path: Path) -> EcgRecord:
        if path.name != "good":
            raise UnreadableError(f"{path.name} is damaged", "Download it.")
        return EcgRecord(np.zeros((12, 5)), 500.0, notes=("x",))

    assert reading.first_readable([Path("good"), Path("bad")], read).notes == ("x",)
    record = reading.first_readable([Path("worse"), Path("bad"), Path("good")], read)
    assert record.notes[0] == "x"
    assert "worse is damaged" in record.notes[1]
    with pytest.raises(UnreadableError, match="worse"):
        reading.first_readable([Path("worse"), Path("bad")], read)
