"""DICOM headers and the arrangement of a stack."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from eccl_lib.data import dicom
from eccl_lib.data.records import UnreadableError
from eccl_lib.data.stack import TOWARDS_APEX, arrange


@pytest.fixture(scope="module")
def image(shared: Path) -> bytes:
    with zipfile.ZipFile(shared / "formats" / "example_9000001_20209_2_0.zip") as opened:
        return opened.read(next(name for name in opened.namelist() if name.endswith(".dcm")))


def resaved(data: bytes, syntax: str | None = None, **changes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    for name, value in changes.items():
        setattr(dataset, name, value)
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_the_quick_header_is_pydicoms(image):
    quick = dicom.read_header(image)
    slow = dicom._to_header(dicom._read_with_pydicom(image), -1)
    assert quick.pixel_start > 0
    assert dataclasses.replace(quick, pixel_start=-1) == slow
    np.testing.assert_array_equal(dicom.read_pixels(image, quick), dicom.read_pixels(image, slow))


def test_real_scanner_files_have_pydicoms_header_and_pixels(shared):
    for archive in sorted((shared / "cmr").rglob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            files = [opened.read(name) for name in opened.namelist() if not name.endswith("/")]
        images = [data for data in files if data[128:132] == b"DICM"]
        assert images
        for data in images[::8]:
            header = dicom.read_header(data)
            dataset = pydicom.dcmread(io.BytesIO(data))
            np.testing.assert_array_equal(dicom.read_pixels(data, header), dataset.pixel_array)
            assert header.position == pytest.approx(tuple(map(float, dataset.ImagePositionPatient)))
            assert header.trigger_ms == pytest.approx(float(dataset.TriggerTime))
        stack = arrange(dicom.read_header(data) for data in images)
        assert stack.shape[:2] == (1, len(images))


def test_other_encodings_go_through_pydicom(image):
    implicit = resaved(image, ImplicitVRLittleEndian)
    header = dicom.read_header(implicit)
    assert header.pixel_start == -1
    np.testing.assert_array_equal(
        dicom.read_pixels(implicit, header), dicom.read_pixels(image, dicom.read_header(image))
    )


def test_rescaling_is_applied(image):
    scaled = resaved(image, RescaleSlope="2", RescaleIntercept="-7")
    np.testing.assert_array_equal(
        dicom.read_pixels(scaled, dicom.read_header(scaled)),
        2.0 * dicom.read_pixels(image, dicom.read_header(image)) - 7,
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: b"hello", "not a DICOM"),
        (lambda d: d[:700], "cut short|no pixels|damaged"),
        (lambda d: resaved(d, DeflatedExplicitVRLittleEndian), "deflated"),
        (lambda d: resaved(d, Rows=60000), "60000"),
        (lambda d: resaved(d, NumberOfFrames="9"), "single-frame"),
        (lambda d: resaved(d, ImagePositionPatient=None), "ImagePositionPatient"),
        (lambda d: resaved(d, PixelSpacing=["1", "nan"]), "PixelSpacing|damaged"),
    ],
)
def test_unusable_images_are_refused_with_their_reason(image, damage, reason):
    with pytest.raises(UnreadableError, match=reason):
        dicom.read_header(damage(image))


def test_pixels_cut_short_are_refused(image):
    with pytest.raises(UnreadableError, match="cut short"):
        dicom.read_pixels(image[:-100], dicom.read_header(image))


FRAMES = 12


def headers(image: bytes, slices: int = 3, frames: int = FRAMES) -> list[dicom.Header]:
    """A stack of our own along the patient's left-front-feet direction, in a random order."""
    first = dicom.read_header(image)
    made = []
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    for s in range(slices):
        for f in range(frames):
            place = tuple(np.array([1.0, 2.0, 3.0]) + 10 * s * normal)
            made.append(
                dataclasses.replace(
                    first, series=f"1.{9 - s}", series_number=9 - s, position=place, trigger_ms=20.0 * f, instance=f
                )
            )
    return [made[k] for k in np.random.default_rng(0).permutation(len(made))]


def test_slices_run_from_base_to_apex_and_frames_in_time_whatever_the_order(image):
    stack = arrange(headers(image))
    assert stack.shape[:2] == (3, FRAMES)
    depth = stack.positions @ TOWARDS_APEX
    assert (np.diff(depth) > 0).all()
    assert all([h.trigger_ms for h in s] == [20 * f for f in range(FRAMES)] for s in stack.frames)
    assert stack.step_mm == pytest.approx(10)
    assert stack.notes == ()


def test_frames_without_trigger_times_go_by_instance_number(image):
    silent = [dataclasses.replace(h, trigger_ms=float("nan")) for h in headers(image)]
    assert all([h.instance for h in s] == list(range(FRAMES)) for s in arrange(silent).frames)


def test_a_slice_acquired_twice_keeps_its_last_complete_series(image):
    once = headers(image)
    again = [dataclasses.replace(h, series="1.20", series_number=20) for h in once if h.series == "1.8"]
    stack = arrange(once + again)
    assert [s[0].series for s in stack.frames] == ["1.9", "1.20", "1.7"]
    assert "twice" in stack.notes[0]
    broken = [dataclasses.replace(h, series="1.20", series_number=20) for h in once if h.series == "1.8"][:7]
    assert [s[0].series for s in arrange(once + broken).frames] == ["1.9", "1.8", "1.7"]


def test_missing_frames_repeat_their_neighbour_and_other_sizes_are_left_out(image):
    some = headers(image)
    lost = [h for h in some if not (h.series == "1.8" and h.instance == 2)]
    stack = arrange(lost)
    assert stack.shape[:2] == (3, FRAMES)
    assert "11 frames" in stack.notes[0]
    odd = [dataclasses.replace(h, rows=99) if h.series == "1.7" else h for h in some]
    stack = arrange(odd)
    assert stack.shape[0] == 2
    assert "another size" in stack.notes[0]
