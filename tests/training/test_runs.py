"""A path that is no run's folder is refused with the path that was probably meant."""

from pathlib import Path

import pytest

from eccl_lib.config.errors import MissingError
from eccl_lib.training.runs import MANIFEST, Run

NAME = Path("align", "eccl", "traits", "seed0-1a2b3c4d")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest below the root of the runs."""
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    folder = tmp_path / "demo-synthetic" / NAME
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text('{"status": "started"}')
    return folder


def _refused(folder: Path) -> str:
    with pytest.raises(MissingError) as refused:
        Run.at(folder)
    return str(refused.value)


def test_a_name_as_the_log_prints_it_is_answered_with_its_path(folder: Path):
    assert _refused(NAME) == f"there is no folder {NAME}; give the whole path, {folder}"


def test_a_folder_of_runs_is_answered_with_one_of_them(folder: Path):
    for place in (folder.parent, folder.parents[3]):
        assert _refused(place).endswith(f"it has no {MANIFEST}; give one of the runs below it, such as {folder}")


def test_other_folders_are_named(folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert _refused(tmp_path / "empty").endswith(f"is no folder of a finished run: it has no {MANIFEST}")
    assert _refused(tmp_path / "none") == f"there is no folder {tmp_path / 'none'}"
    assert _refused(Path("none")) == "there is no folder none"
    assert "is not finished" in _refused(folder)
