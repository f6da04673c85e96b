"""Display an interactive view where a browser shows it, and store a picture of its first state.

A headless run (papermill, nbval, nbconvert) has no browser: it gets the picture alone, and no widget is made, so that
no state of one is stored. Pictures of single participants of UK Biobank's data are stored only on request.
"""

import base64
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from eccl_lib.config.schema import Config
from eccl_lib.io import paths
from eccl_lib.io.progress import say
from eccl_lib.notebooks import notebook
from eccl_lib.notebooks.clean import WIDGET

NO_PICTURE = (
    "no picture is stored: it would show single participants of UK Biobank's data. Run this notebook in JupyterLab to "
    "see the view, or set keep_pictures = True."
)


def has_browser() -> bool:
    """Whether a frontend shows this kernel's widgets: JupyterLab, Notebook, VS Code or Colab."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    return "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in shell.user_ns or "google.colab" in sys.modules


def show(
    view: Any, name: str, config: Config, *, keep: bool = False, of_people: bool = True, generated: bool = False
) -> None:
    """Display a view's widget and store its picture as ``name`` in the run's figures folder and in the notebook.

    view: has ``widget()`` and ``picture()``. keep: store the picture also if it shows participants of UK Biobank's
    data. of_people: False if it shows no single participant. generated: True if it shows a generated heart, on any
    cohort.
    """
    hidden = config.cohort == "ukb" and of_people and not keep and not generated
    bundle: dict[str, Any] = {} if hidden else _stored(view.picture(), name, config, generated)
    if has_browser():
        widget = view.widget()
        bundle |= {key: value for key, value in widget._repr_mimebundle_().items() if key == WIDGET}
    if bundle:
        _display(bundle)
    if hidden and WIDGET not in bundle:
        say(NO_PICTURE)


def _stored(figure: Any, name: str, config: Config, generated: bool) -> dict[str, Any]:
    from eccl_lib.figures.style import stamp_synthetic

    stamp = stamp_synthetic if generated else partial(notebook.stamp_source, config=config)
    stamp(figure)
    notebook.write_figure(figure, paths.figures_dir(config.scale, config.cohort), name)
    return {"image/png": base64.b64encode(notebook.png_of(figure)).decode()}


def _display(bundle: dict[str, Any]) -> None:
    from IPython.display import display

    display(bundle | {"text/plain": "<interactive view>"}, raw=True)


def image(figure: Any = None) -> Any:
    """A widget that shows a figure in its own size, or nothing yet."""
    import ipywidgets

    place = {
        "max_width": "100%",
        "align_self": "flex-start",
        "justify_self": "start",
        "object_fit": "contain",
        "margin": "0",
    }
    found = ipywidgets.Image(format="png", layout=place)
    if figure is not None:
        set_figure(found, figure)
    return found


def set_figure(target: Any, figure: Any) -> None:
    """Show another figure in a widget of ``image``."""
    target.value = notebook.png_of(figure)


def message() -> Any:
    """A widget for one line of text; ``say_in`` writes it."""
    import ipywidgets

    return ipywidgets.HTML()


def say_in(target: Any, *lines: str) -> None:
    """Write lines of plain text into a widget of ``message``."""
    from html import escape

    target.value = f'<div style="line-height: 1.4">{"<br>".join(escape(line) for line in lines)}</div>'


def when_changed(update: Callable[[], None], *controls: Any) -> None:
    """Call ``update`` after each change of a control's value."""
    for control in controls:
        control.observe(lambda change: update(), names="value")
