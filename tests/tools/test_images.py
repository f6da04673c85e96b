"""Generated hearts are coupled over the beat, labelled correctly, varied, and determined by the seed."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from eccl_lib.data.segmentation.unet import planes  # noqa: E402
from tools.segmentation import anatomy, images, kinds  # noqa: E402
from tools.segmentation.random_draws import Dice  # noqa: E402

ED, ES = 0, images.PHASES - 1


@pytest.fixture(scope="module")
def drawn() -> images.Drawn:
    """Sixty-four hearts in four slices each."""
    parts = [images.draw(40 + k, 8) for k in range(8)]
    names = ("inputs", "labels", "pixel_mm", "level", "radius_mm", "mode", "kind", "images")
    return images.Drawn(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def area(drawn: images.Drawn, label: int) -> torch.Tensor:
    """Area of a label in mm2 by heart, slice and phase."""
    return (drawn.labels == label).sum((3, 4)) * drawn.pixel_mm[:, None, None] ** 2


def inside(drawn: images.Drawn) -> torch.Tensor:
    """True for slices whose heart is completely in the image at all phases, and contains LV at all of them."""
    edge = torch.cat([drawn.labels[..., [0, -1], :].flatten(2), drawn.labels[..., [0, -1]].flatten(2)], 2)
    return (edge == 0).all(2) & (area(drawn, 1) + area(drawn, 2) > 0).all(2)


def test_images_are_determined_by_the_seed():
    one, same, other = images.draw(7, 2), images.draw(7, 2), images.draw(8, 2)
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.inputs, other.inputs)


def test_inputs_are_finite_with_mean_0_and_sd_1(drawn):
    assert drawn.inputs.isfinite().all()
    frames = drawn.inputs[:, :, :, 0]
    assert frames.mean((2, 3, 4)).abs().max() < 1e-3
    assert (frames.std((2, 3, 4)) - 1).abs().max() < 1e-3


def test_the_cavity_is_enclosed_by_wall(drawn):
    """The thinnest walls are thinner than a pixel."""
    labels, open_, border = drawn.labels, 0, 0
    for turned in (labels, labels.transpose(3, 4)):
        first, second = turned[..., 1:, :], turned[..., :-1, :]
        beside = ((first == 1) & ((second == 0) | (second == 3))) | ((second == 1) & ((first == 0) | (first == 3)))
        open_ += int(beside.sum())
        border += int(((first == 1) != (second == 1)).sum())
    assert border > 10_000 and open_ < 0.003 * border


def test_the_cavity_shrinks_and_the_wall_area_is_nearly_constant(drawn):
    whole = inside(drawn)
    cavity, wall = area(drawn, 1)[whole], area(drawn, 2)[whole]
    large = cavity[:, ED] > 600  # below, a pixel more or less is a tenth
    assert (cavity[:, ES] <= 1.1 * cavity[:, ED])[large].float().mean() > 0.95  # a scar may bulge
    ratio = (wall[:, ES] / wall[:, ED])[large]
    assert 0.95 < ratio.median() < 1.4
    assert ratio.quantile(0.02) > 0.6 and ratio.quantile(0.98) < 2


def test_hearts_include_small_systolic_cavities_thick_walls_and_large_right_ventricles(drawn):
    cavity, wall, right = (area(drawn, k)[inside(drawn)] for k in (1, 2, 3))
    outer = torch.sqrt((cavity + wall) / math.pi)
    thickness = outer - torch.sqrt(cavity / math.pi)
    assert thickness[:, ES].max() > 18
    emptied = (cavity[:, ED] > 450) & (cavity[:, ES] < 150)
    assert emptied.float().mean() > 0.03
    assert (cavity[:, ES] == 0).any()  # an obliterated apex
    there = cavity[:, ED] > 700
    assert (right[:, ED] > 1.5 * cavity[:, ED])[there].any()


def test_the_right_ventricle_becomes_narrower_in_systole(drawn):
    right = area(drawn, 3)[inside(drawn)]
    right = right[right[:, ED] > 400]
    assert 0.3 < (right[:, ES] / right[:, ED]).median() < 0.8


def test_basal_slices_lose_the_ventricle_to_the_atrium_in_systole(drawn):
    """The base descends, so a slice may contain LV at end diastole and only atrium at end systole."""
    left = area(drawn, 1) + area(drawn, 2)
    lost = (left[..., ED] > 0) & (left[..., ES] == 0)
    assert 0.02 < lost.float().mean() < 0.3
    drop = drawn.images[lost][:, ES].mean() / drawn.images[lost][:, ED].mean()
    assert 0.8 < drop < 1.25  # the atrium fills the ventricle's place


@pytest.mark.parametrize(
    ("kind", "thickest"), [("concentric", 24.0), ("septal", 30.0), ("dilated", 14.0), ("normal", 15.0)]
)
def test_the_wall_of_each_kind_has_its_thickness(kind, thickest):
    level = torch.tensor([[0.0, 0.3, 0.7, 1.0]]).repeat(60, 1)
    hearts = anatomy.draw(Dice(60, 5), level, kinds.NAMES.index(kind))
    middle = (hearts.place[:, ED, 0, 0] > 0.2) & (hearts.place[:, ED, 0, 0] < 0.6)
    wall = (hearts.epi - hearts.endo)[middle, ED]
    assert 0.5 * thickest < wall.amax(1).quantile(0.9) < 1.35 * thickest


def test_the_apex_of_apical_hypertrophy_is_thick_and_closes():
    level = torch.tensor([[0.0, 0.3, 0.7, 1.0]]).repeat(90, 1)
    hearts = anatomy.draw(Dice(90, 6), level, kinds.NAMES.index("apical"))
    place, wall = hearts.place[:, ED, 0, 0], (hearts.epi - hearts.endo)[:, ED].mean(1)
    low, high = (place > 0.1) & (place < 0.4), (place > 0.7) & (place < 0.95)
    assert wall[high].median() > 1.2 * wall[low].median()
    assert (hearts.radius[high][:, ES, 0, 0] < anatomy.SMALLEST_CAVITY).float().mean() > 0.25


def test_no_left_ventricle_is_mostly_dark(drawn):
    """A pixel is dark if it is below the mean of blood and wall; a mostly dark LV would teach wrong walls."""
    shares = []
    for image, labels in zip(drawn.inputs[..., 0, :, :].flatten(0, 1), drawn.labels.flatten(0, 1), strict=True):
        for phase in (ED, ES):
            blood, wall = image[phase][labels[phase] == 1], image[phase][labels[phase] == 2]
            if len(blood) > 20 and len(wall) > 20 and blood.quantile(0.9) - wall.median() > 0.5:
                shares.append(float((blood < (blood.quantile(0.9) + wall.median()) / 2).float().mean()))
    shares = torch.tensor(shares)
    assert shares.median() < 0.35
    assert (shares > 0.65).float().mean() < 0.05


def test_the_harmonic_is_positive_where_wall_replaces_blood(drawn):
    signs = []
    for heart in torch.nonzero(drawn.mode != images.SINGLE).flatten().tolist():
        for s in range(images.SLICES):
            emptied = (drawn.labels[heart, s, ED] == 1) & (drawn.labels[heart, s, ES] == 2)
            if emptied.sum() > 60:
                signs.append(bool(drawn.inputs[heart, s, 0, 2][emptied].mean() > 0))
    assert len(signs) > 40
    assert sum(signs) / len(signs) > 0.95


def test_single_images_have_the_image_as_mean_and_a_zero_harmonic(drawn):
    single = drawn.inputs[drawn.mode == images.SINGLE]
    assert 0.05 < len(single) / len(drawn.inputs) < 0.3
    assert torch.equal(single[..., 0, :, :], single[..., 1, :, :])
    assert not single[..., 2, :, :].any()


def test_two_stills_have_half_their_difference_as_harmonic(drawn):
    stills = drawn.inputs[drawn.mode == images.STILLS]
    half = planes.HARMONIC_GAIN * (stills[:, :, ED, 0] - stills[:, :, ES, 0]) / 2
    torch.testing.assert_close(stills[:, :, 1, 2], half, atol=1e-4, rtol=1e-4)


def test_the_neighbours_are_the_slices_before_and_after(drawn):
    alone = (drawn.inputs[:, :, :, 3] == drawn.inputs[:, :, :, 0]).flatten(1).all(1)
    assert 0.1 < alone.float().mean() < 0.45
    one = drawn.inputs[~alone][0]
    turned = torch.equal(one[1, :, 3], one[2, :, 0])
    before, after = (one[2], one[0]) if turned else (one[0], one[2])
    for plane, source in ((3, 0), (5, 2)):
        assert torch.equal(one[1, :, plane], before[:, source])
        assert torch.equal(one[1, :, plane + 1], after[:, source])


def test_the_slices_of_a_heart_are_similar_and_those_of_others_are_not(drawn):
    def alike(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])

    frames = drawn.inputs[:, :, ED, 0]
    within = torch.tensor([alike(frames[k, 1], frames[k, 2]) for k in range(40)])
    between = torch.tensor([alike(frames[k, 1], frames[k + 1, 2]) for k in range(40)])
    assert within.median() > 0.8 > 0.4 > between.median()


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
