"""Run the notebooks headless, in order: what ``make demo`` and ``make refresh`` do.

``eccl demo`` writes under ``runs/`` alone. With ``--refresh`` the executed
notebooks and the figures are copied, normalised, to ``notebooks/`` and ``figures/demo``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eccl_lib.config.errors import ConfigError
from eccl_lib.io import paths
from eccl_lib.notebooks.clean import normalise

ORDER = (
    "01_preprocess",
    "02_pretrain_ecg",
    "03_pretrain_cmr",
    "04_align",
    "05_baselines",
    "06_table1",
    "07_latent_space",
    "08_patches_traits",
    "09_predict",
)
# More runs of a notebook, never copied to notebooks/: on a recording from a person; and, for the committed figures and
# tables, with all seeds of Table 1 and the patches of Fig. 2b, which take an hour where nothing is there yet.
REAL_ECG = "09_predict_real_ecg"
FIVE_SEEDS = "06_table1_five_seeds"
ALL_PATCHES = "08_patches_traits_as_fig2b"
PATCHES = {"variants.patch_leads": 1, "variants.patch_samples": [20, 50, 100]}  # 600, 240 and 120 at 100 Hz
# The kernel's own remarks (transport, interrupt at the end) would stand between the progress lines.
QUIET = {"progress_bar": False, "extra_arguments": ["--log-level=50"]}


class NotebookError(RuntimeError):
    """A notebook stopped; the message names the notebook, the cell and the error."""


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> float:
    """Run one notebook; returns its seconds. Raises NotebookError."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        papermill.execute_notebook(source, target, parameters=parameters, **QUIET, cwd=source.parent)
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{source.stem} stopped in cell [{error.exec_count}]: {error.ename}: {error.evalue}\n"
            f"  the cell begins: {_first_line(error.source)}\n  everything up to there: {target}"
        ) from None
    except DeadKernelError as error:
        raise NotebookError(
            f"{source.stem}: its kernel died ({error}), most often for lack of memory. Run the same command again: "
            f"what is done is kept."
        ) from None
    return time.perf_counter() - began


def _first_line(source: str) -> str:
    return next((line for line in source.splitlines() if line.strip()), "")


def run_all(names: Sequence[str], parameters: dict[str, Any], folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Run the named notebooks in order into a folder. Returns the executed notebooks. Raises NotebookError."""
    executed = []
    for k, name in enumerate(names, start=1):
        say(f"[{k}/{len(names)}] {name}")
        source, more = _again(name)
        target = folder / f"{name}.ipynb"
        seconds = execute(paths.NOTEBOOKS / f"{source}.ipynb", target, {**parameters, **more})
        say(f"[{k}/{len(names)}] {name}: done in {seconds:.0f} s")
        executed.append(target)
    return executed


def _again(name: str) -> tuple[str, dict[str, Any]]:
    """The notebook that a run is made from, and what that run alone is given."""
    if name == REAL_ECG:
        return "09_predict", {"ecg": real_ecg()}
    again = {FIVE_SEEDS: ("06_table1", {"seeds": 5}), ALL_PATCHES: ("08_patches_traits", {"overrides": PATCHES})}
    return again.get(name, (name, {}))


def real_ecg() -> str:
    """The 12-lead recording of a person that pydicom carries, 10 s at 1000 Hz."""
    from pydicom.data import get_testdata_file

    return str(get_testdata_file("waveform_ecg.dcm", download=False))


def refresh(executed: Sequence[Path], made: Sequence[Path]) -> None:
    """Copy executed notebooks and figures into the checkout, normalised: a second refresh changes next to nothing."""
    import nbformat

    for path in executed:
        if path.stem in ORDER:
            target = paths.NOTEBOOKS / path.name
            nbformat.write(normalise(nbformat.read(path, as_version=4)), target)
    paths.DEMO_FIGURES.mkdir(parents=True, exist_ok=True)
    for path in made:
        if not path.name.startswith("real_"):
            shutil.copyfile(path, paths.DEMO_FIGURES / path.name)


def written_since(folder: Path, moment: float) -> list[Path]:
    """Figures and tables that the notebooks wrote after a moment (seconds since the epoch)."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.is_file() and path.name[0] != "." and path.stat().st_mtime >= moment]


def report(made: Sequence[Path], executed: Sequence[Path], say: Callable[[str], None]) -> None:
    for title, suffixes in (("tables", {".csv"}), ("figures, each also as SVG", {".png"})):
        say(f"{title}:")
        for path in made:
            if path.suffix in suffixes:
                say(f"  {_shown(path)}")
    say("executed notebooks:")
    for path in executed:
        say(f"  {_shown(path)}")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def chosen(only: Sequence[str] | None, refresh: bool) -> list[str]:
    everything = [*ORDER, REAL_ECG, *((FIVE_SEEDS, ALL_PATCHES) if refresh else ())]
    if not only:
        return everything
    for wish in only:
        if not any(wish in (name, name.split("_")[0]) for name in everything):
            raise ConfigError(f"no notebook is called {wish}; there are {', '.join(everything)}")
    names = [name for name in everything if name in only or name.split("_")[0] in only]
    return names
