"""Time of ``import eccl_lib`` and of its configuration in a new process."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.harness import ROUNDS, Case, at_most, cpu

NAMES = ("eccl_lib", "eccl_lib.config.load")
HEAVY = ("torch", "pandas", "numpy", "scipy")


def prepare(folder: Path) -> dict[str, Any]:
    """CPU seconds above those of an interpreter that imports nothing; raises if a heavy package is imported."""
    code = f"import sys, {', '.join(NAMES)}; print(*[name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    if found:
        raise AssertionError(f"importing {' and '.join(NAMES)} imports {', '.join(found)}")
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(f"import {', '.join(NAMES)}"))
        bare.append(_seconds("pass"))
    above = statistics.median(a - b for a, b in zip(ours, bare, strict=True))
    return {"above": above, "seconds": statistics.median(ours), "reference_seconds": statistics.median(bare)}


def _seconds(code: str) -> float:
    return cpu(lambda: subprocess.run([sys.executable, "-c", code], check=True))


CASE = Case(
    "`import eccl_lib, eccl_lib.config.load`, no torch",
    "an interpreter that imports nothing",
    prepare,
    (at_most("above", 0.3),),
    place=11,
)
