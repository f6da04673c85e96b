"""A wheel carries what ``eccl demo`` needs outside of a checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from eccl_lib.io.paths import ROOT

CODE = """
from eccl_lib.evaluation.table1_text import published
from eccl_lib.io import paths
assert not paths.IN_CHECKOUT
print(len(published()), len(list(paths.NOTEBOOKS.glob("*.ipynb"))), paths.runs_root())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without network from a copy, since setuptools writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("eccl_lib", "notebooks", "figures/paper"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*words, "--wheel-dir", str(folder), str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_has_all_notebooks_without_outputs_and_every_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            cells = json.loads(archive.read(f"eccl_lib/shipped/notebooks/{path.name}"))["cells"]
            assert not any(cell.get("outputs") for cell in cells)
            sources = [cell["source"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
            assert [cell["source"] for cell in cells] == sources
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "eccl_lib").rglob("*.py")}
    assert modules <= names
    assert (
        "eccl_lib/notebooks/widgets/player.js" in names
        and "eccl_lib/data/segmentation/unet/weights.safetensors" in names
    )


def test_outside_of_a_checkout_the_notebooks_are_those_of_the_wheel_and_runs_lie_in_the_current_folder(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {name: value for name, value in os.environ.items() if name != "ECCL_RUNS"}
    environment["PYTHONPATH"] = str(tmp_path / "site")
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    count = len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert done.stdout.split() == ["9", str(count), str(tmp_path.resolve() / "runs")]
