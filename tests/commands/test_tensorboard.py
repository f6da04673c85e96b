"""Event files are read back by TensorBoard itself and equal the history of the run."""

import shutil
import sys

import pandas as pd
import pytest

from eccl_lib.evaluation import event_files
from eccl_lib.pipeline import stages
from tests.conftest import eccl, tiny_config


def quiet(line):
    pass


@pytest.fixture(scope="module")
def trained(shared_runs):
    """The finished runs of an autoencoder and of a disease."""
    return [stages.train(tiny_config(), name, quiet) for name in ("pretrain_ecg", "scratch")]


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """A copy of both runs as the folder of results."""
    for run in trained:
        shutil.copytree(run.folder, tmp_path.joinpath("runs", *run.folder.parts[-5:]))
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def read(folder):
    """Tag to (epochs, values) of an event file, by TensorBoard's own reader."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    found = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return {tag: ([point.step for point in points], [point.value for point in points]) for tag, points in found.items()}


def needs_tensorboard():
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")


def test_the_events_of_every_run_are_its_history(runs, trained, capsys):
    needs_tensorboard()
    for _ in range(2):  # the second time replaces the files
        assert eccl("tensorboard") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"tensorboard --logdir {runs / 'tensorboard'}"] * 2
    assert said.err.splitlines() == ["runs: 2 written, 0 unfinished, 0 that cannot be used"] * 2
    tags = {
        "pretrain_ecg": {"training/loss": ("loss", 1), "validation/masked MSE": ("score", -1)},
        "finetune": {"training/loss": ("loss", 1), "validation/AUC": ("score", 1)},
    }
    for run in trained:
        folder = runs.joinpath("tensorboard", *run.folder.parts[-5:])
        assert [path.name for path in folder.iterdir()] == [event_files.EVENTS]
        found, history = read(folder), run.history
        expected = {"training/learning rate": ("lr", 1)} | tags[run.stage]
        terms = set(history) - {"epoch", "lr", "loss", "score"}
        assert set(found) == set(expected) | {f"training/{term}" for term in terms}
        for tag, (column, sign) in expected.items():
            epochs, values = found[tag]
            assert epochs == history["epoch"].tolist()
            assert values == pytest.approx((sign * history[column]).tolist(), rel=1e-6)


def test_one_run_also_a_copy_elsewhere(runs, trained, tmp_path):
    needs_tensorboard()
    copy = shutil.copytree(trained[1].folder, tmp_path / "published")
    assert eccl("tensorboard", copy) == 0
    (folder,) = (runs / "tensorboard").iterdir()
    assert folder.name == f"published-{trained[1].fingerprint[:8]}"
    assert len(read(folder)["training/loss"][0]) == len(trained[1].history)


FAULTS = {
    "history.csv": lambda path: path.write_text(path.read_text() + "9,9,9,9\n"),
    "manifest.json": lambda path: path.write_text(path.read_text()[:-9]),
    "metrics.json": lambda path: path.unlink(),
    "config.json": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_run_is_named_and_the_rest_is_written(runs, trained, capsys, name):
    needs_tensorboard()
    (folder,) = runs.glob("*/finetune/*/*/*")
    FAULTS[name](folder / name)
    unfinished = runs.joinpath("demo-synthetic", "align", "eccl", "I48", "seed0-12345678")
    unfinished.mkdir(parents=True)
    (unfinished / "manifest.json").write_text('{"status": "training"}')
    assert eccl("tensorboard", runs / "demo-synthetic") == 1
    said = capsys.readouterr()
    fault, counts = said.err.splitlines()
    assert fault.startswith(str(folder / name)) and "run the same command again" in fault.lower()
    assert counts == "runs: 1 written, 1 unfinished, 1 that cannot be used"
    assert [path.parts[-4] for path in runs.glob(f"tensorboard/**/{event_files.EVENTS}")] == ["vit"]


def test_an_undefined_score_has_no_point():
    table = pd.DataFrame({"a": [1.0, float("nan")], "b": [2.0, 3.0]}, index=[1, 2])
    assert list(event_files._points(table)) == [("a", 1.0, 1), ("b", 2.0, 1), ("b", 3.0, 2)]


def test_without_runs_or_without_the_package_the_message_has_the_cure(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    assert eccl("tensorboard", tmp_path / "empty") == 2
    assert "train one first, such as: eccl train pretrain_ecg" in capsys.readouterr().err
    assert eccl("tensorboard", tmp_path / "nowhere") == 2
    assert "there is no folder" in capsys.readouterr().err
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # an import then fails
    assert eccl("tensorboard") == 2
    assert (
        "TensorBoard is not installed. Install it: pip install '.[tensorboard]' in the folder"
        in capsys.readouterr().err
    )
