"""The views of 00 and 07: their pictures, what a changed control draws, and what is never stored."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

from eccl_lib.data import open_cohort
from eccl_lib.data.heart_slice import HeartSlice, from_clip, from_record
from eccl_lib.data.records import CineRecord
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import augmentations, participant
from eccl_lib.evaluation.latent_space import SharedMap
from eccl_lib.evaluation.participant import NO_DISEASE, Selection
from eccl_lib.io import paths
from eccl_lib.notebooks import notebook
from eccl_lib.notebooks.clean import WIDGET
from eccl_lib.notebooks.widgets import latent_view, player, show
from eccl_lib.notebooks.widgets.cohort_view import OVERVIEW, RECORDED, CohortView, trait_columns
from eccl_lib.notebooks.widgets.gallery_view import GalleryView
from eccl_lib.notebooks.widgets.heart_view import HeartView
from tests.conftest import tiny_config

PNG = b"\x89PNG"


@pytest.fixture
def cohort(tiny_runs):
    config = tiny_config()
    return config, open_cohort.load(config, lambda line: None)


@pytest.fixture
def displayed(monkeypatch):
    """The bundles that ``show`` displays."""
    bundles: list[dict] = []
    monkeypatch.setattr(show, "_display", bundles.append)
    return bundles


def test_without_a_browser_a_view_is_a_picture_and_no_widget(cohort, displayed, monkeypatch):
    view = CohortView(*cohort)
    monkeypatch.setattr(view, "widget", lambda: pytest.fail("a widget was made"))
    show.show(view, "00_explore", cohort[0])
    assert list(displayed[0]) == ["image/png"]
    assert base64.b64decode(displayed[0]["image/png"]).startswith(PNG)
    written = {path.name for path in paths.figures_dir("demo", "synthetic").iterdir()}
    assert {"00_explore.png", "00_explore.svg"} <= written


def test_in_a_browser_a_view_is_a_widget_with_a_picture(cohort, displayed, monkeypatch):
    monkeypatch.setattr(show, "has_browser", lambda: True)
    show.show(CohortView(*cohort), "00_explore", cohort[0])
    assert set(displayed[0]) == {"image/png", WIDGET}


@pytest.mark.parametrize("browser", [False, True])
def test_pictures_of_ukb_participants_are_stored_only_on_request(cohort, displayed, monkeypatch, capsys, browser):
    monkeypatch.setattr(show, "has_browser", lambda: browser)
    view, ukb = CohortView(*cohort), replace(cohort[0], cohort="ukb")
    show.show(view, "00_explore", ukb)
    assert [set(bundle) for bundle in displayed] == ([{WIDGET}] if browser else [])
    assert not paths.figures_dir("demo", "ukb").exists()
    assert ("keep_pictures" in capsys.readouterr().out) is not browser
    show.show(view, "00_explore", ukb, keep=True)
    assert "image/png" in displayed[-1]
    assert (paths.figures_dir("demo", "ukb") / "00_explore.png").is_file()


def test_a_generated_heart_is_stored_on_every_cohort(cohort, displayed):
    ukb = replace(cohort[0], cohort="ukb")
    show.show(HeartView(ukb, scar=0.8), "00_one_heart", ukb, generated=True)
    assert "image/png" in displayed[0]


def test_a_heart_without_an_example_is_drawn_once(cohort):
    plain, changed = (HeartView(cohort[0], **example).picture() for example in ({}, {"scar": 0.8}))
    assert changed.get_figheight() == pytest.approx(2 * plain.get_figheight(), rel=0.1)


def test_keep_pictures_must_be_a_boolean():
    with pytest.raises(ValueError, match="keep_pictures is 'yes'"):
        notebook._check_additional({"keep_pictures": "yes"})


def test_a_selection_is_the_rows_that_pass_all_filters(cohort):
    _, data = cohort
    table = data.table
    expected = [
        k
        for k in range(len(data))
        if data.labels[k, 2] and table["sex"].iloc[k] == "male" and 55 <= table["age"].iloc[k] <= 70
    ]
    assert Selection("I48", "male", (55, 70), False).rows(data).tolist() == expected
    assert expected
    assert Selection(NO_DISEASE).rows(data).tolist() == np.flatnonzero(~data.labels.any(axis=1)).tolist()
    assert len(Selection().rows(data)) == len(data)


def test_a_quality_warning_is_found_and_filtered(cohort):
    _, data = cohort
    data.table.loc[4, "flat_leads"] = "V2"
    data.table.loc[6, "heart_flagged"] = True
    data.table.loc[8, "age"] = np.nan
    assert Selection(warned=True).rows(data).tolist() == [4, 6]
    assert "flat leads" in participant.warnings_of(data, 4)[0]
    assert "the place of the heart is uncertain" in participant.warnings_of(data, 6)[0]
    assert 8 in Selection().rows(data) and 8 not in Selection(ages=(0, 200)).rows(data)
    assert "age unknown" in participant.facts_of(data, 8)


def _record() -> CineRecord:
    labels = np.zeros((1, 3, 60, 50), np.uint8)
    labels[:, :, 20:40, 20:30] = 2
    for frame, side in enumerate((10, 4, 6)):
        labels[0, frame, 25 : 25 + side, 22:26] = 1
    return CineRecord(np.random.default_rng(0).random((1, 3, 60, 50)), (2.0, 1.5), 10.0, 30.0, labels)


def test_a_slice_keeps_the_scale_and_measures_the_cavity():
    heart = from_record(_record())
    np.testing.assert_allclose(heart.area_cm2, np.array([40, 16, 24]) * 2.0 * 1.5 / 100)
    assert heart.end_systole == 1
    assert heart.frames.shape == (3, 20 + 2 * 6, 10 + 2 * 8)  # 12 mm on each side
    assert heart.frames.min() == 0 and heart.frames.max() == 255


def test_a_slice_without_labels_says_what_it_lacks():
    boxed = from_record(replace(_record(), labels=None, box=(20, 20, 40, 30)))
    assert boxed.area_cm2 is None and boxed.end_systole is None and "box only" in boxed.note
    stored = from_clip(np.zeros((8, 8, 5), np.uint8), "the file is gone")
    assert stored.frames.shape == (5, 8, 8) and "the file is gone" in stored.note and stored.spacing_mm is None


def test_a_player_sends_every_frame_and_its_scale():
    heart = from_record(_record())
    shown = player.player(heart, "a cine")
    assert shown.pixels == heart.frames.tobytes() and shown.labels == heart.labels.tobytes()
    assert shown.shape == list(heart.frames.shape) and shown.spacing == [2.0, 1.5] and shown.end_systole == 1
    player.set_heart(shown, HeartSlice(heart.frames))
    assert shown.labels == b"" and shown.spacing == [] and shown.area == []


def test_controls_of_the_cohort_draw_another_participant(cohort):
    view = CohortView(*cohort)
    view.widget()
    assert view.count.value.endswith(f"of {cohort[1].labels[:, 2].sum()}</div>")
    before, row = view.ecg_image.value, view.row
    view.forth.click()
    assert view.row != row and view.ecg_image.value != before
    cleaned = view.ecg_image.value
    view.baseline.value = RECORDED
    assert view.ecg_image.value != cleaned
    traits = view.trait_image.value
    view.group.value = "RV"
    assert view.trait_image.value != traits
    view.disease.value = "I50"
    assert cohort[1].labels[view.row, 3]
    view.quality.value = "with warnings"
    assert "no participant passes" in view.count.value


def test_without_an_alignment_the_view_names_the_command(cohort):
    view = CohortView(*cohort)
    view.widget()
    assert view.space is None and "eccl train" in view.facts.value and view.place_image.layout.display == "none"


def test_overview_traits_exist_and_each_chamber_has_its_own():
    assert len(trait_columns(OVERVIEW)) == 16
    assert {TRAITS[k].group for k in trait_columns("LA")} == {"LA"}


def test_augmentations_are_those_of_the_training(cohort):
    config, data = cohort
    shown = augmentations.gallery(config, data, 3, draw=0)
    own = shown.ecgs[augmentations.ORIGINAL]
    np.testing.assert_array_equal(shown.ecgs["sign flipped"], -own)
    np.testing.assert_array_equal(shown.ecgs["reversed in time"], own[:, ::-1])
    cropped = shown.ecgs["cropped to 80%"]
    assert (cropped != 0).any(axis=0).sum() == pytest.approx(0.8 * own.shape[1], rel=0.02)
    np.testing.assert_allclose(shown.clips["mirrored (off)"], shown.clips[augmentations.ORIGINAL][..., ::-1], atol=1e-5)
    again = augmentations.gallery(config, data, 3, draw=0).clips[augmentations.DRAWN]
    np.testing.assert_array_equal(again, shown.clips[augmentations.DRAWN])
    other = augmentations.gallery(config, data, 3, draw=1).clips[augmentations.DRAWN]
    assert (other != again).any()


def test_gallery_draws_again_and_plays_the_chosen_clip(cohort):
    view = GalleryView(*cohort, 0)
    view.widget()
    before, clip = view.image.value, view.clip.pixels
    view.again.click()
    assert view.image.value != before and view.clip.pixels != clip
    view.which.value = augmentations.ORIGINAL
    stored = np.frombuffer(view.clip.pixels, np.uint8).reshape(view.clip.shape)
    np.testing.assert_array_equal(stored, cohort[1].clip_view(cohort[0].view)[0].transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["scar", "wall", "ef"])
def test_each_slider_changes_both_modalities_and_is_taken_back(cohort, name: str):
    view = HeartView(cohort[0])
    view.widget()
    ecg, pixels, labels = view.ecg.value, view.heart.pixels, view.heart.labels
    view.sliders[name].value = {"scar": 0.9, "wall": 13.0, "ef": 25.0}[name]
    assert view.ecg.value != ecg and view.heart.labels != labels
    view.reset.click()
    assert view.ecg.value == ecg and view.heart.pixels == pixels


def test_linked_maps_show_the_hovered_participant_and_the_lassoed_group(cohort):
    config, data = cohort
    rows = data.index("test")
    generator, n = np.random.default_rng(0), len(rows)
    maps = [SharedMap(*generator.standard_normal((2, n, 2))) for _ in range(2)]
    view = latent_view.LatentView(config, data, rows, *maps)
    view.widget()
    ecg, group = view.ecg_image.value, view.group_image.value
    view.maps[1].widget.hovering = n + 2  # the CMR of the third participant
    assert view.ecg_image.value != ecg
    assert participant.facts_of(data, int(rows[2])) in view.who.value
    assert view.maps[0].widget.hovering == n + 2  # the same point in the other map
    view.maps[1].widget.selection = np.array([1, n + 1, 3], np.uint32)  # ECG and CMR of one, ECG of another
    assert view.group.tolist() == [1, 3] and view.group_image.value != group
    assert "2 participants" in view.lassoed.value
    view.menu.value = next(name for name in view.menu.options if name.startswith("LV ejection"))
    assert view.maps[0].widget.color_by and view.maps[0]._color_by == view.menu.value


def test_small_lassoed_groups_of_ukb_are_withheld(cohort):
    config, data = cohort
    rows = np.arange(60)
    maps = [SharedMap(*np.random.default_rng(0).standard_normal((2, 60, 2))) for _ in range(2)]
    view = latent_view.LatentView(replace(config, cohort="ukb"), data, rows, *maps)
    view.ecg_image, view.group_image, view.lassoed = show.image(), show.image(), show.message()
    view._select(np.arange(9))
    assert "under 10" in view.lassoed.value and view.group_image.layout.display == "none"
    assert not view.group_image.value
    view._select(np.arange(40))
    assert bytes(view.group_image.value).startswith(PNG)
    data.labels[rows, 0] = np.arange(60) < 9
    assert not any("I21" in name for name in view.colours()) and any("I21" in name for name in _of(view, "synthetic"))


def _of(view: latent_view.LatentView, cohort: str) -> list[str]:
    view.config = replace(view.config, cohort=cohort)
    return list(view.colours())


def test_the_first_group_is_around_the_lowest_ejection_fraction(cohort):
    config, data = cohort
    rows = np.arange(60)
    points = np.random.default_rng(0).standard_normal((60, 2))
    maps = SharedMap(points, points)
    view = latent_view.LatentView(config, data, rows, maps, maps)
    lowest = int(np.argmin(data.traits[rows, [trait.short_name for trait in TRAITS].index("LVEF")]))
    assert view.group[0] == lowest
    distance = np.linalg.norm(points - points[lowest], axis=1)
    assert set(view.group) == set(np.argsort(distance)[:50])
