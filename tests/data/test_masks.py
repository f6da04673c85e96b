"""Given masks are aligned with the images by geometry."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.segmentation import masks

SHAPE = (3, 4, 7, 5)  # slices, frames, rows, columns; all different, so that swapped axes are detected


def axes() -> np.ndarray:
    """An oblique stack: one matrix per slice that maps (column, row, 1) to mm in DICOM axes."""
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    row, column, normal = rotation.T
    return np.stack(
        [np.column_stack([1.5 * row, 1.8 * column, np.array([5.0, -7, 30]) + 10 * s * normal]) for s in range(3)]
    )


def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)


def nifti_affine() -> np.ndarray:
    """The affine of (column, row, slice) for ``axes``, in NIfTI axes."""
    a = axes()
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = masks.FLIP @ a[0][:, 0], masks.FLIP @ a[0][:, 1]
    affine[:3, 2], affine[:3, 3] = masks.FLIP @ (a[1] - a[0])[:, 2], masks.FLIP @ a[0][:, 2]
    return affine


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_any_flip_or_transposition_with_its_affine_gives_the_same_labels(tmp_path, flips, transposed):
    image = nibabel.Nifti1Image(labels().transpose(3, 2, 0, 1), nifti_affine())
    for axis in flips:
        flip = np.ones((3, 2))
        flip[:, 0] = np.arange(3)
        flip[axis, 1] = -1
        image = image.as_reoriented(flip)
    if transposed:
        image = image.as_reoriented(np.array([[1, 1], [0, 1], [2, 1]]))
    nibabel.save(image, tmp_path / "seg_sa.nii.gz")
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "seg_sa.nii.gz", axes(), SHAPE), labels())


def test_slices_are_matched_by_position_if_their_order_or_number_differs(tmp_path):
    nibabel.save(nibabel.Nifti1Image(labels().transpose(3, 2, 0, 1), nifti_affine()), tmp_path / "a.nii.gz")
    found = masks.read_mask(tmp_path / "a.nii.gz", axes()[[2, 0]], (2, *SHAPE[1:]))
    np.testing.assert_array_equal(found, labels()[[2, 0]])


def test_a_smaller_mask_fills_its_part_of_the_images(tmp_path):
    affine = nifti_affine()
    affine[:3, 3] += 2 * affine[:3, 0] + affine[:3, 1]
    part = labels()[:, :, 1:6, 2:]
    nibabel.save(nibabel.Nifti1Image(part.transpose(3, 2, 0, 1), affine), tmp_path / "a.nii.gz")
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[:, :, 1:6, 2:] = part
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "a.nii.gz", axes(), SHAPE), expected)


def test_volumes_of_a_mask_are_assigned_to_the_given_frames(tmp_path):
    nibabel.save(nibabel.Nifti1Image(labels()[:, :2].transpose(3, 2, 0, 1), nifti_affine()), tmp_path / "a.nii.gz")
    found = masks.read_mask(tmp_path / "a.nii.gz", axes(), SHAPE, (3, 1))
    np.testing.assert_array_equal(found[:, [3, 1]], labels()[:, :2])
    assert not found[:, [0, 2]].any()


def shifted(mm: float) -> np.ndarray:
    affine = nifti_affine()
    affine[:3, 3] += mm * affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    return affine


@pytest.mark.parametrize(
    ("affine", "change", "reason"),
    [
        (shifted(5.0), lambda x: x, "does not overlap"),
        (shifted(500.0), lambda x: x, "does not overlap"),
        (np.diag([1.5, 1.8, 10, 1]), lambda x: x, "geometry of the segmentation differs"),
        (nifti_affine() @ np.diag([2, 2, 1, 1]), lambda x: x, "geometry of the segmentation differs"),
        (nifti_affine(), lambda x: x + 1, "labels outside"),
        (nifti_affine(), lambda x: x[..., :3], "3 frames"),
    ],
)
def test_masks_of_another_stack_are_refused(tmp_path, affine, change, reason):
    nibabel.save(nibabel.Nifti1Image(change(labels().transpose(3, 2, 0, 1)), affine), tmp_path / "a.nii.gz")
    with pytest.raises(UnreadableError, match=reason):
        masks.read_mask(tmp_path / "a.nii.gz", axes(), SHAPE)


def test_missing_damaged_and_too_large_masks_raise_errors(tmp_path):
    with pytest.raises(UnreadableError, match="no segmentation"):
        masks.read_mask(None, axes(), SHAPE)
    with pytest.raises(UnreadableError, match="no segmentation"):
        masks.read_mask(tmp_path / "nowhere.nii.gz", axes(), SHAPE)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels().transpose(3, 2, 0, 1), nifti_affine()), path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UnreadableError):
        masks.read_mask(path, axes(), SHAPE)
    path.write_bytes(b"no NIfTI")
    with pytest.raises(UnreadableError, match="NIfTI"):
        masks.read_mask(path, axes(), SHAPE)
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 200, 50))
    header.set_data_dtype(np.uint8)
    with (tmp_path / "big.nii").open("wb") as handle:
        header.write_to(handle)
    with pytest.raises(UnreadableError, match="larger"):
        masks.read_mask(tmp_path / "big.nii", axes(), SHAPE)


def save(path, volume: np.ndarray, affine: np.ndarray | None = None) -> None:
    """A mask (S, F, H, W), or one of its frames (S, H, W)."""
    axes_ = (3, 2, 0, 1) if volume.ndim == 4 else (2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(volume.transpose(axes_), nifti_affine() if affine is None else affine), path)


def test_masks_of_end_diastole_and_end_systole_are_read_together(tmp_path):
    drawn = np.maximum(labels(), 1)
    save(tmp_path / "seg_sa_ED.nii.gz", drawn[:, 0])
    save(tmp_path / "seg_sa_ES.nii.gz", drawn[:, 1])
    found = masks.read_mask(tmp_path / "seg_sa_ED.nii.gz", axes(), SHAPE)
    assert (found.any(axis=(0, 2, 3))).sum() == 2
    np.testing.assert_array_equal(found[:, 0], drawn[:, 0])
    np.testing.assert_array_equal(found.sum(axis=1), drawn[:, 0] + drawn[:, 1])
    (tmp_path / "seg_sa_ES.nii.gz").unlink()
    alone = masks.read_mask(tmp_path / "seg_sa_ED.nii.gz", axes(), SHAPE)
    np.testing.assert_array_equal(alone[:, 0], drawn[:, 0])
    assert not alone[:, 1:].any()


def test_a_mask_with_one_frame_more_is_matched_by_time_in_the_beat(tmp_path):
    drawn = np.random.default_rng(0).integers(0, 4, (3, 20, 7, 5)).astype(np.uint8)
    save(tmp_path / "a.nii.gz", drawn)
    found = masks.read_mask(tmp_path / "a.nii.gz", axes(), (3, 19, 7, 5))
    assert found.shape == (3, 19, 7, 5)
    np.testing.assert_array_equal(found[:, [0, 9, 18]], drawn[:, [0, 9, 19]])
    with pytest.raises(UnreadableError, match="20 frames, the cine 10"):
        masks.read_mask(tmp_path / "a.nii.gz", axes(), (3, 10, 7, 5))


def test_interpolated_masks_raise_an_error(tmp_path):
    save(tmp_path / "a.nii.gz", labels().astype(np.float32))
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "a.nii.gz", axes(), SHAPE), labels())
    for wrong in (0.5, np.nan, np.inf):
        blurred = labels().astype(np.float32)
        blurred[0, 0, 0, 0] = wrong
        save(tmp_path / "a.nii.gz", blurred)
        with pytest.raises(UnreadableError, match=r"interpolated|outside"):
            masks.read_mask(tmp_path / "a.nii.gz", axes(), SHAPE)


def heart(cavity: int = 1, wall: int = 2, right: int = 3) -> np.ndarray:
    """Labels (S, F, H, W): a cavity with a wall around it, and a crescent that touches the wall with one side."""
    y, x = np.mgrid[:40, :48]
    distance = np.hypot(y - 20, x - 28)
    image = np.zeros((40, 48), dtype=np.uint8)
    image[np.hypot(y - 20, x - 14) < 9] = right
    image[distance < 12] = wall
    image[distance < 7] = cavity
    return np.broadcast_to(image, (3, 4, 40, 48)).copy()


ACDC = {"cavity": 3, "wall": 2, "right": 1}


@pytest.mark.parametrize(
    ("order", "drawn"), [("ukb_cardiac", heart()), ("mms", heart()), ("acdc", heart(**ACDC))], ids=lambda x: str(x)[:11]
)
def test_every_label_order_is_converted_to_lv_wall_rv(tmp_path, order, drawn):
    save(tmp_path / "a.nii.gz", drawn)
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "a.nii.gz", axes(), drawn.shape, order=order), heart())


@pytest.mark.parametrize(
    ("order", "drawn", "meant"), [("ukb_cardiac", heart(**ACDC), "acdc"), ("acdc", heart(), "ukb")]
)
def test_the_error_for_a_wrong_label_order_has_the_correct_option(tmp_path, order, drawn, meant):
    save(tmp_path / "a.nii.gz", drawn)
    with pytest.raises(UnreadableError, match=f"lies inside the wall.*--mask-labels {meant}"):
        masks.read_mask(tmp_path / "a.nii.gz", axes(), drawn.shape, order=order)


def test_a_wrong_order_is_detected_without_rv_and_with_wall_in_one_frame(tmp_path):
    drawn = heart(right=0)
    drawn[:, 1:][drawn[:, 1:] == 2] = 0  # experts often contour the wall only at end diastole
    save(tmp_path / "a.nii.gz", drawn)
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "a.nii.gz", axes(), drawn.shape), drawn)
    with pytest.raises(UnreadableError, match="lies inside the wall"):
        masks.read_mask(tmp_path / "a.nii.gz", axes(), drawn.shape, order="acdc")


def test_the_error_for_an_unknown_label_order_lists_the_known_orders(tmp_path):
    save(tmp_path / "a.nii.gz", heart())
    with pytest.raises(UnreadableError, match="ukb_cardiac, acdc, mms"):
        masks.read_mask(tmp_path / "a.nii.gz", axes(), (3, 4, 40, 48), order="lv first")


def test_wall_share_is_the_share_of_a_cavitys_border_that_touches_wall():
    image = np.zeros((6, 6), dtype=np.uint8)
    image[1:5, 1:5] = 2
    image[2:4, 2:4] = 1
    image[5, 1:3] = 3
    left, right = masks.wall_share(image[:, :, None, None])
    assert left == 1
    assert right == pytest.approx(2 / 4)  # two sides touch wall, two touch background, two are at the image's edge
