"""Run the notebooks without a browser, as ``make demo`` and ``make refresh`` do.

``eccl demo`` writes only under ``runs/``. With ``--refresh`` the executed notebooks and the figures are normalised and
copied to ``notebooks/`` and ``figures/demo``.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eccl_lib.config.errors import ConfigError
from eccl_lib.io import paths, workers
from eccl_lib.io.files import write_text
from eccl_lib.notebooks.clean import normalise, without_paths
from eccl_lib.notebooks.notebook import REAL

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
    "00_explore",  # last, because it also shows the trained encoders
)
# Runs only if it is named: it needs PTB-XL.
REAL_DATA = "10_real_ecg"
# An additional run, which is never copied to notebooks/: 09 on a recording from a person.
REAL_ECG = "09_predict_real_ecg"
LONGEST = ("06_table1", "07_latent_space")  # of the notebooks without a training
# Kernel messages would interrupt the progress lines.
QUIET = {"progress_bar": False, "extra_arguments": ["--log-level=50"]}


class NotebookError(RuntimeError):
    """A notebook failed; the message names the notebook, the cell and the error."""


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> float:
    """Run one notebook. Returns the duration in seconds. Raises NotebookError.

    The executed notebook has no absolute path of this machine, also where a cell failed.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        papermill.execute_notebook(source, target, parameters=parameters, **QUIET, cwd=source.parent)
    except PapermillExecutionError as error:
        first_line = next((line for line in error.source.splitlines() if line.strip()), "")
        raise NotebookError(
            f"{source.stem} stopped in cell [{error.exec_count}]: {error.ename}: {error.evalue}\n"
            f"  first line of the cell: {first_line}\n  output up to this cell: {target}"
        ) from None
    except DeadKernelError as error:
        raise NotebookError(
            f"{source.stem}: the kernel died ({error}), usually because memory ran out. Run the same command again: "
            f"finished runs are reused."
        ) from None
    finally:
        _remove_paths(target)
    return time.perf_counter() - began


def _remove_paths(executed: Path) -> None:
    """Remove this machine's paths from an executed notebook, if papermill has written one."""
    import nbformat

    if executed.is_file():
        notebook = without_paths(nbformat.read(executed, as_version=4))
        write_text(executed, nbformat.writes(notebook) + "\n")


def run_all(
    names: Sequence[str], parameters: dict[str, Any], folder: Path, say: Callable[[str], None], jobs: int = 1
) -> list[Path]:
    """Run the named notebooks into a folder, ``jobs`` at a time. Returns the executed ones. Raises NotebookError."""
    done = []

    def finished(result: tuple[str, float]) -> None:
        name, seconds = result
        done.append(name)
        say(f"[{len(done)}/{len(names)}] {name}: done in {seconds:.0f} s")

    folder.mkdir(parents=True, exist_ok=True)
    order = names if jobs == 1 else sorted(names, key=lambda name: name not in LONGEST)  # the longest first
    workers.run_all(((_run, name, parameters, folder) for name in order), workers.Workers(jobs=jobs), folder, finished)
    return [folder / f"{name}.ipynb" for name in names]


def _run(name: str, parameters: dict[str, Any], folder: Path) -> tuple[str, float]:
    source, more = _source_and_parameters(name)
    return name, execute(paths.NOTEBOOKS / f"{source}.ipynb", folder / f"{name}.ipynb", {**parameters, **more})


def _source_and_parameters(name: str) -> tuple[str, dict[str, Any]]:
    """Notebook that a run executes, and the additional parameters of this run."""
    return ("09_predict", {"ecg": real_ecg()}) if name == REAL_ECG else (name, {})


def real_ecg() -> str:
    """Path of the 12-lead test recording in pydicom: a person's ECG, 10 s at 1000 Hz."""
    from pydicom.data import get_testdata_file

    return str(get_testdata_file("waveform_ecg.dcm", download=False))


def refresh(executed: Sequence[Path], written: Sequence[Path]) -> None:
    """Normalise executed notebooks and copy them and the figures into the checkout."""
    import nbformat

    for path in executed:
        if path.stem in (*ORDER, REAL_DATA):
            target = paths.NOTEBOOKS / path.name
            nbformat.write(normalise(nbformat.read(path, as_version=4)), target)
    paths.DEMO_FIGURES.mkdir(parents=True, exist_ok=True)
    for path in written:
        if not path.name.startswith(REAL):
            shutil.copyfile(path, paths.DEMO_FIGURES / path.name)


def written_since(folder: Path, moment: float) -> list[Path]:
    """Visible files of a folder that were changed since a moment (seconds since the epoch)."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.is_file() and path.name[0] != "." and path.stat().st_mtime >= moment]


def report(written: Sequence[Path], executed: Sequence[Path], say: Callable[[str], None]) -> None:
    """List the written tables and figures and the executed notebooks by ``say``."""
    groups = {
        "tables": [path for path in written if path.suffix == ".csv"],
        "figures, each also as SVG": [path for path in written if path.suffix == ".png"],
        "executed notebooks": executed,
    }
    for title, files in groups.items():
        say(f"{title}:")
        for path in files:
            say(f"  {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def chosen(only: Sequence[str] | None) -> list[str]:
    """Names of the runs to execute. only: names or numbers; all by default. Raises ConfigError on another name."""
    everything = [*ORDER, REAL_ECG, REAL_DATA]
    for wish in only or ():
        if not any(wish in (name, name.split("_")[0]) for name in everything):
            raise ConfigError(f"there is no notebook {wish}; choose from {', '.join(everything)}")
    if not only:
        return [*ORDER, REAL_ECG]
    return [name for name in everything if name in only or name.split("_")[0] in only]
