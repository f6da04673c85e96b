"""Providers that locate the heart: choice of the provider, its results, and the comparison with circle voting."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.load import load
from eccl_lib.config.schema import StoreConfig
from eccl_lib.data import cmr, synthetic
from eccl_lib.data.formats import detect
from eccl_lib.data.records import CineFile, CineRecord
from eccl_lib.data.segmentation import circle_voting, masks, providers
from eccl_lib.data.segmentation.confidence import Segmentation

GREY = np.array([30, 240, 90, 180])  # grey value of background, LV cavity, wall, RV


class PerfectNetwork:
    """A network that reads the true labels from the grey values, and records the shapes of its inputs."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []
        self.confidence = 0.95

    def analyse(self, images, spacing_mm, frames=None, slices=None):
        images = images if frames is None else images[:, frames]
        self.shown.append(images.shape)
        images = images if slices is None else images[slices]
        labels = np.abs(images[..., None] - GREY).argmin(axis=-1).astype(np.uint8)
        return Segmentation(labels, np.full(len(labels), self.confidence))


def beating(slices: int = 7, frames: int = 20, at: tuple[int, int] = (50, 60)) -> CineRecord:
    """A cine, base to apex: LV in slices 1 to 5, RV in 0 to 4, largest at the R wave; grey values encode the labels."""
    y, x = np.mgrid[:110, :120]
    labels = np.zeros((slices, frames, 110, 120), dtype=np.uint8)
    for s in range(slices):
        for f in range(frames):
            beat = np.cos(2 * np.pi * f / frames)
            inner, away = 12 - s + 3 * beat, np.hypot(y - at[0], x - at[1])
            if s <= 4:
                labels[s, f][np.hypot(y - at[0] + 2, x - at[1] + 19) < 12 + beat] = 3
            if 1 <= s <= 5:
                labels[s, f][away < inner + 5] = 2
                labels[s, f][away < inner] = 1
    return CineRecord(GREY[labels].astype(np.int16), (1.8, 1.8), 10.0, 40.0, labels)


def unlabelled(**kw) -> CineRecord:
    return dataclasses.replace(beating(**kw), labels=None)


@pytest.fixture
def perfect_network(monkeypatch) -> PerfectNetwork:
    net = PerfectNetwork()
    monkeypatch.setattr(providers, "_heart_net", lambda: net)
    monkeypatch.setattr(providers, "network_weights", lambda: masks.__file__)
    return net


@pytest.fixture
def no_weights(monkeypatch) -> None:
    monkeypatch.setattr(providers, "network_weights", lambda: None)


def test_auto_prefers_masks_then_the_network_then_voting(perfect_network, monkeypatch):
    assert providers.AUTO.chosen(mask_given=True) == "masks"
    assert providers.AUTO.chosen(mask_given=False) == "network"
    monkeypatch.setattr(providers, "network_weights", lambda: None)
    assert providers.AUTO.chosen(mask_given=False) == "voting"
    for name in providers.CHOICES[1:]:
        assert providers.Segmenter(name).chosen(mask_given=True) == name


@pytest.mark.parametrize(
    ("provider", "labelled", "used"), [("auto", True, "masks"), ("auto", False, "network"), ("voting", True, "voting")]
)
def test_the_record_has_the_name_of_the_provider_that_was_used(perfect_network, provider, labelled, used):
    record = beating() if labelled else unlabelled()
    assert providers.locate(record, segmenter=providers.Segmenter(provider)).segmenter == used


@pytest.mark.parametrize("choice", ["middle", "rv_max"])
def test_a_perfect_network_gives_the_slice_and_box_of_the_mask(perfect_network, choice):
    by_mask, by_net = (providers.locate(record, choice) for record in (beating(), unlabelled()))
    np.testing.assert_array_equal(by_net.images, by_mask.images)
    np.testing.assert_array_equal(by_net.labels, by_mask.labels)
    for crop in ("rectangle", "fixed_80px"):
        config = StoreConfig(slice_choice=choice, crop=crop, clip_size=56)
        np.testing.assert_array_equal(cmr.crop(by_net, config), cmr.crop(beating(), config))


def test_the_network_sees_two_frames_of_each_slice_and_then_a_part_of_one_slice_and_its_neighbours(perfect_network):
    providers.locate(unlabelled())
    first, second = perfect_network.shown
    assert first == (7, 2, 110, 120)
    assert second == (3, 20, 107, 107)  # 192 mm


def test_a_slice_at_the_end_of_a_stack_or_beside_a_damaged_one_has_fewer_neighbours(perfect_network):
    single = unlabelled(slices=7)
    single = dataclasses.replace(single, images=single.images[2:3])
    by_mask = providers.locate(dataclasses.replace(single, labels=beating().labels[2:3]))
    np.testing.assert_array_equal(providers.locate(single).labels, by_mask.labels)
    assert perfect_network.shown[-1][0] == 1
    record = unlabelled()

    def pixels(slices, frames):
        if list(slices) == [2] and len(frames) == record.images.shape[1]:
            raise UnreadableError("the slice is damaged")
        return record.images[list(slices)][:, list(frames)]

    cine = CineFile(record.images.shape, np.empty((0, 3, 3)), record.spacing_mm, 10.0, 40.0, pixels)
    found = providers.read(cine, choice="middle")
    assert perfect_network.shown[-1][0] == 2
    np.testing.assert_array_equal(found.labels[0], beating().labels[3])


@pytest.mark.parametrize(("confidence", "unsure"), [(0.95, False), (0.41, True)])
def test_low_confidence_flags_the_cine_and_is_noted(perfect_network, confidence, unsure):
    perfect_network.confidence = confidence
    found = providers.locate(unlabelled())
    assert (found.confidence, found.flagged) == (confidence, unsure)
    assert any("unsure of the heart: expected Dice 0.41" in note for note in found.notes) is unsure


def test_voting_gives_the_middle_of_the_stack_and_a_box_that_contains_the_left_ventricle(no_weights):
    record = unlabelled()
    found = providers.locate(record)
    assert found.labels is None
    np.testing.assert_array_equal(found.images, record.images[3:4])
    rows, columns = np.nonzero(np.isin(beating().labels[3], (1, 2)).any(axis=0))
    top, left, bottom, right = found.box
    assert top <= rows.min() <= rows.max() < bottom
    assert left <= columns.min() <= columns.max() < right
    assert (bottom - top) * 1.8 == pytest.approx(circle_voting.BOX_MM, abs=1)
    assert cmr.crop(found, StoreConfig()).shape == (224, 224, 50)
    assert cmr.crop(found, StoreConfig(crop="fixed_80px")).shape == (224, 224, 50)


def test_voting_does_not_support_rv_max(no_weights):
    with pytest.raises(UnreadableError, match="rv_max needs a segmentation"):
        providers.locate(unlabelled(), "rv_max")


def test_a_cine_is_flagged_only_if_network_and_voting_are_far_apart(perfect_network, monkeypatch):
    agreed = providers.locate(unlabelled())
    assert (agreed.flagged, agreed.notes) == (False, ())
    true = circle_voting.centre
    monkeypatch.setattr(circle_voting, "centre", lambda *given: tuple(np.add(true(*given), (0, 26 / 1.8))))
    found = providers.locate(unlabelled())
    assert found.flagged
    assert found.notes[0].startswith("the locations by the network and by voting are 2")
    np.testing.assert_array_equal(found.labels, agreed.labels)  # the flag does not change the result


def test_a_network_that_segments_a_still_structure_is_flagged(perfect_network):
    """Voting finds the ventricle that beats; the network segments a still copy 60 mm away."""
    record = unlabelled(at=(40, 35))
    still = beating(at=(75, 90)).labels[:, :1]
    images = np.where(still > 0, GREY[still], np.where(record.images == GREY[1], 235, record.images))
    images = np.where((still == 0) & (record.images != GREY[0]), images * 0.55, images)
    found = providers.locate(dataclasses.replace(record, images=images))
    assert found.flagged
    assert "by voting are" in found.notes[-1]


def test_auto_falls_back_to_voting_with_a_note_if_the_network_finds_no_heart(perfect_network, monkeypatch):
    monkeypatch.setattr(
        perfect_network, "analyse", lambda images, *_: Segmentation(np.zeros_like(images, np.uint8), np.ones(1))
    )
    found = providers.locate(unlabelled())
    assert (found.segmenter, found.flagged) == ("voting", True)
    assert "finds no heart" in found.notes[-1]
    with pytest.raises(UnreadableError, match="the network finds no heart"):
        providers.locate(unlabelled(), segmenter=providers.Segmenter("network"))


def test_the_provider_masks_raises_an_error_without_a_mask(perfect_network):
    with pytest.raises(UnreadableError, match="no segmentation is given"):
        providers.locate(unlabelled(), segmenter=providers.Segmenter("masks"))


def test_the_mark_of_a_segmenter_changes_with_each_setting_that_changes_its_result(
    perfect_network, tmp_path, monkeypatch
):
    assert providers.AUTO.mark(True) == providers.Segmenter("masks").mark(True) == []
    assert providers.Segmenter(mask_labels="mms").mark(True) == []  # another name of the same order
    marks = [providers.Segmenter(mask_labels="acdc").mark(True), providers.Segmenter("voting").mark(True)]
    marks.append(providers.AUTO.mark(False))
    for content in (b"one", b"another"):
        (tmp_path / "net.onnx").write_bytes(content)
        onnx = providers.Segmenter("onnx", onnx=str(tmp_path / "net.onnx"))
        marks += [onnx.mark(True), dataclasses.replace(onnx, onnx_labels="mms").mark(True)]
    assert len({tuple(mark) for mark in marks}) == len(marks)
    (tmp_path / "w").write_bytes(b"other weights")
    monkeypatch.setattr(providers, "network_weights", lambda: tmp_path / "w")
    assert providers.AUTO.mark(False) not in marks


@pytest.mark.parametrize(
    ("segmenter", "reason"),
    [
        (providers.Segmenter("onnx"), "belong together"),
        (providers.Segmenter("auto", onnx="a.onnx"), "belong together"),
        (providers.Segmenter("network"), "weights are missing"),
        (providers.Segmenter("onnx", onnx="a.onnx", onnx_pixel_mm=-1.0), "is negative"),
    ],
)
def test_check_rejects_invalid_settings(no_weights, segmenter, reason):
    with pytest.raises(UnreadableError, match=reason):
        segmenter.check()


def test_the_voted_crop_of_a_generated_cine_contains_the_heart(no_weights):
    config = load("demo")
    record = synthetic.render_cine(config.synthetic, 3)
    found = providers.locate(record, segmenter=providers.Segmenter("voting"))
    by_mask = providers.locate(record)
    np.testing.assert_array_equal(found.images, by_mask.images)
    inner = cmr.heart_box(by_mask.labels[0])
    assert all(found.box[k] <= inner[k] for k in (0, 1))
    assert all(found.box[k] >= inner[k] for k in (2, 3))


def test_a_stack_of_uk_biobanks_size_is_located_without_a_mask_and_cropped():
    pytest.importorskip("torch")
    if providers.network_weights() is None:
        pytest.skip("the network's weights are missing")
    config = load("paper")
    record = synthetic.render_cine(config.synthetic, 4)
    assert record.images.shape == (10, 50, 208, 187)
    found = providers.locate(dataclasses.replace(record, labels=None))
    clip = cmr.crop(found, config.store)
    assert clip.shape == (224, 224, 50)
    true = cmr.heart_box(record.labels[cmr.choose_slice(record.labels, 10, "middle")])
    assert cmr.intersection_over_union(true, cmr.heart_box(found.labels[0])) > 0.6


@pytest.mark.parametrize("subject", ["SCD0000101", "SCD0000201"])
def test_the_networks_box_on_real_cines_contains_the_experts_ventricle(shared, subject):
    if providers.network_weights() is None:
        pytest.skip("the network's weights are missing")
    stack = shared / "cmr" / "sunnybrook" / f"{subject}_sax_4d.nii.gz"
    with (stack.parent / "subjects.csv").open() as handle:
        facts = next(row for row in csv.DictReader(handle) if row["patient_id"] == subject)
    mask = stack.with_name(f"{subject}_sax_edes_gt.nii.gz")
    expert = detect.read_cine(stack, mask, (int(facts["ed_frame"]), int(facts["es_frame"])))
    found = providers.read(detect.open_cine(stack), choice="middle")
    assert (found.segmenter, found.flagged) == ("network", False)
    kept = cmr.choose_slice(expert.labels, len(expert.images), "middle")
    np.testing.assert_array_equal(found.images[0], expert.images[kept])  # the same slice as from the expert's contours
    box, inner = cmr.box_of(found), cmr.heart_box(expert.labels[kept] == cmr.LV)
    assert all(box[k] <= inner[k] for k in (0, 1))
    assert all(box[k] >= inner[k] for k in (2, 3))


def test_intersection_over_union_of_boxes():
    assert cmr.intersection_over_union((0, 0, 4, 6), (0, 0, 4, 6)) == 1
    assert cmr.intersection_over_union((0, 0, 4, 6), (4, 0, 8, 6)) == 0
    assert cmr.intersection_over_union((0, 0, 4, 6), (2, 0, 6, 6)) == pytest.approx(1 / 3)


def test_by_provider_skips_providers_that_cannot_work(perfect_network, monkeypatch):
    assert list(providers.by_provider(beating())) == ["masks", "network", "voting"]
    assert list(providers.by_provider(unlabelled())) == ["network", "voting"]
    assert list(providers.by_provider(beating(), "rv_max")) == ["masks", "network"]
    monkeypatch.setattr(providers, "network_weights", lambda: None)
    assert list(providers.by_provider(beating())) == ["masks", "voting"]
