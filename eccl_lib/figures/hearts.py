"""Figures of hearts: their location by each segmentation provider, and those that are similar to an ECG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
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


@of_participants
@styled
def similar_hearts(clips: np.ndarray, captions: Sequence[str], systole: float, searched: int) -> Figure:
    """Hearts that are similar to an ECG: one column per heart, end diastole above about end systole.

    clips: (k, H, W, F), frame 0 at the R wave. captions: one per heart. systole: share of the beat of the second row.
    searched: number of hearts.
    """
    fig = new_figure(height=3.9)
    axes = fig.subplots(2, len(clips), squeeze=False)
    frame = round(systole * clips.shape[3])
    for column, clip, caption in zip(axes.T, clips, captions, strict=True):
        for ax, number in zip(column, (0, frame), strict=True):
            show_grey(ax, clip[..., number], range_of=clip)
        column[0].set_title(caption, fontsize=8)
    for ax, name in zip(axes[:, 0], ("end diastole", f"{systole:.0%} of the beat"), strict=True):
        ax.set_ylabel(name)
    footer(fig, f"the most similar of n = {searched:,} hearts of the test participants; frame 0 is at the R wave")
    return fig


def beating_hearts(clips: np.ndarray, height: int = 112, gap: int = 6) -> bytes:
    """Hearts side by side as an endless animation, a GIF of one beat in a second. clips: (k, H, W, F) uint8.

    height: pixels to which small clips are enlarged, by a whole factor.
    """
    from PIL import Image  # matplotlib needs it as well

    low, high = (np.percentile(clips, share, axis=(1, 2, 3), keepdims=True) for share in (0.5, 99.5))
    share = np.clip((clips - low) / np.maximum(high - low, 1), 0, 1)
    grey = (8 * np.round(31 * share)).astype(np.uint8)  # 32 levels, for a small file
    times = max(1, height // clips.shape[1])
    large = grey.repeat(times, axis=1).repeat(times, axis=2)
    large = np.pad(large, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    frames = [Image.fromarray(np.concatenate(list(large[..., k]), axis=1)) for k in range(clips.shape[3])]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": round(1000 / len(frames)), "loop": 0}
    frames[0].save(buffer, format="GIF", **options)
    return buffer.getvalue()
