"""One changed property of a generated heart acts on both modalities and leaves everything else alone."""

from dataclasses import replace

import numpy as np
import pytest

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.synthetic.change import RANGES, properties_of, with_properties
from eccl_lib.data.synthetic.cine import cine
from eccl_lib.data.synthetic.dipole import beats
from eccl_lib.data.synthetic.ecg import strip
from eccl_lib.data.synthetic.geometry import mass_of_wall, wall_mm
from eccl_lib.data.synthetic.population import SEGMENTS, TERRITORIES, draw

CONFIG = SyntheticConfig(slices=9)
INDEX = 3


@pytest.fixture(scope="module")
def heart():
    found = draw(CONFIG, [INDEX])
    assert found.scar[0] == 0
    return found


def _area(heart) -> np.ndarray:
    """LV cavity in the middle slice, pixels per frame."""
    return (cine(CONFIG, heart, middle_only=True).labels[0] == 1).sum((1, 2))


def test_an_unchanged_heart_gives_the_same_recordings(heart):
    same = with_properties(heart, properties_of(heart))
    np.testing.assert_array_equal(strip(CONFIG, same).counts, strip(CONFIG, heart).counts)
    np.testing.assert_array_equal(cine(CONFIG, same, True).images, cine(CONFIG, heart, True).images)


def test_mass_of_a_wall_is_the_inverse_of_its_thickness():
    hearts = draw(CONFIG, range(20))
    np.testing.assert_allclose(mass_of_wall(hearts, wall_mm(hearts)), hearts.mass, rtol=1e-9)
    thick = replace(hearts, mass=mass_of_wall(hearts, 12.0))
    np.testing.assert_allclose(wall_mm(thick), 12.0, rtol=1e-9)


@pytest.mark.parametrize(("name", "value"), [("scar", 0.9), ("wall", 13.0), ("ef", 25.0)])
def test_a_change_acts_on_both_modalities(heart, name: str, value: float):
    changed = with_properties(heart, replace(properties_of(heart), **{name: value}))
    assert np.abs(strip(CONFIG, changed).counts - strip(CONFIG, heart).counts).max() > 10  # 50 uV
    own, new = cine(CONFIG, heart, True), cine(CONFIG, changed, True)
    assert (own.labels != new.labels).any()


def test_a_lower_ejection_fraction_empties_the_cavity_less(heart):
    weak = with_properties(heart, replace(properties_of(heart), ef=25.0))
    own, new = _area(heart), _area(weak)
    assert own[0] == pytest.approx(new[0], rel=0.02)  # the same end-diastolic volume
    assert new.min() / new[0] > own.min() / own[0] + 0.2


def test_a_larger_atrium_changes_the_p_wave_alone(heart):
    large = with_properties(heart, replace(properties_of(heart), la=150.0))
    one, other = (beats(CONFIG, h).waves[0] for h in (heart, large))
    assert not np.allclose(one[:2], other[:2])
    np.testing.assert_array_equal(one[2:], other[2:])
    np.testing.assert_array_equal(cine(CONFIG, heart, True).images, cine(CONFIG, large, True).images)


@pytest.mark.parametrize("territory", range(3))
def test_a_scar_thins_and_stops_its_own_segments_alone(heart, territory: int):
    hurt = with_properties(heart, replace(properties_of(heart), scar=1.0, territory=territory))
    inside = np.isin(np.arange(1, SEGMENTS + 1), TERRITORIES[territory])
    np.testing.assert_allclose(hurt.motion[0, inside], 0.05 * heart.motion[0, inside])
    np.testing.assert_allclose(hurt.thickness[0, inside], 0.62 * heart.thickness[0, inside])
    np.testing.assert_array_equal(hurt.motion[0, ~inside], heart.motion[0, ~inside])
    assert hurt.ef[0] == heart.ef[0]


def test_a_scar_can_be_taken_back(heart):
    hurt = with_properties(heart, replace(properties_of(heart), scar=0.7, territory=1))
    healed = with_properties(hurt, properties_of(heart))
    np.testing.assert_allclose(healed.motion, heart.motion)
    np.testing.assert_allclose(healed.thickness, heart.thickness)


@pytest.mark.parametrize("name", RANGES)
def test_a_value_outside_the_range_is_refused_by_name(heart, name: str):
    with pytest.raises(ValueError, match=name):
        with_properties(heart, replace(properties_of(heart), **{name: RANGES[name][1] * 2}))
