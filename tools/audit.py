"""Compare the locked packages with the database of known vulnerabilities: ``make audit``.

    python tools/audit.py .venv-tools/bin/pip-audit

Exit status 0: all packages were checked and none has a known vulnerability. 1: some have one. 3: some packages could
not be checked, since the database was not reached or does not list them; pip-audit alone ends with 0 in this case.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LOCKS = ("requirements.lock", "requirements-cuda.lock")
FOUND, UNCHECKED = 1, 3
SECONDS = 900  # until pip-audit is given up


@dataclass(frozen=True)
class Audit:
    """checked: packages that were compared. unchecked: those that were not. found: one line per vulnerability."""

    checked: int = 0
    unchecked: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


def read(report: str) -> Audit:
    """The result of pip-audit's JSON report. Raises ValueError where it is none."""
    packages = json.loads(report)["dependencies"]
    unchecked = tuple(package["name"] for package in packages if "skip_reason" in package)
    found = tuple(
        f"{package['name']} {package['version']}: {known['id']}; mended in: {' '.join(known['fix_versions']) or 'none'}"
        for package in packages
        for known in package.get("vulns", ())
    )
    return Audit(len(packages) - len(unchecked), unchecked, found)


def run(program: str, root: Path) -> Audit:
    """The result of pip-audit on the locks. Raises ValueError or TimeoutExpired where the database is not reached."""
    locks = [word for name in LOCKS for word in ("--requirement", str(root / name))]
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run([program, *locks, *options], capture_output=True, text=True, timeout=SECONDS, check=False)
    return read(done.stdout)


def say(audit: Audit) -> int:
    """Print the result. Returns the exit status."""
    for line in audit.found:
        print(line)
    if audit.unchecked and not audit.checked:
        print("nothing was checked: the database of known vulnerabilities cannot be reached from here")
    elif audit.unchecked:
        print(f"{len(audit.unchecked)} packages could not be checked: {', '.join(audit.unchecked)}")
    print(f"{audit.checked} packages checked, {len(audit.found)} known vulnerabilities")
    return FOUND if audit.found else UNCHECKED if audit.unchecked else 0


def main() -> int:
    """Run pip-audit and print what it found. Returns the exit status."""
    try:
        return say(run(sys.argv[1], Path(__file__).resolve().parents[1]))
    except (ValueError, KeyError, subprocess.TimeoutExpired):
        return say(Audit(unchecked=("all",)))


if __name__ == "__main__":
    sys.exit(main())
