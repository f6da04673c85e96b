"""DICOM headers, and the arrangement of a stack."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import dicom, dicom_elements
from eccl_lib.data.formats.stack import TOWARDS_APEX, arrange


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


def test_the_fast_header_parser_equals_pydicom(image):
    quick = dicom.read_header(image)
    slow = dicom._to_header(dicom_elements.read_with_pydicom(image), -1)
    assert quick.pixel_start > 0
    assert dataclasses.replace(quick, pixel_start=-1) == slow
    np.testing.assert_array_equal(dicom.read_pixels(image, quick), dicom.read_pixels(image, slow))


def test_real_scanner_files_give_pydicoms_header_and_pixels(shared):
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


def test_other_encodings_are_read_by_pydicom(image):
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
        (lambda d: b"hello", "not DICOM"),
        (lambda d: d[:700], "truncated|no pixels|damaged"),
        (lambda d: resaved(d, DeflatedExplicitVRLittleEndian), "deflated"),
        (lambda d: resaved(d, Rows=60000), "60000"),
        (lambda d: resaved(d, NumberOfFrames="9"), "9 frames.*enhanced.*emf2sf"),
        (lambda d: resaved(d, SamplesPerPixel=3), "single-frame"),
        (lambda d: resaved(d, ImagePositionPatient=None), "ImagePositionPatient"),
        (lambda d: resaved(d, PixelSpacing=["1", "nan"]), "PixelSpacing|damaged"),
    ],
)
def test_unusable_images_raise_errors_with_a_reason(image, damage, reason):
    with pytest.raises(UnreadableError, match=reason):
        dicom.read_header(damage(image))


def test_truncated_pixels_raise_an_error(image):
    with pytest.raises(UnreadableError, match="truncated"):
        dicom.read_pixels(image[:-100], dicom.read_header(image))


FRAMES = 12
PLAN = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def headers(image: bytes, slices: int = 3, frames: int = FRAMES) -> list[dicom.Header]:
    """Headers of a stack along the patient's left-front-feet direction, in a random order."""
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


def test_slices_are_ordered_base_to_apex_and_frames_in_time(image):
    stack = arrange(headers(image))
    assert stack.shape[:2] == (3, FRAMES)
    depth = stack.positions @ TOWARDS_APEX
    assert (np.diff(depth) > 0).all()
    assert all([h.trigger_ms for h in s] == [20 * f for f in range(FRAMES)] for s in stack.frames)
    assert stack.step_mm == pytest.approx(10)
    assert stack.notes == ()


def test_frames_without_trigger_times_are_ordered_by_instance_number(image):
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


def test_missing_frames_are_replaced_by_neighbours_and_other_sizes_are_skipped(image):
    some = headers(image)
    lost = [h for h in some if not (h.series == "1.8" and h.instance == 2)]
    stack = arrange(lost)
    assert stack.shape[:2] == (3, FRAMES)
    assert "11 frames" in stack.notes[0]
    odd = [dataclasses.replace(h, rows=99) if h.series == "1.7" else h for h in some]
    stack = arrange(odd)
    assert stack.shape[0] == 2
    assert "another size" in stack.notes[0]


def sample(name: str) -> bytes:
    """One of pydicom's own files."""
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom comes without {name}")
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless"])
def test_compressed_images_are_decoded_or_the_error_names_the_codec(name):
    plain, coded = sample("MR_small.dcm"), sample(f"MR_small_{name}.dcm")
    header = dicom.read_header(coded)
    try:
        pixels = dicom.read_pixels(coded, header)
    except UnreadableError as error:
        assert name.startswith("jp")
        assert "pip install" in error.cure
    else:
        np.testing.assert_array_equal(pixels, dicom.read_pixels(plain, dicom.read_header(plain)))


def test_an_empty_tag_is_not_read_from_the_next_bytes(image):
    with pytest.raises(UnreadableError, match="0 x"):
        dicom.read_header(resaved(image, Rows=None))


@pytest.mark.parametrize("orientation", [["0"] * 6, ["1", "0", "0", "1", "0", "0"], ["2", "0", "0", "0", "2", "0"]])
def test_directions_that_are_not_perpendicular_raise_an_error(image, orientation):
    with pytest.raises(UnreadableError, match="perpendicular"):
        dicom.read_header(resaved(image, ImageOrientationPatient=orientation))


def test_of_two_acquisitions_in_one_series_the_later_one_is_used(image):
    once = headers(image)
    first = [dataclasses.replace(h, instance=h.instance - 100) for h in once]
    stack = arrange(once + first)
    assert stack.shape[:2] == (3, FRAMES)
    assert all(h.instance >= 0 for s in stack.frames for h in s)


def test_of_two_orientations_the_one_with_most_images_is_used_or_the_later(image):
    old = headers(image)
    turned = [
        dataclasses.replace(h, series=f"2.{h.series}", series_number=h.series_number + 50, orientation=PLAN)
        for h in old
    ]
    assert arrange(old + turned).frames[0][0].orientation == PLAN
    assert arrange(old + turned[:-1]).frames[0][0].orientation == old[0].orientation


def test_frames_of_a_slice_with_gaps_are_matched_in_time_with_other_slices(image):
    some = headers(image)
    lost = [h for h in some if not (h.series == "1.8" and h.instance in (0, 5, 6))]
    gappy = next(s for s in arrange(lost).frames if s[0].series == "1.8")
    assert [h.instance for h in gappy] == [1, 1, 2, 3, 4, 4, 7, 7, 8, 9, 10, 11]
