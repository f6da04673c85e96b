"""Functions for use in Jupyter: parameter checks, source display, figures, tables, progress.

papermill only warns about an unknown ``-p``, and passes ``true`` as text and ``1e3`` as a float. ``start`` therefore
reads papermill's injected cell in the kernel's input history and raises on undeclared names.
"""

import ast
import contextlib
import difflib
import inspect
import io
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from eccl_lib.config import load as config_module
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.escape import printable
from eccl_lib.config.schema import Config
from eccl_lib.io import paths
from eccl_lib.io.files import remove_leftovers, write_atomically
from eccl_lib.io.progress import say

INJECTED = "# Parameters"  # first line of the cell that papermill injects
PROGRESS_FILE = "ECCL_PROGRESS"  # environment variable: progress lines are appended to this file
REAL = "real_"  # prefix of figures of a recording from a person; these are never committed


def start(*, scale: str, cohort: str, disease: str, seed: int, overrides: dict[str, Any], **more: Any) -> Config:
    """Check the notebook's parameters and return them as a Config.

    more: parameters of this notebook only (00: keep_pictures, 05: method, 06: seeds, 09: ecg, 10: folder). Files and
    folders are checked when they are read.
    Raises ConfigError on an unknown name, a wrong type or a wrong value.
    """
    declared = ("scale", "cohort", "disease", "seed", "overrides", *more)
    _refuse_unknown(_history(), declared)
    loaded = config_module.load(scale, cohort=cohort, disease=disease, seed=seed, overrides=overrides)
    _check_additional(more)
    _show_whole_sentences()
    return loaded


def _show_whole_sentences() -> None:
    import pandas as pd

    pd.set_option("display.max_colwidth", 120)  # by default a table cuts texts at 50 characters


def _check_additional(more: dict[str, Any]) -> None:
    if "method" in more:
        from eccl_lib.pipeline.methods import METHODS

        if more["method"] not in METHODS:
            raise ConfigError(f"method is {more['method']!r}; choose one of {', '.join(METHODS)}")
    if "keep_pictures" in more and type(more["keep_pictures"]) is not bool:
        raise ConfigError(f"keep_pictures is {more['keep_pictures']!r}; give True or False")
    if "seeds" in more and (type(more["seeds"]) is not int or more["seeds"] < 1):
        raise ConfigError(f"seeds is {more['seeds']!r}; give a number of repetitions, 1 or more")


def _history() -> list[str]:
    """Sources of the executed cells, the current one last; empty outside IPython."""
    shell = _shell()
    return [] if shell is None else list(shell.user_ns.get("In", []))


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _refuse_unknown(history: list[str], declared: tuple[str, ...]) -> None:
    """Check the latest parameters cell and the latest injected cell after it. Raises ConfigError on other names."""
    position = {"declaring": -1, "injected": -1}
    assigned = [_literal_names(source) for source in history]
    for k, (source, names) in enumerate(zip(history, assigned, strict=True)):
        if set(declared) <= names:
            position["declaring"] = k
        if source.lstrip().startswith(INJECTED):
            position["injected"] = k
    for k in {k for k in position.values() if k >= position["declaring"] and k >= 0}:
        for name in sorted(assigned[k] - set(declared)):
            raise ConfigError(f"there is no parameter {name!r}{_nearest(name, declared)}")


def _literal_names(source: str) -> set[str]:
    """Names that a cell assigns at top level; empty if the cell contains any other statement."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    if not all(isinstance(node, ast.Assign | ast.AnnAssign) for node in body):
        return set()
    targets = [target for node in body for target in getattr(node, "targets", None) or [node.target]]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _nearest(name: str, declared: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]}?" if close else "."
    fields = [field for field in config_module.names() if field.rpartition(".")[2] == name]
    hint = f" A field of the config is given as -y 'overrides: {{{fields[0]}: ...}}'." if fields else ""
    return f"{guess} The parameters are {', '.join(declared)}.{hint}"


def show_source(function: Callable[..., Any]) -> None:
    """Display the source code of a library function or class."""
    from IPython.display import Markdown, display

    source = inspect.getsource(inspect.unwrap(function))
    display(Markdown(f"`{function.__module__}`\n```python\n{source}```"))


def save_figure(figure: Any, name: str, config: Config, *, real: bool = False, stamp: bool = True) -> None:
    """Write a figure as PNG and SVG to the run's figures folder and display it.

    A figure of the synthetic cohort gets a stamp, one of UK Biobank's data what it says about small counts. real: the
    figure shows a recording from a person; its file gets the prefix ``real_``. stamp: False if the figure shows no data
    of the cohort.
    """
    if stamp:
        stamp_source(figure, config)
    write_figure(figure, paths.figures_dir(config.scale, config.cohort), (REAL if real else "") + name)
    show_figure(figure)


def stamp_source(figure: Any, config: Config) -> None:
    """Write on a figure that its cohort is synthetic, or what it says about small counts."""
    from eccl_lib.data.small_counts import limit_of
    from eccl_lib.figures.style import stamp_counts, stamp_synthetic

    if config.cohort == "synthetic":
        stamp_synthetic(figure)
    else:
        stamp_counts(figure, limit_of(config).note)


def write_figure(figure: Any, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG, atomically; equal figures give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for suffix in ("png", "svg"):
        write_atomically(folder / f"{name}.{suffix}", partial(_write, figure, suffix))


def show_animation(gif: bytes, name: str, config: Config, *, real: bool = False) -> None:
    """Write an animation as GIF to the run's figures folder and display it. real: as in ``save_figure``."""
    from IPython.display import Image, display

    folder = paths.figures_dir(config.scale, config.cohort)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{REAL if real else ''}{name}.gif", lambda beside: beside.write_bytes(gif))
    display(Image(data=gif, format="gif", alt="animation"))


def save_figures(figures: Mapping[str, Any], config: Config) -> None:
    """``save_figure`` for several figures by name."""
    for name, figure in figures.items():
        save_figure(figure, name, config)


def save_table(frame: Any, name: str, config: Config) -> Path:
    """Write a data frame as CSV with four decimals to the run's figures folder. Returns the path."""
    from eccl_lib.data import small_counts

    path = paths.figures_dir(config.scale, config.cohort) / f"{name}.csv"
    small_counts.write_table(path, frame, config, digits=4)
    return path


def show_training(run: Any, name: str, config: Config) -> Any:
    """Save and display the training curves of a finished run. Returns the last three epochs as a data frame."""
    from eccl_lib.evaluation import run_summary

    save_figure(run_summary.training_figure(run, config), name, config)
    return run_summary.history_table(run, config).drop(columns="learning rate").round(4).tail(3)


def show_scores(runs: Mapping[str, Any], name: str, config: Config) -> Any:
    """Save and display the scores of finished runs of one task. runs: label to run. Returns a table of the scores."""
    from eccl_lib.evaluation import run_summary

    save_figure(run_summary.score_figure(runs, config), name, config)
    return run_summary.summary(runs, config)


def show_files(run: Any) -> None:
    """Print the folder of a finished run and its files."""
    say("\n  ".join([run.name, *run.manifest()["files"]]))


def _write(figure: Any, suffix: str, target: Path) -> None:
    import matplotlib as mpl

    from eccl_lib.figures.style import STYLE

    # No date and no version: the same data give the same file.
    metadata = {"Date": None} if suffix == "svg" else {"Software": None}
    with mpl.rc_context(STYLE):
        figure.savefig(target, format=suffix, metadata=metadata)


def show_figure(figure: Any, dpi: int = 100) -> None:
    """Display a figure in the notebook without writing a file."""
    from IPython.display import Image, display

    display(Image(data=png_of(figure, dpi), format="png", alt=alternative(figure)))


def png_of(figure: Any, dpi: int = 100) -> bytes:
    """A figure as the content of a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def alternative(figure: Any) -> str:
    """Alternative text of a figure: its titles and notes."""
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    notes = [text.get_text() for text in figure.texts]
    return "; ".join(text for text in (*titles, *notes) if text).replace("\n", ", ")


def progress() -> Callable[[str], None]:
    """A ``log`` function for long computations: it prints each line in the cell and, under papermill, in the terminal.

    The terminal output goes to the kernel's standard error. If ECCL_PROGRESS names a file, the line is appended there
    instead. In JupyterLab only the cell shows the line.
    """

    def log(line: str) -> None:
        say(line)
        _write_outside(printable(line))

    return log


def _write_outside(line: str) -> None:
    path = os.environ.get(PROGRESS_FILE)
    if path:
        with Path(path).open("a") as out:
            out.write(line + "\n")
    elif _shell() is not None and "JPY_SESSION_NAME" not in os.environ:
        with contextlib.suppress(OSError):  # standard error is closed
            os.write(_first_stderr(), (line + "\n").encode())


def _first_stderr() -> int:
    """File descriptor of the standard error that the kernel was started with."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return 2
