"""Pictures of where the heart is, by everyone who can say so. Records in, Figure out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eccl_lib.data.cmr import LV, box_of
from eccl_lib.data.records import CineRecord
from eccl_lib.figures.person import LABELS
from eccl_lib.figures.style import ORANGE, bare, footer, new_figure, styled

TITLES = {"masks": "given mask", "network": "our network", "onnx": "ONNX network", "voting": "circle voting"}


@styled
def heart_overlays(found: Mapping[str, CineRecord], *, synthetic: bool = False) -> Figure:
    """One slice as several providers see it: a column each, end diastole over end systole.

    found: by provider, one-slice records of one cine with labels or a box (``segment.by_provider``).
    """
    fig = new_figure(height=2.35 * 2 + 0.6)
    axes = fig.subplots(2, len(found), squeeze=False)
    frames = _ends([record for record in found.values() if record.labels is not None])
    for column, (name, record) in zip(axes.T, found.items(), strict=True):
        for ax, (title, frame) in zip(column, frames.items(), strict=True):
            _overlay(ax, record, frame)
            ax.set_title(f"{TITLES[name]}, {title}" if ax is column[0] else title, fontsize=8)
    for label, colour in LABELS.values():
        axes[0, 0].plot([], [], color=colour, label=label)
    axes[0, 0].plot([], [], color=ORANGE, label="rectangle that is kept, over all frames")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    footer(fig, "one slice of one participant", synthetic)
    return fig


def _ends(records: list[CineRecord]) -> dict[str, int]:
    """The first frame, and the one in which the first labelled record's cavity is smallest."""
    if not records:
        return {"frame 0": 0, "frame 0 again": 0}
    area = (records[0].labels[0] == LV).sum(axis=(1, 2))
    smallest = int(np.argmin(np.where(area > 0, area, area.max() + 1)))
    return {"frame 0": 0, f"frame {smallest}, the smallest cavity": smallest}


def _overlay(ax, record: CineRecord, frame: int) -> None:
    image = record.images[0, frame]
    low, high = np.percentile(image, (0.5, 99.5))
    ax.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    if record.labels is not None:
        for label, (_, colour) in LABELS.items():
            drawn = record.labels[0, frame] == label
            if drawn.any():
                ax.contour(drawn, levels=[0.5], colors=colour, linewidths=1.1)
    top, left, bottom, right = box_of(record)
    corner = (left - 0.5, top - 0.5)
    ax.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=ORANGE, linewidth=1.4))
    bare(ax)
