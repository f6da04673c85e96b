"""Cine folders: ACDC, M&Ms, DICOM and NIfTI give the same voxels as nibabel and pydicom, with labels in our order."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from eccl_lib.config.errors import ConfigError, UnreadableError
from eccl_lib.config.load import load
from eccl_lib.data import cmr, cohort, open_cohort
from eccl_lib.data.formats import detect, dicom_series, safe_zip
from eccl_lib.data.ingest import cine_folders
from eccl_lib.data.segmentation import providers
from tests.conftest import eccl

FRAMES = {"SCD0000101": (18, 7), "SCD0000201": (19, 6), "SCD0000301": (19, 6)}  # ED, ES, from 0: subjects.csv


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def volumes(shared: Path, subject: str) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
    """A real cine and an expert's masks at ED and ES (1 LV, 2 myocardium)."""
    start = shared / "cmr" / "sunnybrook" / subject
    return nibabel.load(f"{start}_sax_4d.nii.gz"), nibabel.load(f"{start}_sax_edes_gt.nii.gz")


def as_acdc(root: Path, shared: Path, names: dict[str, str], groups: dict[str, str]) -> Path:
    """A training folder in ACDC's layout: labels 1 RV, 2 myocardium, 3 LV; frames counted from 1."""
    for subject, name in names.items():
        cine, masks = volumes(shared, subject)
        folder = root / name
        folder.mkdir(parents=True)
        nibabel.save(cine, folder / f"{name}_4d.nii.gz")
        for k, frame in enumerate(FRAMES[subject]):
            start = folder / f"{name}_frame{frame + 1:02d}"
            volume = np.asarray(masks.dataobj)[..., k].astype(np.uint8)
            nibabel.save(
                nibabel.Nifti1Image(np.array([0, 3, 2, 1], np.uint8)[volume], cine.affine), f"{start}_gt.nii.gz"
            )
            nibabel.save(nibabel.Nifti1Image(np.asarray(cine.dataobj)[..., frame], cine.affine), f"{start}.nii.gz")
        ed, es = (frame + 1 for frame in FRAMES[subject])
        (folder / "Info.cfg").write_text(f"ED: {ed}\nES: {es}\nGroup: {groups[name]}\nHeight: 170.0\nNbFrame: 20\n")
    return root


def as_mms(root: Path, shared: Path, names: dict[str, str], pathology: dict[str, str]) -> Path:
    """A folder in M&Ms' layout: labels 1 LV, 2 myocardium, 3 RV, all other frames empty; with the table."""
    rows = []
    for subject, name in names.items():
        cine, masks = volumes(shared, subject)
        folder = root / "Training" / "Labeled" / name
        folder.mkdir(parents=True)
        nibabel.save(cine, folder / f"{name}_sa.nii.gz")
        labels = np.zeros(cine.shape, np.uint8)
        labels[..., list(FRAMES[subject])] = np.asarray(masks.dataobj)
        nibabel.save(nibabel.Nifti1Image(labels, cine.affine), folder / f"{name}_sa_gt.nii.gz")
        facts = {"External code": name, "VendorName": "GE", "Vendor": "C", "Centre": 4}
        rows.append({**facts, "ED": 0, "ES": 1, "Age": 57, "Pathology": pathology[name], "Sex": "F"})
    with (root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv").open("w") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def in_our_order(image: nibabel.Nifti1Image, array: np.ndarray) -> np.ndarray:
    """The array as (S, F, H, W), base first, by the image's affine."""
    stack = np.transpose(array, (2, 3, 1, 0))
    down_left_front = image.affine[:3, 2] @ np.array([-1, 1, -1])
    return stack if down_left_front > 0 else stack[::-1]


@pytest.mark.parametrize("layout", ["acdc", "mms"])
def test_challenge_layouts_give_nibabels_voxels_with_labels_in_our_order(shared, tmp_path, layout):
    make, name = (as_acdc, "patient001") if layout == "acdc" else (as_mms, "A0S9V9")
    make(tmp_path, shared, {"SCD0000101": name}, {name: "DCM"})
    listing = cine_folders.find([tmp_path])
    (recording,) = listing.participants
    assert recording.rsplit("/", 1)[-1] == name
    kinds = listing.participants[recording]
    order = cine_folders.mask_labels_of(kinds) or "ukb_cardiac"
    record = detect.read_cine(kinds["cine"][0], kinds["segmentation"][0], order=order)
    cine, masks = volumes(shared, "SCD0000101")
    np.testing.assert_array_equal(record.images, in_our_order(cine, np.asarray(cine.dataobj)))
    expected = in_our_order(cine, np.asarray(masks.dataobj))
    for k, frame in enumerate(FRAMES["SCD0000101"]):
        np.testing.assert_array_equal(record.labels[:, frame], expected[:, k])
    others = [f for f in range(20) if f not in FRAMES["SCD0000101"]]
    assert not record.labels[:, others].any()
    assert listing.facts[recording]["I42"] == "1"


def test_diagnostic_groups_give_only_the_diseases_that_they_distinguish(shared, tmp_path):
    groups = {"patient001": "MINF", "patient002": "NOR", "patient003": "RV"}
    as_acdc(tmp_path / "acdc", shared, dict(zip(FRAMES, groups, strict=True)), groups)
    facts = cine_folders.find([tmp_path / "acdc"]).facts
    assert facts == {
        "patient001": {"I21": "1", "I42": "0"},
        "patient002": {"I21": "0", "I42": "0"},
        "patient003": {"I21": "0", "I42": "0"},
    }
    pathology = {"A0S9V9": "LVNC", "B1": "HHD", "C2": "Other"}
    as_mms(tmp_path / "mms", shared, dict(zip(FRAMES, pathology, strict=True)), pathology)
    facts = cine_folders.find([tmp_path / "mms"]).facts
    assert facts == {
        "Training/Labeled/A0S9V9": {"I42": "1", "sex": "F", "age": "57"},
        "Training/Labeled/B1": {"I42": "0", "sex": "F", "age": "57"},
    }


@pytest.fixture(params=["sunnybrook/dicom_SCD0000101_slice06.zip", "bivme/dicom_mid_sax_Se3.zip"])
def real_dicom(shared, request) -> Path:
    return shared / "cmr" / request.param


def test_a_folder_of_dicom_files_gives_pydicoms_pixels_in_trigger_time_order(real_dicom, tmp_path):
    with zipfile.ZipFile(real_dicom) as archive:
        for k, name in enumerate(sorted(n for n in archive.namelist() if n.endswith(".dcm"))):
            target = tmp_path / "person1" / "study" / f"series{k % 3}" / f"IM{k:04d}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    (tmp_path / "person1" / "notes.txt").write_text("no image")
    found = cine_folders.find([tmp_path])
    assert found.participants == {"person1": {"cine": (tmp_path / "person1",)}}
    record = detect.read_cine(tmp_path / "person1")
    images = [pydicom.dcmread(path) for path in tmp_path.rglob("IM*")]
    images.sort(key=lambda image: float(image.TriggerTime))
    np.testing.assert_array_equal(record.images[0], np.stack([image.pixel_array for image in images]))
    assert record.spacing_mm == tuple(map(float, images[0].PixelSpacing))
    np.testing.assert_array_equal(detect.read_cine(real_dicom).images, record.images)  # same from the zip


def unzip_as(archive: Path, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as opened:
        for k, member in enumerate(sorted(n for n in opened.namelist() if n.endswith(".dcm"))):
            (folder / name.format(k)).write_bytes(opened.read(member))


@pytest.mark.parametrize("name", ["{}.dicom", "{}.DCM", "{}.IMA", "1.2.840.{}", "IM{}", "slice.{}.mr"])
def test_dicom_files_are_recognised_under_any_name(real_dicom, tmp_path, name):
    unzip_as(real_dicom, tmp_path / "person1", name)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (kinds,) = cine_folders.find([tmp_path]).participants.values()
    assert detect.open_cine(kinds["cine"][0]).shape == detect.open_cine(real_dicom).shape


def test_a_folder_may_have_more_files_than_a_stack_up_to_a_limit(real_dicom, tmp_path, monkeypatch):
    unzip_as(real_dicom, tmp_path, "{}.dcm")
    wanted = detect.open_cine(real_dicom).pixels([0], [0, 3])
    for name in ("LARGEST_STACK", "MOST_MEMBERS"):
        monkeypatch.setattr(safe_zip, name, 5)
    np.testing.assert_array_equal(detect.open_cine(tmp_path).pixels([0], [0, 3]), wanted)
    monkeypatch.setattr(dicom_series, "MOST_FILES", 5)
    with pytest.raises(UnreadableError, match=r"more than 5 files.*only its short-axis series"):
        detect.open_cine(tmp_path)


def test_enhanced_dicom_is_rejected_with_the_name_of_a_converter(real_dicom, tmp_path):
    with zipfile.ZipFile(real_dicom) as archive:
        image = pydicom.dcmread(archive.open(next(n for n in archive.namelist() if n.endswith(".dcm"))))
    image.NumberOfFrames = 20
    (tmp_path / "person1").mkdir()
    image.save_as(tmp_path / "person1" / "IM1")
    with pytest.raises(UnreadableError, match=r"20 frames.*dcm2niix"):
        detect.open_cine(tmp_path / "person1")


def test_a_folder_with_two_studies_is_rejected_and_its_subfolders_are_read(shared, tmp_path):
    with zipfile.ZipFile(shared / "cmr" / "bivme" / "dicom_mid_sax_Se3.zip") as archive:
        for k, name in enumerate(sorted(archive.namelist())):
            image = pydicom.dcmread(archive.open(name))
            for person in (1, 2):
                folder = tmp_path / "siteA" / f"person{person}"
                folder.mkdir(parents=True, exist_ok=True)
                image.StudyInstanceUID = image.SeriesInstanceUID = f"1.2.{person}"
                image.save_as(folder / f"{k}.dcm")
    (kinds,) = cine_folders.find([tmp_path]).participants.values()
    with pytest.raises(UnreadableError, match=r"2 studies.*Use a FOLDER one level deeper"):
        detect.open_cine(kinds["cine"][0])
    people = cine_folders.find([tmp_path / "siteA"]).participants
    assert sorted(people) == ["person1", "person2"]
    assert {detect.open_cine(kinds["cine"][0]).shape[0] for kinds in people.values()} == {1}


def test_the_series_described_as_short_axis_is_selected(shared, tmp_path):
    with zipfile.ZipFile(shared / "cmr" / "bivme" / "dicom_mid_sax_Se3.zip") as archive:
        for k, name in enumerate(sorted(archive.namelist())):
            image = pydicom.dcmread(archive.open(name))
            image.SeriesDescription = "cine SAX mid"
            image.save_as(tmp_path / f"a{k}.dcm")
            image.SeriesDescription, image.SeriesInstanceUID = "4ch", "1.2.3"
            image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            image.save_as(tmp_path / f"b{k}.dcm")
            image.SeriesInstanceUID, image.ImagePositionPatient = "1.2.4", [0, 0, 50]
            image.save_as(tmp_path / f"c{k}.dcm")  # more images of the other plan than of the right one
    record = detect.read_cine(tmp_path)
    with zipfile.ZipFile(shared / "cmr" / "bivme" / "dicom_mid_sax_Se3.zip") as archive:
        first = pydicom.dcmread(archive.open(sorted(archive.namelist())[0]))
    assert record.images.shape == (1, 25, first.Rows, first.Columns)


def test_nifti_files_are_matched_with_their_masks_and_long_axis_files_are_skipped(tmp_path):
    names = [
        "a/one",
        "a/one_gt",
        "b/two",
        "b/seg_two",
        "c/p7_SA_CINE",
        "c/p7_LA_CINE",
        "c/p7_SA_ED",
        "9/sa",
        "9/seg_sa",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    found = cine_folders.find([tmp_path])
    masks = {name: [p.name for p in kinds.get("segmentation", ())] for name, kinds in found.participants.items()}
    assert masks == {
        "a/one": ["one_gt.nii.gz"],
        "b/two": ["seg_two.nii.gz"],
        "c/p7_SA_CINE": [],
        "9": ["seg_sa.nii.gz"],
    }
    assert found.skipped == {"NIfTI of one frame or of the long axis, by name": 2}


@pytest.mark.parametrize("name", ["patient{:03d}", "subject{:02d}", "heart{:02d}", "X_vol{:02d}", "vol{:02d}"])
def test_cines_of_numbered_people_in_one_folder_are_no_phases_of_one_cine(tmp_path, name):
    for k in range(12):
        image = nibabel.Nifti1Image(np.zeros((8, 8, 2, 5), np.int16), np.eye(4))
        nibabel.save(image, tmp_path / f"{name.format(k)}.nii.gz")
    assert list(cine_folders.find([tmp_path]).participants) == [name.format(k) for k in range(12)]


def test_patients_of_one_name_in_two_folders_are_not_lost(real_dicom, tmp_path):
    for site in ("a", "b"):
        unzip_as(real_dicom, tmp_path / site / "001", "{}.dcm")
    found = cine_folders.find([tmp_path / "a", tmp_path / "b"])
    assert {name: kinds["cine"] for name, kinds in found.participants.items()} == {"001": (tmp_path / "a" / "001",)}
    (rejected,) = found.rejected
    assert rejected.file == "001" and "another cine has the same name" in rejected.reason


def test_masks_without_a_cine_are_counted(tmp_path):
    names = (
        "a/one",
        "a/one_gt",
        "a/other_gt",
        "b/seg_two",
        "c/p1_frame01_gt",
        "c/p1_frame01",
        "d/x_SA_ED",
        "d/x_SA_ED_gt",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    found = cine_folders.find([tmp_path])
    assert [p.name for p in found.participants["a/one"]["segmentation"]] == ["one_gt.nii.gz"]
    unmatched = {reason: n for reason, n in found.skipped.items() if reason.startswith("masks")}
    assert unmatched == {"masks (NIfTI, by name) with no cine of that name beside them": 4}


def build(root: Path, *more: str) -> cohort.Cohort:
    words = ["cmr", str(root), "--name", "mine", "--workers", "1", "--scale", "study", *more]
    assert eccl("ingest", *words) == 0
    return open_cohort.load(load("study", cohort="cmr-mine"), lambda line: None, needs=("clips",))


def test_a_store_of_acdc_has_the_labels_of_its_info_files(shared, tmp_path, runs):
    groups = {"patient001": "MINF", "patient002": "DCM", "patient003": "unknown"}
    root = as_acdc(tmp_path / "acdc", shared, dict(zip(FRAMES, groups, strict=True)), groups)
    data = build(root)
    assert sorted(data.table["name"]) == ["patient001", "patient002"]
    assert data.quarantine["reason"].tolist() == ["the table of labels has no row for this recording"]
    labels = dict(zip(data.table["name"], data.labels.tolist(), strict=True))
    assert labels == {"patient001": [True, False, False, False], "patient002": [False, True, False, False]}
    assert data.ecg is None
    config = load("study", cohort="cmr-mine")
    kinds = cine_folders.find([root]).participants["patient001"]
    record = detect.read_cine(kinds["cine"][0], kinds["segmentation"][0], order="acdc")
    row = data.table["name"].tolist().index("patient001")
    np.testing.assert_array_equal(data.clips[row], cmr.crop(record, config.store))
    assert json.loads((data.folder / "report" / "report.json").read_text())["quality"] == {}


def test_a_table_of_labels_overrides_the_datasets_own_labels(shared, tmp_path, runs):
    as_mms(tmp_path / "mms", shared, {"SCD0000101": "X1", "SCD0000201": "X2"}, {"X1": "NOR", "X2": "NOR"})
    (tmp_path / "t.csv").write_text("id,I50,24103\nX1,1,25.8\nX2,0,25.1\n")
    data = build(tmp_path / "mms", "--labels", str(tmp_path / "t.csv"))
    assert sorted(data.labels[:, 3].tolist()) == [False, True]
    assert np.isfinite(data.traits).sum() == 2


def test_cines_without_labels_and_stages_that_need_ecgs_raise_errors(shared, tmp_path, runs, capsys):
    from eccl_lib.pipeline import stages

    (tmp_path / "x" / "p").mkdir(parents=True)
    nibabel.save(volumes(shared, "SCD0000101")[0], tmp_path / "x" / "p" / "heart.nii.gz")
    assert eccl("ingest", "cmr", str(tmp_path / "x"), "--name", "mine") == 2
    assert "--labels FILE.csv" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"only cines.*needs ECGs\. .*pretrain_cmr"):
        stages.train(load("demo", cohort="cmr-mine"), "pretrain_ecg")
    with pytest.raises(ConfigError, match="of the same participants"):
        stages.train(load("demo", cohort="cmr-mine"), "eccl")


def test_a_mask_of_a_frame_that_the_cine_does_not_have_is_rejected(shared, tmp_path):
    folder = as_acdc(tmp_path, shared, {"SCD0000101": "patient001"}, {"patient001": "NOR"}) / "patient001"
    (folder / "patient001_frame08_gt.nii.gz").rename(folder / "patient001_frame21_gt.nii.gz")
    with pytest.raises(UnreadableError, match="frames"):
        detect.read_cine(folder / "patient001_4d.nii.gz", folder / "patient001_frame19_gt.nii.gz", order="acdc")


def test_dicom_and_nifti_without_masks_are_stored_together(shared, tmp_path, runs):
    root = tmp_path / "any"
    with zipfile.ZipFile(shared / "cmr" / "bivme" / "dicom_mid_sax_Se3.zip") as archive:
        archive.extractall(root / "person1" / "whatever")
    nibabel.save(volumes(shared, "SCD0000101")[0], root / "heart.nii.gz")
    (tmp_path / "t.csv").write_text("id,I50\nperson1,0\nheart,1\n")
    data = build(root, "--labels", str(tmp_path / "t.csv"), "--segmenter", "voting")
    config, segmenter = load("study", cohort="cmr-mine"), providers.Segmenter(provider="voting")
    assert set(data.table["segmenter"]) == {"voting"}
    for name, path in {"person1": root / "person1", "heart": root / "heart.nii.gz"}.items():
        record = providers.read(detect.open_cine(path), None, segmenter, "middle")
        row = data.table["name"].tolist().index(name)
        np.testing.assert_array_equal(data.clips[row], cmr.crop(record, config.store))
        assert data.labels[row].tolist() == [False, False, False, name == "heart"]


@pytest.mark.parametrize(("cell", "fault"), [("x" * 200_000, None), ('"x', "quotes or cells are damaged")])
def test_any_cell_of_the_table_of_mms_is_read_or_named(tmp_path, cell, fault):
    table = tmp_path / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
    table.write_text(f"External code,Pathology\nA,{cell}\n")
    if fault is None:
        assert not cine_folders.find([tmp_path]).participants
    else:
        with pytest.raises(UnreadableError, match=f"{table.name}: the table's {fault}"):
            cine_folders.find([tmp_path])
