"""Builds without masks: the segmenter is chosen per participant, reported, and part of the stored command."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from eccl_lib.commands import ingest
from eccl_lib.data import cmr, open_cohort, original
from eccl_lib.data.ingest import report
from eccl_lib.data.segmentation import circle_voting, providers
from eccl_lib.data.store import fill, sharded
from eccl_lib.data.store.plan import Source
from eccl_lib.data.ukb import file_names, readers
from tests.conftest import eccl
from tests.data.conftest import HEART, as_ukbb_cardiac_writes, example_labels
from tests.data.test_biobank import build, runs, small, words  # noqa: F401  a fixture
from tests.data.test_segment import no_weights  # noqa: F401  a fixture

pytestmark = pytest.mark.usefixtures("runs")


@pytest.fixture
def processed(monkeypatch) -> list[str]:
    """The ids of the participants that are processed from now on."""
    ids: list[str] = []
    process = fill.process

    def recorded(participant, config):
        ids.append(participant.eid)
        return process(participant, config)

    monkeypatch.setattr(fill, "process", recorded)
    return ids


def without_masks(root: Path, *eids: str) -> None:
    for eid in eids:
        shutil.rmtree(root / "segmentations" / eid)


def test_without_masks_and_weights_circle_voting_locates_the_heart(own_biobank, no_weights):  # noqa: F811
    shutil.rmtree(own_biobank / "segmentations")
    data = build(own_biobank)
    assert (len(data), len(data.quarantine)) == (10, 0)
    assert set(data.table["segmenter"]) == {"voting"}
    kinds = file_names.find(own_biobank).participants["9000004"]
    cine = readers.read_cine(kinds["cine"][0])
    box = circle_voting.box(
        circle_voting.centre(cine.images[:, circle_voting.sampled_frames(50)], cine.spacing_mm), cine.spacing_mm
    )
    assert original.heart_of(small(), data, 3).box == box
    clip = cmr.crop(dataclasses.replace(cine, images=cine.images[1:2], box=box), small().store)
    np.testing.assert_array_equal(data.clips[3], clip)


def test_auto_chooses_a_segmenter_per_participant_and_the_report_counts_them(own_biobank, no_weights):  # noqa: F811
    without_masks(own_biobank, "9000002", "9000005")
    data = build(own_biobank)
    table = data.table.set_index("eid")["segmenter"]
    assert table.index[table == "voting"].tolist() == ["9000002", "9000005"]
    assert (table[table != "voting"] == "masks").all()
    shown = json.loads((data.folder / "report" / "report.json").read_text())["segmentation"]
    empty = dict.fromkeys([*report.EMPTY_CLIPS, *report.UNSURE], 0)
    border = next(name for name, (column, _) in report.UNSURE.items() if column == "box_at_border")
    touching = data.table["box_at_border"].to_numpy(bool)
    assert 0 < touching.sum() < 10 and not touching[table != "voting"].any()  # boxes of fixed size
    empty[border] = "under 10"
    assert shown == {"given masks": "under 10", "circle voting": "under 10", report.FLAGGED: 0} | empty


def test_a_participant_without_a_mask_has_the_networks_crop(own_biobank):
    if providers.network_weights() is None:
        pytest.skip("the network's weights are missing")
    without_masks(own_biobank, "9000003")
    data = build(own_biobank)
    assert (len(data), len(data.quarantine)) == (10, 0)
    assert data.table["segmenter"].tolist() == ["masks"] * 2 + ["network"] + ["masks"] * 7
    assert data.table["heart_confidence"].between(0, 1).tolist() == [False] * 2 + [True] + [False] * 7
    assert data.table["box_change"].between(0, 1).all()
    found = providers.read(
        readers.open_cine(file_names.find(own_biobank).participants["9000003"]["cine"][0]), choice="middle"
    )
    np.testing.assert_array_equal(data.clips[2], cmr.crop(found, small().store))
    top, left, bottom, right = cmr.box_of(found)
    rows, columns = HEART
    drawn = rows.start, columns.start, rows.stop, columns.stop
    assert cmr.intersection_over_union((top, left, bottom, right), drawn) > 0.5


def test_another_segmenter_processes_only_affected_participants_again(own_biobank, processed, no_weights):  # noqa: F811
    without_masks(own_biobank, "9000002", "9000005")
    masks_first = build(own_biobank, "--segmenter", "masks")
    assert masks_first.quarantine["eid"].tolist() == ["9000002", "9000005"]
    processed.clear()
    auto = build(own_biobank)
    assert processed == ["9000002", "9000005"]
    assert len(auto) == 10
    processed.clear()
    build(own_biobank)
    assert processed == []
    voted = build(own_biobank, "--segmenter", "voting")
    assert processed == [f"90000{k:02}" for k in (1, 3, 4, 6, 7, 8, 9, 10)]
    assert voted.fingerprint != auto.fingerprint
    assert build(own_biobank).fingerprint == auto.fingerprint


def test_masks_in_acdcs_label_order_need_the_option_mask_labels(own_biobank):
    from tests.data.conftest import ZIP_EXAMPLE

    plain = build(own_biobank)
    turned = np.array([0, 3, 2, 1], dtype=np.uint8)[example_labels()]
    for eid in plain.table["eid"]:
        as_ukbb_cardiac_writes(ZIP_EXAMPLE, turned, own_biobank / "segmentations" / eid / "seg_sa.nii.gz")
    assert eccl("ingest", "ukb", *words(own_biobank)) == 1
    rejected = open_cohort.load(small(), lambda line: None).quarantine
    assert len(rejected) == 10
    assert rejected["cure"].str.contains("--mask-labels acdc").all()
    again = build(own_biobank, "--mask-labels", "acdc")
    np.testing.assert_array_equal(again.clips[:], plain.clips[:])


def test_the_stored_command_has_the_segmenter_and_parses_to_the_same_source(own_biobank, no_weights):  # noqa: F811
    data = build(own_biobank, "--segmenter", "voting")
    source = Source.read(sharded.folder_of(small()))
    assert source.segmenter == providers.Segmenter("voting")
    options = ingest.ukb.make_context("ukb", shlex.split(source.command())[3:]).params
    arguments = [options[name] for name in ("folders", "tables_", "segmentations", "until")]
    assert ingest.ukb_source(*arguments, options) == source
    onnx = dataclasses.replace(source, segmenter=providers.Segmenter("onnx", onnx="/a net.onnx", onnx_pixel_mm=1.5))
    onnx.write(data.folder)
    assert Source.read(data.folder) == onnx
    parsed = ingest.ukb.make_context("ukb", shlex.split(onnx.command())[3:]).params
    assert {name: parsed[name] for name in dataclasses.asdict(onnx.segmenter)} == dataclasses.asdict(onnx.segmenter)


def test_a_source_file_without_a_segmenter_is_read(tmp_path):
    old = {"folders": ["/a"], "tables": ["/t.csv"], "segmentations": [], "until": None}
    (tmp_path / "source.json").write_text(json.dumps(old))
    assert Source.read(tmp_path) == Source(("/a",), ("/t.csv",))


def test_a_missing_onnx_network_stops_the_command(own_biobank, capsys):
    assert eccl("ingest", "ukb", *words(own_biobank, "--segmenter", "onnx")) == 2
    assert "--onnx PATH belong together" in capsys.readouterr().err
    assert (
        eccl("ingest", "ukb", *words(own_biobank, "--segmenter", "onnx", "--onnx", str(own_biobank / "no.onnx"))) == 2
    )


def test_rows_with_a_mask_are_the_same_for_the_segmenters_auto_and_masks(own_biobank, processed):
    auto = build(own_biobank)
    processed.clear()
    for name in ("masks", "auto"):
        assert build(own_biobank, "--segmenter", name).fingerprint == auto.fingerprint
    assert processed == []
