"""The packaged network on generated stacks of different types, fields of view, spacings and numbers of frames."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench import volumes  # noqa: E402
from eccl_lib.data.segmentation.unet import model, network, planes  # noqa: E402
from eccl_lib.io import files, paths  # noqa: E402
from tools.segmentation import images  # noqa: E402

FRAMES = 20
SEED = 2_000_013  # a heart with time, completely in the image, and not in the training data


@pytest.fixture(scope="module")
def net() -> network.HeartNet:
    return network.HeartNet.load()


@pytest.fixture(scope="module")
def beating() -> tuple[np.ndarray, np.ndarray, float]:
    """A generated heart over a beat (F, H, W) uint16, its labels at frames 0 and 8, and its pixel size in mm."""
    drawn = images.draw(SEED, 1, slices=1)
    phases = drawn.inputs[0, 0, :, 0].numpy()
    level = np.clip(np.sin(np.pi * np.arange(FRAMES) / 16), 0, 1) ** 2
    share = np.stack([np.interp(level, drawn.level[0].numpy(), unit) for unit in np.eye(images.PHASES)], axis=1)
    frames = np.tensordot(share, phases, 1)
    frames = (frames - frames.min()) * 300
    labels = drawn.labels[0, 0].numpy()
    return frames.astype(np.uint16), labels[[0, 3]], float(drawn.pixel_mm[0])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def test_a_generated_beat_is_segmented(net, beating):
    frames, truth, pixel = beating
    found = net.segment(frames[None], (pixel, pixel))
    assert found.shape == (1, *frames.shape) and found.dtype == np.uint8
    assert dice(found[0, 0] == 1, truth[0] == 1) > 0.85
    assert dice(found[0, 8] == 1, truth[1] == 1) > 0.8
    assert dice(found[0, 0] == 2, truth[0] == 2) > 0.7


def test_the_same_stack_gives_the_same_labels(net, beating):
    frames, _, pixel = beating
    stack = np.stack([frames, frames[:, ::-1]])
    np.testing.assert_array_equal(*(net.segment(stack, (pixel, pixel)) for _ in range(2)))


@pytest.mark.parametrize("kind", [np.float64, np.int16, np.uint16])
def test_labels_do_not_depend_on_type_and_window_of_the_grey_values(net, beating, kind):
    frames, _, pixel = beating
    usual = net.segment(frames[None, :10], (pixel, pixel))
    other = net.segment((frames[None, :10] // 2 + 100).astype(kind), (pixel, pixel))
    assert (usual != other).mean() < 0.002


def test_pixels_need_not_be_square(net, beating):
    frames, truth, pixel = beating
    wide = frames[None, :, :, ::2]
    found = net.segment(wide, (pixel, 2 * pixel))
    assert found.shape == wide.shape
    assert dice(found[0, 0] == 1, truth[0][:, ::2] == 1) > 0.8


def test_a_heart_in_a_wide_field_of_view_is_segmented(net, beating):
    frames, truth, pixel = beating
    wide = np.random.default_rng(0).normal(frames.min(), 30, (FRAMES, 220, 200)).clip(0)
    wide[:, 20:116, 90:186] = frames
    found = net.segment(wide[None], (pixel, pixel))
    assert dice(found[0, 0, 20:116, 90:186] == 1, truth[0] == 1) > 0.8


def test_two_stills_are_segmented_in_any_order(net, beating):
    frames, truth, pixel = beating
    found = net.segment(frames[None, [0, 8]], (pixel, pixel))
    assert found.shape == (1, 2, 96, 96)
    assert dice(found[0, 0] == 1, truth[0] == 1) > 0.85
    other = net.segment(frames[None, [8, 0]], (pixel, pixel))
    np.testing.assert_array_equal(found, other[:, ::-1])


def test_a_single_image_is_segmented(net, beating):
    frames, truth, pixel = beating
    found = net.segment(frames[None, :1], (pixel, pixel))
    assert dice(found[0, 0] == 1, truth[0] == 1) > 0.8


def test_some_slices_and_frames_have_the_labels_of_the_whole_stack(net, beating):
    frames, _, pixel = beating
    stack = np.stack([frames, np.roll(frames, 2, 1), np.roll(frames, 4, 2)])
    every = net.probabilities(stack, (pixel, pixel))
    part = net.probabilities(stack, (pixel, pixel), frames=[3, 8], slices=[1])
    np.testing.assert_allclose(part, every[[1]][:, [3, 8]], atol=1e-4)


def test_confidence_is_high_for_a_clear_heart_and_low_for_noise(net, beating):
    frames, _, pixel = beating
    clear = net.analyse(frames[None], (pixel, pixel))
    np.testing.assert_array_equal(clear.labels, net.segment(frames[None], (pixel, pixel)))
    noise = np.random.default_rng(1).normal(500, 80, frames.shape)
    hidden = net.analyse((0.15 * frames + noise)[None], (pixel, pixel))
    assert 1 >= clear.confidence[0] > 0.85 > hidden.confidence[0]


def test_the_planes_of_a_beat_are_its_mean_and_its_first_cosine():
    frames = torch.from_numpy(np.random.default_rng(2).random((1, FRAMES, 8, 8), dtype=np.float32))
    made = planes.of_beat(frames)
    literal = sum(2 / FRAMES * np.cos(2 * np.pi * f / FRAMES) * frames[0, f].numpy() for f in range(FRAMES))
    spread = frames.std()
    np.testing.assert_allclose(made[0, 5, 2], planes.HARMONIC_GAIN * literal / spread, atol=1e-5)
    np.testing.assert_allclose(made[0, 5, 1], (frames[0].mean(0) - frames.mean()) / spread, atol=1e-5)
    np.testing.assert_allclose(made[0, 5, 0], (frames[0, 5] - frames.mean()) / spread, atol=1e-5)


def test_neighbours_at_the_end_of_a_stack_are_the_slice_itself():
    clips = torch.rand(3, 2, 3, 8, 8)
    first, last = planes.with_neighbours(clips, 0), planes.with_neighbours(clips, 2)
    assert torch.equal(first[:, 3], clips[0, :, 0]) and torch.equal(first[:, 4], clips[1, :, 0])
    assert torch.equal(last[:, 5], clips[1, :, 2]) and torch.equal(last[:, 6], clips[2, :, 2])


def test_weights_with_fewer_planes_give_the_same_results():
    """New planes have weights of 0, so they do not change what the older weights compute."""
    old = {name: value.clone() for name, value in model.UNet().state_dict().items()}
    old["down.0.0.weight"] = old["down.0.0.weight"][:, :3]
    net = model.UNet()
    net.load_state_dict(model.extended(old))
    one, other = torch.rand(1, 7, 32, 32), torch.rand(1, 7, 32, 32)
    other[:, :3] = one[:, :3]
    assert torch.equal(net(one), net(other))


def test_an_empty_image_has_no_heart_and_a_wrong_shape_raises_an_error(net):
    flat = np.zeros((1, 10, 64, 64))
    assert net.segment(flat, (1.5, 1.5)).shape == flat.shape
    with pytest.raises(ValueError, match=r"\(S, F, H, W\)"):
        net.segment(np.zeros((10, 64, 64)), (1.5, 1.5))


def test_the_packaged_weights_match_their_checksum_and_are_small(net):
    assert files.sha256(network.WEIGHTS) == net.facts["sha256"]
    assert network.WEIGHTS.stat().st_size < 5e6
    assert "tools.segmentation" in net.facts["command"]
    assert net.facts["generated"]["beat"]["lv_ed"] > 0.88
    assert all(scores["rv_ed"] > 0.6 for scores in net.facts["generated"].values())


def test_volumes_are_computed_from_labels(net, beating):
    frames, truth, pixel = beating
    found = volumes.measure(net.segment(np.stack([frames] * 2), (pixel, pixel)), (pixel, pixel), 8.0)
    expected = 2 * (truth[0] == 1).sum() * pixel**2 * 8 / 1000
    assert found.lv_edv_ml == pytest.approx(expected, rel=0.2)


def test_importing_the_module_imports_no_torch():
    code = "import sys, eccl_lib.data.segmentation.unet.network, bench.volumes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=False).returncode == 0
