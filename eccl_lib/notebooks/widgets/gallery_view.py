"""The augmentations of one participant's ECG and clip."""

from typing import Any

import numpy as np

from eccl_lib import figures
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.heart_slice import HeartSlice
from eccl_lib.evaluation.augmentations import Gallery, gallery
from eccl_lib.notebooks.widgets import show
from eccl_lib.notebooks.widgets.player import player, set_heart


class GalleryView:
    """Every augmentation alone, and one random draw as in the training. row: participant of the cohort."""

    def __init__(self, config: Config, data: Cohort, row: int) -> None:
        self.config, self.data, self.row = config, data, row

    def picture(self) -> Any:
        """The gallery of the first draw."""
        return _figure(gallery(self.config, self.data, self.row, draw=0))

    def widget(self) -> Any:
        """A field for the participant, a button for another draw, the gallery, and one augmented clip that plays."""
        import ipywidgets as w

        most = len(self.data)
        self.number = w.BoundedIntText(value=self.row + 1, min=1, max=most, description="participant")
        self.again = w.Button(description="another random draw", layout=w.Layout(width="180px"))
        self.which = w.Dropdown(description="playing", layout=w.Layout(width="300px"))
        self.image, self.clip = show.image(), player()
        self.draw = 0
        self.again.on_click(lambda _: self._draw_again())
        show.when_changed(self._update, self.number)
        show.when_changed(self._play, self.which)
        self._update()
        controls = w.HBox([self.number, self.again, self.which], layout={"flex_flow": "row wrap"})
        columns = "minmax(0, 2.2fr) minmax(0, 1fr)"
        panels = w.GridBox(
            [self.image, w.VBox([self.clip])], layout=w.Layout(grid_template_columns=columns, grid_gap="16px")
        )
        return w.VBox([controls, panels])

    def _draw_again(self) -> None:
        self.draw += 1
        self._update()

    def _update(self) -> None:
        self.row = self.number.value - 1
        self.shown = gallery(self.config, self.data, self.row, self.draw)
        show.set_figure(self.image, _figure(self.shown))
        titles, chosen = list(self.shown.clips), self.which.value
        self.which.options = titles
        self.which.value = chosen if chosen in titles else titles[-1]
        self._play()

    def _play(self) -> None:
        if self.which.value in self.shown.clips:
            frames = np.rint((self.shown.clips[self.which.value] + 1) * 127.5).clip(0, 255).astype(np.uint8)
            set_heart(self.clip, HeartSlice(np.ascontiguousarray(frames)), f"clip, {self.which.value}")


def _figure(shown: Gallery) -> Any:
    clips = {title: clip[0] for title, clip in shown.clips.items()}
    return figures.augmentation_gallery(shown.ecgs, shown.rate, clips)
