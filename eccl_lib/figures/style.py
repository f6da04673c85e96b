"""Style shared by all figures: colour-blind-safe colours, type sizes, and a footer with n and the data source."""

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
# Related chambers share a hue; each group is also labelled by name.
CHAMBER_COLOURS = {
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
CHAMBER_NAMES = {
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
# A task has the same colour in every figure.
TASK_COLOURS = {"I21": BLUE, "I42": ORANGE, "I48": GREEN, "I50": VERMILION, "traits": PURPLE}
# A method or modality has the same colour in every figure.
METHOD_COLOURS = {
    "ECCL": BLUE,
    "CMR_Sup": ORANGE,
    "CMAE": GREEN,
    "W/O SSL; W/O CL": VERMILION,
    "Triplet": PURPLE,
    "ResNet50": SKY,
    "ViT": BLACK,
    "W/ SSL; W/O CL": "#8C510A",
    "W/O SSL; W/ CL": "#999933",
    "CMR, supervised": ORANGE,
}
WIDTH = 6.9  # inches; two columns of a paper, one of a notebook
SMALL = 7.5  # points; smallest type at this width
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


def task_title(task: str) -> str:
    """Panel title of a task: disease name and ICD-10 code, or "82 cardiac traits"."""
    return f"{DISEASE_NAMES[task]} ({task})" if task in DISEASE_NAMES else "82 cardiac traits"


def score_name(task: str) -> str:
    """Axis label of a task's metric."""
    return "AUC" if TASKS[task].is_disease else "mean Pearson r"


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
