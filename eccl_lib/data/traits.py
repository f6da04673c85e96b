"""The 82 cardiac traits that UK Biobank derives from cardiac MRI (category 157), in UK Biobank's order.

traits.csv also has a mean, an SD and their source for each trait; docs/traits.md lists the publications.
"""

import csv
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Trait:
    """One of the 82 fields. group: LV, RV, LA, RA, AAo, DAo, WT, Ecc, Err or Ell."""

    field_id: int
    name: str
    short_name: str
    unit: str
    group: str

    @property
    def full_name(self) -> str:
        """The name without abbreviations: left ventricular end diastolic volume."""
        return " ".join(_WORDS.get(word, word) for word in self.name.replace("AHA ", "AHA segment ").split(" "))


# AHA: the seventeen-segment model of the American Heart Association, without the apex.
_WORDS = {"LV": "left ventricular", "RV": "right ventricular", "LA": "left atrial", "RA": "right atrial"}


def _read() -> tuple[Trait, ...]:
    with (files("eccl_lib.data") / "traits.csv").open(encoding="utf-8", newline="") as handle:
        return tuple(
            Trait(int(row["field_id"]), row["name"], row["short_name"], row["unit"], row["group"])
            for row in csv.DictReader(handle)
        )


TRAITS = _read()


def value_text(value: float) -> str:
    """A value with three significant digits and without an exponent: 1023.4 is "1,020"."""
    return f"{float(f'{value:.3g}'):,.10g}"
