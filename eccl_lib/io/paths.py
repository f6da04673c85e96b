"""The only place that builds a path. ECCL_RUNS in the environment moves the folder of all results."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def runs_root() -> Path:
    """Folder under which everything a run makes is written."""
    return Path(os.environ.get("ECCL_RUNS") or ROOT / "runs").expanduser().resolve()


def ukb_root() -> Path:
    """``runs/ukb``: the store of UK Biobank's files, which all scales share, and the list of those who withdrew."""
    return runs_root() / "ukb"


def store_root(cohort: str) -> Path:
    """``runs/<cohort>``: the stores that a command built of files, which all scales share."""
    return runs_root() / cohort


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
