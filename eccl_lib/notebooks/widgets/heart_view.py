"""A view of one generated heart: a slider changes the heart, and both modalities are drawn again from it."""

from dataclasses import replace
from typing import Any

from eccl_lib import figures
from eccl_lib.config.schema import Config
from eccl_lib.data import ecg, heart_slice
from eccl_lib.data.heart_slice import HeartSlice
from eccl_lib.data.synthetic.change import RANGES, TERRITORY_NAMES, Properties, properties_of, with_properties
from eccl_lib.data.synthetic.cine import cine
from eccl_lib.data.synthetic.ecg import STEP_UV, strip
from eccl_lib.data.synthetic.population import Hearts, draw
from eccl_lib.figures.compose import composed
from eccl_lib.notebooks.widgets import show
from eccl_lib.notebooks.widgets.player import player, set_heart

PAGE = 10.43  # inches; width of the ECG's paper
LABELS = {
    "scar": ("infarct (share of its territory)", 0.05),
    "wall": ("wall thickness (mm)", 0.1),
    "ef": ("ejection fraction (%)", 1.0),
    "la": ("left atrium (mL)", 1.0),
}


class HeartView:
    """index: participant of the generator whose heart is changed. example: properties changed in a second picture."""

    def __init__(self, config: Config, index: int = 0, **example: float) -> None:
        self.synthetic, self.example = config.synthetic, example
        self.own = draw(self.synthetic, [index])

    def changed(self, **values: float) -> Hearts:
        """The heart with some properties changed, as ``Properties`` names them."""
        return with_properties(self.own, replace(properties_of(self.own), **values))

    def picture(self) -> Any:
        """ECG and cine of the heart as it is, above those of the example if there is one."""
        rows, hearts = [], {"generated heart": self.own}
        if self.example:
            hearts = {"before": self.own, "after the change": self.changed(**self.example)}
        for name, heart in hearts.items():
            rows += [[self._ecg(heart, name)], [figures.cine_ends(self._slice(heart), width=PAGE)]]
        return composed(rows)

    def widget(self) -> Any:
        """Sliders, the ECG, and the cine that plays."""
        import ipywidgets as w

        start = properties_of(self.own)
        style = {"description_width": "190px"}
        self.sliders = {
            name: w.FloatSlider(
                value=getattr(start, name),
                min=min(low, getattr(start, name)),
                max=max(high, getattr(start, name)),
                step=LABELS[name][1],
                description=LABELS[name][0],
                style=style,
                readout_format=".2f" if name == "scar" else ".1f",
                layout=w.Layout(width="430px"),
            )
            for name, (low, high) in RANGES.items()
        }
        territories = [(name, k) for k, name in enumerate(TERRITORY_NAMES)]
        self.territory = w.Dropdown(
            options=territories,
            value=start.territory,
            description="place of the infarct",
            style=style,
            layout=w.Layout(width="380px"),
        )
        self.reset = w.Button(description="as it was")
        self.reset.on_click(lambda _: self._reset())
        self.ecg, self.heart = show.image(), player()
        controls = [*self.sliders.values(), self.territory]
        show.when_changed(self._update, *controls)
        self._update()
        left = w.VBox([*controls, self.reset])
        columns = "minmax(0, 450px) minmax(0, 420px)"
        top = w.GridBox([left, w.VBox([self.heart])], layout=w.Layout(grid_template_columns=columns, grid_gap="12px"))
        return w.VBox([top, self.ecg])

    def _values(self) -> Properties:
        """The sliders' values; a slider that has not moved keeps the heart's own value, which is between two steps."""
        start = properties_of(self.own)
        values = {name: slider.value for name, slider in self.sliders.items()}
        kept = {
            name: getattr(start, name) if abs(value - getattr(start, name)) < LABELS[name][1] / 2 else value
            for name, value in values.items()
        }
        return Properties(territory=self.territory.value, **kept)

    def _update(self) -> None:
        heart = with_properties(self.own, self._values())
        set_heart(self.heart, self._slice(heart), "cine of the changed heart")
        show.set_figure(self.ecg, self._ecg(heart, "ECG of the same heart"))

    def _reset(self) -> None:
        start = properties_of(self.own)
        self.territory.value = start.territory
        for name, slider in self.sliders.items():
            slider.value = getattr(start, name)

    def _ecg(self, heart: Hearts, name: str) -> Any:
        signal = strip(self.synthetic, heart).counts * (STEP_UV / 1000)
        facts = properties_of(heart)
        where = f" {TERRITORY_NAMES[facts.territory]}" if facts.scar else ""
        words = f"infarct {facts.scar:.2f}{where}, wall {facts.wall:.1f} mm, EF {facts.ef:.0f} %, LA {facts.la:.0f} mL"
        baseline = ecg.trend(signal, ecg.beat_period(heart.hr[0]))
        return figures.ecg_paper(signal - baseline, ecg.RATE, f"{name}: {words}")

    def _slice(self, heart: Hearts) -> HeartSlice:
        return heart_slice.from_record(cine(self.synthetic, heart, middle_only=True))
