"""Slice choice, heart box, crop, views and augmentation of cines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import AugmentConfig, StoreConfig, ViewConfig
from eccl_lib.data import bilinear, cmr
from eccl_lib.data.records import CineRecord


def draws(modality, count, seed):
    """Random numbers of ``modality.augment`` for so many samples."""
    return torch.rand(modality.AUGMENT_DRAWS, count, generator=torch.Generator().manual_seed(seed))


def moving_heart(slices: int = 5, frames: int = 50, height: int = 96, width: int = 88) -> CineRecord:
    """A beating disc in a ring, with a second disc beside it; pixels with label 1 or 3 are bright."""
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((slices, frames, height, width), dtype=np.uint8)
    for s in range(slices):
        for f in range(frames):
            inner = 12 - s + 3 * np.cos(2 * np.pi * f / frames)
            away = np.hypot(y - 50, x - 45)
            labels[s, f][np.hypot(y - 48, x - 28) < inner + 4] = 3
            labels[s, f][away < inner + 6] = 2
            labels[s, f][away < inner] = 1
    noise = np.random.default_rng(0).normal(0, 5, labels.shape)
    images = np.array([30, 240, 90, 230])[labels] + noise
    return CineRecord(images.clip(0).astype(np.uint16), (1.8, 1.8), 10.0, 20.0, labels)


def brute_force_box(labels: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = [], []
    for frame in labels:
        for r in range(frame.shape[0]):
            for c in range(frame.shape[1]):
                if frame[r, c]:
                    rows.append(r)
                    columns.append(c)
    return min(rows), min(columns), max(rows) + 1, max(columns) + 1


@settings(max_examples=20, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 14), st.integers(0, 9), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4
    )
)
def test_heart_box_is_the_smallest_rectangle_over_all_frames(boxes):
    labels = np.zeros((len(boxes), 20, 15), dtype=np.uint8)
    for k, (top, left, height, width) in enumerate(boxes):
        labels[k, top : top + height, left : left + width] = 1 + k % 3
        labels[k, 8, :] = 1  # connects the parts to one component
        labels[k, min(top, 8) : max(top, 8) + 1, left] = 2
    assert cmr.heart_box(labels) == brute_force_box(labels)


def test_a_separate_small_component_does_not_change_the_box():
    labels = moving_heart(1).labels[0].copy()
    box = cmr.heart_box(labels)
    labels[7, 2, 80] = 3
    assert cmr.heart_box(labels) == box


def test_an_empty_mask_raises_an_error():
    with pytest.raises(UnreadableError, match="empty"):
        cmr.heart_box(np.zeros((50, 20, 20), dtype=np.uint8))


def test_the_middle_slice_is_half_way_between_base_and_apex_of_the_left_ventricle():
    labels = np.zeros((11, 2, 8, 8), dtype=np.uint8)
    labels[3:9, :, 2:5, 2:5] = 2
    labels[0:2, :, 2:5, 2:5] = 3  # outflow tract: RV alone
    assert cmr.choose_slice(labels, 11, "middle") == 5
    assert cmr.choose_slice(None, 11, "middle") == 5
    assert cmr.choose_slice(None, 3, "middle") == 1


def test_rv_max_is_the_slice_with_most_rv_at_end_systole_and_the_next_one_if_basal():
    labels = np.zeros((6, 3, 10, 10), dtype=np.uint8)
    labels[:, :, :3, :3] = 1
    labels[:, 1, 0, :3] = 0  # frame 1 has the smallest cavity
    labels[4, 1, 5:9, 5:9] = 3
    labels[2, 0, 4:10, 4:10] = 3  # larger, at another time
    assert cmr.choose_slice(labels, 6, "rv_max") == 4
    labels[1, 1, 4:10, 4:10] = 3
    assert cmr.choose_slice(labels, 6, "rv_max") == 2


def test_rv_max_uses_end_systole_of_the_labelled_frames():
    labels = np.zeros((6, 5, 10, 10), dtype=np.uint8)
    labels[:, 0, :4, :4] = 1
    labels[:, 3, :2, :2] = 1  # end systole; the other frames have no labels
    labels[2, 0, 5:, 5:] = 3
    labels[4, 3, 5:9, 5:9] = 3
    assert cmr.choose_slice(labels, 6, "rv_max") == 4
    with pytest.raises(UnreadableError, match="empty"):
        cmr.choose_slice(np.zeros_like(labels), 6, "rv_max")


@pytest.mark.parametrize(("length", "size"), [(60, 224), (41, 224), (224, 56), (60, 56), (61, 60), (100, 33), (7, 7)])
def test_resize_equals_torchs_antialiased_bilinear_interpolation(length, size):
    image = np.random.default_rng(length).normal(size=(length, 13)).astype(np.float32)
    ours = cmr.resize(image, size, 0)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], (size, 13), mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(ours, theirs[0, 0], atol=2e-5)


def test_frames_are_resampled_cyclically_and_fifty_frames_are_unchanged():
    phase = 2 * np.pi * np.arange(20) / 20
    images = np.cos(phase)[:, None, None].astype(np.float32)
    out = cmr.resample_frames(images, 50)[:, 0, 0]
    np.testing.assert_allclose(out, np.cos(2 * np.pi * np.arange(50) / 50), atol=0.02)
    assert out[-1] == pytest.approx(0.4 * images[19, 0, 0] + 0.6 * images[0, 0, 0], abs=1e-4)
    fifty = np.random.default_rng(0).normal(size=(50, 2, 2))
    assert cmr.resample_frames(fifty, 50) is fifty


def test_frames_are_interpolated_between_the_last_and_the_first():
    images = np.array([0.0, 10.0], dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(cmr.resample_frames(images, 4)[:, 0, 0], [0, 5, 10, 5])


def test_the_crop_contains_exactly_the_heart():
    record = moving_heart()
    clip = cmr.crop(record, StoreConfig())
    assert clip.shape == (224, 224, 50)
    assert clip.dtype == np.uint8
    assert (clip == 0).any()
    assert (clip == 255).any()
    only_heart = dataclasses.replace(record, images=(record.labels > 0).astype(np.uint16) * 100)
    painted = cmr.crop(only_heart, StoreConfig()).max(axis=2)
    assert all(side.max() == 255 for side in (painted[0], painted[-1], painted[:, 0], painted[:, -1]))


def test_the_crop_does_not_depend_on_brightness_scale_or_pixels_outside_the_heart():
    record = moving_heart()
    clip = cmr.crop(record, StoreConfig())
    brighter = dataclasses.replace(record, images=record.images.astype(np.float64) * 4 + 100)
    assert np.abs(clip.astype(int) - cmr.crop(brighter, StoreConfig())).max() <= 1
    box = cmr.heart_box(record.labels[cmr.choose_slice(record.labels, len(record.images), "middle")])
    other = record.images.copy()
    other[:, :, : box[0]] = 4000
    assert np.array_equal(clip, cmr.crop(dataclasses.replace(record, images=other), StoreConfig()))


def test_the_fixed_box_has_eighty_pixels_and_is_zero_padded():
    record = moving_heart()
    box = cmr.fixed_box((0, 0, 30, 40))
    assert box == (-25, -20, 55, 60)
    cut = cmr.cut(record.images[0], box)
    assert cut.shape == (50, 80, 80)
    assert not cut[:, :25].any()
    np.testing.assert_array_equal(cut[:, 25:, 20:], record.images[0][:, :55, :60])
    assert cmr.crop(record, StoreConfig(crop="fixed_80px")).shape == (224, 224, 50)


def test_a_margin_widens_the_crop_by_millimetres_within_the_image():
    record = moving_heart()
    chosen = cmr.choose_slice(record.labels, len(record.images), "middle")
    box, step = cmr.heart_box(record.labels[chosen]), record.spacing_mm
    wider = cmr.with_margin(box, 9.0, step, record.images.shape[2:])
    rim = [round(9 / step[0]), round(9 / step[1])] * 2
    assert [abs(a - b) for a, b in zip(wider, box, strict=True)] == rim
    given = dataclasses.replace(record, images=record.images[[chosen]], labels=None, box=wider)
    np.testing.assert_array_equal(cmr.crop(record, StoreConfig(margin_mm=9.0)), cmr.crop(given, StoreConfig()))
    height, width = record.images.shape[2:]
    assert cmr.with_margin(box, 1000.0, step, (height, width)) == (0, 0, height, width)
    assert cmr.with_margin((-3, 2, 5, 6), 0.0, step, (height, width)) == (-3, 2, 5, 6)  # of voting, beyond the image
    assert cmr.with_margin((-3, 2, 5, 6), 2 * step[0], step, (height, width))[0] == -3


def test_a_missing_mask_and_constant_brightness_raise_errors():
    record = moving_heart()
    with pytest.raises(UnreadableError, match="no segmentation"):
        cmr.crop(dataclasses.replace(record, labels=None), StoreConfig())
    with pytest.raises(UnreadableError, match="constant brightness"):
        cmr.crop(dataclasses.replace(record, images=np.full_like(record.images, 7)), StoreConfig())


def test_the_view_is_the_mean_over_blocks_of_every_kth_frame():
    clip = np.random.default_rng(0).integers(0, 256, (224, 224, 50)).astype(np.uint8)
    view = cmr.to_view(clip, ViewConfig(clip_frames=25, clip_size=56))
    literal = clip[:, :, ::2].reshape(56, 4, 56, 4, 25).mean(axis=(1, 3))
    np.testing.assert_array_equal(view, np.floor(literal + 0.5).astype(np.uint8))
    assert cmr.to_view(clip, ViewConfig()) is clip


def test_scale_maps_to_minus_one_to_one_and_keeps_channels_last():
    stored = torch.arange(256, dtype=torch.uint8).repeat(2 * 4 * 3).view(2, 64, 4, 12)  # (B, H, W, F)
    scaled = cmr.scale(stored.permute(0, 3, 1, 2))
    assert scaled.dtype == torch.float32
    assert (scaled.min(), scaled.max()) == (-1, 1)
    assert scaled.is_contiguous(memory_format=torch.channels_last)


def still(n: int, angle=0.0, side=1.0, shift=(0.0, 0.0), mirror=False) -> tuple[torch.Tensor, ...]:
    return (
        torch.full((n,), angle),
        torch.full((n,), side),
        torch.tensor([shift] * n),
        torch.full((n,), mirror),
    )


def test_the_transform_without_rotation_and_crop_is_the_identity():
    batch = torch.randn(3, 5, 16, 16)
    np.testing.assert_allclose(cmr.transform(batch, *still(3)), batch, atol=1e-5)


def test_quarter_turns_mirrors_and_crops_move_pixels_exactly():
    batch = torch.randn(2, 5, 16, 16)
    turned = cmr.transform(batch, *still(2, angle=np.pi / 2))
    np.testing.assert_allclose(turned, torch.rot90(batch, 1, (2, 3)), atol=1e-4)
    np.testing.assert_allclose(cmr.transform(batch, *still(2, mirror=True)), batch.flip(-1), atol=1e-5)
    corner = cmr.transform(batch, *still(2, side=0.5, shift=(0.5, 0.5)))
    zoomed = torch.nn.functional.interpolate(batch, (32, 32), mode="bilinear", align_corners=False)[:, :, 16:, 16:]
    np.testing.assert_allclose(corner[:, :, 1:, 1:], zoomed[:, :, 1:, 1:], atol=1e-4)


def test_a_batch_is_transformed_like_its_single_samples():
    batch = torch.randn(4, 3, 12, 12)
    rng = torch.Generator().manual_seed(0)
    moves = (
        torch.rand(4, generator=rng),
        0.9 + 0.1 * torch.rand(4, generator=rng),
        0.1 * torch.rand(4, 2, generator=rng),
        torch.tensor([True, False, True, False]),
    )
    together = cmr.transform(batch, *moves)
    alone = torch.cat([cmr.transform(batch[k : k + 1], *(m[k : k + 1] for m in moves)) for k in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_autocast_does_not_change_the_sampling_grid():
    batch = torch.randint(0, 256, (2, 56, 56, 5), dtype=torch.uint8).permute(0, 3, 1, 2)
    moves = still(2, angle=0.2, side=0.9, shift=(0.04, -0.07))
    plain = cmr.transform(batch, *moves)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cmr.transform(batch, *moves), plain)
        other = cmr.transform(batch.float().contiguous(), *moves)
    assert torch.equal(other, cmr.transform(batch.float().contiguous(), *moves))


def test_augment_keeps_channels_last():
    stored = torch.rand(2, 16, 16, 5).permute(0, 3, 1, 2)
    moved = cmr.augment(stored, AugmentConfig(), draws(cmr, len(stored), 0))
    assert moved.is_contiguous(memory_format=torch.channels_last)
    plain = cmr.augment(stored.contiguous(), AugmentConfig(), draws(cmr, len(stored.contiguous()), 0))
    np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_augment_is_the_identity_if_off_and_stays_in_the_image_if_on():
    batch = torch.rand(16, 2, 20, 20) + 1
    off = AugmentConfig(cmr_rotation_degrees=0.0, cmr_scale_min=1.0)
    np.testing.assert_allclose(cmr.augment(batch, off, draws(cmr, len(batch), 0)), batch, atol=1e-5)
    moved = cmr.augment(batch, AugmentConfig(), draws(cmr, len(batch), 0))
    assert (moved >= 1 - 1e-4).all()
    assert torch.equal(moved, cmr.augment(batch, AugmentConfig(), draws(cmr, len(batch), 0)))
    assert not torch.allclose(moved[0], batch[0])


@pytest.mark.parametrize(("samples", "height", "width", "frames"), [(1, 8, 8, 1), (3, 57, 64, 7), (5, 56, 56, 25)])
def test_sample_equals_grid_sample_bit_by_bit_also_for_stored_pixels(samples, height, width, frames):
    generator = torch.Generator().manual_seed(samples)
    stored = torch.randint(0, 256, (samples, height, width, frames), generator=generator, dtype=torch.uint8)
    batch = cmr.scale(stored.permute(0, 3, 1, 2))
    for spread in (0.05, 0.5, 3.0):
        maps = torch.eye(2, 3) + spread * torch.randn(samples, 2, 3, generator=generator)
        grid = torch.nn.functional.affine_grid(maps, list(batch.shape), align_corners=False)
        expected = torch.nn.functional.grid_sample(batch, grid, "bilinear", "border", align_corners=False)
        assert torch.equal(bilinear.sample(batch, grid), expected)
        assert torch.equal(bilinear.sample(stored.permute(0, 3, 1, 2), grid, cmr._scaled), expected)
        contiguous = bilinear.sample(batch.contiguous(), grid)
        assert torch.equal(contiguous, expected)
        assert contiguous.is_contiguous()


def test_neighbours_are_the_four_nearest_pixels_with_weights_that_sum_to_one():
    grid = torch.rand(2, 5, 6, 2, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    index, weight = bilinear.neighbours(grid, 4, 3)
    torch.testing.assert_close(weight.sum(1), torch.ones(2 * 5 * 6))
    pixels = torch.arange(2 * 4 * 3, dtype=torch.float32)  # of a plane a sample: row * 3 + column, from 12 b on
    x, y = ((grid[..., k] + 1) * size / 2 - 0.5 for k, size in ((0, 3), (1, 4)))
    plane = y.clamp(0, 3) * 3 + x.clamp(0, 2) + 12 * torch.arange(2)[:, None, None]
    torch.testing.assert_close((pixels[index.long()] * weight).sum(1), plane.flatten(), atol=1e-4, rtol=0)


def test_augmenting_stored_pixels_equals_augmenting_scaled_pixels():
    stored = torch.randint(0, 256, (3, 20, 20, 6), dtype=torch.uint8).permute(0, 3, 1, 2)
    config = AugmentConfig(cmr_flip_probability=0.5)
    one, other = (cmr.augment(x, config, draws(cmr, len(x), 4)) for x in (stored, cmr.scale(stored)))
    assert torch.equal(one, other)
    assert one.is_contiguous(memory_format=torch.channels_last)
