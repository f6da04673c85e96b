"""The processor and the checkout on which results depend; no host name and no path."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from eccl_lib.io import paths

INFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """Name of the processor, such as ``AMD EPYC 7763``; its architecture where the system does not name it."""
    found = re.search(r"model name\s*:\s*(.+)", INFO.read_text()) if INFO.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """Cores, architecture, system and processor."""
    system = {"cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()}
    return system | {"cpu": cpu_model()}


def commit() -> dict[str, Any]:
    """Commit of this checkout, and ``clean``: eccl_lib has no uncommitted change. Both are None without git."""
    try:
        name = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "eccl_lib")
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "clean": None}
    return {"commit": name, "clean": not changed}


def _git(*words: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *words]  # the user's own git, by name; the words are fixed in this module
    result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return result.stdout.strip()
