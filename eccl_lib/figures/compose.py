"""Put several figures into one picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from eccl_lib.figures.style import STYLE, of_participants

DPI = STYLE["savefig.dpi"]


@of_participants
def composed(rows: Sequence[Sequence[Figure]], band: float = 0.25) -> Figure:
    """One figure of several: rows of figures as images, on white, with a band (inches) below for a stamp."""
    lines = [_beside([_pixels(figure) for figure in row]) for row in rows]
    width = max(line.shape[1] for line in lines)
    image = np.concatenate([_padded(line, line.shape[0], width) for line in lines])
    image = _padded(image, image.shape[0] + round(band * DPI), width)
    fig = Figure(figsize=(width / DPI, image.shape[0] / DPI))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.imshow(image, interpolation="auto", interpolation_stage="rgba", aspect="auto")
    ax.set_axis_off()
    return fig


def _pixels(figure: Figure) -> np.ndarray:
    """The figure as (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _beside(images: Sequence[np.ndarray]) -> np.ndarray:
    height = max(image.shape[0] for image in images)
    return np.concatenate([_padded(image, height, image.shape[1]) for image in images], axis=1)


def _padded(image: np.ndarray, height: int, width: int) -> np.ndarray:
    out = np.full((height, width, 3), 255, np.uint8)
    out[: image.shape[0], : image.shape[1]] = image
    return out
