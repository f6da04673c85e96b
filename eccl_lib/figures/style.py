"""How every figure looks: colours that colour-blind readers tell apart, one type size, a footer with n and origin."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from eccl_lib.tasks import DISEASE_NAMES, TASKS

# Okabe and Ito (2008): distinct for the three common kinds of colour blindness, and in grey.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#6B6B6B", "#D9D9D9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
# Related organs share a hue; each group carries its name as well.
ORGAN_COLOURS = {
    "LV": BLUE,
    "RV": SKY,
    "LA": GREEN,
    "RA": "#8CD0B8",
    "AAo": VERMILION,
    "DAo": "#EFAE80",
    "WT": ORANGE,
    "Ecc": PURPLE,
    "Err": "#E8C9D9",
    "Ell": "#A8A8A8",
}
ORGAN_NAMES = {
    "LV": "left ventricle",
    "RV": "right ventricle",
    "LA": "left atrium",
    "RA": "right atrium",
    "AAo": "ascending aorta",
    "DAo": "descending aorta",
    "WT": "wall thickness",
    "Ecc": "circumferential strain",
    "Err": "radial strain",
    "Ell": "longitudinal strain",
}
# Tasks keep their colour on every page.
TASK_COLOURS = {"I21": BLUE, "I42": ORANGE, "I48": GREEN, "I50": VERMILION, "traits": PURPLE}
WIDTH = 6.9  # inches; two columns of a paper, one of a notebook
SMALL = 7.5  # points; the smallest type that a page of this width carries
STAMP = "synthetic cohort"

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
    # Text stays text and ids stay the same, so that a figure drawn again differs only where its data do.
    "svg.fonttype": "none",
    "svg.hashsalt": "eccl",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw under the project's style and leave matplotlib's own settings as they were."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, inches, that keeps a band at the bottom free for the footer."""
    fig = Figure(figsize=(width, height), layout="constrained")
    band = 0.24 / height
    fig.get_layout_engine().set(rect=(0.0, band, 1.0, 1.0 - band), w_pad=0.05, h_pad=0.05)
    return fig


def footer(fig: Figure, note: str, synthetic: bool, size: float = 8.0) -> None:
    """One line under the panels: what was counted on the left, where the data come from on the right."""
    y = 0.07 / fig.get_figheight()
    fig.text(0.01, y, note, ha="left", va="bottom", fontsize=size, color=GREY)
    if synthetic:
        fig.text(0.99, y, STAMP, ha="right", va="bottom", fontsize=size, color=VERMILION, fontweight="bold")


def task_title(task: str) -> str:
    """A task's name for a panel: the disease with its code, or the traits."""
    return f"{DISEASE_NAMES[task]} ({task})" if task in DISEASE_NAMES else "82 cardiac traits"


def score_name(task: str) -> str:
    """What a task is scored by, for an axis."""
    return "AUC" if TASKS[task].is_disease else "mean Pearson r"


def signed(value: float) -> str:
    """With its sign, to two places, as printed: a true minus, no minus before zero."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")


def pretty_unit(unit: str) -> str:
    """``10^-3 mmHg^-1`` and ``mm2`` as people write them."""
    return unit.replace("^-3", "⁻³").replace("^-1", "⁻¹").replace("mm2", "mm²")


def bare(ax: Any) -> None:
    """Take the ticks off axes whose numbers mean nothing (an embedding, an image)."""
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    for spine in ax.spines.values():
        spine.set_color(PALE)
