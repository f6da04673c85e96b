"""Independent readers decode the written files to exactly the rendered data."""

import io
import re
import xml.etree.ElementTree as ElementTree
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest

from eccl_lib.config.load import load
from eccl_lib.config.schema import LEADS
from eccl_lib.data.synthetic import FIRST_EID, render_cine, render_ecg, ukb_tree, write_participant, write_table

CONFIG = load("demo", overrides={"synthetic.participants": 30}).synthetic
REAL_ID = re.compile(r"(?<![\d.])[1-6]\d{6}(?![\d.])")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    write_participant(CONFIG, 2, folder)
    return folder


@pytest.fixture(scope="module")
def frames(folder):
    """Datasets of the zip, by series and trigger time."""
    with zipfile.ZipFile(ukb_tree.cine_path(folder, FIRST_EID + 2)) as archive:
        assert archive.testzip() is None
        found = [pydicom.dcmread(io.BytesIO(archive.read(n))) for n in archive.namelist() if n.endswith(".dcm")]
    return sorted(found, key=lambda d: (d.SeriesInstanceUID, d.TriggerTime))


def test_xml_decodes_to_the_rendered_ecg(folder):
    root = ElementTree.fromstring(ukb_tree.ecg_path(folder, FIRST_EID + 2).read_bytes())
    strip = root.find("StripData")
    step = float(strip.findtext("Resolution")) / 1000
    rows = {w.get("lead"): np.array([int(v) for v in w.text.split(",")]) * step for w in strip.findall("WaveformData")}
    record = render_ecg(CONFIG, 2)
    np.testing.assert_allclose(np.stack([rows[lead] for lead in LEADS]), record.signal, atol=1e-12)
    rate = root.findtext("RestingECGMeasurements/VentricularRate")
    assert float(rate) == record.heart_rate
    median = root.findall("RestingECGMeasurements/MedianSamples/WaveformData")
    assert [len(w.text.split(",")) for w in median] == [600] * 12


def test_dicom_decodes_to_the_rendered_cine(frames):
    record = render_cine(CONFIG, 2)
    pixels = np.stack([d.pixel_array for d in frames]).reshape(record.images.shape)
    assert np.array_equal(pixels, record.images)
    assert [int(d.InstanceNumber) for d in frames[:50]] == list(range(1, 51))
    assert frames[1].TriggerTime == pytest.approx(record.frame_ms, abs=0.006)
    assert tuple(map(float, frames[0].PixelSpacing)) == record.spacing_mm
    assert float(frames[0].SpacingBetweenSlices) == record.slice_step_mm


def test_slices_are_ordered_base_to_apex_towards_left_front_and_feet(frames):
    positions = np.array([frames[k].ImagePositionPatient for k in (0, 50, 100)], float)
    steps = np.diff(positions, axis=0)
    assert (steps @ [1, -1, -1] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), float(frames[0].SpacingBetweenSlices), atol=1e-3)
    along, down = np.split(np.array(frames[0].ImageOrientationPatient, float), 2)
    assert abs(along @ down) < 1e-6 and abs(along @ steps[0]) < 1e-3


def test_files_have_unique_uids_and_no_personal_data(frames):
    assert len({d.SOPInstanceUID for d in frames}) == len(frames) == 150
    assert {str(d.PatientID) for d in frames} == {"SYNTHETIC"}
    assert all(d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID for d in frames)


def test_the_segmentation_is_aligned_with_the_dicom_images(folder, frames):
    image = nibabel.load(ukb_tree.segmentation_path(folder, FIRST_EID + 2))
    record = render_cine(CONFIG, 2)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 3, 1, 0), record.labels)
    for k in (0, 2):
        corner = np.array(frames[50 * k].ImagePositionPatient, float) * [-1, -1, 1]
        np.testing.assert_allclose(image.affine @ [0, 0, k, 1], [*corner, 1], atol=1e-2)
    assert image.header.get_zooms()[3] == pytest.approx(record.frame_ms / 1000)


def test_writing_again_changes_nothing_and_leaves_no_partial_files(tmp_path):
    folder, again = tmp_path / "one", tmp_path / "two"
    write_participant(CONFIG, 2, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    before = [(p.stat().st_mtime_ns, p.read_bytes()) for p in files]
    write_participant(CONFIG, 2, folder)
    assert [(p.stat().st_mtime_ns, p.read_bytes()) for p in files] == before
    write_participant(CONFIG, 2, again)
    assert [(again / p.relative_to(folder)).read_bytes() for p in files] == [content for _, content in before]
    assert not list(folder.rglob("*.part"))


def test_missing_files_are_written_and_others_are_kept(tmp_path):
    write_participant(CONFIG, 4, tmp_path)
    lost, kept = ukb_tree.ecg_path(tmp_path, FIRST_EID + 4), ukb_tree.cine_path(tmp_path, FIRST_EID + 4)
    content, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    write_participant(CONFIG, 4, tmp_path)
    assert lost.read_bytes() == content and kept.stat().st_mtime_ns == stamp


def test_no_file_contains_a_real_looking_id(folder):
    table = write_table(CONFIG, folder).read_text()
    assert not REAL_ID.search(table)
    for path in folder.rglob("*"):
        assert not REAL_ID.search(path.name)
    assert not REAL_ID.search(ukb_tree.ecg_path(folder, FIRST_EID + 2).read_text("latin-1"))
    with zipfile.ZipFile(ukb_tree.cine_path(folder, FIRST_EID + 2)) as archive:
        assert not REAL_ID.search(archive.read("manifest.cvs").decode())
