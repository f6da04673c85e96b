"""What a kill, a full disk, a damaged or a hostile file may do: each count of these tests is printed by its module."""

import os
import subprocess
import sys

from eccl_lib.io import paths

LONG = bool(os.environ.get("ECCL_LONG"))  # make test-long: the full counts


def run_module(name: str, *words: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tests.reliability.<name>`` from the repository's root, whatever the current folder is."""
    command = [sys.executable, "-m", f"tests.reliability.{name}", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
