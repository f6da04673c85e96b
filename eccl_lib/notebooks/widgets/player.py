"""A cine that plays in the browser (``player.js``): contours, scale bar in mm, ED and ES, area of the LV cavity."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from eccl_lib.data.heart_slice import HeartSlice
from eccl_lib.figures.explorer import BAR_MM
from eccl_lib.figures.person import LABELS


@lru_cache(maxsize=1)
def _kind() -> type:
    """The widget's class; anywidget is imported only where a browser shows it."""
    import anywidget
    import traitlets

    class Player(anywidget.AnyWidget):
        """Frames and labels are sent as bytes; ``pixels`` is set last and redraws."""

        _esm = Path(__file__).with_name("player.js")
        title = traitlets.Unicode().tag(sync=True)
        shape = traitlets.List([0, 0, 0]).tag(sync=True)
        labels = traitlets.Bytes().tag(sync=True)
        spacing = traitlets.List().tag(sync=True)
        frame_ms = traitlets.Float().tag(sync=True)
        area = traitlets.List().tag(sync=True)
        end_systole = traitlets.Int().tag(sync=True)
        colours = traitlets.List().tag(sync=True)
        bar_mm = traitlets.Float(BAR_MM).tag(sync=True)
        pixels = traitlets.Bytes().tag(sync=True)

    return Player


def player(heart: HeartSlice | None = None, title: str = "") -> Any:
    """A widget that plays a slice, or nothing yet."""
    found = _kind()(colours=[[label, name, colour] for label, (name, colour) in LABELS.items()])
    if heart is not None:
        set_heart(found, heart, title)
    return found


def set_heart(target: Any, heart: HeartSlice, title: str = "") -> None:
    """Play another slice in a widget of ``player``."""
    area = heart.area_cm2
    with target.hold_sync():  # one message, so that the browser never draws half of it
        target.title = title
        target.shape = list(heart.frames.shape)
        target.labels = b"" if heart.labels is None else heart.labels.tobytes()
        target.spacing = list(heart.spacing_mm or ())
        target.frame_ms = heart.frame_ms or 0.0
        target.area = [] if area is None else [round(float(value), 3) for value in area]
        target.end_systole = heart.end_systole or 0
        target.pixels = heart.frames.tobytes()
