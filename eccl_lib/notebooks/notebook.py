"""All that knows it runs in Jupyter: checked parameters, live source, figures, progress.

papermill only warns on an unknown ``-p``, hands ``true`` over as text and ``1e3`` as a float. Its injected cell is part
of the kernel's input history, so ``start`` reads it there and raises on what the notebook does not declare.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eccl_lib.config import load as config_module
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import Config
from eccl_lib.io import paths

INJECTED = "# Parameters"  # how papermill begins the cell that it adds
PROGRESS_FILE = "ECCL_PROGRESS"  # environment: progress lines are appended to this file


def start(*, scale: str, cohort: str, disease: str, seed: int, overrides: dict[str, Any], **more: Any) -> Config:
    """The notebook's parameters as a Config.

    more: parameters that this notebook alone has (05: method, 06: seeds, 09: ecg), the last checked where it is used.
    Raises ConfigError on an unknown name, a wrong type or a wrong value, however it was given.
    """
    declared = ("scale", "cohort", "disease", "seed", "overrides", *more)
    try:
        _refuse_unknown(_history(), declared)
        loaded = config_module.load(scale, cohort=cohort, disease=disease, seed=seed, overrides=overrides)
        _check_own(more)
    except ConfigError as error:
        raise ConfigError(str(error)) from None  # the reader needs the message, not the way to it
    return loaded


def _check_own(more: dict[str, Any]) -> None:
    if "method" in more:
        from eccl_lib.pipeline.methods import METHODS

        if more["method"] not in METHODS:
            raise ConfigError(f"method is {more['method']!r}; choose one of {', '.join(METHODS)}")
    if "seeds" in more and (type(more["seeds"]) is not int or more["seeds"] < 1):
        raise ConfigError(f"seeds is {more['seeds']!r}; give how many, 1 or more")


def _history() -> list[str]:
    """Sources of the cells run so far, this one last; empty outside IPython."""
    shell = _shell()
    return [] if shell is None else list(shell.user_ns.get("In", []))


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _refuse_unknown(history: list[str], declared: tuple[str, ...]) -> None:
    """Look at the newest parameters cell and the newest injected cell after it. Raises ConfigError on other names."""
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
    """Names that a cell binds at its top level to plain literals; empty where it does anything else."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    names = set()
    for node in body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            return set()
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _nearest(name: str, declared: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]}?" if close else "."
    fields = [field for field in config_module.names() if field.rpartition(".")[2] == name]
    hint = f" A field of the config is given as -y 'overrides: {{{fields[0]}: ...}}'." if fields else ""
    return f"{guess} The parameters are {', '.join(declared)}.{hint}"


def show_source(function: Callable[..., Any]) -> None:
    """Show the library's own source of a function or class, as it runs now, highlighted."""
    from IPython.display import Markdown, display

    source = inspect.getsource(inspect.unwrap(function))
    display(Markdown(f"`{function.__module__}`\n```python\n{source}```"))


def save_figure(figure: Any, name: str, config: Config) -> None:
    """Write a figure as PNG and SVG among the run's figures and show it."""
    folder = paths.figures_dir(config.scale, config.cohort)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        target = folder / f"{name}.{suffix}"
        beside = target.with_name(f".{name}.part.{suffix}")
        _write(figure, beside)
        beside.replace(target)
    show_figure(figure)


def _write(figure: Any, target: Path) -> None:
    import matplotlib as mpl

    from eccl_lib.figures.style import STYLE

    # Without a date and a version in it, a figure drawn again from the same data is the same file.
    metadata = {"Date": None} if target.suffix == ".svg" else {"Software": None}
    with mpl.rc_context(STYLE):
        figure.savefig(target, metadata=metadata)


def show_figure(figure: Any, dpi: int = 100) -> None:
    """Show a figure in the notebook without writing it."""
    from IPython.display import Image, display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    display(Image(data=buffer.getvalue(), format="png", alt=_alternative(figure)))


def _alternative(figure: Any) -> str:
    """What the picture says, for those who cannot see it: its titles and notes."""
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    notes = [text.get_text() for text in figure.texts]
    return "; ".join(text for text in (*titles, *notes) if text).replace("\n", ", ")


def progress() -> Callable[[str], None]:
    """A ``log`` for the library's long functions: each line goes to the cell, and to whoever waits at a terminal.

    Under papermill that is the kernel's own standard error, which the terminal shows; JupyterLab shows the cell, so
    there it stays silent. ECCL_PROGRESS names a file to append to instead.
    """

    def log(line: str) -> None:
        print(line, flush=True)
        _tell_outside(line)

    return log


def _tell_outside(line: str) -> None:
    path = os.environ.get(PROGRESS_FILE)
    if path:
        with Path(path).open("a") as out:
            out.write(line + "\n")
    elif _shell() is not None and "JPY_SESSION_NAME" not in os.environ:
        with contextlib.suppress(OSError):  # nobody listens
            os.write(_first_stderr(), (line + "\n").encode())


def _first_stderr() -> int:
    """The descriptor that the kernel was started with; ipykernel keeps it where it puts its own in its place."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return 2
