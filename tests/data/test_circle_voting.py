"""Circle voting: the ventricle is found without weights, and its sign tells it from what else beats."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import center_of_mass, gaussian_filter

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import load
from eccl_lib.data import cmr, synthetic
from eccl_lib.data.formats import detect
from eccl_lib.data.records import CineRecord
from eccl_lib.data.segmentation import circle_voting

SPACING = (1.5, 2.0)  # mm between rows and columns: unlike, so that no mix-up goes unseen


def ring(at: tuple[float, float], inner_mm: np.ndarray, shape=(96, 88), spacing=SPACING) -> np.ndarray:
    """(F, H, W): bright blood in a dark wall on grey tissue; inner_mm: radius of the cavity in each frame."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot((y - at[0]) * spacing[0], (x - at[1]) * spacing[1])
    picture = np.full((len(inner_mm), *shape), 100.0)
    for frame, radius in zip(picture, inner_mm, strict=True):
        frame[away < 34] = 40
        frame[away < radius] = 220
    return gaussian_filter(picture, (0, 0.7, 0.7))


BEAT = np.cos(2 * np.pi * np.arange(20) / 20)
FULL_AT_R, EMPTY_AT_R = 21 + 5 * BEAT, 21 - 5 * BEAT


def error_mm(at, wanted, spacing) -> float:
    return float(np.hypot(*((np.asarray(at) - wanted) * spacing)))


@pytest.mark.parametrize("place", [(40, 30), (52.5, 55), (30, 50)])
def test_a_beating_ring_is_found_to_a_blur(place):
    noise = np.random.default_rng(0).normal(0, 5, (2, 20, 96, 88))
    assert error_mm(circle_voting.centre(ring(place, FULL_AT_R)[None] + noise, SPACING), place, SPACING) < 3


def test_the_sign_of_the_beat_decides_between_two_rings():
    ventricle, aorta = (30, 25), (66, 62)
    half = np.arange(88) < 44
    for first, second, wanted in ((FULL_AT_R, EMPTY_AT_R, ventricle), (EMPTY_AT_R, FULL_AT_R, aorta)):
        both = np.where(half, ring(ventricle, first), ring(aorta, second))
        assert error_mm(circle_voting.centre(both[None], SPACING), wanted, SPACING) < 4


def test_brightness_scale_and_offset_do_not_matter():
    images = ring((40, 40), FULL_AT_R)[None]
    assert circle_voting.centre(images, SPACING) == circle_voting.centre(images * 7.0 + 500, SPACING)


def test_slices_vote_together():
    lone = ring((60, 60), 18 + 3 * BEAT)
    stack = np.stack([ring((40, 30), FULL_AT_R)] * 4 + [lone])
    assert error_mm(circle_voting.centre(stack, SPACING), (40, 30), SPACING) < 4


def test_the_harmonic_is_that_of_a_fourier_transform():
    images = np.random.default_rng(0).random((20, 12, 14)).astype(np.float32)
    mean, beat = circle_voting.harmonic(images, SPACING)
    literal = 2 * np.fft.fft(images, axis=0)[1].real / 20
    np.testing.assert_allclose(beat / mean, literal / images.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("still", [np.full((2, 20, 40, 40), 7.0), np.random.default_rng(0).random((40, 40))])
def test_where_nothing_beats_the_reason_is_said(still):
    with pytest.raises(UnreadableError, match="nothing in the images beats"):
        circle_voting.centre(np.broadcast_to(still, (2, 20, 40, 40)), SPACING)


def test_the_box_has_its_physical_size_on_any_pixels():
    top, left, bottom, right = circle_voting.box((100.0, 60.0), (1.83, 1.83))
    assert (bottom - top, right - left) == (80, 80)  # the authors' 80 pixels at UK Biobank's resolution
    assert abs((top + bottom - 1) / 2 - 100) <= 0.5
    top, left, bottom, right = circle_voting.box((100.0, 60.0), (1.0, 2.0))
    assert (bottom - top, right - left) == (146, 73)


def test_some_frames_are_even_and_start_at_the_r_wave():
    assert circle_voting.some_frames(50)[:4] == [0, 3, 6, 9]
    assert len(circle_voting.some_frames(50)) == circle_voting.FRAMES
    assert circle_voting.some_frames(7) == list(range(7))


def heart(record: CineRecord, *labels: int) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(np.isin(record.labels, labels).any(axis=(0, 1)))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def holds(outer, inner) -> bool:
    return all(outer[k] <= inner[k] for k in (0, 1)) and all(outer[k] >= inner[k] for k in (2, 3))


def test_the_box_holds_the_generated_hearts():
    config, errors = load("demo").synthetic, []
    for k in range(12):
        record = synthetic.render_cine(config, k)
        at = circle_voting.centre(record.images, record.spacing_mm)
        errors.append(error_mm(at, center_of_mass((record.labels == cmr.LV).sum(axis=(0, 1))), record.spacing_mm))
        assert holds(circle_voting.box(at, record.spacing_mm), heart(record, cmr.LV, cmr.MYOCARDIUM, cmr.RV))
    # The generator's two ventricles beat alike, and lie side by side: votes often fall between them.
    assert np.mean(errors) < 20


@pytest.mark.parametrize("subject", ["SCD0000101", "SCD0000201"])
def test_on_real_cines_the_experts_ventricle_is_found_and_its_box_holds_it(shared: Path, subject):
    folder = shared / "cmr" / "sunnybrook"
    with (folder / "subjects.csv").open() as handle:
        facts = next(row for row in csv.DictReader(handle) if row["patient_id"] == subject)
    frames = int(facts["ed_frame"]), int(facts["es_frame"])
    record = detect.read_cine(folder / f"{subject}_sax_4d.nii.gz", folder / f"{subject}_sax_edes_gt.nii.gz", frames)
    at = circle_voting.centre(record.images, record.spacing_mm)
    expert = center_of_mass((record.labels == cmr.LV).sum(axis=(0, 1)))
    assert error_mm(at, expert, record.spacing_mm) < 8
    assert holds(circle_voting.box(at, record.spacing_mm), heart(record, cmr.LV, cmr.MYOCARDIUM))


def test_on_a_volunteers_stack_the_place_seen_on_the_pictures_is_found(shared: Path):
    record = detect.read_cine(shared / "cmr" / "bivme" / "patient1_sax_4d.nii.gz")
    at = circle_voting.centre(record.images, record.spacing_mm)
    assert error_mm(at, (78, 79), record.spacing_mm) < 10  # row, column by eye
