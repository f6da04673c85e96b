"""The rendered cine: volumes of its masks equal the heart's, and its noise is independent of the ECG's."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from eccl_lib.config.load import load
from eccl_lib.data.synthetic import draw, population, render_cine, render_ecg
from eccl_lib.data.synthetic.cine import cine
from eccl_lib.data.synthetic.measure import segments

CONFIG = load("demo").synthetic
HEARTS = draw(CONFIG, range(1_500))


def volume_ml(labels: np.ndarray, label: int, spacing_mm: tuple[float, float], slice_step_mm: float) -> np.ndarray:
    """Volume in mL over the cycle, (F,), of one label in (S, F, H, W): sum of areas times the slice step."""
    return (labels == label).sum((0, 2, 3)) * spacing_mm[0] * spacing_mm[1] * slice_step_mm / 1000


def _sample() -> list[int]:
    """The first 32 participants and special ones: each disease, blocks, fibrillation, the smallest and largest."""
    h = HEARTS
    odd = [h.dcm > 0, h.hcm > 0, h.scar > 0.8, h.lbbb, h.rbbb, h.af_rhythm]
    found = list(range(32)) + [int(i) for kind in odd for i in np.flatnonzero(kind)[:2]]
    found += [int(f(v)) for v in (h.edv, h.ef, h.mass, h.rvedv) for f in (np.argmin, np.argmax)]
    return sorted(set(found))


@pytest.fixture(scope="module")
def measured():
    """Per participant: LV volumes (F,), RV volumes (F,), LV mass (g), labels at end diastole of the middle slice."""
    found = {}
    for index in _sample():
        record = render_cine(CONFIG, index)
        lv, wall, rv = (volume_ml(record.labels, k, record.spacing_mm, record.slice_step_mm) for k in (1, 2, 3))
        edge = record.labels.copy()
        edge[..., 2:-2, 2:-2] = 0
        found[index] = (lv, rv, 1.05 * wall[0], record.labels[1, 0], bool(edge.any()))
    return found


def test_the_sample_has_at_least_forty_participants():
    assert len(_sample()) >= 40


@pytest.mark.parametrize("index", _sample())
def test_volumes_of_the_masks_equal_the_hearts_volumes(measured, index):
    lv, rv, mass, _, _ = measured[index]
    h = HEARTS[index : index + 1]
    assert lv[0] == pytest.approx(h.edv[0], rel=0.05)
    assert lv.min() == pytest.approx(h.edv[0] * (1 - h.ef[0] / 100), rel=0.05)
    assert rv[0] == pytest.approx(h.rvedv[0], rel=0.05)
    assert rv.min() == pytest.approx(h.rvedv[0] * (1 - h.rvef[0] / 100), rel=0.05)
    assert mass == pytest.approx(h.mass[0], rel=0.05)
    assert 100 * (1 - lv.min() / lv.max()) == pytest.approx(h.ef[0], abs=2)


def test_all_hearts_are_inside_the_image(measured):
    assert not any(edge for *_, edge in measured.values())


def thickness_mm(labels: np.ndarray) -> float:
    """Mean length of the LV wall, in mm, along 720 rays from the middle of the LV cavity of a mask (H, W)."""
    row, column = (place.mean() for place in np.nonzero(labels == 1))
    angle, radius = np.arange(720)[:, None] * np.pi / 360, np.arange(0, 44, 0.05)
    rows, columns = (np.rint(m + f(angle) * radius).astype(int) for m, f in ((row, np.sin), (column, np.cos)))
    inside = (rows >= 0) & (rows < labels.shape[0]) & (columns >= 0) & (columns < labels.shape[1])
    on_wall = inside & (labels[np.where(inside, rows, 0), np.where(inside, columns, 0)] == 2)
    return float(on_wall.sum(1).mean() * 0.05 * 380 / 208)


def test_wall_thickness_of_the_masks_equals_the_trait(measured):
    for index, (*_, labels, _) in measured.items():
        in_table = segments(HEARTS[index : index + 1])[0][0, 6:12].mean()
        assert thickness_mm(labels) == pytest.approx(in_table, abs=0.3)


def distance_mm(heart: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the heart, in mm. heart: (H, W) bool."""
    return ndimage.distance_transform_edt(~heart) * 380 / 208


def test_lung_fills_the_space_that_the_contracting_rv_leaves():
    for index in np.flatnonzero(HEARTS.bmi < 23)[:20]:  # lean: the layer of fat is thin
        record = render_cine(CONFIG, index, middle_only=True)
        images, labels = record.images[0].astype(float), record.labels[0]
        late = (labels == 1).sum((1, 2)).argmin()
        away = distance_mm(labels[late] > 0)
        vacated = images[late][(labels[0] == 3) & (away > 5.5) & (away < 8.5)]
        if len(vacated) > 20:
            assert np.median(vacated) < 0.6 * images[late][labels[late] == 2].mean(), index


def test_the_rv_lies_on_the_septum_and_takes_two_thirds_of_the_lv():
    ratio, inferior = [], []
    for index in np.flatnonzero(~HEARTS.disease.any(1))[:40]:
        labels = render_cine(CONFIG, index, middle_only=True).labels[0, 0]
        left, right = (labels == 1) | (labels == 2), labels == 3
        ratio.append(right.sum() / left.sum())
        middle = np.array(ndimage.center_of_mass(left))
        rows, columns = np.nonzero(right & (distance_mm(left) < 3))
        inferior.append(np.rad2deg(np.arctan2(rows - middle[0], middle[1] - columns).max()))
    assert 0.55 < np.median(ratio) < 0.75
    assert 45 < np.median(inferior) < 75  # degrees below nine o'clock: seven o'clock is 60


def test_a_cine_does_not_depend_on_the_batch():
    for index in (0, 11):
        alone, batch = render_cine(CONFIG, index), cine(CONFIG, HEARTS[index : index + 1])
        assert np.array_equal(alone.images, batch.images) and np.array_equal(alone.labels, batch.labels)


def test_images_are_twelve_bit_and_blood_is_brighter_than_muscle_than_lung():
    record = render_cine(CONFIG, 4)
    assert record.images.dtype == np.uint16 and record.images.max() < 4_096
    mean = [record.images[1][record.labels[1] == k].mean() for k in (1, 2, 3)]
    assert mean[0] > 1.8 * mean[1] and mean[2] > 1.8 * mean[1]
    assert np.quantile(record.images, 0.1) < 0.5 * mean[1]


@pytest.mark.parametrize(("changed", "stays"), [("ecg", "cine"), ("cine", "ecg")])
def test_the_noise_of_one_modality_does_not_affect_the_other(monkeypatch, changed, stays):
    def render():
        return {"ecg": render_ecg(CONFIG, 8).signal, "cine": render_cine(CONFIG, 8).images}

    before = render()
    monkeypatch.setitem(population.STREAMS, changed, 99)
    after = render()
    assert np.array_equal(before[stays], after[stays])
    assert not np.array_equal(before[changed], after[changed])


def test_noise_of_ecg_and_cine_is_uncorrelated_over_participants():
    draws = [[population.generator(CONFIG, i, s).standard_normal(6) for i in range(800)] for s in ("ecg", "cine")]
    r = np.corrcoef(np.hstack(draws).T)[:6, 6:]
    assert np.abs(r).max() < 4.5 / np.sqrt(800)


def test_paper_scale_renders_ten_slices_of_the_same_heart():
    config = dataclasses.replace(CONFIG, slices=10, rows=208, columns=187)
    record = render_cine(config, 2)
    assert record.images.shape == (10, 50, 208, 187)
    lv = volume_ml(record.labels, 1, record.spacing_mm, record.slice_step_mm)
    assert lv[0] == pytest.approx(HEARTS.edv[2], rel=0.05)
    assert 100 * (1 - lv.min() / lv.max()) == pytest.approx(HEARTS.ef[2], abs=2)


def test_the_middle_slice_alone_has_the_pixels_of_the_whole_stack():
    for index in (0, 7):
        stack, alone = render_cine(CONFIG, index), render_cine(CONFIG, index, middle_only=True)
        middle = (CONFIG.slices - 1) // 2
        np.testing.assert_array_equal(alone.images, stack.images[middle : middle + 1])
        np.testing.assert_array_equal(alone.labels, stack.labels[middle : middle + 1])
        assert (alone.slice_step_mm, alone.frame_ms) == (stack.slice_step_mm, stack.frame_ms)
