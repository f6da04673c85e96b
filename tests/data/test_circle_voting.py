"""Circle voting locates the ventricle, and the harmonic's sign distinguishes it from other pulsating structures."""

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

SPACING = (1.5, 2.0)  # mm between rows and columns; different, so that swapped axes are detected


def ring(at: tuple[float, float], inner_mm: np.ndarray, shape=(96, 88), spacing=SPACING) -> np.ndarray:
    """Images (F, H, W): bright blood in a dark wall on grey tissue; inner_mm: radius of the cavity in each frame."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot((y - at[0]) * spacing[0], (x - at[1]) * spacing[1])
    images = np.full((len(inner_mm), *shape), 100.0)
    for frame, radius in zip(images, inner_mm, strict=True):
        frame[distance < 34] = 40
        frame[distance < radius] = 220
    return gaussian_filter(images, (0, 0.7, 0.7))


BEAT = np.cos(2 * np.pi * np.arange(20) / 20)
FULL_AT_R, EMPTY_AT_R = 21 + 5 * BEAT, 21 - 5 * BEAT


def error_mm(at, expected, spacing) -> float:
    return float(np.hypot(*((np.asarray(at) - expected) * spacing)))


@pytest.mark.parametrize("place", [(40, 30), (52.5, 55), (30, 50)])
def test_a_beating_ring_is_located_within_3_mm(place):
    noise = np.random.default_rng(0).normal(0, 5, (2, 20, 96, 88))
    assert error_mm(circle_voting.centre(ring(place, FULL_AT_R)[None] + noise, SPACING), place, SPACING) < 3


def test_of_two_rings_the_one_that_is_full_at_the_r_wave_is_located():
    ventricle, aorta = (30, 25), (66, 62)
    half = np.arange(88) < 44
    for first, second, expected in ((FULL_AT_R, EMPTY_AT_R, ventricle), (EMPTY_AT_R, FULL_AT_R, aorta)):
        both = np.where(half, ring(ventricle, first), ring(aorta, second))
        assert error_mm(circle_voting.centre(both[None], SPACING), expected, SPACING) < 4


def test_brightness_scale_and_offset_do_not_matter():
    images = ring((40, 40), FULL_AT_R)[None]
    assert circle_voting.centre(images, SPACING) == circle_voting.centre(images * 7.0 + 500, SPACING)


def test_votes_of_all_slices_are_summed():
    outlier = ring((60, 60), 18 + 3 * BEAT)
    stack = np.stack([ring((40, 30), FULL_AT_R)] * 4 + [outlier])
    assert error_mm(circle_voting.centre(stack, SPACING), (40, 30), SPACING) < 4


def test_the_harmonic_equals_that_of_a_fourier_transform():
    images = np.random.default_rng(0).random((20, 12, 14)).astype(np.float32)
    mean, beat = circle_voting.harmonic(images, SPACING)
    literal = 2 * np.fft.fft(images, axis=0)[1].real / 20
    np.testing.assert_allclose(beat / mean, literal / images.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("still", [np.full((2, 20, 40, 40), 7.0), np.random.default_rng(0).random((40, 40))])
def test_a_still_image_raises_an_error(still):
    with pytest.raises(UnreadableError, match="no part of the images pulsates"):
        circle_voting.centre(np.broadcast_to(still, (2, 20, 40, 40)), SPACING)


def test_the_box_has_its_physical_size_for_any_pixel_size():
    top, left, bottom, right = circle_voting.box((100.0, 60.0), (1.83, 1.83))
    assert (bottom - top, right - left) == (80, 80)  # the authors' 80 pixels at UK Biobank's resolution
    assert abs((top + bottom - 1) / 2 - 100) <= 0.5
    top, left, bottom, right = circle_voting.box((100.0, 60.0), (1.0, 2.0))
    assert (bottom - top, right - left) == (146, 73)


def test_sampled_frames_are_evenly_spaced_and_start_at_the_r_wave():
    assert circle_voting.sampled_frames(50)[:4] == [0, 3, 6, 9]
    assert len(circle_voting.sampled_frames(50)) == circle_voting.FRAMES
    assert circle_voting.sampled_frames(7) == list(range(7))


def heart(record: CineRecord, *labels: int) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(np.isin(record.labels, labels).any(axis=(0, 1)))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def holds(outer, inner) -> bool:
    return all(outer[k] <= inner[k] for k in (0, 1)) and all(outer[k] >= inner[k] for k in (2, 3))


def test_the_box_contains_the_generated_hearts():
    config, errors = load("demo").synthetic, []
    for k in range(12):
        record = synthetic.render_cine(config, k)
        at = circle_voting.centre(record.images, record.spacing_mm)
        errors.append(error_mm(at, center_of_mass((record.labels == cmr.LV).sum(axis=(0, 1))), record.spacing_mm))
        assert holds(circle_voting.box(at, record.spacing_mm), heart(record, cmr.LV, cmr.MYOCARDIUM, cmr.RV))
    # The two generated ventricles beat alike side by side, so the maximum is often between them.
    assert np.mean(errors) < 20


@pytest.mark.parametrize("subject", ["SCD0000101", "SCD0000201"])
def test_on_real_cines_the_expert_ventricle_is_located_and_in_the_box(shared: Path, subject):
    folder = shared / "cmr" / "sunnybrook"
    with (folder / "subjects.csv").open() as handle:
        facts = next(row for row in csv.DictReader(handle) if row["patient_id"] == subject)
    frames = int(facts["ed_frame"]), int(facts["es_frame"])
    record = detect.read_cine(folder / f"{subject}_sax_4d.nii.gz", folder / f"{subject}_sax_edes_gt.nii.gz", frames)
    at = circle_voting.centre(record.images, record.spacing_mm)
    expert = center_of_mass((record.labels == cmr.LV).sum(axis=(0, 1)))
    assert error_mm(at, expert, record.spacing_mm) < 8
    assert holds(circle_voting.box(at, record.spacing_mm), heart(record, cmr.LV, cmr.MYOCARDIUM))


def test_on_a_volunteers_stack_the_manually_located_ventricle_is_located(shared: Path):
    record = detect.read_cine(shared / "cmr" / "bivme" / "patient1_sax_4d.nii.gz")
    at = circle_voting.centre(record.images, record.spacing_mm)
    assert error_mm(at, (78, 79), record.spacing_mm) < 10  # row, column by eye
