"""Postprocessing keeps one heart connected in space and time, and removes specks, other structures and holes."""

from __future__ import annotations

import numpy as np

from eccl_lib.data.segmentation.unet import postprocess

SPACING = (2.0, 2.0)


def disc(at: tuple[int, int], radius: float, size: int = 64) -> np.ndarray:
    return np.hypot(np.arange(size)[:, None] - at[0], np.arange(size)[None, :] - at[1]) <= radius


def certain(labels: np.ndarray) -> np.ndarray:
    """Probabilities (S, F, 4, H, W) of labels (S, F, H, W)."""
    return np.stack([np.where(labels == k, 0.97, 0.01) for k in range(4)], axis=2).astype(np.float32)


def heart(frames: int = 6, slices: int = 2) -> np.ndarray:
    out = np.zeros((slices, frames, 64, 64), dtype=np.uint8)
    for f in range(frames):
        radius = 10 - 4 * np.sin(np.pi * f / frames)
        out[:, f, disc((30, 34), 14)] = 2
        out[:, f, disc((30, 34), radius)] = 1
        out[:, f, 22:40, 10:18] = 3
    return out


def test_a_clean_heart_is_not_changed():
    np.testing.assert_array_equal(postprocess.labels(certain(heart()), SPACING), heart())


def test_specks_and_other_round_structures_are_removed():
    noisy = heart()
    noisy[0, 2, disc((56, 8), 4)] = 2
    noisy[0, 2, disc((56, 8), 3)] = 1  # an aorta in all frames
    noisy[1, :, disc((8, 56), 5)] = 1
    noisy[0, 1, 60:62, 60:62] = 3
    np.testing.assert_array_equal(postprocess.labels(certain(noisy), SPACING), heart())


def test_a_papillary_muscle_belongs_to_the_cavity_and_a_hole_in_the_wall_to_the_wall():
    noisy = heart()
    noisy[:, :, disc((30, 34), 2)] = 2
    noisy[:, :, 30, 46] = 0
    np.testing.assert_array_equal(postprocess.labels(certain(noisy), SPACING), heart())


def test_a_papillary_muscle_that_touches_the_wall_belongs_to_the_cavity():
    noisy = heart()
    noisy[:, :, 29:32, 34:] = np.where(noisy[:, :, 29:32, 34:] == 1, 2, noisy[:, :, 29:32, 34:])
    found = postprocess.labels(certain(noisy), SPACING)
    bulge = (heart() == 1) & (found != 1)  # a chord at the base of the muscle
    assert bulge.sum((2, 3)).max() <= 3
    assert not ((found == 1) & (heart() != 1)).any()


def test_a_cavity_of_few_or_collinear_pixels_is_kept():
    small = heart(frames=8, slices=1)
    small[small == 1] = 2
    small[0, :, 30, 32:36] = 1
    np.testing.assert_array_equal(postprocess.labels(certain(small), SPACING), small)
    small[0, :, 30, 32:36] = 2
    small[0, :, 30, 33] = 1
    np.testing.assert_array_equal(postprocess.labels(certain(small), SPACING), small)


def test_components_are_cyclic_in_time():
    """The cavity of frames 4, 5, 0, 1 is one component, since time is cyclic."""
    mask = np.zeros((6, 8, 8), dtype=bool)
    mask[[0, 1, 4, 5], 2:5, 2:5] = True
    parts, _ = postprocess._parts(mask)
    assert len(np.unique(parts[mask])) == 1
    mask[5] = False
    parts, _ = postprocess._parts(mask)
    assert len(np.unique(parts[mask])) == 2


def test_the_axis_follows_a_tilted_heart():
    stack = np.concatenate([np.roll(heart(slices=1), s, axis=2) for s in range(4)])
    found = postprocess.axis(certain(stack), SPACING)
    np.testing.assert_allclose(found[:, 0], 30 + np.arange(4), atol=2)
    np.testing.assert_allclose(found[:, 1], 34, atol=1.5)


def test_a_structure_far_from_the_axis_and_one_beyond_an_empty_slice_are_removed():
    stack = np.concatenate([heart(slices=3), 0 * heart(slices=2)])
    stack[3, :, disc((57, 5), 5)] = 2  # 75 mm from the axis
    stack[3, :, disc((57, 5), 3)] = 1
    stack[4, :, disc((30, 34), 6)] = 2
    stack[4, :, disc((30, 34), 4)] = 1
    found = postprocess.labels(certain(stack), SPACING)
    np.testing.assert_array_equal(found[:3], heart(slices=3))
    assert not found[3:].any()


def test_the_rv_reaches_above_the_base_of_the_lv():
    stack = np.concatenate([0 * heart(slices=4), heart(slices=2), 0 * heart(slices=1)])
    stack[3, :, 22:36, 10:18] = 3  # inflow
    stack[2, :, 24:34, 11:18] = 3  # outflow
    expected = stack.copy()
    stack[1, :, 24:34, 11:18] = 3  # too far above
    stack[3, :, 50:60, 10:18] = 3  # another structure
    stack[6, 4, 20:44, 10:30] = 3  # larger than the RV of the slice before it
    np.testing.assert_array_equal(postprocess.labels(certain(stack), SPACING), expected)


def test_a_still_structure_is_not_right_ventricle():
    noisy = heart(slices=1)
    noisy[0, :, 24:38, 51:60] = 3  # as near and as large as the RV, in all frames
    change = np.full((1, 64, 64), 5.0)
    change[0, 20:42, 8:50] = 30.0
    np.testing.assert_array_equal(postprocess.labels(certain(noisy), SPACING, change), heart(slices=1))
    np.testing.assert_array_equal(postprocess.labels(certain(noisy), SPACING), noisy)


def test_an_empty_input_gives_an_empty_output():
    empty = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(postprocess.labels(certain(empty), SPACING), empty)
