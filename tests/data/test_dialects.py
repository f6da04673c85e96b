"""A cohort gives the same store in all dialects."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.config.load import load
from eccl_lib.data import cmr, ecg, open_cohort, reading, synthetic
from eccl_lib.data.ukb import diagnoses, file_names, readers, tables
from eccl_lib.data.ukb.columns import IMAGING_VISIT
from tests.conftest import eccl
from tests.data import dialects, file_dialects, table_dialects
from tests.data.file_dialects import CINE_DIALECTS, ECG_DIALECTS, LAYOUTS
from tests.data.table_dialects import TABLE_DIALECTS

DEMO = load("demo")
CONFIG = DEMO.synthetic
RULES = ("ever", "prevalent", "incident")


@pytest.fixture(scope="module")
def frame():
    return synthetic.render_table(CONFIG, range(150))


@pytest.fixture(scope="module")
def default(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "participants.csv"
    frame.to_csv(path, index=False, lineterminator="\n")
    table = tables.read_table(path)
    return table, {rule: diagnoses.labels(table, rule) for rule in RULES}, diagnoses.first_dates(table).fillna("")


@pytest.mark.parametrize("name", TABLE_DIALECTS)
def test_a_table_in_each_dialect_gives_the_same_values(frame, default, tmp_path, name):
    path = tmp_path / "table"
    path.write_bytes(table_dialects.write(frame, TABLE_DIALECTS[name]))
    table, notes = tables.read_tables([path])
    assert notes == []
    expected, labels, dates = default
    assert list(table.index) == list(expected.index)
    np.testing.assert_array_equal(tables.traits(table), tables.traits(expected))
    assert tables.sex(table).tolist() == tables.sex(expected).tolist()
    age = [tables.as_number(t, tables.AGE, IMAGING_VISIT) for t in (table, expected)]
    np.testing.assert_array_equal(*age)
    for rule in RULES:
        np.testing.assert_array_equal(diagnoses.labels(table, rule), labels[rule])
        assert labels[rule].any(axis=0).all()
    assert (diagnoses.first_dates(table).fillna("") == dates).all(axis=None)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """One participant's files in the default dialect, and the rows in the store."""
    root = tmp_path_factory.mktemp("sent")
    synthetic.write_participant(CONFIG, 3, root)
    found = file_names.find(root).participants["9000004"]
    return {kind: paths[0] for kind, paths in found.items()}, rows(root)


def rows(*folders) -> tuple[np.ndarray, np.ndarray, float]:
    """Stored signal, clip and heart rate of participant 9000004."""
    found = file_names.find(folders).participants["9000004"]
    signal, heart_rate, _ = ecg.preprocess(reading.first_readable(found["ecg"], readers.read_ecg))
    mask = found["segmentation"][0]
    choice = DEMO.store.slice_choice
    cine = reading.first_readable(found["cine"], lambda path: readers.read_cine(path, mask, choice))
    return signal, cmr.crop(cine, DEMO.store), heart_rate


def place(root, content: dict[str, bytes], layout: str = "the platform's") -> None:
    for kind, (field, suffix) in {"ecg": ("20205", ".xml"), "cine": ("20209", ".zip")}.items():
        if kind in content:
            path = root / LAYOUTS[layout]("9000004", field, suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[kind])
    mask = root / "masks" / "9000004" / "seg_sa.nii.gz"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(content["segmentation"])


def assert_same(found, expected) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[2] == expected[2]


def bytes_of(paths) -> dict[str, bytes]:
    return {kind: path.read_bytes() for kind, path in paths.items()}


@pytest.mark.parametrize("name", ECG_DIALECTS)
def test_an_ecg_in_every_dialect_gives_the_same_row(sent, tmp_path, name):
    paths, expected = sent
    content = ECG_DIALECTS[name](paths["ecg"].read_bytes())
    assert (content != paths["ecg"].read_bytes()) == (name != "as the device writes it")
    path = tmp_path / "9000004_20205_2_0.xml"
    path.write_bytes(content)
    signal, heart_rate, _ = ecg.preprocess(readers.read_ecg(path))
    np.testing.assert_array_equal(signal, expected[0])
    assert heart_rate == expected[2]


@pytest.mark.parametrize("name", CINE_DIALECTS)
def test_a_cine_in_every_dialect_gives_the_same_row(sent, tmp_path, name):
    paths, expected = sent
    path = tmp_path / "9000004_20209_2_0.zip"
    path.write_bytes(CINE_DIALECTS[name](paths["cine"].read_bytes()))
    cine = readers.read_cine(path, paths["segmentation"], DEMO.store.slice_choice)
    np.testing.assert_array_equal(cmr.crop(cine, DEMO.store), expected[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_in_every_layout_give_the_same_rows(sent, tmp_path, layout):
    paths, expected = sent
    place(tmp_path, bytes_of(paths), layout)
    assert_same(rows(tmp_path), expected)


def test_an_unpacked_zip_and_a_converted_stack_give_the_same_rows(sent, tmp_path):
    paths, expected = sent
    content = bytes_of(paths)
    archive = content.pop("cine")
    place(tmp_path / "a", content)
    file_dialects.unpack(archive, tmp_path / "a" / "9000004_20209_2_0")
    assert_same(rows(tmp_path / "a"), expected)
    place(tmp_path / "b", content)
    cine = readers.read_cine(paths["cine"])
    converted = file_dialects.nifti(cine.images, content["segmentation"], cine.frame_ms)
    (tmp_path / "b" / "masks" / "9000004" / "sa.nii.gz").write_bytes(converted)
    assert_same(rows(tmp_path / "b"), expected)
    again = readers.read_cine(tmp_path / "b" / "masks" / "9000004" / "sa.nii.gz")
    assert again.frame_ms == pytest.approx(cine.frame_ms)
    assert again.spacing_mm == pytest.approx(cine.spacing_mm, rel=1e-5)


def test_files_in_two_folders_and_a_damaged_repeat_give_the_same_rows(sent, tmp_path):
    paths, expected = sent
    content = bytes_of(paths)
    place(tmp_path / "a", {kind: content[kind] for kind in ("ecg", "segmentation")})
    place(tmp_path / "b", {kind: content[kind] for kind in ("cine", "segmentation")})
    (tmp_path / "a" / "9000004_20205_2_1.xml").write_bytes(content["ecg"][:5000])
    (tmp_path / "a" / "9000004_20205_3_0.xml").write_bytes(b"another visit")
    assert_same(rows(tmp_path / "a", tmp_path / "b"), expected)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A function that builds and opens the store of a combination of dialects."""

    def build(number: int):
        folder = tmp_path_factory.mktemp("dialect")
        table = dialects.write(CONFIG, range(3), number, folder / "sent")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ECCL_RUNS", str(folder / "runs"))
            words = [str(folder / "sent"), "--table", str(table), "--no-withdrawals", "--workers", "1"]
            assert eccl("ingest", "ukb", *words, "--scale", "demo") == 0
            return open_cohort.load(load("demo", cohort="ukb"), lambda line: None)

    return build


@pytest.fixture(scope="module")
def plain(store):
    return store(0)


SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in range(1, dialects.COUNT) if number != 8]


@pytest.mark.parametrize("number", [8, *SLOW])
def test_a_cohort_in_other_dialects_gives_the_same_store(store, plain, number):
    found = store(number)
    assert len(found.quarantine) == 0
    for name in ("ecg", "clips", "traits", "labels"):
        np.testing.assert_array_equal(np.asarray(getattr(found, name)[:]), np.asarray(getattr(plain, name)[:]))
    facts = ["eid", "split", "sex", "age", "heart_rate"]
    assert found.table[facts].equals(plain.table[facts])
