"""The report has no participant ids, reveals no small counts, and has the correct numbers."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from eccl_lib.checks.privacy import check_tree
from eccl_lib.config.load import load
from eccl_lib.data import open_cohort, small_counts
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.ingest import report, report_page
from eccl_lib.data.splits import split_of
from eccl_lib.data.store import fill
from eccl_lib.data.store.plan import Inventory
from tests.conftest import eccl

CONFIG = load("demo")


@pytest.fixture
def data(tmp_path) -> Cohort:
    """300 participants, some with flags, and a quarantine list."""
    rng = np.random.default_rng(0)
    n = 300
    eids = [str(9_000_001 + k) for k in range(n)]
    table = pd.DataFrame({"eid": eids, "split": [split_of(eid, "eccl", CONFIG.synthetic.split) for eid in eids]})
    table["sex"], table["age"] = ["female"] * 155 + ["male"] * 141 + [None] * 4, rng.normal(64, 8, n)
    table["heart_rate"], table["missing_leads"], table["flat_leads"] = (
        rng.normal(60, 10, n),
        "",
        ["V1"] * 12 + [""] * 288,
    )
    table["gaps"], table["clipped"], table["baseline_mv"], table["einthoven_uv"] = (
        0.0,
        0.0,
        0.4,
        [50.0] * 3 + [5.0] * 297,
    )
    table["heart_rate_from"] = "device"
    table["segmenter"] = ["masks"] * 200 + ["network"] * 93 + ["voting"] * 7
    table["heart_flagged"] = [True] * 12 + [False] * 288
    table["notes"] = (
        ["resolution 4.88 uV per count; pacemaker"] * 20
        + [f"the file {eids[0]}_20205_2_1.xml was passed over"]
        + [""] * 279
    )
    excluded = [
        {
            "eid": str(9_100_000 + k),
            "file": f"{9_100_000 + k}.zip",
            "reason": f"the zip has {k} bytes",
            "cure": "Again.",
        }
        for k in range(25)
    ]
    excluded += [{"eid": "9200000", "file": "", "reason": "the zip of 9200000 is odd", "cure": "Look at 9200000."}]
    ecg, clips = (
        rng.integers(-99, 99, (n, 12, 5000)).astype(np.int16),
        rng.integers(0, 255, (n, 16, 16, 5)).astype(np.uint8),
    )
    traits, labels = rng.normal(50, 10, (n, 82)).astype(np.float32), np.zeros((n, 4), dtype=bool)
    traits[:4, 0], traits[:295, 1], labels[:30, 0], labels[:3, 1] = np.nan, np.nan, True, True
    frame = fill.quarantine_frame(excluded)
    return Cohort(tmp_path, "f", table, ecg, clips, traits, labels, frame, print)


def inventory(data: Cohort, **counts: int) -> Inventory:
    demographics = data.table[["sex", "age"]]
    wrong = {"identity": "LV: stroke volume", "checked": 296, "differing": 3, "largest": 12.345}
    notes = ["table.csv: 2 rows left out", "row of 9000007 is odd"]
    return Inventory({}, demographics, data.traits, {}, [], counts, {"field 20208": 40}, notes, [wrong])


@pytest.fixture
def content(data) -> dict:
    return report.facts(
        CONFIG, data, inventory(data, withdrawn=3, **{"with an ECG or a cine": 330, "in the table": 305})
    )


def test_the_report_contains_no_participant_id(data, tmp_path):
    page = report.write(CONFIG, data, inventory(data))
    assert check_tree(page.parent) == []
    images = re.compile(r'src="data:image/png;base64,[^"]*"')
    for path in (page, page.parent / "report.json"):
        assert not re.search(r"9[0-2]\d{5}", images.sub("", path.read_text()))
    assert {path.name for path in page.parent.iterdir()} == {
        "index.html",
        "report.json",
        "ecg.png",
        "crops.png",
        "traits.png",
    }


def numbers(value) -> list[int]:
    """All integers in a nested value."""
    if isinstance(value, dict):
        return [n for inner in value.values() for n in numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in numbers(inner)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def test_no_count_is_between_one_and_nine(content):
    for part in (
        "counts",
        "quarantine",
        "quality",
        "segmentation",
        "notes of the readers",
        "people",
        "prevalence",
        "splits",
        "identities",
    ):
        assert not [n for n in numbers(content[part]) if 0 < n < small_counts.SMALL], part
    for trait in content["traits"]:
        assert not [n for n in numbers(trait) if 0 < n < small_counts.SMALL]


def test_small_counts_cannot_be_computed_by_subtraction(content):
    assert content["people"]["sex"] == {"female": 155, "male": "withheld", "not given": "under 10"}
    assert content["traits"][0]["n"] == "all but under 10"
    assert content["identities"][0] == {
        "identity": "LV: stroke volume",
        "checked": "all but under 10",
        "differing": "under 10",
        "largest": None,
    }
    # 305 complete participants and 300 in the store would reveal that five could not be read.
    assert content["counts"]["in the table"] == "withheld"
    assert content["counts"]["in the store"] == 300
    assert content["counts"]["withdrawn"] == "under 10"
    for row in content["splits"]:
        hidden = [row[name] for name in ("train", "val", "test") if isinstance(row[name], str)]
        assert len(hidden) != 1, row
    # Four have no sex, which the difference of all and both sexes would reveal.
    rows = {row["stratum"]: row for row in content["splits"]}
    assert rows["all"]["n"] == 300
    assert {rows[sex][name] for sex in ("female", "male") for name in ("n", "train", "val", "test")} == {"withheld"}


@pytest.mark.parametrize("flagged", [0, 1, 4])
def test_counts_of_a_small_store_are_withheld(data, flagged):
    few = pd.DataFrame({"segmenter": ["voting"] * 4, "heart_flagged": [True] * flagged + [False] * (4 - flagged)})
    assert report._segmentation(few)[report.FLAGGED] == "under 10"
    assert report._distribution(np.array([60.0, np.nan, np.nan]))["n"] == "under 10"


def test_notes_and_reasons_that_differ_only_in_numbers_are_counted_together(content):
    assert content["quarantine"][0] == {"reason": "the zip has N bytes", "cure": "Again.", "lines": "withheld"}
    assert content["quarantine"][1] == {"reason": "the zip of N is odd", "cure": "Look at <id>.", "lines": "under 10"}
    assert content["notes of the readers"]["pacemaker"] == 20
    assert content["tables"] == ["<file>: under 10 rows left out", "row of <id> is odd"]


def test_the_most_frequent_reason_is_complete_but_without_ids(data):
    assert report.most_frequent(data.quarantine) == "the zip has 0 bytes. Again."
    assert report.most_frequent(data.quarantine[-1:]) == "the zip of <id> is odd. Look at <id>."


def test_the_report_has_the_numbers_of_the_store(content, data):
    trait = content["traits"][5]
    assert trait["mean"] == pytest.approx(data.traits[:, 5].mean(), rel=1e-3)
    assert trait["p50"] == pytest.approx(np.median(data.traits[:, 5]), rel=1e-3)
    assert "p5" in trait
    assert len(trait["histogram"]["bars"]) == report.BINS
    assert content["traits"][1] == {
        "field": 24101,
        "name": "LV end systolic volume",
        "short": "LVESV",
        "unit": "mL",
        "n": "under 10",
    }
    assert content["prevalence"]["ever"]["I21"] == {"cases": 30, "percent": 10.0}
    assert content["prevalence"]["ever"]["I42"] == {"cases": "under 10", "percent": None}
    assert content["quality"]["a flat lead"] == 12
    assert content["quality"]["I + III differs from II by more than 20 uV"] == "under 10"


def test_quantiles_have_enough_participants_beyond_them():
    assert set(report._distribution(np.arange(30.0))) == {"n", "mean", "sd", "p50"}
    assert set(report._distribution(np.arange(40.0))) == {"n", "mean", "sd", "p25", "p50", "p75"}
    assert "p5" in report._distribution(np.arange(200.0))
    assert report._distribution(np.arange(9.0)) == {"n": "under 10"}


def test_a_large_count_is_withheld_beside_small_ones():
    assert report.suppress({"a": 50, "b": 30, "c": 3}) == {"a": 50, "b": "withheld", "c": "under 10"}
    assert report.suppress({"a": 50, "b": 4, "c": 3}) == {"a": "withheld", "b": "under 10", "c": "under 10"}
    assert report.suppress({"a": 50, "b": 0}) == {"a": 50, "b": 0}


class Tags(HTMLParser):
    """True if all tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_valid_html_with_escaped_text(content):
    content["tables"] = ["<script>alert(1)</script>"]
    text = report_page.page(json.loads(json.dumps(content)), {})
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    assert "<script>" not in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)  # the page is self-contained


def test_an_empty_store_has_a_report(data, tmp_path):
    empty = Cohort(
        tmp_path,
        "f",
        data.table[:0],
        data.ecg[:0],
        data.clips[:0],
        data.traits[:0],
        data.labels[:0],
        data.quarantine,
        print,
    )
    assert report.write(CONFIG, empty, inventory(empty)).is_file()


def test_the_report_counts_segmenters_and_withholds_small_counts(content, data):
    shown = content["segmentation"]
    assert shown["given masks"] == 200
    assert (shown["our network"], shown["circle voting"]) == ("withheld", "under 10")
    assert shown[report.FLAGGED] == 12
    data.table["heart_flagged"] = [True] * 3 + [False] * 297
    assert report.facts(CONFIG, data, inventory(data))["segmentation"][report.FLAGGED] == "under 10"
    before = data.table.drop(columns=["segmenter", "heart_flagged"])  # an older store
    older = dataclasses.replace(data, table=before)
    assert report.facts(CONFIG, older, inventory(older))["segmentation"] == {}


def test_the_report_counts_boxes_that_may_be_wrong(data):
    table = data.table.assign(
        heart_confidence=[0.5] * 20 + [0.9] * 73 + [None] * 207,
        box_at_border=pd.array([True] * 11 + [False] * 82 + [None] * 207, dtype="boolean"),
        box_change=[0.31] * 4 + [0.3] * 296,
    )
    shown = report._segmentation(table)
    counts = [shown[name] for name in report.UNSURE]
    assert counts == [20, 11, "under 10"]
    assert not set(report.UNSURE) & set(report._segmentation(data.table))  # an older store


NAME = "Doe Jane 1950-02-03"


@pytest.mark.parametrize(
    "reason",
    [
        f"the header {NAME}.hea is missing beside {NAME}.dat",
        f"there is no file /mnt/cohort/{NAME}.nii.gz",
        f"no lead is named; the channels are: '{NAME}', 'x'",
        f"the root element {NAME!r} is of no known ECG format",
        f"{NAME} is empty",
        f'the segment "{NAME}\'s" is not in the folder of the header',
    ],
)
@pytest.mark.parametrize("file", [f"{NAME}.dat", f"ward/{NAME}.dat"])
def test_no_name_of_a_file_and_no_text_of_a_file_reaches_the_report(data, reason, file):
    rows = [{"eid": "", "file": file, "reason": reason, "cure": f"Look at {NAME}."}] * 12
    data.quarantine = fill.quarantine_frame(rows)
    shown = json.dumps(report.facts(CONFIG, data, inventory(data))["quarantine"]) + report.most_frequent(
        data.quarantine
    )
    assert not re.search("Doe|Jane|1950|ward|cohort/", shown), shown


def test_a_patients_name_in_a_file_name_is_in_the_private_list_only(tmp_path, monkeypatch):
    """Twelve damaged recordings of every ECG format, all named after a patient."""
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    folder = tmp_path / "Ward Zebedee"
    folder.mkdir()
    beats = "".join(f"{x:.3f},{2 * x:.3f},{x:.3f},7\n" for x in np.sin(np.arange(5100) / 80))
    (folder / "Quillfeather.csv").write_text(f"# rate=500\nI,II,V1,Zebedee\n{beats}")
    for k in range(12):
        np.save(folder / f"Quillfeather{k}.npy", np.zeros((12, 5000)))
        (folder / f"Quillfeather_{k}.dat").write_bytes(b"\1\2\3\4")
        (folder / f"Quillfeather-{k}.edf").write_bytes(b"0       Quillfeather" + b" " * 300)
        (folder / f"Quillfeather+{k}.csv").write_text("I,II,Quillfeather\n1,Quillfeather,2\n")
        (folder / f"Quillfeather={k}.xml").write_text("<Quillfeather/>")
        (folder / f"x{k}.Quillfeather").write_text("")
    assert eccl("ingest", "ecg", folder, "--name", "ward", "--workers", 1) == 0
    data = open_cohort.load(load("demo", cohort="ecg-ward"), lambda line: None, needs=("ecg",))
    assert len(data.quarantine) >= 60
    assert data.quarantine["file"].str.contains("Quillfeather").all()
    report_folder = data.folder / "report"
    for path in (report_folder / "report.json", report_folder / "index.html"):
        assert not re.search("(?i)quillfeather|zebedee", path.read_text()), path
