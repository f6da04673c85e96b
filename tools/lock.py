"""Write constraints.txt and the hash locks from pyproject.toml: ``make lock``, which installs uv for this alone.

| file | contents | used by |
|---|---|---|
| constraints.txt | the version of every package, also of indirect ones, for all platforms | ``make demo``, conda |
| requirements.lock | the same with SHA-256 sums, without the packages of CUDA | CI: ``make LOCKED=1 test`` |
| requirements-cuda.lock | the packages that only torch's CUDA build needs | CI where torch is a CUDA build |

A pin in constraints.txt is kept; to upgrade a package, change its pin and run the command again. PyPI's torch is a
CUDA build on Linux; a build for the CPU comes from elsewhere under the same version. ``--wheels FOLDER`` adds the sums
of such builds, so that the lock accepts both; sums of builds that are already in the lock are kept.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eccl_lib.io.files import write_text
from eccl_lib.io.paths import ROOT

PYTHON = "3.11.0"  # the oldest one that is supported
CONSTRAINTS, LOCK, CUDA_LOCK = "constraints.txt", "requirements.lock", "requirements-cuda.lock"
CUDA = re.compile(r"(nvidia|cuda)-.+|triton")  # packages of torch's CUDA build
BUILD = ("setuptools>=77",)  # of pyproject.toml's [build-system]; the editable install builds without isolation
PIN = r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)(?: *; *([^\\\n]+?))? *\\?\n"
ENTRY = re.compile(PIN + r"((?:    --hash=\S+ *\\?\n)*)", re.MULTILINE)
LOCAL = re.compile(r"# torch's build (\S+)\n# (sha256:[0-9a-f]{64})\n")
HEADER = "# Written by make lock from pyproject.toml. To upgrade a package, change its pin in constraints.txt.\n"
NOTE = "# All packages, also indirect ones. Install with: pip install -c constraints.txt -e '.[all]'\n"


@dataclass(frozen=True)
class Package:
    """One line of a lock. marker: of the environments that need it, empty for all. hashes: sha256:HEX, sorted."""

    name: str
    version: str
    marker: str = ""
    hashes: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    @property
    def locked(self) -> str:
        return " \\\n".join([self.pin, *(f"    --hash={digest}" for digest in self.hashes)]) + "\n"


def parse(text: str) -> list[Package]:
    """The packages of a lock or of constraints.txt."""
    found = ENTRY.findall(text if text.endswith("\n") else text + "\n")
    return [
        Package(name, version, marker, tuple(sorted(re.findall(r"--hash=(\S+)", hashes))))
        for name, version, marker, hashes in found
    ]


def resolve(constraints: Path) -> list[Package]:
    """All packages of pyproject.toml with all extras, for all platforms, at the pinned versions where there is a pin.

    Raises CalledProcessError where uv finds no solution.
    """
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise FileNotFoundError("uv is not installed; run make lock")
    with tempfile.TemporaryDirectory() as folder:
        build, out = Path(folder) / "build.in", Path(folder) / "lock"
        build.write_text("\n".join(BUILD) + "\n")
        options = ["--all-extras", "--generate-hashes", "--universal", "--python-version", PYTHON, "--no-annotate"]
        options += ["--no-header", "--quiet", "--constraint", str(constraints), "--output-file", str(out)]
        subprocess.run([uv, "pip", "compile", "pyproject.toml", str(build), *options], cwd=ROOT, check=True)
        return parse(out.read_text())


def local_builds(lock: str, wheels: Iterable[Path], version: str) -> dict[str, str]:
    """SHA-256 by file name of torch's builds that are not on PyPI: those in the lock, and those in the folders."""
    known = {name: digest for name, digest in LOCAL.findall(lock) if name.startswith(f"torch-{version}+")}
    for path in (path for folder in wheels for path in sorted(folder.glob(f"torch-{version}+*.whl"))):
        with path.open("rb") as file:
            known[path.name] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return dict(sorted(known.items()))


def lock_text(packages: Iterable[Package], builds: dict[str, str]) -> str:
    """Content of requirements.lock. builds: as ``local_builds`` gives them; their sums are added to torch's."""
    lines = [f"# torch's build {name}\n# {digest}\n" for name, digest in builds.items()]
    for package in packages:
        more = builds.values() if package.name == "torch" else ()
        lines.append(Package(package.name, package.version, package.marker, (*package.hashes, *more)).locked)
    return HEADER + "".join(lines)


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", nargs="*", type=Path, default=[], help="folders with builds of torch for the CPU")
    wheels = parser.parse_args().wheels
    packages = resolve(ROOT / CONSTRAINTS)
    old = (ROOT / LOCK).read_text() if (ROOT / LOCK).is_file() else ""
    torch = next(package for package in packages if package.name == "torch")
    everywhere = [package for package in packages if not CUDA.fullmatch(package.name)]
    of_cuda = [package for package in packages if CUDA.fullmatch(package.name)]
    write_text(ROOT / LOCK, lock_text(everywhere, local_builds(old, wheels, torch.version)))
    write_text(ROOT / CUDA_LOCK, lock_text(of_cuda, {}))
    write_text(ROOT / CONSTRAINTS, HEADER + NOTE + "".join(f"{package.pin}\n" for package in packages))


if __name__ == "__main__":
    main()
