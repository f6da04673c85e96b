"""The lock, constraints.txt and pyproject.toml agree; a lock holds sums of every file and no address of a registry."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from eccl_lib.io.paths import ROOT
from tests.test_environment import key
from tools import lock
from tools.lock import Package

FILES = (lock.LOCK, lock.CUDA_LOCK, lock.CONSTRAINTS)
PLATFORMS = [
    {"python_full_version": f"{python}.9", "python_version": python, "sys_platform": system, **machine}
    for python in ("3.11", "3.12", "3.13")
    for system, machine in (
        ("linux", {"platform_machine": "x86_64", "os_name": "posix", "platform_system": "Linux"}),
        ("linux", {"platform_machine": "aarch64", "os_name": "posix", "platform_system": "Linux"}),
        ("darwin", {"platform_machine": "arm64", "os_name": "posix", "platform_system": "Darwin"}),
    )
]


@pytest.fixture(scope="module")
def packages() -> dict[str, list[Package]]:
    return {name: lock.parse((ROOT / name).read_text()) for name in FILES}


def needed(packages: list[Package], platform: dict[str, str]) -> dict[str, str]:
    """Versions by name of the packages that a platform needs. Fails where a name has two versions."""
    chosen = [p for p in packages if not p.marker or Marker(p.marker).evaluate(platform)]
    assert len({p.name for p in chosen}) == len(chosen)
    return {key(p.name): p.version for p in chosen}


def test_every_line_is_read(packages):
    for name in FILES:
        lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith(("#", "    --hash"))]
        assert len(packages[name]) == len(lines) > 10


def test_both_locks_together_are_constraints_txt(packages):
    locked = {p.pin for name in FILES[:2] for p in packages[name]}
    assert locked == {p.pin for p in packages[lock.CONSTRAINTS]}


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: f"{p['python_version']}-{p['platform_machine']}")
def test_each_platform_has_one_version_of_each_package_that_the_project_asks_for(packages, platform):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = needed(packages[lock.LOCK], platform)
    extras = (ds for extra, ds in project["optional-dependencies"].items() if extra != "all")
    for asked in map(Requirement, [*project["dependencies"], *(d for ds in extras for d in ds), *lock.BUILD]):
        assert asked.specifier.contains(pins[key(asked.name)]), asked
    assert ("triton" in needed(packages[lock.CUDA_LOCK], platform)) == (platform["sys_platform"] == "linux")


def test_floors_exclude_versions_with_known_faults():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(d) for ds in (project["dependencies"], *project["optional-dependencies"].values()) for d in ds]
    floors = {"torch": "2.10", "pydicom": "3.0.2", "jupyterlab": "4.6.2", "jupyter-server": "2.21"}
    floors |= {"nbconvert": "7.17.1", "wfdb": "4.3.1"}
    found = {key(r.name): str(r.specifier) for r in asked}
    assert {name: found[name] for name in floors} == {name: f">={version}" for name, version in floors.items()}


def test_every_package_has_sums_and_torch_those_of_its_cpu_builds(packages):
    for name in FILES[:2]:
        for package in packages[name]:
            assert package.hashes, package.name
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in package.hashes)
    text = (ROOT / lock.LOCK).read_text()
    (torch,) = [package for package in packages[lock.LOCK] if package.name == "torch"]
    builds = dict(lock.LOCAL.findall(text))
    assert builds and all(name.startswith(f"torch-{torch.version}+cpu-") for name in builds)
    assert set(builds.values()) < set(torch.hashes)


def test_no_file_names_a_registry_or_a_folder():
    for name in FILES:
        assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|/", (ROOT / name).read_text()), name


def test_packages_of_cuda_are_in_their_own_lock(packages):
    assert all(lock.CUDA.fullmatch(package.name) for package in packages[lock.CUDA_LOCK])
    assert not any(lock.CUDA.fullmatch(package.name) for package in packages[lock.LOCK])


def test_a_lock_is_read_as_it_was_written(tmp_path: Path):
    wheel = tmp_path / "torch-2.13.0+cpu-cp399-none-any.whl"
    wheel.write_bytes(b"a build")
    digest = "sha256:" + hashlib.sha256(b"a build").hexdigest()
    made = [
        Package("torch", "2.13.0", "", ("sha256:" + "1" * 64,)),
        Package("b", "1", "os_name == 'nt'", ("sha256:" + "2" * 64,)),
    ]
    builds = lock.local_builds("", [tmp_path], "2.13.0")
    text = lock.lock_text(made, builds)
    assert lock.parse(text) == [Package("torch", "2.13.0", "", tuple(sorted([*made[0].hashes, digest]))), made[1]]
    assert lock.local_builds(text, [], "2.13.0") == builds == {wheel.name: digest}  # kept without the wheel
    assert lock.local_builds(text, [], "2.14.0") == {}
