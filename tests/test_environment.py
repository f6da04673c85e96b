"""pyproject.toml, constraints.txt and environment.yml name the same packages at the same versions."""

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from eccl_lib.io.paths import ROOT


def key(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text):
    return {key(n): v for n, v in re.findall(r"^\s*(?:- )?([A-Za-z0-9_.-]+)==([^\s;]+)", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def asked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *(d for extra, ds in extras.items() if extra != "all" for d in ds)]
    return {key(Requirement(dependency).name) for dependency in listed}


def test_constraints_pin_every_package_that_is_asked_for(asked):
    assert asked <= set(pins((ROOT / "constraints.txt").read_text()))


def test_conda_environment_has_the_same_packages_at_the_same_versions(asked):
    constraints, conda = (pins((ROOT / name).read_text()) for name in ("constraints.txt", "environment.yml"))
    assert set(conda) == asked
    assert all(constraints[name] == version for name, version in conda.items())


def test_what_is_installed_here_is_what_is_pinned(asked):
    constraints = pins((ROOT / "constraints.txt").read_text())
    wrong = {n: metadata.version(n) for n in asked if metadata.version(n).split("+")[0] != constraints[n]}
    assert not wrong


def test_the_users_packages_are_all_there(asked):
    wanted = "torch timm numpy scipy pandas matplotlib seaborn umap-learn scikit-learn papermill jupyterlab nbval"
    assert set(wanted.split()) <= asked
