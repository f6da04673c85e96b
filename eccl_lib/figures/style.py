"""Style shared by all figures: type sizes, a footer with n and the data source, grey images."""

import functools
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from eccl_lib.figures.colours import CYCLE, GREY, PALE, VERMILION
from eccl_lib.tasks import TASKS

WIDTH = 6.9  # inches; two columns of a paper, one of a notebook
SMALL = 7.5  # points; smallest type at this width
STAMP = "synthetic cohort"
PARTICIPANTS = "shows single participants: as confidential as the data"

STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "lines.linewidth": 1.4,
    "savefig.dpi": 150,
    # Text stays text and ids are fixed, so the same data give the same SVG file.
    "svg.fonttype": "none",
    "svg.hashsalt": "eccl",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: draw with the project's style without changing matplotlib's global settings."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Empty figure with space for the footer at the bottom. height, width: inches."""
    fig = Figure(figsize=(width, height), layout="constrained")
    band = 0.24 / height
    fig.get_layout_engine().set(rect=(0.0, band, 1.0, 1.0 - band), w_pad=0.05, h_pad=0.05)
    return fig


def footer(fig: Figure, note: str, size: float = 8.0) -> None:
    """Write a note, usually the sample size, under the panels on the left."""
    fig.text(0.01, 0.07 / fig.get_figheight(), note, ha="left", va="bottom", fontsize=size, color=GREY, gid="footer")


def stamp_synthetic(fig: Figure) -> None:
    """Write "synthetic cohort" at the right end of the footer; a second call changes nothing."""
    if all(text.get_text() != STAMP for text in fig.texts):
        size = next((text.get_fontsize() for text in fig.texts if text.get_gid() == "footer"), 8.0)
        style = {"ha": "right", "va": "bottom", "fontsize": size, "fontweight": "bold", "color": VERMILION}
        fig.text(0.99, 0.07 / fig.get_figheight(), STAMP, **style)


def stamp_counts(fig: Figure, note: str) -> None:
    """Write at the top right what a figure says about small counts, and whether it shows single participants."""
    parts = [note, PARTICIPANTS if note and fig.get_label() == PARTICIPANTS else ""]
    if text := "; ".join(part for part in parts if part):
        style = {"ha": "right", "va": "top", "fontsize": SMALL, "color": VERMILION}
        fig.text(0.99, 1 - 0.02 / fig.get_figheight(), text, **style)


def of_participants(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: a figure that shows single participants, such as recordings or one point for each."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        figure = draw(*args, **kwargs)
        figure.set_label(PARTICIPANTS)
        return figure

    return wrapped


def task_title(task: str) -> str:
    """Panel title of a task: disease name and ICD-10 code, "82 cardiac traits", or its heading in Table 1.

    A disease that is not the paper's is given by its title, ``Task.title``, which stays as it is.
    """
    return TASKS[task].title if task in TASKS else task


def score_name(task: str) -> str:
    """Axis label of a task's metric. task: as of ``task_title``."""
    return "AUC" if task not in TASKS or TASKS[task].is_disease else "mean Pearson r"


def signed(value: float) -> str:
    """Signed number with two decimals, a true minus sign, and no minus before 0.00."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")


def pretty_unit(unit: str) -> str:
    """Unit with superscripts: ``mm2`` becomes mm²."""
    return unit.replace("^-3", "⁻³").replace("^-1", "⁻¹").replace("mm2", "mm²")


def hide_ticks(ax: Any) -> None:
    """Remove ticks from axes without a meaningful scale (an embedding, an image)."""
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    for spine in ax.spines.values():
        spine.set_color(PALE)


def show_grey(ax: Any, image: np.ndarray, range_of: np.ndarray | None = None) -> None:
    """Draw an image in grey without ticks. range_of: array whose 0.5 and 99.5 percentiles are black and white."""
    low, high = np.percentile(image if range_of is None else range_of, (0.5, 99.5))
    ax.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    hide_ticks(ax)
