"""Maps of the shared space before and after alignment, side by side and linked: hover, colour, lasso."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib import figures
from eccl_lib.config.schema import Config
from eccl_lib.data import ecg
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import participant
from eccl_lib.evaluation.latent_space import SharedMap
from eccl_lib.figures.colours import BLUE, ORANGE, VERMILION
from eccl_lib.figures.compose import composed
from eccl_lib.figures.style import pretty_unit
from eccl_lib.notebooks.widgets import show
from eccl_lib.notebooks.widgets.cohort_view import OVERVIEW, trait_columns
from eccl_lib.notebooks.widgets.player import player, set_heart
from eccl_lib.tasks import disease_names, task_of

MODALITY = "modality"
FIRST_TRAIT = "LVEF"  # colours the picture; the first group is around its lowest value
GROUP = 50  # participants of the first group
WAIT = 0.06  # seconds after which the point under the mouse is drawn; points passed meanwhile are skipped
HEIGHT = 420  # of a map, pixels


class LatentView:
    """Linked maps of n test participants. rows: their cohort rows, (n,); before, after: their maps, in this order."""

    def __init__(self, config: Config, data: Cohort, rows: np.ndarray, before: SharedMap, after: SharedMap) -> None:
        self.config, self.data, self.rows = config, data, rows
        self.before, self.after = before, after
        self.traits = np.asarray(data.traits)[rows]
        self.group = _neighbours(after.ecg, self._lowest(), GROUP)  # places in rows
        self._pending, self._hovered = False, -1

    def _lowest(self) -> int:
        """Place in rows of the participant with the lowest FIRST_TRAIT; 0 where nobody has it."""
        values = self.traits[:, [trait.short_name for trait in TRAITS].index(FIRST_TRAIT)]
        return int(np.nanargmin(values)) if np.isfinite(values).any() else 0

    def picture(self) -> Any:
        """Both maps coloured by FIRST_TRAIT, the first group ringed, and the group's traits."""
        column = [trait.short_name for trait in TRAITS].index(FIRST_TRAIT)
        values = np.tile(self.traits[:, column], 2)
        ringed = np.tile(np.isin(np.arange(len(self.rows)), self.group), 2)
        label = f"{FIRST_TRAIT} ({TRAITS[column].unit})"
        maps = figures.linked_maps(self.before.stacked, self.after.stacked, values, label, ringed, len(self.rows))
        return composed([[maps], [self._group_figure(6.9)]])

    def colours(self) -> pd.DataFrame:
        """What points can be coloured by, one column each, (2n, columns): modality, diseases, traits."""
        n, limit = len(self.rows), limit_of(self.config)
        columns: dict[str, Any] = {MODALITY: pd.Categorical(np.repeat(["ECG", "CMR"], n), ["ECG", "CMR"])}
        for code in self.config.codes:
            positive = self.data.label_of(code)[self.rows]
            if not limit.hides_class(positive):
                words = np.where(np.tile(positive, 2), "with", "without")
                columns[task_of(self.config, code).title] = pd.Categorical(words, ["without", "with"])
        for trait, values in zip(TRAITS, self.traits.T, strict=True):
            if np.isfinite(values).any():
                filled = np.where(np.isfinite(values), values, np.nanmedian(values))  # the map needs a colour for all
                columns[f"{trait.name} ({pretty_unit(trait.unit)})"] = np.tile(filled, 2)
        return pd.DataFrame(columns)

    def widget(self) -> Any:
        """Both maps, the colour's menu, the participant under the mouse, and the traits of the lassoed group."""
        import ipywidgets as w
        import jscatter

        frame = self.colours()
        self.menu = w.Dropdown(options=list(frame), value=MODALITY, description="colour", layout={"width": "480px"})
        places = {"before": self.before.stacked, "after": self.after.stacked}
        for when, xy in places.items():
            frame[f"x {when}"], frame[f"y {when}"] = xy.T
        self.frame = frame
        self.maps = [self._map(jscatter, frame, when) for when in places]
        titled = [(plot, f"{when} alignment") for plot, when in zip(self.maps, places, strict=True)]
        both = jscatter.compose(titled, sync_selection=True, sync_hover=True, row_height=HEIGHT)
        self.ecg_image, self.group_image, self.heart = show.image(), show.image(), player()
        self.who, self.lassoed = show.message(), show.message()
        for plot in self.maps:
            plot.widget.observe(self._on_hover, names="hovering")
        # The maps are linked, so one of them reports every selection.
        self.maps[0].widget.observe(lambda change: self._select(change["new"]), names="selection")
        show.when_changed(self._colour, self.menu)
        self._colour()
        self._draw_group()
        self._hovered = int(self.group[0])
        self._draw_hovered()
        hint = show.message()
        how = "Move the mouse over a point to see its ECG and its heart. Draw around points to compare their traits."
        show.say_in(hint, how)
        columns = "minmax(0, 2.5fr) minmax(0, 1fr)"
        hovered = w.GridBox(
            [self.ecg_image, w.VBox([self.heart])], layout=w.Layout(grid_template_columns=columns, grid_gap="16px")
        )
        return w.VBox([self.menu, both, hint, self.who, hovered, self.lassoed, self.group_image])

    def _map(self, jscatter: Any, frame: pd.DataFrame, when: str) -> Any:
        plot = jscatter.Scatter(data=frame, x=f"x {when}", y=f"y {when}", height=HEIGHT)
        plot.mouse("lasso")  # Shift and drag, which also draws one, selects cells in JupyterLab
        plot.background("#ffffff").axes(False).tooltip(False).legend(True)
        plot.size(default=float(np.clip(6 * (2000 / len(frame)) ** 0.3, 2, 7)))
        plot.color(selected=VERMILION, hover="#000000")
        return plot

    def _colour(self) -> None:
        name = self.menu.value
        values = self.frame[name]
        if name == MODALITY:
            scheme: Any = {"ECG": BLUE, "CMR": ORANGE}
        elif isinstance(values.dtype, pd.CategoricalDtype):
            scheme = {"without": "#B8B8B8", "with": BLUE}
        else:
            scheme = "viridis"
        for plot in self.maps:
            plot.color(by=name, map=scheme)

    def _on_hover(self, change: dict[str, Any]) -> None:
        """Draw the latest point after a short wait, so that passed points do not queue up."""
        point = change["new"]
        if point is None or point < 0:
            return
        self._hovered = int(point) % len(self.rows)
        if not self._pending:
            self._pending = _later(self._draw_hovered)

    def _draw_hovered(self) -> None:
        self._pending = False
        row = int(self.rows[self._hovered])
        diagnoses = ", ".join(participant.diagnoses_of(self.config, self.data, row)) or participant.NO_DISEASE
        heart = participant.heart_of(self.config, self.data, row)
        facts = participant.facts_of(self.data, row)
        show.say_in(self.who, f"{facts}; diagnoses: {diagnoses}", *([heart.note] if heart.note else []))
        set_heart(self.heart, heart, "cine of the point under the mouse")
        signal = participant.cleaned_ecg(self.data, row)
        show.set_figure(self.ecg_image, figures.ecg_paper(signal, ecg.RATE, "ECG of the point under the mouse"))

    def _select(self, points: np.ndarray | None) -> None:
        """Show the traits of the participants whose ECG or CMR is in the lasso."""
        chosen = np.array([] if points is None else points, int)
        if len(chosen):
            self.group = np.unique(chosen % len(self.rows))
            self._draw_group()

    def _draw_group(self) -> None:
        limit, n = limit_of(self.config), len(self.group)
        if limit.hides(n):
            show.say_in(self.lassoed, f"{limit.withheld} participants in the lasso: their traits are withheld")
            self.group_image.layout.display = "none"
            return
        rows, names = self.rows[self.group], disease_names(self.config)
        counts = limit.counts({name: int(self.data.label_of(code)[rows].sum()) for code, name in names.items()})
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        show.say_in(self.lassoed, f"lassoed group: {n:,} participants; diagnoses: {words}")
        self.group_image.layout.display = ""
        show.set_figure(self.group_image, self._group_figure(6.9))

    def _group_figure(self, width: float) -> Any:
        columns = trait_columns(OVERVIEW)
        names = [(TRAITS[k].short_name, TRAITS[k].unit, TRAITS[k].group) for k in columns]
        table = pd.DataFrame(names, columns=["short_name", "unit", "group"])
        values = self.traits[:, columns]
        return figures.trait_positions(table, values, values[self.group], width=width)


def _neighbours(points: np.ndarray, centre: int, count: int) -> np.ndarray:
    """The ``count`` points nearest to one of them, itself first. points: (n, 2)."""
    return np.argsort(np.square(points - points[centre]).sum(axis=1), kind="stable")[:count]


def _later(draw: Callable[[], None]) -> bool:
    """Call ``draw`` after WAIT in the kernel's event loop; at once where none runs. Returns whether it is pending."""
    try:
        asyncio.get_running_loop().call_later(WAIT, draw)
    except RuntimeError:
        draw()
        return False
    return True
