"""All paths. The environment variable ECCL_RUNS sets the folder of results."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# The checkout; where the package was installed from a wheel, the files that the wheel carries (setup.py).
ROOT = PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else PACKAGE / "shipped"
IN_CHECKOUT = PACKAGE.parent == ROOT


def expanded(path: Path | str) -> Path:
    """The path with the home folder for ~. A name that only looks like it, such as ~$table.xlsx, is left as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


def runs_root() -> Path:
    """The folder of all results: ECCL_RUNS, else ``runs`` in the checkout, else ``runs`` in the current folder."""
    default = (ROOT if IN_CHECKOUT else Path.cwd()) / "runs"
    return expanded(os.environ.get("ECCL_RUNS") or default).resolve()


def ukb_root() -> Path:
    """``runs/ukb``: the store built from UK Biobank's files, shared by all scales, and the list of withdrawals."""
    return runs_root() / "ukb"


def store_root(cohort: str) -> Path:
    """``runs/<cohort>``: the stores that ``eccl ingest`` built, shared by all scales."""
    return runs_root() / cohort


def scale_root(scale: str, cohort: str) -> Path:
    """``runs/<scale>-<cohort>``: everything of one scale on one cohort."""
    return runs_root() / f"{scale}-{cohort}"


def cohort_dir(scale: str, cohort: str, fingerprint: str) -> Path:
    """Folder of a cohort's raw files (synthetic only) and of its store."""
    return scale_root(scale, cohort) / "cohort" / fingerprint[:8]


def run_dir(scale: str, cohort: str, stage: str, variant: str, task: str, seed: int, fingerprint: str) -> Path:
    """``<stage>/<architecture or method>/<task>/seed<k>-<first 8 of the fingerprint>``."""
    return scale_root(scale, cohort) / stage / variant / task / f"seed{seed}-{fingerprint[:8]}"


RUN_FOLDER = re.compile(r"seed(\d+)-[0-9a-f]{8}")


def seed_of(folder: Path) -> int | None:
    """The seed in the name of a run's folder; None for another name, such as that of a copy."""
    found = RUN_FOLDER.fullmatch(folder.name)
    return int(found[1]) if found else None


def seeds_of(folders: Iterable[Path]) -> list[int]:
    """The seeds in the names of run folders, in ascending order; folders with another name are left out."""
    return sorted({seed for folder in folders if (seed := seed_of(folder)) is not None})


def figures_dir(scale: str, cohort: str) -> Path:
    """Folder of the figures and tables."""
    return scale_root(scale, cohort) / "figures"


def notebooks_dir(scale: str, cohort: str) -> Path:
    """Folder of the executed notebooks."""
    return scale_root(scale, cohort) / "notebooks"


def tensorboard_dir() -> Path:
    """``runs/tensorboard``: the event files of all runs."""
    return runs_root() / "tensorboard"


PAPER_TABLE = ROOT / "figures" / "paper" / "table1.csv"
DEMO_FIGURES = ROOT / "figures" / "demo"
STUDY_FIGURES = ROOT / "figures" / "study"
REAL_FIGURES = ROOT / "figures" / "real"
NOTEBOOKS = ROOT / "notebooks"
