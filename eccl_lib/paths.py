"""The only place that builds a path. ECCL_RUNS and ECCL_DATA in the environment move the two outer folders."""

from __future__ import annotations

import os
from pathlib import Path

from eccl_lib.config import ConfigError

ROOT = Path(__file__).resolve().parent.parent


def runs_root() -> Path:
    """Folder under which everything a run makes is written."""
    return Path(os.environ.get("ECCL_RUNS") or ROOT / "runs").expanduser().resolve()


def data_root() -> Path:
    """The user's UK Biobank folder. Raises ConfigError without ECCL_DATA, FileNotFoundError where it is no folder."""
    value = os.environ.get("ECCL_DATA")
    if not value:
        raise ConfigError(
            "cohort 'ukb' needs the folder with your UK Biobank files. Set it first: export ECCL_DATA=/path/to/folder"
        )
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"ECCL_DATA names {folder}, which is not a folder. Correct it: export ECCL_DATA=...")
    return folder


def scale_root(scale: str, cohort: str) -> Path:
    """``runs/<scale>-<cohort>``: everything of one scale on one cohort."""
    return runs_root() / f"{scale}-{cohort}"


def cohort_dir(scale: str, cohort: str, fingerprint: str) -> Path:
    """Where the cohort's raw tree (synthetic only) and its store live."""
    return scale_root(scale, cohort) / "cohort" / fingerprint[:8]


def run_dir(scale: str, cohort: str, stage: str, variant: str, task: str, seed: int, fingerprint: str) -> Path:
    """``<stage>/<architecture or method>/<task>/seed<k>-<first 8 of the fingerprint>``."""
    return scale_root(scale, cohort) / stage / variant / task / f"seed{seed}-{fingerprint[:8]}"


def figures_dir(scale: str, cohort: str) -> Path:
    """Figures and tables that a run draws."""
    return scale_root(scale, cohort) / "figures"


def notebooks_dir(scale: str, cohort: str) -> Path:
    """Executed notebooks."""
    return scale_root(scale, cohort) / "notebooks"


PAPER_TABLE = ROOT / "figures" / "paper" / "table1.csv"
DEMO_FIGURES = ROOT / "figures" / "demo"
NOTEBOOKS = ROOT / "notebooks"
