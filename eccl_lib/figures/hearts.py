"""Figure of the heart location found by each segmentation provider."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from eccl_lib.data.cmr import box_of
from eccl_lib.data.heart_slice import smallest_cavity
from eccl_lib.data.records import CineRecord
from eccl_lib.figures.colours import ORANGE
from eccl_lib.figures.person import LABELS, outline_heart
from eccl_lib.figures.style import footer, new_figure, of_participants, show_grey, styled

TITLES = {"masks": "given mask", "network": "built-in U-Net", "onnx": "ONNX network", "voting": "circle voting"}


@of_participants
@styled
def heart_overlays(located: Mapping[str, CineRecord]) -> Figure:
    """Segmentation and crop box of one slice: one column per provider; end diastole above end systole.

    located: provider to a one-slice record with labels or a box (``providers.by_provider``).
    """
    fig = new_figure(height=2.35 * 2 + 0.6)
    axes = fig.subplots(2, len(located), squeeze=False)
    frames = _ends([record for record in located.values() if record.labels is not None])
    for column, (name, record) in zip(axes.T, located.items(), strict=True):
        for ax, (title, frame) in zip(column, frames.items(), strict=True):
            show_grey(ax, record.images[0, frame])
            labels = None if record.labels is None else record.labels[0, frame]
            outline_heart(ax, labels, box_of(record), width=1.1)
            ax.set_title(f"{TITLES[name]}, {title}" if ax is column[0] else title, fontsize=8)
    for label, colour in LABELS.values():
        axes[0, 0].plot([], [], color=colour, label=label)
    axes[0, 0].plot([], [], color=ORANGE, label="crop box over all frames")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    footer(fig, "one slice of one participant; frame 0 is at the R wave")
    return fig


def _ends(records: list[CineRecord]) -> dict[str, int]:
    """Frame 0 and the frame with the smallest LV cavity in the first record with labels."""
    if not records:
        return {"frame 0": 0, "frame 0 (no labels)": 0}
    smallest = smallest_cavity(records[0].labels[0])
    return {"frame 0": 0, f"frame {smallest} (smallest cavity)": smallest}
