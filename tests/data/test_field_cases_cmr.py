"""Cines as hospitals, archives and anonymisers send them: the right frames, or an error that names the fault."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import detect, dicom_elements, dicom_series, nifti_header, safe_zip
from eccl_lib.data.ingest import cine_folders
from tests.data import exam_files as exam


@pytest.fixture
def cases(shared) -> Path:
    return shared / "field_cases"


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Pixels (S, F, H, W) and notes."""
    cine = detect.open_cine(path)
    return cine.pixels(range(cine.shape[0]), range(cine.shape[1])), list(cine.notes)


def fails(path: Path, reason: str, cure: str = "") -> None:
    with pytest.raises(UnreadableError) as error:
        read(path)
    assert_matches(error.value.reason, reason)
    assert_matches(error.value.cure, cure)


def assert_matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


def expect(folder: Path, note: str = "") -> list[str]:
    """The folder gives the frames of ``exam_files`` in their order; returns the notes."""
    pixels, notes = read(folder)
    np.testing.assert_array_equal(pixels, exam.stack())
    assert_matches("; ".join(notes), note)
    return notes


# Without preamble


def test_40_cine_no_preamble_gives_pydicoms_pixels_and_is_listed(cases):
    folder = cases / "40_cine_no_preamble" / "p"
    assert list(cine_folders.find([folder.parent]).participants) == ["p"]
    pixels, _ = read(folder)
    assert pixels.shape == (6, 12, 64, 60)
    np.testing.assert_array_equal(pixels, exam.by_time(folder, "TriggerTime"))


def without_meta(data: bytes) -> bytes:
    """The elements after the file meta information."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def implicit(data: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


PREAMBLES = {
    "file meta first": lambda data: data[132:],
    "no meta, explicit": without_meta,
    "no meta, implicit": lambda data: without_meta(implicit(data)),
    "meta, implicit": lambda data: implicit(data)[132:],
    "a preamble without its mark": lambda data: bytes(128) + data[132:],
    "a preamble of zeros with a mark of zeros": lambda data: bytes(132) + data[132:],
    "length of the group first": lambda data: b"\x08\0\0\0UL\x04\0\xff\0\0\0" + without_meta(data),
}


@pytest.mark.parametrize("kind", PREAMBLES)
def test_dicom_without_preamble_is_read(tmp_path, kind):
    folder = exam.write(tmp_path / "p")
    for path in folder.iterdir():
        path.write_bytes(PREAMBLES[kind](path.read_bytes()))
        assert not dicom_elements.is_dicom(path.read_bytes()) or path.read_bytes()[128:132] != b"DICM"
    assert list(cine_folders.find([tmp_path]).participants) == ["p"]
    expect(folder)


@pytest.mark.parametrize(
    "content", [b"\x08\0\x05\0 a binary file of another program" + b"x" * 600, b"\x02\0\0\0" * 200]
)
def test_other_binary_files_are_not_taken_for_dicom(content):
    assert not dicom_elements.is_dicom(content)


# The order of the frames


@pytest.mark.parametrize("folder", ["plain", "padded"])
def test_42_cine_no_instance_number_is_ordered_by_acquisition_time_and_says_so(cases, folder):
    folder = cases / "42_cine_no_instance_number" / folder
    pixels, notes = read(folder)
    np.testing.assert_array_equal(pixels, exam.by_time(folder, "AcquisitionTime"))
    assert len({frame.tobytes() for frame in pixels[0]}) >= 7  # the beat is symmetric
    assert_matches(" ".join(notes), "frames are ordered by AcquisitionTime")


UNNUMBERED = {"TriggerTime": None, "InstanceNumber": None}
ORDERS = {
    "AcquisitionTime": ({"ContentTime": None}, "ordered by AcquisitionTime"),
    "ContentTime": ({"AcquisitionTime": None}, "ordered by ContentTime"),
    "names": ({"AcquisitionTime": None, "ContentTime": None}, "the numbers in the names of the files"),
    "one acquisition time": ({"AcquisitionTime": "120000.00", "ContentTime": None}, "numbers in the names"),
    "trigger times of zero": ({"TriggerTime": "0", "ContentTime": None}, "ordered by AcquisitionTime"),
}


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("name", ["IM{}", "IM{:04d}", "1.2.840.{}.dcm", "slice.{}.mr"])
def test_frames_without_numbers_are_ordered_by_the_next_evidence(tmp_path, kind, name):
    tags, note = ORDERS[kind]
    expect(exam.write(tmp_path / "p", name, lambda s, f: UNNUMBERED | tags), note)


TAGS = {
    "TemporalPositionIdentifier": lambda s, f: {"TemporalPositionIdentifier": f + 1},
    "InstanceNumber": lambda s, f: {"InstanceNumber": f},  # from 0
    "AcquisitionTime": lambda s, f: {"AcquisitionTime": f"{['2359', '0000'][f // 6]}{[54, 0][f // 6] + f % 6:02d}.00"},
}


@pytest.mark.parametrize("tag", TAGS)
def test_each_tag_orders_frames_alone_also_over_midnight(tmp_path, tag):
    none = UNNUMBERED | {"AcquisitionTime": None, "ContentTime": None}
    expect(exam.write(tmp_path / "p", "{:x}", lambda s, f: none | TAGS[tag](s, f)), f"ordered by {tag}")


def test_names_that_count_through_the_slices_first_are_in_order(tmp_path):
    none = UNNUMBERED | {"AcquisitionTime": None, "ContentTime": None, "SOPInstanceUID": "1.2.3"}
    (tmp_path / "p").mkdir()
    for s, f in np.ndindex(exam.SLICES, exam.FRAMES):
        (tmp_path / "p" / f"IM{f * exam.SLICES + s + 1}").write_bytes(exam.dicom(s, f, **none))
    expect(tmp_path / "p", "numbers in the names")


def test_instance_numbers_order_frames_without_trigger_times(tmp_path):
    order = np.random.default_rng(0).permutation(exam.SLICES * exam.FRAMES)
    names = iter(order)
    folder = tmp_path / "p"
    folder.mkdir()
    for s, f in np.ndindex(exam.SLICES, exam.FRAMES):
        (folder / f"IM{next(names)}").write_bytes(exam.dicom(s, f, TriggerTime=None, AcquisitionTime=None))
    expect(folder, "ordered by InstanceNumber")


def test_a_zip_of_unordered_entries_gives_the_same_frames(tmp_path):
    folder = exam.write(
        tmp_path / "p", "IM{}", lambda s, f: UNNUMBERED | {"AcquisitionTime": None, "ContentTime": None}
    )
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"exam/{path.name}")
    expect(tmp_path / "p.zip", "numbers in the names")


def test_names_without_an_order_are_rejected_and_not_shuffled(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "p"
    folder.mkdir()
    for s, f in np.ndindex(exam.SLICES, exam.FRAMES):
        image = exam.dicom(s, f, **UNNUMBERED, AcquisitionTime=None, ContentTime=None)
        (folder / rng.bytes(8).hex()).write_bytes(image)
    fails(folder, "nothing .* gives the order of the frames", "TriggerTime or InstanceNumber")


def test_times_of_reconstruction_that_contradict_the_names_lose(tmp_path):
    shuffled = np.random.default_rng(1).permutation(exam.FRAMES)
    tags = lambda s, f: UNNUMBERED | {"AcquisitionTime": "120000", "ContentTime": exam.clock(shuffled[f] / 10)}  # noqa: E731
    expect(exam.write(tmp_path / "p", "IM{}", tags), "since ContentTime would give larger jumps")


def test_frames_with_one_time_stamp_are_all_kept_in_order(tmp_path):
    tags = lambda s, f: {"TriggerTime": f"{60 * (f // 2)}"}  # noqa: E731
    expect(exam.write(tmp_path / "p", changed=tags), "same trigger time.*InstanceNumber")


def test_of_two_acquisitions_with_other_heart_rates_in_one_series_the_last_is_used(tmp_path):
    old = lambda s, f: {"pixels": np.full((exam.SIZE, exam.SIZE), f), "TriggerTime": f"{50 * f}"}  # noqa: E731
    exam.write(
        tmp_path / "p", "a{}", lambda s, f: old(s, f) | {"InstanceNumber": 100 * s + f, "SOPInstanceUID": f"9.{s}.{f}"}
    )
    exam.write(tmp_path / "p", "b{}", lambda s, f: {"InstanceNumber": 100 * s + 50 + f})
    expect(tmp_path / "p", "several times in one series: the last complete")


def test_copies_of_an_image_are_used_once(tmp_path):
    exam.write(tmp_path / "p" / "a")
    exam.write(tmp_path / "p" / "b")
    expect(tmp_path / "p", "skipped 36 copies")


def test_missing_first_frames_do_not_shift_a_slice_numbered_through_the_stack(tmp_path):
    folder = exam.write(tmp_path / "p", changed=lambda s, f: {"TriggerTime": None})
    (folder / f"IM{exam.FRAMES + 6:04d}").unlink()  # slice 1, frame 5; numbers run from 13 to 24 in this slice
    pixels, notes = read(folder)
    assert pixels.shape[:2] == (exam.SLICES, exam.FRAMES)
    difference = [np.abs(pixels[1, f].astype(int) - exam.disc(1, f)).mean() for f in range(exam.FRAMES)]
    assert max(difference) < np.abs(exam.disc(1, 0).astype(int) - exam.disc(1, 3)).mean()
    assert any("11 frames, the others 12" in note for note in notes)


# Whole examinations


@pytest.mark.parametrize(
    ("folder", "note"),
    [
        ("sr", "set aside 10 structured reports"),
        ("rgb", "set aside 12 colour images"),
        ("enhanced", r"set aside 9 enhanced \(multi-frame\) objects"),
        ("dicomdir", "set aside 1 DICOM directories"),
    ],
)
def test_43_cine_examination_with_others_reads_the_cine_and_counts_the_others(cases, folder, note):
    folder = cases / "43_cine_examination_with_others" / folder
    pixels, notes = read(folder)
    (only,) = notes  # nothing is counted as damage
    assert_matches(only, note)
    expected = cases / "42_cine_no_instance_number" / "padded"
    np.testing.assert_array_equal(pixels, exam.by_time(expected, "AcquisitionTime"))


OTHERS = {
    "structured report": ({"Modality": "SR", "PixelData": None, "Rows": None}, "structured reports"),
    "key object note": ({"Modality": "KO", "PixelData": None, "Rows": None}, "key object notes"),
    "presentation state": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1", "PixelData": None}, "presentation states"),
    "document": ({"Modality": "DOC", "PixelData": None, "Rows": None}, "documents"),
    "spectrum": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.2", "PixelData": None}, "spectra"),
    "screenshot": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImagePositionPatient": None}, "secondary captures"),
    "map of 32 bits": ({"BitsAllocated": 32, "PixelData": bytes(4 * exam.SIZE**2)}, "other than 8 or 16 bits"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_objects_are_set_aside_however_many_they_are(tmp_path, kind):
    tags, note = OTHERS[kind]
    exam.write(tmp_path / "p", "other{}", lambda s, f: {"SeriesNumber": 9, "SeriesDescription": "x"} | tags)
    notes = expect(exam.write(tmp_path / "p"), f"set aside 36 .*{note}")
    assert not any("damaged" in note for note in notes)


def test_files_too_large_for_an_image_are_set_aside(tmp_path, monkeypatch):
    folder = exam.write(tmp_path / "p")
    for k in range(9):
        (folder / f"flow{k}").write_bytes((folder / "IM0001").read_bytes()[:300] + bytes(10000))
    monkeypatch.setattr(dicom_series, "LARGEST_MEMBER", 10000)
    monkeypatch.setattr(safe_zip, "LARGEST_MEMBER", 10000)
    assert not any("damaged" in note for note in expect(folder, "set aside 9 files of more than"))


def test_truncated_images_are_still_damage(tmp_path):
    folder = exam.write(tmp_path / "p")
    for path in sorted(folder.iterdir())[::2]:
        path.write_bytes(path.read_bytes()[:-100])
    fails(folder, "18 of 36 images: the DICOM file is truncated", "again")


def test_an_examination_whose_cine_is_enhanced_names_the_converter(tmp_path):
    exam.write(tmp_path / "p", "loc{}", lambda s, f: {"SeriesDescription": "localizer"}, frames=1)
    exam.write(
        tmp_path / "p", "mf{}", lambda s, f: {"NumberOfFrames": 12, "PixelData": bytes(24 * exam.SIZE**2)}, frames=1
    )
    fails(tmp_path / "p", "localizer.*3 enhanced", "emf2sf")


@pytest.mark.parametrize(("folder", "other"), [("perfusion", "perfusion_rest_sax"), ("tagging", "tagging_sax")])
def test_47_examination_perfusion_tagging_reads_the_cine_and_names_the_other(cases, folder, other):
    kind, folder = folder, cases / "47_examination_perfusion_tagging" / folder
    pixels, notes = read(folder)
    np.testing.assert_array_equal(pixels, exam.by_time(folder, "TriggerTime", "cine_sax"))
    assert_matches(" ".join(notes), rf"cine: 'cine_sax' \(72 images\), set aside: '{other}' \(\d+ images: {kind}\)")


def stripes(s: int, f: int) -> np.ndarray:
    """A tagged frame: lines that fade over the beat."""
    fade = np.exp(-f / exam.FRAMES / 0.5)
    return exam.disc(s, f) * (1 - fade * (0.5 + 0.5 * np.cos(2 * np.pi * np.arange(exam.SIZE) / 6)))[None]


def bolus(s: int, f: int) -> np.ndarray:
    return exam.disc(s, 0) * (0.4 + np.exp(-(((f - 15) / 4) ** 2)))


# Series of the same slices, of the same size and later than the cine, by what tells them from it. Each: tags and pixels
# by slice and frame, number of frames, and what the note says.
RIVALS = {
    "perfusion by trigger time": (lambda s, f: {"TriggerTime": "100", "pixels": bolus(s, f)}, 40, "one trigger time"),
    "perfusion by jittering trigger time": (lambda s, f: {"TriggerTime": f"{100 + f}"}, 40, "one trigger time"),
    "perfusion by long steps": (
        lambda s, f: {"TriggerTime": f"{800 * f}", "NominalInterval": None},
        40,
        "800 ms between",
    ),
    "perfusion by zeros and acquisition time": (
        lambda s, f: {"TriggerTime": "0", "AcquisitionTime": exam.clock(0.8 * f)},
        40,
        "one trigger time",
    ),
    "real-time by duration": (lambda s, f: {"TriggerTime": f"{40 * f}"}, 60, "3.3 beats long"),
    "tagging by description": (lambda s, f: {"SeriesDescription": "SAX_csPAMM 7mm"}, 12, "tagging"),
    "tagging by sequence name": (lambda s, f: {"SequenceName": "*fl2d1_tag"}, 12, "tagging"),
    "mapping by ImageType": (lambda s, f: {"ImageType": ["DERIVED", "PRIMARY", "M", "T1 MAP"]}, 12, "mapping"),
    "phase images by ImageType": (lambda s, f: {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, 12, "flow"),
    "T1 MOLLI by frames": (lambda s, f: {"TriggerTime": "500", "InversionTime": 100 + f}, 8, "8 images a slice"),
    "late enhancement by frames": (lambda s, f: {}, 1, "1 images a slice"),
    "localizer by name": (lambda s, f: {"SeriesDescription": "sax scout"}, 12, "localizer"),
    "TI scout": (lambda s, f: {"InversionTime": 100 + 30 * f}, 12, "no trigger times of a beat"),
    "another name": (lambda s, f: {"SeriesDescription": "4ch"}, 12, "not named short axis"),
    "tagging by contrast": (
        lambda s, f: {"SeriesDescription": "sax b", "pixels": stripes(s, f)},
        12,
        "contrast changes",
    ),
}


@pytest.mark.parametrize("kind", RIVALS)
def test_series_that_are_no_cine_are_told_by_what_they_are(tmp_path, kind):
    change, frames, note = RIVALS[kind]
    later = {"SeriesNumber": 30, "SeriesDescription": "series sax x", "SOPInstanceUID": None}
    exam.write(tmp_path / "p", "b{}", lambda s, f: later | {"InstanceNumber": 1 + f} | change(s, f), frames)
    own = {"SeriesDescription": "sax a"} if "contrast" in kind else {}
    expect(exam.write(tmp_path / "p", changed=lambda s, f: own), f"cine: .* \\(36 images\\), set aside: .*{note}")


def test_a_balanced_cine_is_preferred_to_a_later_series_of_the_same_slices(tmp_path):
    later = {"SeriesNumber": 30, "SeriesDescription": "sax b", "SequenceVariant": ["SK", "SP"]}
    exam.write(tmp_path / "p", "b{}", lambda s, f: later)
    own = {"SeriesDescription": "sax a", "SequenceVariant": ["SK", "SS"]}
    expect(exam.write(tmp_path / "p", changed=lambda s, f: own), "'sax b' .*the other series of these slices is .*SSFP")


def test_of_two_equal_series_the_later_is_used_and_said(tmp_path):
    exam.write(tmp_path / "p", "a{}", lambda s, f: {"SeriesDescription": "sax one", "pixels": exam.disc(s, f) + 1})
    expect(
        exam.write(tmp_path / "p", changed=lambda s, f: {"SeriesNumber": 5, "SeriesDescription": "sax two"}),
        "'sax one' .*earlier",
    )


def test_perfusion_alone_is_no_cine(tmp_path):
    folder = exam.write(
        tmp_path / "p", changed=lambda s, f: {"SeriesDescription": "sax", "TriggerTime": "100"}, frames=40
    )
    fails(
        folder,
        r"no series can be a short-axis cine: 'sax' \(120 images: one trigger time",
        "folder of the short-axis cine",
    )


def test_a_series_in_different_beats_without_trigger_times_is_read_with_a_doubt(tmp_path):
    tags = lambda s, f: {"TriggerTime": None, "AcquisitionTime": exam.clock(s + f)}  # noqa: E731
    expect(exam.write(tmp_path / "p", changed=tags), "check that this is no perfusion")


@pytest.mark.parametrize("uid", ["", "1.2.3"])
def test_series_without_ids_of_their_own_are_told_by_number_and_description(tmp_path, uid):
    other = {"SeriesDescription": "sax dynamic", "SeriesNumber": 30, "TriggerTime": "100", "SOPInstanceUID": None}
    exam.write(tmp_path / "p", "b{}", lambda s, f: other | {"SeriesInstanceUID": uid}, 40)
    expect(exam.write(tmp_path / "p", changed=lambda s, f: {"SeriesInstanceUID": uid}), "'sax dynamic' .120 images")


def test_a_cine_of_one_series_a_slice_needs_no_note(tmp_path):
    tags = lambda s, f: {"SeriesNumber": 3 + s, "SeriesDescription": f"CINE_sax_b{s + 1}"}  # noqa: E731
    assert expect(exam.write(tmp_path / "p", changed=tags)) == []


# NIfTI


def nifti(path: Path, values: np.ndarray, zooms: tuple[float, ...] = (1.5, 1.5, 8.0, 0.06), **header) -> Path:
    """Write voxels with sform code 2. header: fields to change; ``raw``: bytes by offset."""
    raw = header.pop("raw", {})
    image = nibabel.Nifti1Image(values, np.diag([-1.5, -1.5, 8.0, 1.0]))
    image.header.set_zooms((*zooms, *[1.0] * 8)[: values.ndim])
    image.header.set_xyzt_units("mm", "sec")
    for name, value in header.items():
        image.header[name] = value
    content = bytearray(image.to_bytes())
    for offset, value in raw.items():
        content[offset : offset + len(value)] = value
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def voxels() -> np.ndarray:
    """The discs as (X, Y, S, F), apex first as NIfTI's third axis points to the head."""
    return np.ascontiguousarray(exam.stack()[::-1].transpose(3, 2, 0, 1)).astype(np.int16)


def test_an_sform_that_contradicts_the_pixel_size_is_said(tmp_path):
    image = nibabel.Nifti1Image(voxels(), np.eye(4))
    image.header.set_zooms((1.37, 1.37, 8.0, 0.04))
    nibabel.save(image, tmp_path / "a.nii")
    stated = nifti_header.read(tmp_path / "a.nii")
    notes = nifti_header.check_geometry(stated, np.eye(4))
    assert notes == ["the NIfTI's sform and pixdim contradict each other: 1 x 1 x 1 mm of the sform are used"]


def test_50_nifti_a_file_a_phase_is_joined_in_the_order_of_the_phases(cases):
    folder = cases / "50_nifti_a_file_a_phase"
    assert list(cine_folders.find([folder]).participants) == ["sax"]
    pixels, notes = read(folder / "sax_t0.nii.gz")
    assert pixels.shape == (6, 12, 64, 60)
    files = sorted(folder.glob("*.nii.gz"), key=lambda path: int(path.name[5:].split(".")[0]))
    expected = np.stack([np.asarray(nibabel.load(path).dataobj) for path in files], axis=-1)
    np.testing.assert_array_equal(pixels, expected.transpose(2, 3, 1, 0)[::-1])
    assert_matches(notes[0], "one file a phase: 12 files")


@pytest.mark.parametrize("name", ["vol{:04d}", "p_phase{}", "p-frame{:02d}", "sax_ph{}", "x_T{}"])
def test_one_file_a_phase_under_other_names(tmp_path, name):
    for f in range(exam.FRAMES):
        nifti(tmp_path / f"{name.format(f * 3)}.nii.gz", voxels()[..., f])
    ((_, kinds),) = cine_folders.find([tmp_path]).participants.items()
    expect(kinds["cine"][0], "one file a phase: 12 files")


def test_few_phases_or_phases_of_two_stacks_say_how_to_merge(tmp_path):
    for f in range(4):
        nifti(tmp_path / f"a_t{f}.nii.gz", voxels()[..., f])
    fails(tmp_path / "a_t0.nii.gz", "one frame", "one file a phase.*fslmerge -t.*one slice over time")
    for f in range(exam.FRAMES):
        nifti(tmp_path / f"b_t{f}.nii.gz", voxels()[:, :, : 3 - f % 2, f])
    fails(tmp_path / "b_t0.nii.gz", "one phase of 12, and these differ in size", "fslmerge -t")


def test_51_nifti_scaling_nan_borders_are_zero_and_said(cases):
    path = cases / "51_nifti_scaling" / "nan_border.nii.gz"
    pixels, notes = read(path)
    stored = np.asarray(nibabel.load(path).dataobj).transpose(2, 3, 1, 0)[::-1]
    np.testing.assert_array_equal(pixels, np.nan_to_num(stored, nan=0.0))
    assert np.isnan(stored).mean() == pytest.approx(0.078, abs=1e-3)
    assert notes == ["7.8 % of the voxels are NaN or infinite: they are set to 0"]


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_scaling_that_is_none_is_left_out(tmp_path, slope):
    raw = {112: np.array([slope, 0], "<f4").tobytes()}
    expect(nifti(tmp_path / "a.nii", voxels(), raw=raw))


def test_scaling_is_applied_and_an_invalid_intercept_is_named(tmp_path):
    scaled, _ = read(nifti(tmp_path / "a.nii", voxels(), raw={112: np.array([2, -7], "<f4").tobytes()}))
    np.testing.assert_array_equal(scaled, 2.0 * exam.stack() - 7)
    path = nifti(tmp_path / "b.nii", voxels(), raw={112: np.array([2, np.nan], "<f4").tobytes()})
    fails(path, "scaling is not a number.*scl_inter nan", "scl_slope to 1")


def test_infinite_voxels_are_zero_and_said(tmp_path):
    values = voxels().astype(np.float32)
    values[0] = -np.inf
    values[-1] = np.nan
    pixels, notes = read(nifti(tmp_path / "a.nii.gz", values))
    np.testing.assert_array_equal(pixels[..., 1:-1], exam.stack()[..., 1:-1])
    assert not pixels[..., [0, -1]].any()
    assert_matches(notes[0], "4.2 % of the voxels")


@pytest.mark.parametrize(
    ("name", "what"), [("t_first", "12 x 60 x 64 x 6"), ("t_third", "60 x 64 x 12 x 6.*frames differ")]
)
def test_53_nifti_axes_with_time_elsewhere_are_rejected(cases, name, what):
    fails(cases / "53_nifti_axes" / f"{name}.nii", f"axes {what}", "x, y, slice, frame|numpy.moveaxis")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_real_cines_with_time_on_another_axis_are_rejected(shared, tmp_path, axis):
    for source in sorted((shared / "cmr").glob("*/*4d.nii.gz")):
        image = nibabel.load(source)
        values = np.asarray(image.dataobj)
        moved = nibabel.Nifti1Image(np.moveaxis(values, 3, axis), image.affine)
        nibabel.save(moved, tmp_path / "a.nii")
        fails(tmp_path / "a.nii", "are not x, y, slice, frame", "")
        assert read(source)[0].shape == values.shape[2:] + values.shape[1::-1]


def test_a_third_axis_with_the_step_of_a_time_is_rejected(tmp_path):
    image = nibabel.Nifti1Image(np.moveaxis(voxels(), 3, 2), np.diag([-1.5, -1.5, 0.06, 1.0]))
    nibabel.save(image, tmp_path / "a.nii")
    fails(tmp_path / "a.nii", "third axis has steps of 0.06 mm", "Reorder the axes")


def test_five_axes_are_read_if_one_of_them_has_length_one(tmp_path):
    expect(nifti(tmp_path / "itk.nii.gz", voxels()[:, :, :, None], (1.5, 1.5, 8, 1, 0.06)), "5 axes.*length 1")
    cine = detect.open_cine(tmp_path / "itk.nii.gz")
    assert cine.frame_ms == pytest.approx(60)
    expect(nifti(tmp_path / "end.nii", voxels()[..., None]), "5 axes.*length 1")
    two = np.repeat(voxels()[..., None], 2, axis=4)
    fails(nifti(tmp_path / "two.nii", two), r"shape \(48, 48, 3, 12, 2\)", "x, y, slice, frame")


def test_one_slice_over_time_is_read_with_an_axis_of_slices_and_else_named(tmp_path):
    one = voxels()[:, :, :1]
    pixels, _ = read(nifti(tmp_path / "a.nii", one))
    np.testing.assert_array_equal(pixels[0], exam.stack()[2])
    fails(nifti(tmp_path / "b.nii", one[:, :, 0]), "48 x 48 x 12 voxels", "one slice over time, insert the axis")


def test_54_nifti_geometry_without_place_is_said_and_pixels_of_no_size_are_rejected(cases):
    folder = cases / "54_nifti_geometry"
    cine = detect.open_cine(folder / "none.nii")
    assert cine.shape == (6, 12, 64, 60) and cine.spacing_mm == (1.5, 1.5)
    assert_matches(cine.notes[0], "no position .*are a guess")
    fails(folder / "pixdim0.nii", "pixel size of 0 x 0 x 0 mm", "sform and pixdim")


PIXDIM = 76  # offset of pixdim in the header; sform rows are at 280


def test_geometry_is_the_sforms_and_contradictions_are_said(tmp_path):
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(voxels(), np.diag([-1.5, -1.5, 8.0, 1.0]))
    image.set_qform(np.diag([3.0, 3.0, 3.0, 1.0]), 1)
    image.set_sform(np.diag([-1.5, -1.5, 8.0, 1.0]), 1)
    nibabel.save(image, path)
    cine = detect.open_cine(path)
    assert (cine.spacing_mm, cine.slice_step_mm) == ((1.5, 1.5), 8.0)
    assert_matches(cine.notes[0], "sform and qform contradict")
    image.set_sform(np.diag([-1.5, -1.5, 8.0, 1.0]), 0)
    nibabel.save(image, path)
    assert detect.open_cine(path).spacing_mm == (3.0, 3.0)


GEOMETRIES = {
    "sform of zeros": ({280: bytes(48)}, "sform is all zero"),
    "pixdim 0 in one axis": ({PIXDIM + 4: bytes(4), 254: bytes(2)}, "pixel size of 0 x 1.5 x 8 mm"),
    "pixdim NaN": ({PIXDIM + 4: np.array(np.nan, "<f4").tobytes(), 254: bytes(2)}, "pixel size|affine"),
    "metres": ({280: np.diag([0.0015, 0.0015, 0.008, 0])[:3].astype("<f4").tobytes()}, "not plausible"),
}


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_a_geometry_that_is_none_is_rejected(tmp_path, kind):
    raw, reason = GEOMETRIES[kind]
    fails(nifti(tmp_path / "a.nii", voxels(), raw=raw), reason, "again|sform")


def test_a_negative_pixel_size_and_a_time_step_of_zero_are_not_used_as_they_are(tmp_path):
    raw = {PIXDIM + 4: np.array(-1.5, "<f4").tobytes(), PIXDIM + 16: bytes(4), 254: bytes(2)}
    cine = detect.open_cine(nifti(tmp_path / "a.nii", voxels(), raw=raw))
    assert cine.spacing_mm == (1.5, 1.5)
    assert np.isnan(cine.frame_ms)
    assert_matches("; ".join(cine.notes), "pixdim is negative")


@pytest.mark.parametrize("spacing", [["0", "0"], ["1.5", "0"], ["-1", "1"]])
def test_dicom_pixels_of_no_size_are_rejected_with_their_size(tmp_path, spacing):
    folder = exam.write(tmp_path / "p", changed=lambda s, f: {"PixelSpacing": spacing})
    fails(folder, f"PixelSpacing.* is {spacing[0]}.* x {spacing[1]}.*not positive", "geometry")


# Layouts


@pytest.mark.parametrize(
    ("cine", "mask"),
    [
        ("Case_N006/Images/Case_N006", "Case_N006/Contours/Case_N006"),
        ("imagesTr/p1_0000", "labelsTr/p1"),
        ("images/p1", "masks/p1_gt"),
        ("a/img/p1", "a/segmentations/seg_p1"),
    ],
)
def test_masks_in_a_folder_of_their_own_belong_to_the_cine_of_their_name(tmp_path, cine, mask):
    for name in (cine, mask, f"{mask.rsplit('/', 1)[0]}/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    found = cine_folders.find([tmp_path])
    assert found.participants == {
        cine: {"cine": (tmp_path / f"{cine}.nii.gz",), "segmentation": (tmp_path / f"{mask}.nii.gz",)}
    }
    assert found.skipped == {"masks (NIfTI, by name) with no cine of that name beside them": 1}


def test_a_folder_of_cines_that_is_named_like_masks_stays_a_folder_of_cines(tmp_path):
    for name in ("seg/p1", "seg/p2"):
        (tmp_path / "seg").mkdir(exist_ok=True)
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    assert list(cine_folders.find([tmp_path]).participants) == ["seg/p1", "seg/p2"]


# Files that are no cines

FILES = {
    "login page": (b"<!DOCTYPE html><html><body>Please sign in</body></html>", "web page", "Log in"),
    "page without doctype": (b"\n <HTML><head>", "web page", "Log in"),
    "PDF": (b"%PDF-1.7 ...", "PDF", "DICOM or NIfTI"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG", "no geometry"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG", "no geometry"),
    "film": (bytes(4) + b"ftypisom" + bytes(64), "MP4", "no geometry"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5", "NIfTI"),
    "NRRD": (b"NRRD0004\n", "NRRD", "NIfTI"),
    "tar": (b"a.dcm" + bytes(252) + b"ustar" + bytes(64), "tar", "Unpack"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "7-Zip", "Unpack"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "packed.nii.gz", "a.zip"])
def test_other_files_are_named_with_the_way_out(tmp_path, kind, name):
    content, what, cure = FILES[kind]
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.startswith("packed") else content)
    fails(path, what, cure)


def test_zips_of_something_else_and_single_dicom_files_are_named(tmp_path):
    nifti(tmp_path / "a.nii.gz", voxels())
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as archive:
        archive.write(tmp_path / "a.nii.gz", "a.nii.gz")
    fails(tmp_path / "n.zip", "NIfTI", "Unpack")
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        archive.writestr("index", "<html>")
    fails(tmp_path / "h.zip", "no DICOM image in it, but a web page", "Log in")
    (tmp_path / "zip.nii").write_bytes((tmp_path / "n.zip").read_bytes())
    fails(tmp_path / "zip.nii", "a zip, not a NIfTI", "Unpack")
    (tmp_path / "one.dcm").write_bytes(exam.dicom(0, 0))
    fails(tmp_path / "one.dcm", "one DICOM file", "folder or zip.*emf2sf")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:200])
    fails(tmp_path / "cut.nii.gz", "damaged|truncated|incomplete", "again")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    fails(tmp_path / "empty.nii.gz", "empty", "again")
