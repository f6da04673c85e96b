"""Generated hearts are coupled over the beat, labelled correctly, varied, and determined by the seed."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tools.segmentation import anatomy, images  # noqa: E402
from tools.segmentation.random_draws import Dice  # noqa: E402

ED, ES = 0, images.PHASES - 1


@pytest.fixture(scope="module")
def drawn() -> images.Drawn:
    """Ninety-six hearts."""
    parts = [images.draw(40 + k, 12) for k in range(8)]
    names = ("inputs", "labels", "pixel_mm", "level", "radius_mm", "has_time")
    return images.Drawn(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def area(drawn: images.Drawn, label: int) -> torch.Tensor:
    """Area of a label in mm2 by heart and phase."""
    return (drawn.labels == label).sum((2, 3)) * drawn.pixel_mm[:, None] ** 2


def inside(drawn: images.Drawn) -> torch.Tensor:
    """True for hearts that are completely in the image."""
    edge = torch.cat([drawn.labels[..., [0, -1], :].flatten(1), drawn.labels[..., [0, -1]].flatten(1)], 1)
    return (edge == 0).all(1) & (drawn.labels > 0).flatten(1).any(1)


def test_images_are_determined_by_the_seed():
    one, same, other = images.draw(7, 2), images.draw(7, 2), images.draw(8, 2)
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.inputs, other.inputs)


def test_inputs_are_finite_with_mean_0_and_sd_1(drawn):
    assert drawn.inputs.isfinite().all()
    frames = drawn.inputs[:, :, 0]
    assert frames.mean((1, 2, 3)).abs().max() < 1e-3
    assert (frames.std((1, 2, 3)) - 1).abs().max() < 1e-3


def test_the_cavity_is_enclosed_by_wall(drawn):
    labels = drawn.labels
    for turned in (labels, labels.transpose(2, 3)):
        first, second = turned[..., 1:, :], turned[..., :-1, :]
        beside = ((first == 1) & ((second == 0) | (second == 3))) | ((second == 1) & ((first == 0) | (first == 3)))
        assert not beside.any()


def test_the_cavity_shrinks_and_the_wall_area_is_nearly_constant(drawn):
    whole = inside(drawn)
    cavity, wall = area(drawn, 1)[whole], area(drawn, 2)[whole]
    assert (cavity[:, ED] >= cavity[:, ES]).all()
    together = (cavity + wall)[:, [ED, ES]]
    large = together[:, 0] > 600  # below, a pixel more or less is a tenth
    assert (together[:, 1] <= 1.15 * together[:, 0])[large].all()
    open_ = drawn.radius_mm[whole][:, ES] > 6
    ratio = (wall[:, ES] / wall[:, ED])[open_]
    assert ratio.min() > 0.75 and ratio.max() < 1.7


def test_hearts_include_small_systolic_cavities_thick_walls_and_large_right_ventricles(drawn):
    cavity, wall, right = (area(drawn, k) for k in (1, 2, 3))
    outer = torch.sqrt((cavity + wall) / math.pi)
    thickness = outer - torch.sqrt(cavity / math.pi)
    walled = thickness[:, ES][(drawn.radius_mm[:, ED] > 10) & (cavity[:, ES] > 0)]
    assert walled.max() > 18
    emptied = (drawn.radius_mm[:, ED] > 12) & (drawn.radius_mm[:, ES] < 7)
    assert emptied.float().mean() > 0.03
    there = cavity[:, ED] > 700
    assert (right[:, ED] > 1.5 * cavity[:, ED])[there].any()


def test_no_left_ventricle_is_mostly_dark(drawn):
    """A pixel is dark if it is below the mean of blood and wall; a mostly dark LV would teach wrong walls."""
    shares = []
    for heart in range(len(drawn.labels)):
        for phase in (ED, ES):
            image, labels = drawn.inputs[heart, phase, 0], drawn.labels[heart, phase]
            blood, wall = image[labels == 1], image[labels == 2]
            if len(blood) > 20 and len(wall) > 20 and blood.quantile(0.9) - wall.median() > 0.5:
                shares.append(float((blood < (blood.quantile(0.9) + wall.median()) / 2).float().mean()))
    shares = torch.tensor(shares)
    assert shares.median() < 0.3
    assert (shares > 0.6).float().mean() < 0.03


def test_the_harmonic_is_positive_where_wall_replaces_blood(drawn):
    signs = []
    for heart in torch.nonzero(drawn.has_time).flatten().tolist():
        emptied = (drawn.labels[heart, ED] == 1) & (drawn.labels[heart, ES] == 2)
        if emptied.sum() > 60:
            signs.append(bool(drawn.inputs[heart, 0, 2][emptied].mean() > 0))
    assert len(signs) > 20
    assert sum(signs) / len(signs) > 0.95


def test_hearts_without_time_have_the_frame_as_mean_and_a_zero_harmonic(drawn):
    without = drawn.inputs[~drawn.has_time]
    assert 0.1 < len(without) / len(drawn.inputs) < 0.35
    assert torch.equal(without[:, :, 0], without[:, :, 1])
    assert not without[:, :, 2].any()


def test_a_contour_is_interpolated_between_its_directions():
    theta = torch.linspace(-7, 7, 400).view(1, 1, 20, 20)
    angles = torch.arange(anatomy.ANGLES) * (2 * math.pi / anatomy.ANGLES)
    table = (20 + 3 * torch.cos(2 * angles)).view(1, 1, -1)
    assert (anatomy.sample(table, theta) - (20 + 3 * torch.cos(2 * theta))).abs().max() < 0.01


def test_beat_weights_give_a_mean_and_a_first_harmonic():
    dice = Dice(50, 3)
    level = torch.tensor([0.0, 0.3, 0.7, 1.0]).expand(50, 4)
    mean, wave = anatomy.beat_weights(dice, level)
    torch.testing.assert_close(mean.sum(1), torch.ones(50))
    torch.testing.assert_close(wave.sum(1), torch.zeros(50), atol=1e-6, rtol=0)  # a still structure has no harmonic
    assert (wave[:, 0] > 0).float().mean() > 0.9  # visible only at end diastole
    assert (wave[:, 3] < 0).all()  # visible only at end systole
