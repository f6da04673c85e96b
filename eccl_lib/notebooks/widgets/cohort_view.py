"""The cohort on one screen: filters, one participant's ECG, cine, traits, diagnoses and place in the shared space."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib import figures
from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data import ecg
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import participant
from eccl_lib.evaluation.participant import NO_DISEASE, Selection
from eccl_lib.figures.colours import CHAMBER_NAMES
from eccl_lib.figures.compose import composed
from eccl_lib.notebooks.widgets import show
from eccl_lib.notebooks.widgets.player import player, set_heart
from eccl_lib.tasks import disease_names, task_of

OVERVIEW = "overview"
OVERVIEW_TRAITS = ("LVEDV", "LVESV", "LVEF", "LVM", "RVEDV", "RVEF", "LAV_max", "LAEF", "RAV_max", "RAEF")
OVERVIEW_TRAITS += ("AAo_max_area", "DAo_max_area", "WT_global", "Ecc_global", "Err_global", "Ell_global")
CLEANED, RECORDED = "without baseline", "as recorded"
WARNED = {"all": None, "without warnings": False, "with warnings": True}  # of ``Selection``
PAGE, HALF = 10.43, 5.2  # inches; width of the ECG's paper, and of two figures beside each other


class CohortView:
    """A view of one participant at a time. ``disease`` of the config is the first filter, unless it is ``traits``.

    config: its cohort must have ECGs and cines. data: that cohort.
    """

    def __init__(self, config: Config, data: Cohort) -> None:
        self.config, self.data = config, data
        self.selection = Selection(disease=config.disease if config.disease in config.codes else "")
        self.rows = self.selection.rows(data)
        self.row = int(self.rows[0]) if len(self.rows) else 0

    @cached_property
    def space(self) -> participant.SharedSpace | None:
        """The map of the shared space; None if the alignment has not been trained."""
        return participant.shared_space(self.config, self.data)

    def picture(self) -> Any:
        """The first participant on one page: ECG, end diastole and end systole, traits, place."""
        heart = figures.cine_ends(participant.heart_of(self.config, self.data, self.row), width=PAGE)
        last = [self._traits(OVERVIEW, HALF), *([] if self.space is None else [self._place(HALF)])]
        return composed([[self._ecg(CLEANED)], [heart], last])

    def widget(self) -> Any:
        """The controls and the panels."""
        import ipywidgets as w

        self._make_controls(w)
        self.ecg_image, self.trait_image, self.place_image = (show.image() for _ in range(3))
        self.heart, self.facts, self.count = player(), show.message(), show.message()
        show.when_changed(self._filter, self.disease, self.sex, self.ages, self.quality)
        show.when_changed(self._choose, self.number)
        show.when_changed(self._draw_ecg, self.baseline)
        show.when_changed(self._draw_traits, self.group)
        self.back.on_click(lambda _: self._step(-1))
        self.forth.on_click(lambda _: self._step(1))
        self._filter()
        filters = w.HBox([self.disease, self.sex, self.quality, self.ages], layout=_WRAP)
        choice = w.HBox([self.back, self.number, self.forth, self.count, self.baseline, self.group], layout=_WRAP)
        panels = w.GridBox(
            [w.VBox([self.heart]), self.trait_image, self.place_image],
            layout=w.Layout(
                grid_template_columns="minmax(0, 1fr) minmax(0, 1.25fr) minmax(0, 1fr)", grid_gap="12px", width="100%"
            ),
        )
        return w.VBox([filters, choice, self.facts, self.ecg_image, panels])

    def _make_controls(self, w: Any) -> None:
        titles = {task_of(self.config, code).title: code for code in self.config.codes}
        names = {"all": "", **titles, NO_DISEASE: NO_DISEASE}
        self.disease = _dropdown(w, "disease", names, self.selection.disease)
        self.sex = _dropdown(w, "sex", {"all": "", "female": "female", "male": "male"}, "")
        self.quality = _dropdown(w, "quality", {name: name for name in WARNED}, "all")
        ages = self.data.table["age"].dropna()
        low, high = (int(ages.min()), int(np.ceil(ages.max()))) if len(ages) else (0, 120)
        self.whole = (low, high)
        style = {"description_width": "28px"}
        self.ages = w.IntRangeSlider(
            value=self.whole, min=low, max=high, description="age", style=style, continuous_update=False
        )
        self.number = w.BoundedIntText(value=1, min=1, max=max(len(self.rows), 1), description="participant")
        self.number.layout.width = "170px"
        self.back, self.forth = (
            w.Button(icon=icon, tooltip=tip, layout=w.Layout(width="36px"))
            for icon, tip in (("arrow-left", "previous participant"), ("arrow-right", "next participant"))
        )
        self.baseline = w.ToggleButtons(options=[CLEANED, RECORDED])
        self.baseline.style.button_width = "140px"
        groups = {OVERVIEW: OVERVIEW, **{name: group for group, name in CHAMBER_NAMES.items()}}
        self.group = _dropdown(w, "traits", groups, OVERVIEW)

    def _filter(self) -> None:
        """Apply the filters; the chosen participant stays if it passes them."""
        ages = None if self.ages.value == self.whole else self.ages.value
        self.selection = Selection(self.disease.value, self.sex.value, ages, WARNED[self.quality.value])
        self.rows = self.selection.rows(self.data)
        if not len(self.rows):
            show.say_in(self.count, "no participant passes these filters; widen one of them")
            return
        show.say_in(self.count, f"of {limit_of(self.config).count(len(self.rows))}")
        places = np.flatnonzero(self.rows == self.row)
        wanted = int(places[0]) + 1 if len(places) else 1
        self.number.max = len(self.rows)
        if self.number.value == wanted:
            self._choose()
        self.number.value = wanted

    def _step(self, by: int) -> None:
        self.number.value = min(max(self.number.value + by, 1), self.number.max)

    def _choose(self) -> None:
        self.row = int(self.rows[min(self.number.value, len(self.rows)) - 1])
        warnings = participant.warnings_of(self.data, self.row)
        found = participant.heart_of(self.config, self.data, self.row)
        set_heart(self.heart, found, "short-axis cine")
        diagnoses = ", ".join(participant.diagnoses_of(self.config, self.data, self.row)) or NO_DISEASE
        lines = [f"{participant.facts_of(self.data, self.row)}; diagnoses: {diagnoses}"]
        lines += [f"quality: {'; '.join(warnings) or 'no warning'}", *([found.note] if found.note else [])]
        show.say_in(self.facts, *lines)
        self._draw_ecg()
        self._draw_traits()
        if self.space is not None:
            show.set_figure(self.place_image, self._place(3.9))
        else:
            self.place_image.layout.display = "none"
            command = participant.alignment_command(self.config)
            show.say_in(self.facts, *lines, f"place in the shared space: train the alignment first, with {command}")

    def _draw_ecg(self) -> None:
        show.set_figure(self.ecg_image, self._ecg(self.baseline.value))

    def _draw_traits(self) -> None:
        show.set_figure(self.trait_image, self._traits(self.group.value, 4.7))

    def _ecg(self, which: str) -> Any:
        signal = participant.cleaned_ecg(self.data, self.row)
        if which == RECORDED:
            try:
                signal = participant.recorded_ecg(self.config, self.data, self.row)
            except UnreadableError as error:
                which = f"{CLEANED}, because the file cannot be read: {error.reason}"
        codes = [code for code in self.config.codes if self.data.label_of(code)[self.row]]
        facts = participant.facts_of(self.data, self.row)
        title = f"ECG {which}: {facts}; diagnoses: {', '.join(codes) or NO_DISEASE}"
        return figures.ecg_paper(signal, ecg.RATE, title, participant.warnings_of(self.data, self.row))

    def _traits(self, group: str, width: float) -> Any:
        columns = trait_columns(group)
        chosen = pd.DataFrame([(TRAITS[k].short_name, TRAITS[k].unit, TRAITS[k].group) for k in columns])
        chosen.columns = ["short_name", "unit", "group"]
        values = np.asarray(self.data.traits)[:, columns]
        return figures.trait_positions(chosen, values, values[[self.row]], width=width)

    def _place(self, width: float) -> Any:
        space = self.space
        disease = self.selection.disease
        cases = np.zeros(len(space.rows), bool)
        if disease in self.config.codes:
            cases = self.data.label_of(disease)[space.rows]
        if limit_of(self.config).hides_class(cases):
            cases, disease = np.zeros_like(cases), ""
        name = disease_names(self.config).get(disease, "")
        return figures.place_in_space(space.ecg, space.cmr, space.place(self.row), cases, name, width=width)


_WRAP = {"flex_flow": "row wrap", "align_items": "center"}


def _dropdown(w: Any, name: str, options: dict[str, Any], value: Any) -> Any:
    style = {"description_width": "60px"}
    return w.Dropdown(options=list(options.items()), value=value, description=name, style=style)


def trait_columns(group: str) -> list[int]:
    """Columns of the traits of a chamber, or of ``OVERVIEW``."""
    names = [trait.short_name for trait in TRAITS]
    if group == OVERVIEW:
        return [names.index(name) for name in OVERVIEW_TRAITS]
    return [k for k, trait in enumerate(TRAITS) if trait.group == group]
