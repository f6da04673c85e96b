"""Hearts, traits and table of the embedded cohort."""

import dataclasses
import json

import numpy as np
import pytest

from eccl_lib.config.load import load
from eccl_lib.config.schema import DISEASES
from eccl_lib.data.synthetic import FIRST_EID, draw, measure, render_table
from eccl_lib.data.synthetic.geometry import ANGLES, contours, length_mm, slab_share
from eccl_lib.data.synthetic.measure import measured_traits, segments
from eccl_lib.data.traits import TRAITS

CONFIG = load("demo").synthetic
COLUMN = {trait.short_name: k for k, trait in enumerate(TRAITS)}


@pytest.fixture(scope="module")
def hearts():
    return draw(CONFIG, range(2_000))


@pytest.fixture(scope="module")
def traits(hearts):
    return measured_traits(CONFIG, hearts)


def test_a_heart_does_not_depend_on_the_batch(hearts):
    for index in (0, 1, 7, 599, 1_999):
        alone = draw(CONFIG, [index])
        for field in dataclasses.fields(alone):
            one, many = getattr(alone, field.name), getattr(hearts, field.name)
            if field.name == "latent":
                assert all(one[name][0] == many[name][index] for name in one)
            else:
                assert np.array_equal(one[0], many[index]), field.name


def test_measured_traits_do_not_depend_on_the_batch(hearts, traits):
    for index in (0, 33, 1_234):
        assert np.array_equal(measured_traits(CONFIG, draw(CONFIG, [index]))[0], traits[index])


def test_participants_do_not_depend_on_the_size_of_the_cohort():
    larger = dataclasses.replace(CONFIG, participants=5_000)
    assert np.array_equal(draw(larger, range(40)).edv, draw(CONFIG, range(40)).edv)
    assert np.array_equal(draw(larger, range(40)).disease, draw(CONFIG, range(40)).disease)


def test_another_seed_gives_other_hearts():
    other = draw(dataclasses.replace(CONFIG, seed=1), range(20))
    assert not np.isin(other.edv, draw(CONFIG, range(20)).edv).any()


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_the_prevalence_equals_the_configured_prevalence(scale):
    config = load(scale).synthetic
    n = 6_000
    found = draw(config, range(n)).disease.mean(0)
    for disease, share in zip(DISEASES, found, strict=True):
        expected = getattr(config, f"prevalence_{disease.lower()}")
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n) + 0.003


def test_there_are_82_traits_in_uk_biobanks_order():
    assert [trait.field_id for trait in TRAITS] == list(range(24_100, 24_182))


def test_measured_volumes_fractions_and_output_agree(hearts, traits):
    for edv, esv, sv, ef in (("LVEDV", "LVESV", "LVSV", "LVEF"), ("RVEDV", "RVESV", "RVSV", "RVEF")):
        big, small, stroke, fraction = (traits[:, COLUMN[name]] for name in (edv, esv, sv, ef))
        np.testing.assert_allclose(stroke, big - small, atol=0.011)
        np.testing.assert_allclose(fraction, 100 * stroke / big, atol=0.011)
    output = traits[:, COLUMN["LVSV"]] * hearts.hr_mri / 1000
    np.testing.assert_allclose(traits[:, COLUMN["LVCO"]], output, atol=0.001)


def test_global_traits_are_the_mean_of_their_segments(traits):
    for group in ("WT", "Ecc", "Err", "Ell"):
        *parts, whole = (k for k, trait in enumerate(TRAITS) if trait.group == group)
        np.testing.assert_allclose(traits[:, parts].mean(1), traits[:, whole], atol=0.002)


def test_aortic_areas_shrink_in_diastole_and_strains_have_the_correct_sign(traits):
    for name in ("AAo", "DAo"):
        assert (traits[:, COLUMN[f"{name}_max_area"]] >= traits[:, COLUMN[f"{name}_min_area"]]).all()
    assert (traits[:, COLUMN["Ecc_global"]] < 0).all()
    assert (traits[:, COLUMN["Ell_global"]] < 0).all()


@pytest.mark.parametrize(
    ("name", "mean", "spread"),  # manual readings of UK Biobank, reference/ukb_formats.md section 6
    [
        ("LVEDV", 144, 34),
        ("LVESV", 60, 21),
        ("LVM", 90, 25),
        ("RVEDV", 152, 37),
        ("RVESV", 68, 23),
        ("LAV_max", 68, 22),
    ],
)
def test_traits_without_diagnoses_have_realistic_means_and_sds(hearts, traits, name, mean, spread):
    values = traits[~hearts.disease.any(1), COLUMN[name]]
    assert abs(values.mean() / mean - 1) < 0.10
    assert 0.7 < values.std() / spread < 1.3


def test_slices_add_up_to_the_volume(hearts):
    some = hearts[:50]
    for slices in (3, 10):
        shape = contours(some, slices, np.array([0.0]))
        areas = (shape.inner[:, :, 0] ** 2).sum(-1) * (ANGLES[1] - ANGLES[0]) / 2
        np.testing.assert_allclose(areas.sum(1) * length_mm(some) / slices / 1000, some.edv, rtol=1e-9)
        assert slab_share(slices, 3.0).mean() == pytest.approx(1)


def test_scarred_segments_are_thin_and_nearly_akinetic(hearts):
    anterior = hearts[np.flatnonzero((hearts.scar > 0.8) & (hearts.territory == 0))]
    thick, ecc, _ = segments(anterior)
    inside, outside = np.array([7, 8]) - 1, np.array([10, 11]) - 1  # mid anterior, mid inferior and inferolateral
    assert (thick[:, inside].mean(1) < thick[:, outside].mean(1)).mean() > 0.85
    assert (np.abs(ecc[:, inside]).mean(1) < 0.6 * np.abs(ecc[:, outside]).mean(1)).all()


def test_measurement_error_keeps_a_high_correlation_with_the_true_traits(hearts, traits):
    no_error = np.zeros(len(hearts))
    truth = measure._traits(hearts, dict.fromkeys(measure._names(), no_error), np.zeros((len(hearts), 54)))
    r = [np.corrcoef(truth[:, k], traits[:, k])[0, 1] for k in range(len(TRAITS))]
    assert 0.75 < np.mean(r) < 0.90
    assert min(r) > 0.4


def test_a_table_row_does_not_depend_on_other_rows():
    table = render_table(CONFIG, range(40))
    assert (render_table(CONFIG, [17]).iloc[0] == table.iloc[17]).all()
    assert list(table["eid"]) == list(range(FIRST_EID, FIRST_EID + 40))


def test_first_occurrence_dates_match_the_diagnoses(hearts):
    table = render_table(CONFIG, range(600))
    for k, column in enumerate(("p131298", "p131338", "p131350", "p131354")):
        assert np.array_equal(table[column] != "", hearts.disease[:600, k])


def test_each_hospital_code_has_a_date():
    table = render_table(CONFIG, range(200))
    for _, row in table.iterrows():
        codes = json.loads(row["p41270"]) if row["p41270"] else []
        dates = [row[f"p41280_a{a}"] for a in range(10)]
        assert [bool(date) for date in dates] == [a < len(codes) for a in range(10)]
